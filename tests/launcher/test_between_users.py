"""Attacks of another user of the same machine on what a bundle does: two users, a project's set-group-ID directory."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, REPO, ROOT, SOURCES, TESTER, open_directory, put, script, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundle_maker import Maker

pytestmark = pytest.mark.skipif(not ROOT, reason="needs root to become two users")

OTHER, PROJECT = TESTER + 1, 4242


def becomes(uid: int) -> list[str]:
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={PROJECT}"]


def other(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as the other user, the attacker."""
    return subprocess.run([*becomes(OTHER), *command], text=True, capture_output=True, check=check, env=PLAIN)


def mode(path: str) -> str:
    return f"{os.lstat(path).st_mode & 0o7777:o}"


@pytest.fixture
def project() -> Iterator[str]:
    """A directory of a project in which both users may write."""
    for top in open_directory():
        path = f"{top}/project"
        os.mkdir(path)
        os.chown(path, 0, PROJECT)
        os.chmod(path, 0o2775)
        yield path


@pytest.fixture
def private(project: str) -> str:
    """A directory that is the victim's alone."""
    path = f"{os.path.dirname(project)}/private"
    os.mkdir(path, 0o700)
    os.chown(path, TESTER, TESTER)
    return path


class Job:
    """A bundle that the victim runs; it prints "ready" and goes on when it is told."""

    def __init__(self, bundle: str, **more: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        variables = PLAIN | {f"SDEE_{name}": value for name, value in more.items()}
        self.process = subprocess.Popen([*becomes(TESTER), bundle], env=variables, text=True, **pipes)  # type: ignore[call-overload]
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def end(self) -> tuple[str, int]:
        _, said = self.process.communicate("go\n", timeout=60)
        return str(said), self.process.returncode


def bundle_maker_of(project: str, text: str, *programs: str) -> Maker:
    """Return a bundle of a job in the project; a link that is missing there makes its results go back at the end."""
    place = f"{project}/run"
    os.mkdir(place)
    os.chown(place, 0, PROJECT)
    os.chmod(place, 0o2775)
    return script(text, programs=programs, cwd=place, live=[project]).symlink(f"{place}/only-in-the-bundle", "nowhere")


def bundle_of(project: str, text: str, *programs: str) -> str:
    """Write such a bundle for Job."""
    return bundle_maker_of(project, f"{text}; echo ready; read line", *programs).write(
        f"{os.path.dirname(project)}/b.sdee"
    )


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_directories_of_save_have_the_users_umask_and_what_the_job_closed_stays_closed(project: str, mask: int) -> None:
    text = (
        "cd /opt/x; mkdir -p open/deep closed; chmod 777 open; chmod 700 closed; echo 1 >open/deep/f; echo 2 >closed/f"
    )
    maker = script(text, programs=("mkdir", "chmod")).directory("/opt/x", 0o1777)
    bundle = maker.write(f"{os.path.dirname(project)}/b.sdee")
    kept = f"{project}/kept"
    command = ["sh", "-c", f"umask {mask:o}; exec {bundle}"]
    variables = PLAIN | {"SDEE_SAVE": kept, "SDEE_ROOT": "closed", "SDEE_QUIET": "1"}
    subprocess.run([*becomes(TESTER), *command], check=True, env=variables, stdin=subprocess.DEVNULL)
    assert text_of(f"{kept}/opt/x/closed/f") == "2\n"
    assert {name: mode(f"{kept}{name}")[-3:] for name in ("", "/opt/x", "/opt/x/open", "/opt/x/closed")} == {
        "": f"{0o777 & ~mask:o}",
        "/opt/x": f"{0o777 & ~mask:o}",
        "/opt/x/open": f"{0o777 & ~mask:o}",
        "/opt/x/closed": "700",
    }


def test_a_link_in_the_place_of_a_new_directory_is_not_followed(project: str, private: str) -> None:
    bundle = bundle_of(project, "mkdir out; chmod 1755 out; echo x >out/f", "mkdir", "chmod")
    job = Job(bundle)
    other("ln", "-s", "../../private", f"{project}/run/out")  # an absolute one leads nowhere in the launcher's root
    said, status = job.end()
    assert (mode(private), os.listdir(private)) == ("700", [])
    assert (status, f"cannot copy {project}/run/out" in said) == (247, True), said


def test_a_directory_that_was_moved_into_the_place_of_a_new_one_is_not_opened_to_others(project: str) -> None:
    """mkdir(2) meets a private directory of the user's own there: its mode stays."""
    bundle = bundle_of(project, "mkdir out; chmod 1755 out; echo x >out/f", "mkdir", "chmod")
    job = Job(bundle)
    mine = f"{project}/run/mine"
    os.mkdir(mine, 0o700)
    os.chown(mine, TESTER, TESTER)
    before = mode(mine)
    other("mv", mine, f"{project}/run/out")
    _, status = job.end()
    assert (status, mode(f"{project}/run/out")) == (0, before)


def test_results_go_back_to_the_directory_that_it_was_and_nowhere_else(project: str, private: str) -> None:
    bundle = bundle_of(project, "echo x >f")
    job = Job(bundle, QUIET="1")
    other("mv", f"{project}/run", f"{project}/moved")
    other("ln", "-s", "../private", f"{project}/run")
    said, status = job.end()
    assert os.listdir(private) == []
    assert os.listdir(f"{project}/moved") == []
    assert (status, f"cannot copy {project}/run to the node" in said) == (247, True), said


@pytest.mark.parametrize("text", ["echo x >tree/f", "echo x >f"], ids=["below the tree", "beside it"])
@pytest.mark.parametrize("moved", [True, False])
def test_what_is_written_below_a_tree_goes_back_to_the_directory_that_it_was(
    project: str, private: str, text: str, *, moved: bool
) -> None:
    """A tree that was replaced meanwhile, an update for example, matters only to a job that wrote below it."""
    maker = bundle_maker_of(project, f"{text}; echo ready; read line")
    tree = f"{project}/run/tree"
    os.mkdir(tree)
    os.chown(tree, 0, PROJECT)
    os.chmod(tree, 0o2775)
    put(f"{tree}/nodes", "")
    maker.conf.append(("tree", tree))
    job = Job(maker.add(f"{tree}/mod", "").write(f"{os.path.dirname(project)}/b.sdee"), QUIET="1")
    if moved:
        other("mv", tree, f"{project}/moved")
        other("ln", "-s", "../../private", tree)
    said, status = job.end()
    below = "tree" in text
    assert os.listdir(private) == []
    assert sorted(os.listdir(f"{project}/moved" if moved else tree)) == ["f", "nodes"][not below or moved :]
    assert os.path.exists(f"{project}/run/f") is not below
    assert (status, f"cannot copy {tree}/f to the node" in said) == ((247, True) if below and moved else (0, False))


def test_results_go_back_where_nobody_moved_the_directory(project: str) -> None:
    """The passing side, with a set-group-ID directory."""
    text = "mkdir -p out/deep; chmod 1770 out/deep; echo x >out/deep/f"
    job = Job(bundle_of(project, text, "mkdir", "chmod"), QUIET="1")
    assert job.end() == ("", 0)
    place = f"{project}/run/out"
    assert text_of(f"{place}/deep/f") == "x\n"
    assert (mode(place), mode(f"{place}/deep")) == ("2755", "3770")
    assert os.lstat(f"{place}/deep").st_gid == PROJECT


def test_a_pipe_in_the_place_of_a_result_holds_nobody_up_and_gets_nothing(project: str) -> None:
    job = Job(bundle_of(project, "echo secret >f"))
    other("mkfifo", "-m", "666", f"{project}/run/f")
    assert job.end()[1] == 0  # a pipe makes way, as any other thing that is no file
    assert stat.S_ISREG(os.lstat(f"{project}/run/f").st_mode)


def levels_of(path: str) -> int:
    """Return how many directories "d" are in each other, the last one with a file."""
    at, levels = os.open(path, os.O_RDONLY), 0
    try:
        while "d" in os.listdir(at):
            below = os.open("d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at, levels = below, levels + 1
        assert os.listdir(at) == ["f"]
    finally:
        os.close(at)
    return levels


@pytest.mark.parametrize("levels", [600, 3000])
def test_results_go_back_however_deep_they_are(project: str, levels: int) -> None:
    """3000: deeper than PATH_MAX says and than there are descriptors."""
    top = os.path.dirname(project)
    program = f"{top}/deep"
    subprocess.run(["gcc", "-static", f"{REPO}/fixtures/launcher/deep.c", "-o", program], check=True)
    with open(program, "rb") as file:
        content = file.read()
    maker = bundle_maker_of(project, f"{program} back {levels} && {program} /opt/x/saved {levels}")
    bundle = maker.add(program, content, 0o755).directory("/opt/x", 0o1777).write(f"{top}/b.sdee")
    variables = PLAIN | {"SDEE_SAVE": f"{project}/kept", "SDEE_ROOT": "closed"}
    command = [*becomes(TESTER), "prlimit", "--nofile=256:256", "prlimit", "--stack=1048576", bundle]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        assert done.returncode == 0, done.stderr
        assert "sdee: 1 file written outside live directories: /opt/x/saved/d/d/" in done.stderr
        assert levels_of(f"{project}/run/back") == levels_of(f"{project}/kept/opt/x/saved") == levels
    finally:
        subprocess.run(["rm", "-rf", project], check=True)  # Python's own recurses


REMOVES = """
#include "lib/remove.h"
#include <fcntl.h>

int main(int count, char **arguments)
{
    return !remove_one(AT_FDCWD, arguments[1], count > 2);
}
"""


def test_a_tree_is_removed_however_deep_it_is_and_no_link_is_followed(project: str, private: str) -> None:
    put(f"{private}/file", "mine\n")
    put(f"{project}/removes.c", REMOVES)
    options = ["-Wall", "-Werror", "-D_GNU_SOURCE", f"-I{SOURCES}"]
    parts = [f"{project}/removes.c", f"{SOURCES}/lib/remove.c", f"{SOURCES}/lib/arena.c"]
    subprocess.run(["gcc", *options, *parts, "-o", f"{project}/removes"], check=True)
    subprocess.run(["gcc", f"{REPO}/fixtures/launcher/deep.c", "-o", f"{project}/deep"], check=True)
    limited = ["prlimit", "--nofile=16:16", "--stack=262144", f"{project}/removes"]
    subprocess.run([f"{project}/deep", f"{project}/tree", "3000"], check=True)
    os.symlink(private, f"{project}/tree/link")
    os.makedirs(f"{project}/tree/closed/in")
    subprocess.run(["chown", "-R", f"{TESTER}", f"{project}/tree"], check=True)
    os.chmod(f"{project}/tree/closed", 0)
    assert subprocess.run([*becomes(TESTER), *limited, f"{project}/tree"], check=False).returncode == 1
    subprocess.run([*becomes(TESTER), *limited, f"{project}/tree", "ours"], check=True)
    assert not os.path.lexists(f"{project}/tree")
    assert text_of(f"{private}/file") == "mine\n"


# What others take for line breaks, and proc_pid_mountinfo(5) does not escape: another user mounts it by FUSE
BREAKS = "a\r\v\f\x1c\x1d\x1e\x85\u2028\u2029b"
READS_MOUNTS = """
from sdee.base import mountinfo
from sdee.runtime.environment import discard, private, stamp
from sdee.tracer import host
import sys
path, text = sys.argv[1], mountinfo.own_text()
assert any(mount.path == path for mount in mountinfo.of_this_machine())
assert any(point == path for point, _ in host.mounts(host.mounts_text()))
assert any(step.path == path for step in discard.plan(text, [])), discard.plan(text, [])
stamp.mount_points(), private.here(), private.is_private(path, text)
"""


def test_a_mount_whose_name_breaks_lines_elsewhere_stops_nobody(project: str) -> None:
    path = f"{project}/{BREAKS}"
    os.mkdir(path)
    shell = 'mount -t tmpfs x "$1" && path=$1 && shift && exec "$@" "$path"'
    command = ["unshare", "--mount", "sh", "-c", shell, "sh", path, sys.executable]
    for words in (["-c", READS_MOUNTS], ["-m", "sdee", "trace", "-o", f"{project}/trace", "--", "ls"]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=project)
        assert done.returncode == 0, done.stderr
    with open(f"{project}/trace", encoding="utf-8") as file:
        header = json.loads(file.readline())
    assert [path, "tmpfs"] in header["host"]["mounts"]
