"""Tests in several processes (pytest-xdist): which worker runs what, in which order, and which run alone.

A worker takes whole files, so that what a module's tests share is made once. tests/apart gives each worker directories
and processes of its own.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = os.path.dirname(os.path.abspath(__file__))
APART = os.path.join(TESTS, "apart")
PLACE = os.environ.get("SDEE_TEST_PLACE", "")  # set by tests/apart
TURNS = "SDEE_TEST_TURNS"  # a directory, which tests/apart shows
LAST = "@alone"  # what pytest-xdist appends to the name of a test in that group

# Seconds that a test of a directory takes, roughly; a file's sum says when it comes
WEIGHTS = {"cluster": 6, "environment": 4, "foreign": 4, "launcher": 1, "corpus": 1}
SLOW = 20  # of a test so marked


class Files(LoadScopeScheduling):
    """Gives each worker the next file, in the order of collection, and all tests that run alone to one of them."""

    def _split_scope(self, nodeid: str) -> str:
        return LAST if nodeid.endswith(LAST) else nodeid.partition("::")[0]


def is_worker(config: pytest.Config) -> bool:
    """Is this process one of several?"""
    return hasattr(config, "workerinput")


def is_alone(item: pytest.Item) -> bool:
    """Does the test need the machine for itself?"""
    return item.get_closest_marker("alone") is not None


def arrange(items: list[pytest.Item]) -> None:
    """Sort tests: files that take long come early, so that none is left over at the end; what runs alone comes last."""
    weights: dict[str, float] = {}
    for item in items:
        tier, file = item.path.parent.name, item.nodeid.partition("::")[0]
        weight = SLOW if item.get_closest_marker("slow") else WEIGHTS.get(tier, 0.1)
        weights[file] = weights.get(file, 0) + weight
        if is_alone(item):
            item.add_marker(pytest.mark.xdist_group("alone"))
    items.sort(key=lambda item: (is_alone(item), -weights[item.nodeid.partition("::")[0]]))


class Turns:
    """Lets a test run when it may: one that is `alone` when all others have ended, others when it has.

    By flock(2) on two files of a directory that the workers share. Who waits for the second holds the first, so that
    tests which come later wait behind one that runs alone.
    """

    def __init__(self, directory: str) -> None:
        paths = [os.path.join(directory, name) for name in ("gate", "room")]
        self.gate, self.room = (os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for path in paths)

    @contextmanager
    def wait(self, *, alone: bool) -> Iterator[None]:
        """Wait, and hold the turn."""
        fcntl.flock(self.gate, fcntl.LOCK_EX)
        fcntl.flock(self.room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self.gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self.room, fcntl.LOCK_UN)


def run_forked(function: pytest.Function) -> None:
    """Run a test's function, not its fixtures, in a child of this process.

    Raises as pytest does when it fails there or is skipped.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            function.obj(**{name: function.funcargs[name] for name in function._fixtureinfo.argnames})
            said = b"passed"
        except pytest.skip.Exception as error:
            said = b"skip" + str(error).encode()
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            said = b"fail" + str(function.repr_failure(pytest.ExceptionInfo.from_exception(error))).encode()
        finally:
            with open(write, "wb") as file:
                file.write(said)
            os._exit(0)
    os.close(write)
    try:
        with open(read, "rb") as file:
            said = file.read()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if said[:4] == b"skip":
        pytest.skip(said[4:].decode())
    if said != b"passed":
        pytest.fail(said[4:].decode() or "its process ended without a word", pytrace=False)


def keep_place() -> None:
    """Let tests/apart not remove the directories of this worker."""
    if PLACE:
        with open("/var/tmp/kept", "w", encoding="ascii"):
            pass


def how_to_repeat(item: pytest.Item) -> str:
    """Return the command that runs a test again."""
    test = [sys.executable, "-m", "pytest", item.nodeid.removesuffix(LAST)]
    if not PLACE:
        return shlex.join(test)
    return f"{shlex.join([APART, '-p', PLACE, *test])}\nits directories: {PLACE}/tmp, {PLACE}/home"
