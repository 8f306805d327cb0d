"""Nodes on which one way alone leads to a root (fixtures/ways), for tests of `--way`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from launcher_tools import PLAIN, REPO, TESTER, as_user, run
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = os.path.join(REPO, "fixtures", "ways")


@lru_cache
def fixture(name: str) -> str:
    """Return a program of fixtures/ways, compiled, where every user may execute it."""
    path = os.path.join(tempfile.mkdtemp(prefix="sdee-ways-"), name)
    os.chmod(os.path.dirname(path), 0o755)
    subprocess.run(["gcc", "-O2", "-Wall", "-static", "-o", path, f"{FIXTURES}/{name}.c"], check=True)
    return path


def refusing(options: str, uid: int = TESTER) -> list[str]:
    """Return the command in front that makes such a node, for this user."""
    return [fixture("refuse"), f"-{options}", "--", *as_user(uid)]


@dataclass(frozen=True)
class Node:
    """What stands in front of a command to run it on that node, where `way` is the first that works."""

    way: str
    front: list[str]
    path: str = PLAIN["PATH"]
    merged: bool = True
    joins: bool = True
    root: bool = False


@contextmanager
def holder(uid: int = TESTER, *options: str) -> Iterator[int]:
    """Hold a user namespace of this user, as another bundle or podman does; yield its process."""
    words = options or ("--map-current-user",)
    program = subprocess.Popen([*as_user(uid), "unshare", "-U", *words, "sleep", "600"], stdin=subprocess.DEVNULL)
    try:
        own = os.readlink("/proc/self/ns/user")
        wait_for(lambda: os.readlink(f"/proc/{program.pid}/ns/user") != own, "no namespace is made")
        wait_for(lambda: "sleep" in comm(program.pid), "no holder starts")
        yield program.pid
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()


@contextmanager
def holder_of_all(*command: str) -> Iterator[int]:
    """Let root make a user namespace in which each user has its own number; yield a command's process in it."""
    words = ["unshare", "-U", "sh", "-c", 'read go; exec "$@"', "sh", *command]
    program = subprocess.Popen(words, stdin=subprocess.PIPE, text=True)
    assert program.stdin is not None
    try:
        own = os.readlink("/proc/self/ns/user")
        wait_for(lambda: os.readlink(f"/proc/{program.pid}/ns/user") != own, "no namespace is made")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{program.pid}/{name}", "w", encoding="ascii") as file:
                file.write("0 0 65536")
        program.stdin.write("\n")
        program.stdin.flush()
        wait_for(lambda: "sleep" in comm(program.pid), "no holder starts")
        yield program.pid
    finally:
        program.kill()
        program.wait()


def comm(pid: int) -> str:
    """Return a process's name."""
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read()


@contextmanager
def node(way: str) -> Iterator[Node]:
    """Make a node where `auto` comes to this way; for root "privileged", for the others an ordinary user."""
    if way == "namespaces":
        yield Node(way, as_user(TESTER))
    elif way == "privileged":
        yield Node(way, refusing("d", 0), root=True)
    elif way == "join":
        with holder():
            yield Node(way, refusing("u"))
    elif way == "helper":
        with setuid_bwrap() as directory:
            yield Node(way, [*refusing("u"), "env", f"PATH={directory}:{PLAIN['PATH']}"], merged=False, joins=False)
    else:
        msg = f"there is no node for {way}"
        raise ValueError(msg)


@contextmanager
def setuid_bwrap() -> Iterator[str]:
    """Make a directory with a set-user-ID copy of this machine's bwrap, which is removed at the end."""
    program = shutil.which("bwrap")
    assert program is not None, "bubblewrap is not installed"
    directory = tempfile.mkdtemp(prefix="sdee-bwrap-")
    os.chmod(directory, 0o755)
    shutil.copy(program, f"{directory}/bwrap")
    os.chmod(f"{directory}/bwrap", 0o4755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def leftovers() -> set[str]:
    """Return what is in the directories in which something could be left."""
    return {os.path.join(top, name) for top in ("/tmp", "/dev/shm", "/var/tmp", "/run") for name in os.listdir(top)}


def start(
    there: Node, bundle: str, *arguments: str, env: dict[str, str] | None = None, cwd: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a bundle on that node; keywords as of launcher_tools.run."""
    return run([*there.front, bundle, *arguments], env=env, cwd=cwd, **more)  # type: ignore[arg-type]


def processes_of(uid: int) -> set[str]:
    """Return the processes of a user."""
    return set(subprocess.run(["pgrep", "-U", str(uid)], capture_output=True, text=True, check=False).stdout.split())
