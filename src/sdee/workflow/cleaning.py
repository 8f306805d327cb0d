"""Find and remove what sdee left: files of jobs, unpacked closures on this node, interrupted traces, caches.

Private environments are not among it: they hold what the user installed (`sdee env list`, `sdee env remove`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdee.base import trust
from sdee.packer import contents
from sdee.packer.knowledge import TEMPORARY_ROOTS
from sdee.runtime.jobs import registry
from sdee.tracer import older
from sdee.tracer.tracefile.model import COPIES
from sdee.workflow import preparation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DAY = 86_400  # s
_DEPLOYED = re.compile(r"sdee-(\d+)-[0-9a-f]{32}")  # runtime/native/launcher/root/deploy.c
_UNFINISHED = re.compile(r"\.sdee-\w+\.tmp")  # packer/format/writer.py


@dataclass(frozen=True)
class Left:
    """One thing that may go. `size` in bytes; `used`: when it was last written, seconds since 1970.

    `identity`: its device and inode; `kept`: why it must stay for now, "" where it may go.
    """

    kind: str
    path: str
    size: int
    used: float
    identity: tuple[int, int]
    kept: str = ""


def plan(directory: str) -> list[Left]:
    """Return what may go: below `directory`, and of this user on this node. Nothing is changed."""
    found = [*_jobs(directory), *_traces(directory), *_unfinished(directory), *_deployed(_places()), *_caches()]
    return sorted(found, key=lambda left: (bool(left.kept), -left.size, left.path))


def _places() -> tuple[str, ...]:
    """Return where closures are deployed (runtime/native/launcher/root/deploy.c)."""
    own = os.environ.get("SDEE_DEPLOY_DIR")
    return (own,) if own else TEMPORARY_ROOTS


def remove(left: Left) -> str:
    """Remove one thing unless it is in use by now; return why it could not be removed, or "".

    Others may write to a shared directory while the user reads the list. So the thing is looked up once more, in its
    directory's descriptor: another one that has come to its name stays.
    """
    try:
        with _opened(os.path.dirname(left.path) or ".") as parent:
            path = f"/proc/self/fd/{parent}/{os.path.basename(left.path)}"
            found = os.lstat(path)
            if (found.st_dev, found.st_ino) != left.identity:
                return "another one has come to its name"
            if stat.S_ISDIR(found.st_mode):
                return _remove_directory(path)
            os.unlink(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _remove_directory(path: str) -> str:
    with _locked(path) as free:
        if not free:
            return "it is in use"
        # first what says that it is whole: no run takes it any more (deploy.c)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, "complete"))
        shutil.rmtree(path)
    return ""


def _jobs(directory: str) -> Iterator[Left]:
    asked, waiting = False, None
    for name in _names(directory):
        top = os.path.join(directory, name)
        if not (name == preparation.DIRECTORY or name.startswith(f"{preparation.DIRECTORY}-")) or _is_foreign(top):
            continue
        for job in _names(top):
            path = os.path.join(top, job)
            if os.path.isdir(path) and not os.path.islink(path) and not _is_foreign(path):
                if not asked:
                    asked, waiting = True, registry.waiting_scripts()
                yield _measured("job", path, _needed_by(waiting, path) or _in_use(path))


def _needed_by(waiting: list[str] | None, path: str) -> str:
    """Return why a directory of jobs must stay. `waiting`: their scripts, None where the job manager did not answer."""
    if waiting is None:
        return "the job manager does not say which jobs are waiting"
    real = os.path.realpath(path)
    return "a waiting or running job needs it" if any(s.startswith(f"{real}/") for s in waiting) else ""


def _traces(directory: str) -> Iterator[Left]:
    """Yield traces of interrupted runs, those that they had set aside, and copies of files that belong to no trace."""
    names = set(_names(directory))
    for name in names:
        path = os.path.join(directory, name)
        trace = name.removesuffix(COPIES)
        is_interrupted = any(trace.endswith(end) and trace.removesuffix(end) in names for end in older.SUFFIXES)
        is_orphan = name.endswith(COPIES) and trace not in names and os.path.isdir(path)
        if (is_interrupted or is_orphan) and not os.path.islink(path) and not _is_foreign(path):
            yield _measured("trace", path)


def _unfinished(directory: str) -> Iterator[Left]:
    """Yield bundles that a killed `sdee bundle` left; a younger one may still be written."""
    for name in filter(_UNFINISHED.fullmatch, _names(directory)):
        left = _measured("unfinished", os.path.join(directory, name))
        if not _is_foreign(left.path):
            young = time.time() - left.used < DAY
            yield replace(left, kept="a program may still be writing it") if young else left


def _deployed(places: Iterable[str]) -> Iterator[Left]:
    """Yield this user's unpacked closures. A directory that only has such a name is left alone."""
    for place in places:
        for name in _names(place):
            match = _DEPLOYED.fullmatch(name)
            path = os.path.join(place, name)
            if match is None or int(match[1]) != os.geteuid() or os.path.islink(path) or _is_foreign(path):
                continue
            with contextlib.suppress(OSError), open(os.path.join(path, "identity"), encoding="ascii") as file:
                if file.read() == name:
                    yield _measured("deployed", path, _in_use(path))


def _caches() -> Iterator[Left]:
    """Yield the directory of what earlier bundles found in files; without it they are read again."""
    top = contents.directory()
    if contents.caches(top) and not os.path.islink(top) and not _is_foreign(top):
        yield _measured("cache", top)


def _is_foreign(path: str) -> bool:
    try:
        return not trust.is_own(path)
    except OSError:
        return True


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _in_use(path: str) -> str:
    try:
        with _locked(path) as free:
            return "" if free else "it is in use"
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"


@contextlib.contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Lock a directory as those do that use it (flock(2)); yield False where another holds it."""
    with _opened(path, os.O_NOFOLLOW) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True


@contextlib.contextmanager
def _opened(path: str, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _measured(kind: str, path: str, kept: str = "") -> Left:
    size, used, identity = 0, 0.0, (0, 0)
    for at in _all(path):
        with contextlib.suppress(OSError):  # gone by now, or in a directory that cannot be read
            found = os.lstat(at)
            size += found.st_blocks * 512
            used = max(used, found.st_mtime)
            identity = identity if at != path else (found.st_dev, found.st_ino)
    return Left(kind, path, size, used, identity, kept)


def _all(path: str) -> Iterator[str]:
    yield path
    for directory, directories, files in os.walk(path):
        yield from (os.path.join(directory, name) for name in (*directories, *files))
