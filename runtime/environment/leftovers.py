"""Directories that are no environments yet (`.new-…`), or no more (`.gone-…`): a killed command leaves them behind.

Who makes or removes one holds flock(2) on it, which the kernel drops with the process; so a later command tells what is
left from what is in use. The directory that holds them all is locked for the moment in which one appears, or gets or
loses a name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.errors import InputError
from sdee.runtime.programs import env_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEW, _GONE, _PROBE = ".new-", ".gone-", ".probe-"  # the last one: probe.c, which runs below the lock on the base


@dataclass(frozen=True)
class Held:
    """A directory that is being made or removed, and its lock."""

    directory: str
    lock: int

    def discard(self) -> None:
        """Remove it."""
        discard(self.directory)
        os.close(self.lock)


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a directory."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _hold(directory: str, *, wait: bool = True) -> Held:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(lock)
        raise
    return Held(directory, lock)


def begin(base: str) -> Held:
    """Make a directory for an environment that is to be."""
    with locked(base):
        return _hold(tempfile.mkdtemp(prefix=_NEW, dir=base))


def finish(made: Held, directory: str) -> None:
    """Give a new environment its name. Raises InputError where that is taken."""
    with locked(os.path.dirname(directory)):
        refuse_taken(directory)
        os.rename(made.directory, directory)
    os.close(made.lock)


def replace(made: Held, directory: str) -> Held:
    """Put a new environment in the place of another, which is to be discarded then."""
    with locked(os.path.dirname(directory)):
        gone = _take_away(directory)
        os.rename(made.directory, directory)
    os.close(made.lock)
    return gone


def take_away(directory: str) -> Held:
    """Take an environment's name away, so that nobody meets a half of it."""
    with locked(os.path.dirname(directory)):
        return _take_away(directory)


def _take_away(directory: str) -> Held:
    base, name = os.path.split(directory)
    held = _hold(directory)
    gone = os.path.join(base, f"{_GONE}{os.getpid()}-{name}")
    os.rename(directory, gone)
    return Held(gone, held.lock)


def refuse_taken(directory: str) -> None:
    """Raise InputError where there is such an environment already."""
    name = os.path.basename(directory)
    if os.path.lexists(directory):
        hint = f"choose another name, enter it (sdee env enter {name}) or remove it (sdee env remove {name})"
        raise InputError(f"environment {name} exists already", hint=hint)


def sweep(base: str) -> None:
    """Remove what commands that were killed have left. What cannot be removed is nobody's hindrance."""
    dead = []
    with suppress(OSError), locked(base):
        for entry in os.scandir(base):
            if entry.name.startswith((_NEW, _GONE, _PROBE)):
                with suppress(OSError):  # it is in use
                    dead.append(_hold(entry.path, wait=False))
    for held in dead:
        held.discard()


def discard(directory: str) -> None:
    """Remove what belongs to an environment: as root of its ids, since files of any mode and owner may be there."""
    for pause in (0, 0.05, 0.2, 1):  # what a killed command was calling may be ending still, and make one more entry
        time.sleep(pause)
        subprocess.run(
            [env_path(), "root", directory, "/bin/rm", "-rf", "--one-file-system", directory],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        if not os.path.lexists(directory):
            return
    shutil.rmtree(directory, ignore_errors=True)
