"""Software at every kind of place, traced and bundled here, run on systems that lack it: the same output, real results.

Where a program lies decides what the launcher has to build: over /opt, in a home that the node shares or lacks, behind
a symbolic link, below a directory that the node has not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from foreign.jobs import FIXTURES, SDEE, as_user
from foreign.node import USER, run_on_node
from foreign.roots import ROOTS, root_path

if TYPE_CHECKING:
    from collections.abc import Iterator

# alone: what it puts into /srv and / shows in every environment
pytestmark = [pytest.mark.foreign, pytest.mark.alone]

SOURCE = os.path.join(FIXTURES, "placed")


@dataclass(frozen=True)
class Place:
    """Where the software is: `top` as its user names it; `made` what to remove; `home`; what the node shares."""

    top: str
    work: str
    home: str
    shared: tuple[str, ...]

    @property
    def bundle(self) -> str:
        return f"{self.work}/job.sdee"


def install(top: str) -> None:
    for name in ("bin", "lib", "share"):
        os.makedirs(f"{top}/{name}")
    library = f"{top}/lib/libgreeting.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, f"{SOURCE}/greeting.c"], check=True)
    link = ["-L", f"{top}/lib", "-lgreeting", "-Wl,-rpath,$ORIGIN/../lib"]
    subprocess.run(["gcc", "-o", f"{top}/bin/app", f"{SOURCE}/main.c", *link], check=True)
    with open(f"{top}/share/data.txt", "w", encoding="ascii") as file:
        file.write("the data\n")


PLACES = ("opt", "shared home", "home that the node lacks", "parent is a link", "parent that the node lacks")


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Place]]:
    """Install the program at each place, trace it there as an ordinary user, and bundle it."""
    base = tempfile.mkdtemp(prefix="sdee-places-", dir="/home")
    name = os.path.basename(base)
    work, home, lost = f"{base}/work", f"{base}/home", f"/srv/{name}/home"
    remove = [base, f"/opt/{name}", f"/srv/{name}", f"/{name}"]
    for directory in (work, home, lost):
        os.makedirs(directory)
    os.makedirs(f"/srv/{name}/real")
    os.symlink(f"/srv/{name}/real", f"/srv/{name}/link")
    tops = {
        "opt": (f"/opt/{name}/app/1.2", home),
        "shared home": (f"{home}/software", home),
        "home that the node lacks": (f"{lost}/.local", lost),
        "parent is a link": (f"/srv/{name}/link/app", home),
        "parent that the node lacks": (f"/{name}/deep/er/app", home),
    }
    made = {}
    for where, (top, its_home) in tops.items():
        install(top)
        here = f"{work}/{where.replace(' ', '-')}"
        os.makedirs(here)
        made[where] = Place(top, here, its_home, (base,))
    for directory in remove:
        os.chmod(directory, 0o755)
        subprocess.run(["chown", "-R", "-h", f"{USER}:{USER}", directory], check=True)
    for place in made.values():
        environment = {"PATH": "/usr/bin:/bin", "HOME": place.home, "USER": "tester", "LANG": "C.UTF-8"}
        for command in (["trace", "-q", "--", f"{place.top}/bin/app"], ["bundle", "-q", "-o", place.bundle]):
            done = as_user([*SDEE, *command], cwd=place.work, env=environment)
            assert done.returncode == 0, done.stderr.decode()
    yield made
    for directory in remove:
        shutil.rmtree(directory)


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("where", PLACES)
def test_a_program_runs_from_its_place_and_its_result_is_real(where: str, root: str, places: dict[str, Place]) -> None:
    place = places[where]
    here = as_user([f"{place.top}/bin/app"], cwd=place.work)
    os.unlink(f"{place.work}/result.txt")
    result = run_on_node(
        root_path(root), [place.bundle], shared=place.shared, cwd=place.work, env={"HOME": place.home, "USER": "tester"}
    )
    assert (result.status, result.stdout) == (0, here.stdout), result
    with open(f"{place.work}/result.txt", encoding="ascii") as file:
        assert file.read() == "the data\n"
    assert (result.left.processes, result.left.mounts, result.left.files) == ([], [], []), result


def on_node(place: Place, root: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the bundle as `./bundle.sdee` on a node, options by SDEE_ variables."""
    env = {"HOME": place.home} | {f"SDEE_{name}": value for name, value in variables.items()}
    done = run_on_node(root_path(root), [place.bundle, *arguments], shared=place.shared, cwd=place.work, env=env)
    return done.status, done.stdout.decode(), done.stderr


@pytest.mark.parametrize("root", ["trixie", "empty"])
def test_arguments_another_command_and_a_shell_work_on_a_foreign_system(root: str, places: dict[str, Place]) -> None:
    place = places["opt"]
    status, out, _ = on_node(place, root, "reader", "7")
    assert (status, out.split(" from ")[0]) == (7, "hello reader")
    status, out, _ = on_node(place, root, "there", COMMAND=f"{place.top}/bin/../bin/app")
    assert (status, out.split(" from ")[0]) == (0, "hello there")
    status, out, error = on_node(place, root, COMMAND="no-such-program")
    assert (status, out) == (127, "")
    assert "no-such-program" in error
    status, _, error = on_node(place, root, SHELL="1")  # the one of system(3), which travels with the C library
    assert (status, error) == (0, "")


@pytest.mark.parametrize("root", ["bullseye", "empty"])
def test_what_is_written_beside_the_software_can_be_saved(root: str, places: dict[str, Place]) -> None:
    place = places["opt"]
    env = {"HOME": place.home, "SDEE_CHDIR": f"{place.top}/share", "SDEE_ROOT": "closed"}
    options: dict[str, Any] = {"shared": place.shared, "cwd": place.work}
    lost = run_on_node(root_path(root), [place.bundle], env=env, **options)
    assert lost.status == 0
    assert f"1 file written outside live directories and gone with the job: {place.top}/share/result.txt" in lost.stderr
    kept = run_on_node(root_path(root), [place.bundle], env=env | {"SDEE_SAVE": f"{place.work}/kept"}, **options)
    assert kept.status == 0
    with open(f"{place.work}/kept{place.top}/share/result.txt", encoding="ascii") as file:
        assert file.read() == "the data\n"
    shutil.rmtree(f"{place.work}/kept")
    assert not os.path.exists(f"{place.top}/share/result.txt"), "the login node's own software was written to"
