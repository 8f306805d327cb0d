"""What a live directory of the node's lacks is mounted in it: the directory itself stays real while the job runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from launcher_tools import (
    PLAIN,
    ROOT,
    ROOTS,
    TESTER,
    USERS,
    as_user,
    open_directory,
    put,
    run,
    script,
    text_of,
    traced_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bundle_maker import Maker

MARK = ".sdee-mount-point"
HELD = "stays in memory until it ends"


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


@pytest.fixture
def cwd(work: str) -> str:
    path = f"{work}/cwd"
    os.mkdir(path)
    os.chmod(path, 0o777)
    return path


def software(cwd: str, text: str, *programs: str) -> Maker:
    """Return a bundle of a script and a venv in a working directory that lacks both."""
    maker = script(text, programs=programs, cwd=cwd, live=[cwd], tree=[f"{cwd}/venv"])
    return maker.add(f"{cwd}/venv/bin/tool", "#!/bin/sh\necho tool\n", 0o755).add(
        f"{cwd}/run.sh", "echo script\n", 0o755
    )


class Job:
    """A bundle that runs, and goes on with each line that it is told."""

    def __init__(self, bundle: str, *, uid: int | None = None, **variables: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = PLAIN | {"SDEE_JOIN": "never"} | variables
        command = [*(as_user(uid) if uid is not None else []), bundle]
        self.process = subprocess.Popen(command, env=env, text=True, cwd=traced_in(command), **pipes)  # type: ignore[call-overload]

    def line(self) -> str:
        return str(self.process.stdout.readline()).strip()

    def tell(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> tuple[str, str, int]:
        out, err = self.process.communicate("go\ngo\ngo\n", timeout=60)
        return str(out), str(err), int(self.process.returncode)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_a_checkpoint_is_there_at_once_and_after_kill_9(cwd: str, work: str, root: str, uid: int) -> None:
    text = "echo step 1 >checkpoint; venv/bin/tool; . ./run.sh; ls -A . venv; read line || :"
    bundle = software(cwd, text, "ls").write(f"{work}/b.sdee")
    job = Job(bundle, uid=uid, SDEE_ROOT=root)
    seen = [job.line() for _ in range(8)]
    assert seen == ["tool", "script", ".:", "checkpoint", "run.sh", "venv", "", "venv:"]
    assert text_of(f"{cwd}/checkpoint") == "step 1\n", "seen from outside while the job runs"
    job.kill()
    assert text_of(f"{cwd}/checkpoint") == "step 1\n"
    assert os.listdir(f"{cwd}/venv") == [MARK], "a killed run leaves its mount points"
    assert text_of(f"{cwd}/run.sh") == text_of(f"{cwd}/venv/{MARK}")
    assert text_of(f"{cwd}/run.sh").startswith("sdee mount point: ")
    again = run([bundle], uid=uid, ROOT=root, JOIN="never")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.split("\n")[:2] == ["tool", "script"]
    assert os.listdir(cwd) == ["checkpoint"], "the next one uses and removes them"


@pytest.mark.parametrize("root", ROOTS)
def test_locks_of_two_jobs_exclude_each_other(cwd: str, work: str, root: str) -> None:
    bundle = software(cwd, "set -C; venv/bin/tool >lock || exit 3; echo got; read line").write(f"{work}/b.sdee")
    first = Job(bundle, SDEE_ROOT=root)
    assert first.line() == "got"
    second = run([bundle], ROOT=root, JOIN="never")
    assert (second.returncode, second.stdout) == (3, "")
    assert first.end()[2] == 0
    assert os.listdir(cwd) == ["lock"]


@pytest.mark.parametrize("root", ROOTS)
def test_two_jobs_append_to_one_log(cwd: str, work: str, root: str) -> None:
    text = "echo begin >>log; echo ready; read line; for i in 1 2 3 4 5 6 7 8 9; do venv/bin/tool >>log; done"
    bundle = software(cwd, text).write(f"{work}/b.sdee")
    jobs = [Job(bundle, SDEE_ROOT=root) for _ in range(2)]
    assert [job.line() for job in jobs] == ["ready"] * 2
    assert [job.end()[1:] for job in jobs] == [("", 0)] * 2
    assert sorted(text_of(f"{cwd}/log").split()) == ["begin"] * 2 + ["tool"] * 18
    assert os.listdir(cwd) == ["log"]


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("same", [True, False])
def test_whoever_ends_last_removes_them(cwd: str, work: str, uid: int, order: tuple[int, int], *, same: bool) -> None:
    """Two runs, of one bundle or of two, need the same mount points; the one that goes on finds its software."""
    text = "venv/bin/tool; read line; venv/bin/tool; . ./run.sh; ls -A venv/bin; read line"
    bundles = [software(cwd, text, "ls").write(f"{work}/one")] * 2
    if not same:
        other = software(cwd, text, "ls").add(f"{cwd}/venv/bin/other", "")
        bundles[1] = other.write(f"{work}/two")
    jobs = [Job(bundle, uid=uid) for bundle in bundles]
    assert [job.line() for job in jobs] == ["tool", "tool"]
    assert jobs[order[0]].end()[1:] == ("", 0)
    assert sorted(os.listdir(cwd)) == ["run.sh", "venv"]
    left = jobs[order[1]]
    left.tell()
    more = [] if same or order[1] == 0 else ["other"]
    assert [left.line() for _ in range(3 + len(more))] == ["tool", "script", *more, "tool"]
    assert left.end()[1:] == ("", 0)
    assert os.listdir(cwd) == []


def test_many_at_once_leave_none(cwd: str, work: str) -> None:
    bundle = software(cwd, "venv/bin/tool && . ./run.sh >>out").write(f"{work}/b.sdee")
    for _ in range(3):
        jobs = [Job(bundle) for _ in range(12)]
        assert [job.end() for job in jobs] == [("tool\n", "", 0)] * 12
    assert text_of(f"{cwd}/out") == "script\n" * 36
    assert os.listdir(cwd) == ["out"]


@pytest.mark.parametrize("uid", USERS)
def test_ranks_hold_them_until_the_last_has_left(cwd: str, work: str, uid: int) -> None:
    bundle = software(cwd, "echo ready; read line; venv/bin/tool; read line; . ./run.sh").write(f"{work}/b.sdee")
    step = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3", "SDEE_JOIN": "auto"}
    ranks = []
    for rank in range(3):
        ranks.append(Job(bundle, uid=uid, SLURM_PROCID=str(rank), **step))
        assert ranks[-1].line() == "ready"
    assert ranks[0].end() == ("tool\nscript\n", "", 0), "the first, which made them"
    assert run([bundle], uid=uid, JOIN="never").returncode == 0, "another run that ends"
    assert ranks[2].end() == ("tool\nscript\n", "", 0)
    assert sorted(os.listdir(cwd)) == ["run.sh", "venv"]
    assert ranks[1].end() == ("tool\nscript\n", "", 0)
    assert os.listdir(cwd) == []


@pytest.mark.parametrize("uid", USERS)
def test_a_server_that_the_job_leaves_behind_keeps_its_software(cwd: str, work: str, uid: int) -> None:
    server = "while [ ! -e stop ]; do sleep 0.02; done; venv/bin/tool >said"
    bundle = software(cwd, f"[ -e said ] || {{ ({server}) >/dev/null 2>&1 & }}", "sleep").write(f"{work}/b.sdee")
    assert run([bundle], uid=uid).returncode == 0
    assert sorted(os.listdir(cwd)) == ["run.sh", "venv"], "a process has them mounted"
    put(f"{cwd}/stop", "")
    assert eventually(lambda: os.path.exists(f"{cwd}/said") and os.path.getsize(f"{cwd}/said") > 0)
    assert text_of(f"{cwd}/said") == "tool\n"
    assert eventually(lambda: run([bundle], uid=uid).returncode == 0 and sorted(os.listdir(cwd)) == ["said", "stop"])


@pytest.mark.parametrize("root", ROOTS)
def test_results_in_a_directory_that_only_the_bundle_has_come_back(cwd: str, work: str, root: str) -> None:
    maker = script(
        "cat a/b/tool/mod run.sh; mkdir a/b/new; for i in a/out a/b/new/f a/b/tool/cache run.sh; do echo r >>$i; done",
        programs=("cat", "mkdir"),
        cwd=cwd,
        live=[cwd],
        tree=[f"{cwd}/a/b/tool"],
    )
    bundle = maker.add(f"{cwd}/a/b/tool/mod", "mod\n").add(f"{cwd}/run.sh", "1\n").write(f"{work}/b.sdee")
    plan = run([bundle], ROOT=root, DRY_RUN="1").stdout
    assert f"plan: point     {cwd}/a {cwd}/a  # mount point in the node's directory, which lacks it\n" in plan
    assert f"plan: bind      /closure{cwd}/a -> {cwd}/a  # the node lacks it\n" in plan
    assert os.listdir(cwd) == [], "only said"
    result = run([bundle], ROOT=root)
    assert (result.stdout, result.returncode) == ("mod\n1\n", 0), result.stderr
    assert f"1 file written outside live directories and gone with the job: {cwd}/a/b/tool/cache;" in result.stderr
    found = {os.path.relpath(f"{at}/{name}", cwd) for at, _, names in os.walk(cwd) for name in names}
    assert found == {"run.sh", "a/out", "a/b/new/f"}
    assert (text_of(f"{cwd}/a/out"), text_of(f"{cwd}/run.sh")) == ("r\n", "1\nr\n")
    assert not os.path.exists(f"{cwd}/a/b/tool")


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("kind", ["link", "data", "long name", "many", "another type", "no locks"])
def test_where_none_can_be_made_it_is_said_at_the_start(cwd: str, work: str, root: str, kind: str) -> None:
    maker = software(cwd, "echo r >result; venv/bin/tool; echo ready; read line", "ls")
    name = "n" * 250
    command: list[str] = []
    if kind == "link":
        maker.symlink(f"{cwd}/latest", "venv")
        why = "the symbolic link latest is missing there"
    elif kind == "data":
        maker.add(f"{cwd}/state", "1\n").conf += [("fallback", f"{cwd}/state")]
        why = "state is missing there, which the job may replace"
    elif kind == "long name":
        maker.add(f"{cwd}/{name}", "")
        why = f"{name} is missing there, and no mount point can be made for it: Filename too long"
    elif kind == "many":
        for i in range(300):
            maker.add(f"{cwd}/f{i}", "")
        why = "more are missing there, too many for mount points"
    elif kind == "another type":
        os.symlink("nowhere", f"{cwd}/run.sh")
        why = "run.sh is of another type there"
    else:
        strace = ["strace", "-e", "trace=fcntl", "-o", f"{work}/calls"]
        run([*strace, maker.write(f"{work}/b.sdee")], ROOT=root, JOIN="never")
        os.unlink(f"{cwd}/result")
        first = next(n for n, call in enumerate(text_of(f"{work}/calls").splitlines(), 1) if "F_OFD_SETLK" in call)
        command = [*strace, "-e", f"inject=fcntl:error=ENOLCK:when={first}"]
        why = "is missing there, and no mount point can be made for it: No locks available"
    before = os.listdir(cwd)
    bundle = maker.write(f"{work}/b.sdee")
    result = run([*command, bundle], ROOT=root, JOIN="never")
    assert result.stdout == "tool\nready\n", result.stderr
    (line,) = [line for line in result.stderr.splitlines() if HELD in line]
    assert line.startswith(f"sdee: warning: what the job writes directly in {cwd} {HELD}, and SIGKILL loses it: ")
    assert line.endswith(why)
    assert sorted(os.listdir(cwd)) == sorted([*before, "result"]), "which is there at the end"
    assert HELD not in run([*command, bundle], ROOT=root, JOIN="never", QUIET="1").stderr


@pytest.mark.skipif(not ROOT, reason="needs root to make another user's directory")
@pytest.mark.parametrize("kind", ["not writable", "read-only", "another user's"])
def test_so_it_is_where_the_user_may_not(cwd: str, work: str, kind: str) -> None:
    bundle = software(cwd, "venv/bin/tool; read line").write(f"{work}/b.sdee")
    command = [bundle]
    if kind == "not writable":
        os.chmod(cwd, 0o755)
        why = ""
    elif kind == "read-only":
        mount = f"mount --bind {cwd} {cwd} && mount -o remount,ro,bind {cwd}"
        command = ["unshare", "-m", "sh", "-c", f"{mount} && exec {' '.join(as_user(TESTER))} {bundle}"]
        why = ""
    else:
        other = Job(bundle)
        assert other.line() == "tool"
        why = "run.sh is missing there, where a job of another user has its mount point"
    result = run(command, uid=None if kind == "read-only" else TESTER)
    assert result.stdout == "tool\n", result.stderr
    assert (f"what the job writes directly in {cwd} {HELD}" in result.stderr) is bool(
        why
    )  # else the bare job wrote none
    assert why in result.stderr
    if kind == "another user's":
        assert other.end() == ("", "", 0)
    assert os.listdir(cwd) == []


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_in_a_directory_of_all_users_each_has_its_own(cwd: str, work: str) -> None:
    """As /tmp: nobody else can replace what is this user's; what another one has planted is not used."""
    os.chmod(cwd, 0o1777)
    bundle = software(cwd, "venv/bin/tool; echo r >result").write(f"{work}/b.sdee")
    result = run([bundle], uid=TESTER)
    assert (result.stdout, result.stderr, os.listdir(cwd)) == ("tool\n", "", ["result"])
    os.unlink(f"{cwd}/result")
    os.mkdir(f"{cwd}/{MARK}.venv", 0o777)
    planted = run([bundle], uid=TESTER)
    assert planted.stdout == "tool\n"
    assert "venv is missing there, and no mount point can be made for it: Operation not permitted" in planted.stderr
    assert sorted(os.listdir(cwd)) == [f"{MARK}.venv", "result"]


def test_a_real_directory_or_file_that_comes_meanwhile_is_not_removed(cwd: str, work: str) -> None:
    bundle = software(cwd, "venv/bin/tool; read line").write(f"{work}/b.sdee")
    job = Job(bundle)
    assert job.line() == "tool"
    put(f"{cwd}/venv/new", "new\n")
    os.unlink(f"{cwd}/run.sh")
    put(f"{cwd}/run.sh", "new\n")
    assert job.end() == ("", "", 0)
    assert sorted(os.listdir(cwd)) == ["run.sh", "venv"]
    assert os.listdir(f"{cwd}/venv") == ["new"]
    assert text_of(f"{cwd}/run.sh") == "new\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_leaves_none(cwd: str, work: str, number: signal.Signals) -> None:
    bundle = software(cwd, "exec sleep 1000", "sleep").write(f"{work}/b.sdee")
    for step in range(30):
        with subprocess.Popen([bundle], env=PLAIN | {"SDEE_JOIN": "never"}, cwd="/") as process:
            time.sleep(step * 0.001)
            process.send_signal(number)
            assert process.wait(60) == -number
        assert os.listdir(cwd) == []
