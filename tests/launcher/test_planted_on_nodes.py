"""What another user plants, moves or links in the way of the launcher: results, mount points, deployed closures."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, TESTER, put, script, text_of
from test_between_users import OTHER, Job, becomes, bundle_maker_of, bundle_of, other
from test_between_users import project as project  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not ROOT, reason="needs root to become two users")
LONG_AGO = "touch -d 2001-01-01"
NEW_SECRET = "umask 077; set -C; echo secret >f"  # O_EXCL: the bare job would not write into another's file


def mine(path: str, text: str = "mine\n", mode: int = 0o600) -> str:
    """Make a file of the victim's."""
    put(path, text, mode)
    os.chown(path, TESTER, TESTER)
    return path


def theirs(run: str, text: str) -> None:
    """Run shell text as the other user, where the job runs."""
    other("sh", "-c", f"umask 0; cd {run} && {text}")


def read_by_other(path: str) -> str:
    return other("sh", "-c", f"cat {path} || :").stdout


def moved(victims: str, place: str) -> None:
    other("mv", victims, place)


def linked(victims: str, place: str) -> None:
    """As root, for whom fs.protected_hardlinks makes no difference: where it is 0 any user can."""
    os.link(victims, place)


def test_a_new_private_file_does_not_go_into_one_of_another_user(project: str) -> None:
    job = Job(bundle_of(project, NEW_SECRET))
    theirs(f"{project}/run", f"echo bait >f; {LONG_AGO} f; echo bait >f.sdee-{job.process.pid}; tail -f f >&- 2>&- &")
    said, status = job.end()
    assert (read_by_other(f"{project}/run/f"), status) == ("bait\n", 247), said
    (kept,) = [name for name in os.listdir(f"{project}/run") if os.stat(f"{project}/run/{name}").st_uid == TESTER]
    assert text_of(f"{project}/run/{kept}") == "secret\n"
    assert read_by_other(f"{project}/run/{kept}") == ""
    assert f"is in {project}/run/{kept}" in said


def test_a_file_of_a_colleague_that_the_job_saw_is_still_written_into(project: str) -> None:
    """The passing side: the job's own file, and nothing of another's that changed meanwhile."""
    bundle = bundle_of(project, "echo more >>log")
    mine(f"{project}/run/log", "first\n", 0o664)
    before = os.stat(f"{project}/run/log").st_ino
    assert Job(bundle, QUIET="1").end() == ("", 0)
    assert text_of(f"{project}/run/log") == "first\nmore\n"
    assert os.stat(f"{project}/run/log").st_ino == before


@pytest.mark.parametrize("way", [moved, linked])
def test_a_private_file_of_the_users_is_not_overwritten_by_a_result(
    project: str, way: Callable[[str, str], None]
) -> None:
    job = Job(bundle_of(project, "echo result >f"))
    private = mine(f"{project}/run/thesis")
    way(private, f"{project}/run/f")
    if way is moved:  # as old as it was, of the same user: the one who may move it may remove it as well
        os.utime(f"{project}/run/f", (0, 0))
    said, status = job.end()
    assert (text_of(f"{project}/run/f"), status) == (("result\n", 0) if way is moved else ("mine\n", 247)), said


def test_what_is_in_a_private_directory_does_not_go_into_one_of_another_user(project: str) -> None:
    job = Job(bundle_of(project, "mkdir -m 700 closed; echo secret >closed/f", "mkdir"))
    theirs(f"{project}/run", "mkdir -m 777 closed")
    said, status = job.end()
    assert (os.listdir(f"{project}/run/closed"), status) == ([], 247), said
    (kept,) = [name for name in os.listdir(f"{project}/run") if name.startswith("closed.")]
    assert text_of(f"{project}/run/{kept}/f") == "secret\n"
    assert read_by_other(f"{project}/run/{kept}/f") == ""
    assert f"is in {project}/run/{kept}" in said


def saved(project: str, kept: str) -> subprocess.CompletedProcess[str]:
    text = "cd /opt/x; mkdir -m 700 closed; echo secret >closed/f; umask 077; echo secret >f"
    maker = script(text, programs=("mkdir",)).directory("/opt/x", 0o1777)
    bundle = maker.write(f"{os.path.dirname(project)}/b.sdee")
    variables = PLAIN | {"SDEE_SAVE": kept, "SDEE_ROOT": "closed", "SDEE_QUIET": "1"}
    command = [*becomes(TESTER), "sh", "-c", f"umask 002; exec {bundle}"]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL)


def test_what_is_saved_goes_into_no_file_and_no_open_directory_of_another_user(project: str) -> None:
    kept = f"{project}/kept"
    theirs(project, "mkdir -p kept/opt/x/closed && echo bait >kept/opt/x/f")
    done = saved(project, kept)
    assert done.returncode == 247, done.stderr
    assert "cannot copy /opt/x/closed/f to the directory of --save" in done.stderr
    assert os.listdir(f"{kept}/opt/x/closed") == []
    assert text_of(f"{kept}/opt/x/f") == "secret\n"
    assert read_by_other(f"{kept}/opt/x/f") == ""


def test_a_link_of_another_user_is_no_directory_to_save_in(project: str) -> None:
    """Its name is sdee's own in a batch job: RESULTS/NODE."""
    top = os.path.dirname(project)
    os.makedirs(f"{top}/victims/opt/x")
    subprocess.run(["chown", "-R", f"{TESTER}:{TESTER}", f"{top}/victims"], check=True)
    other("ln", "-s", f"{top}/victims", f"{project}/kept")
    done = saved(project, f"{project}/kept")
    assert (done.returncode, os.listdir(f"{top}/victims/opt/x")) == (247, []), done.stderr
    assert "it is a link of another user" in done.stderr
    os.unlink(f"{project}/kept")
    subprocess.run([*becomes(TESTER), "ln", "-s", f"{top}/victims", f"{project}/kept"], check=True)
    assert saved(project, f"{project}/kept").returncode == 0, "one's own link"
    assert text_of(f"{top}/victims/opt/x/f") == "secret\n"


@pytest.mark.parametrize("way", [moved, linked])
def test_the_text_of_a_mount_point_goes_into_no_file_of_the_users(
    project: str, way: Callable[[str, str], None]
) -> None:
    run = f"{project}/run"
    maker = bundle_maker_of(project, "cat tool.txt", "cat")
    del maker.entries[-1]  # the link: with it there would be no mount points
    bundle = maker.add(f"{run}/tool.txt", "bundled\n").write(f"{os.path.dirname(project)}/b.sdee")
    private = mine(f"{run}/thesis", "x" * 1000)
    way(private, f"{run}/.sdee-mount-point.tool.txt")
    command = [*becomes(TESTER), bundle]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=PLAIN, stdin=subprocess.DEVNULL)
    assert (done.stdout, done.returncode) == ("bundled\n", 0), done.stderr
    assert text_of(f"{run}/.sdee-mount-point.tool.txt") == "x" * 1000


def deployed(project: str, bundle: str, what: str = "DEPLOY", *before: str) -> subprocess.CompletedProcess[str]:
    variables = PLAIN | {f"SDEE_{what}": "1", "SDEE_DEPLOY_DIR": project}
    command = [*becomes(TESTER), *before, bundle]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL)


def holder(project: str, word: str) -> str:
    maker = script("cat /opt/x/data", programs=("cat",)).add("/opt/x/data", f"{word}\n")
    return maker.write(f"{os.path.dirname(project)}/{word}.sdee")


@pytest.mark.parametrize("name", ["{name}", ".{name}.999999999"])
def test_a_directory_of_the_users_in_the_place_of_a_deployed_closure_is_not_cleared_away(
    project: str, name: str
) -> None:
    """Who may rename it may not remove what is in it; sdee did that."""
    bundle = holder(project, "right")
    place = deployed(project, bundle).stdout.strip()
    assert deployed(project, bundle, "UNDEPLOY").returncode == 0
    for what in ("DEPLOY", "UNDEPLOY", "DEPLOY"):
        results = f"{project}/results"
        if not os.path.exists(results):
            os.mkdir(results, 0o700)
            mine(f"{results}/thesis")
            mine(f"{results}/complete")
            os.chown(results, TESTER, TESTER)
        there = f"{project}/{name.format(name=os.path.basename(place))}"
        if not os.path.lexists(there):
            moved(results, there)
        done = deployed(project, bundle, what)
        assert text_of(f"{there}/thesis") == "mine\n", done.stderr
        assert (done.returncode == 243) == (name == "{name}"), done.stderr
        if name == "{name}":
            assert "is not a closure that sdee deployed" in done.stderr


def test_another_deployed_closure_in_its_place_is_not_used(project: str) -> None:
    """Also one of the same paths, sizes and times, of a bundle that somebody else has made."""
    right, wrong = holder(project, "right"), holder(project, "wrong")
    places = [deployed(project, bundle).stdout.strip() for bundle in (right, wrong)]
    moved(places[0], f"{project}/away")
    moved(places[1], places[0])
    assert deployed(project, right, "DEBUG").stdout == "right\n"
    moved(places[0], places[1])
    moved(f"{project}/away", places[0])
    done = deployed(project, right, "DEBUG")
    assert (done.stdout, "the deployed closure is used" in done.stderr) == ("right\n", True)
    assert deployed(project, right, "UNDEPLOY").returncode == 0
    assert os.listdir(project) == [os.path.basename(places[1])]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to win the race each time")
def test_a_directory_of_another_user_is_not_filled_in_place_of_the_one_that_was_made(project: str) -> None:
    """Between mkdir(2) and open(2) it is swapped: links in it would lead what is unpacked anywhere."""
    bundle = holder(project, "right")
    slow = (
        "strace",
        "-qq",
        "-f",
        "-e",
        "trace=mkdirat",
        "-e",
        "inject=mkdirat:delay_exit=3000000:when=1",
        "-o",
        "/dev/null",
    )
    swap = 'until n=$(ls -A | grep ^.sdee-); do :; done; mv "$n" away && mkdir -m 777 "$n"'
    attacker = subprocess.Popen([*becomes(OTHER), "sh", "-c", f"cd {project}; {swap}"], env=PLAIN)
    done = deployed(project, bundle, "DEPLOY", *slow)
    assert attacker.wait(60) == 0
    (name,) = [name for name in os.listdir(project) if "sdee-" in name]
    assert os.stat(f"{project}/{name}").st_uid == OTHER
    assert (os.listdir(f"{project}/{name}"), done.returncode) == ([], 243), done.stderr
