"""Attacks on the ways to a root, by another user of the node and by kill -9; and what must still work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, TESTER, as_user, mounts, open_directory, put, run, script, text_of
from waiting import wait_for
from ways import comm, holder, holder_of_all, leftovers, node, processes_of, refusing, setuid_bwrap, start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not ROOT, reason="makes nodes that refuse something")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def test_no_namespace_of_another_user_is_joined(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    with holder(TESTER + 1):  # its own
        assert run([*refusing("u"), bundle]).returncode == 242
    with holder_of_all("sleep", "60"):  # root's, in which this user has an id
        assert run([*refusing("u"), bundle]).returncode == 242


def test_a_process_of_the_user_in_a_namespace_that_another_made_is_no_candidate(work: str) -> None:
    # root's namespace, with a process in it that is this user's: the owner decides, not the process
    bundle = script("echo ran").write(f"{work}/b.sdee")
    with holder_of_all(*as_user(TESTER), "sleep", "60") as pid:
        assert os.stat(f"/proc/{pid}").st_uid == TESTER
        assert run([*refusing("u"), bundle]).returncode == 242


def test_a_container_s_processes_are_no_way_in(work: str) -> None:
    # in a PID namespace of their own: what is in there could trace who joins
    bundle = script("echo ran").write(f"{work}/b.sdee")
    inner = [*as_user(TESTER), "unshare", "-U", "--map-current-user", "-p", "--fork", "sleep", "61"]
    program = subprocess.Popen(inner)
    wait_for(lambda: any("sleep" in comm(pid) for pid in children(program.pid)), "no container starts")
    contained = children(program.pid)[0]
    assert run([*refusing("u"), bundle]).stdout == "ran\n"  # unshare(1) is in that user namespace, and here
    program.kill()
    program.wait()
    try:
        assert os.readlink(f"/proc/{contained}/ns/user") != os.readlink("/proc/self/ns/user")
        assert run([*refusing("u"), bundle]).returncode == 242
    finally:
        os.kill(contained, signal.SIGKILL)


def test_a_holder_that_ends_while_it_is_joined_harms_nothing(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    for _ in range(10):
        with holder() as pid:
            program = subprocess.Popen(
                [*refusing("u"), bundle], env=PLAIN, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            time.sleep(0.003)
            os.kill(pid, signal.SIGKILL)
            out, error = program.communicate(timeout=60)
        assert (program.returncode, out) in ((0, "ran\n"), (242, "")), error


def test_a_helper_that_somebody_else_could_change_is_not_used(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    bad = f"{work}/bad"
    os.mkdir(bad, 0o755)
    put(f"{bad}/bwrap", f"#!/bin/sh\ntouch {work}/attacked\n", 0o755)
    front = [*refusing("u"), "env", f"PATH={bad}:/usr/bin:/bin"]
    changes = (
        (bad, TESTER + 1, 0o755),
        (bad, 0, 0o777),
        (f"{bad}/bwrap", TESTER + 1, 0o755),
        (f"{bad}/bwrap", 0, 0o775),
        (work, 0, 0o777),
    )
    os.chmod(work, 0o755)
    for path, owner, mode in changes:
        before = os.stat(path)
        os.chown(path, owner, owner)
        os.chmod(path, mode)
        result = run([*front, bundle])
        assert result.returncode == 242
        assert "tried: --way helper: " in result.stderr
        os.chown(path, before.st_uid, before.st_gid)
        os.chmod(path, before.st_mode & 0o7777)
    assert not os.path.exists(f"{work}/attacked")
    os.chmod(work, 0o777)
    os.chmod(bad, 0o755)
    os.symlink(bad, "/var/tmp/sdee-link-of-tests")
    os.unlink("/var/tmp/sdee-link-of-tests")
    with setuid_bwrap() as directory:  # the next one in PATH serves
        assert run([*refusing("u"), "env", f"PATH={bad}:{directory}", bundle]).stdout == "ran\n"
    assert not os.path.exists(f"{work}/attacked")


def test_a_helper_of_the_user_s_own_that_is_none_is_named(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    own = f"{work}/own"
    os.mkdir(own, 0o755)
    for text, words in (("echo nonsense >&2; exit 1", "nonsense"), ("exit 0", "it ended without a word")):
        put(f"{own}/bwrap", f"#!/bin/sh\n{text}\n", 0o755)
        os.chmod(work, 0o755)
        result = run([*refusing("u"), "env", f"PATH={own}:/bin", bundle], WAY="helper")
        os.chmod(work, 0o777)
        assert result.returncode == 242
        assert f"{own}/bwrap cannot make the root: {words}" in result.stderr


def test_the_variable_of_what_runs_inside_serves_nobody_else(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # root's
    for value in ("0,1", "nonsense", "99,98", f"{theirs.fileno()},{theirs.fileno()}"):
        command = [*as_user(TESTER), bundle]
        result = run(command, INSIDE=value, pass_fds=(theirs.fileno(),))
        assert (result.returncode, result.stdout) == (2, "")
        assert "sdee: error: SDEE_INSIDE is set" in result.stderr
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        ours.recv(1)


def children(pid: int) -> list[int]:
    try:
        text = text_of(f"/proc/{pid}/task/{pid}/children")
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_kill_9_while_a_helper_s_root_is_filled_leaves_nothing(work: str, depth: int) -> None:
    # the launcher, bwrap, and what it started
    bundle = script(f"echo ran >{work}/ran").add("/opt/sdee-test/large", os.urandom(96 << 20)).write(f"{work}/b.sdee")
    with node("helper") as there:
        before, mounted, entries = processes_of(TESTER), mounts(), leftovers()
        for _ in range(3):
            program = subprocess.Popen([*there.front, bundle], env=PLAIN, cwd="/tmp", stderr=subprocess.PIPE, text=True)
            victims = [program.pid]
            deadline = time.monotonic() + 30
            while len(victims) <= depth and program.poll() is None and time.monotonic() < deadline:
                below = [pid for pid in children(victims[-1]) if len(victims) > 1 or "bwrap" in name_of(pid)]
                victims += below[:1]
            if len(victims) > depth:
                kill(victims[depth])
            assert program.wait(60) in (-signal.SIGKILL, 242, 0)
            wait_for(lambda: not processes_of(TESTER) - before, "a process is left")
            assert mounts() == mounted
            assert {name for name in leftovers() if name != f"{work}/ran"} == entries


def name_of(pid: int) -> str:
    try:
        return comm(pid)
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_nothing_is_filled_through_a_link_that_another_user_puts_in_the_way(work: str) -> None:
    # he may write in the directory above a mount point, and swaps it while bwrap is at work
    target = f"{work}/victim"
    os.mkdir(target, 0o700)
    os.chown(target, TESTER, TESTER)
    os.mkdir(f"{work}/live", 0o777)
    os.chmod(f"{work}/live", 0o777)
    maker = (
        script("echo ran", tree=[f"{work}/live/tree"])
        .add(f"{work}/live/tree/planted", "x")
        .add(f"{work}/live/file", "y")
    )
    bundle = maker.write(f"{work}/b.sdee")
    swap = (
        "import os, sys\nwork = sys.argv[1]\n"
        "while not os.path.exists(f'{work}/stop'):\n"
        "    for name in ('tree', 'file'):\n"
        "        try:\n"
        "            os.rename(f'{work}/live/{name}', f'{work}/live/away-{os.urandom(4).hex()}')\n"
        "            os.symlink(f'{work}/victim', f'{work}/live/{name}')\n"
        "            os.unlink(f'{work}/live/{name}')\n"
        "        except OSError:\n"
        "            pass\n"
    )
    attacker = subprocess.Popen([*as_user(TESTER + 1), sys.executable, "-I", "-c", swap, work])
    try:
        with node("helper") as there:
            codes = {start(there, bundle).returncode for _ in range(12)}
    finally:
        put(f"{work}/stop", "")
        attacker.wait(30)
    assert codes <= {0, 242, 243}
    assert os.listdir(target) == []
