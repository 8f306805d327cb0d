"""What files hold, as far as bundling asks: looked into once, and known again when the same trace is bundled again.

A file is the same while device, inode, size, and times of change of content and of inode are, as git's index has it
(Documentation/technical/racy-git.txt). Anyone may set a file's mtime; its ctime is the kernel's. Always trusted, as by
core.trustctime: where backups change it too, files are read again, no more. Not believed are file systems whose ctime
is not kept by a kernel or a cluster's server (FUSE, SMB, FAT), and what changed shortly before it was looked at.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any, final

import platformdirs

import sdee
from sdee.base import facts, mountinfo
from sdee.base.at_start import LOCAL_FILE_SYSTEMS
from sdee.base.files import write_whole
from sdee.base.paths import Tops

if TYPE_CHECKING:
    Identity = tuple[int, ...]

FORMAT = 1
MAX_SIZE = 256 << 20  # bytes of one cache: 1,000,000 files
MAX_SIZES = 512 << 20  # bytes of all caches
MAX_AGE = 90 * 86_400  # s since one was written
# A change within one tick of the clock that a file system stamps files with leaves the same ctime: 10 ms in most
# kernels, a second on ext3 and some servers (two where they round)
_TICK = 2 * 10**9  # ns
# Of other nodes' changes a client hears late (acregmax of nfs(5): 60 s), and their clocks differ: Kerberos allows 300 s
_TICK_OF_SERVERS = 600 * 10**9  # ns
_SUFFIX = ".contents"


@final
class Content:
    """What is known of one file: `head` as FileSystem.head() returns it, `digest` its SHA-256 (b"": not known).

    `facts`: what else was found in it, by name, as values that JSON has.
    """

    __slots__ = ("digest", "facts", "head", "status")

    def __init__(self, status: os.stat_result) -> None:
        self.status = status
        self.head: bytes | None = None
        self.digest = b""
        self.facts: dict[str, Any] | None = None


def identity(status: os.stat_result) -> Identity:
    """Return what tells a file's state from each other one."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@final
class Contents:
    """The contents of files by path. `file` is the cache: read now, written by save(); "" for none.

    A cache that is damaged, of other rules, or not the user's own counts as empty.
    """

    def __init__(self, file: str = "") -> None:
        self.frames: dict[str, str] = {}  # what a frame was made of → the SHA-256 of what it holds (format/reuse.py)
        self.bundle: dict[str, Any] = {}  # the bundle that was written last, and where its frames are
        self._file = file
        self._began = time.time_ns()
        self._known: dict[str, Content] = {}
        self._mounts: tuple[Tops, dict[str, str]] | None = None
        self._before = self._load(file) if file else {}

    def of(self, path: str, status: os.stat_result) -> Content:
        """Return what is known of the regular file at a path without links, whose stat(2) is `status`."""
        found = self._known.get(path)
        if found is None or (found.status is not status and identity(found.status) != identity(status)):
            found = self._known[path] = Content(status)
            before = self._before.get(identity(status)) if self._before else None
            if before and self._is_as_said(path, status):
                found.digest, found.head, found.facts = before
        return found

    def is_settled(self, path: str, status: os.stat_result) -> bool:
        """Return whether a later change of a file is sure to show in its identity."""
        kind = self._kind(path)
        tick = _TICK if kind in _LOCAL else _TICK_OF_SERVERS if kind in _servers() else None
        return tick is not None and status.st_ctime_ns < self._began - tick

    def has_fine_clock(self, path: str, status: os.stat_result) -> bool:
        """Return whether a file's times are this machine's own, and finer than seconds."""
        return self._kind(path) in _LOCAL and bool(status.st_ctime_ns % 10**9)

    def save(self) -> None:
        """Write the cache, if there is one to write: whole or not at all, and without complaint where that fails."""
        if not self._file:
            return
        files = [
            [identity(c.status), c.digest.hex(), None if c.head is None else c.head.decode("latin-1"), c.facts]
            for path, c in self._known.items()
            if (c.digest or c.facts or c.head is not None) and self.is_settled(path, c.status)
        ]
        body = json.dumps(
            {"files": files, "frames": self.frames, "bundle": self.bundle}, separators=(",", ":")
        ).encode()
        top = os.path.dirname(self._file)
        try:
            _make(top)
            _check(top)
            write_whole(self._file, _header(body) + body)
        except OSError:
            return
        prune(top)

    def _load(self, path: str) -> dict[Identity, tuple[bytes, bytes | None, dict[str, Any] | None]]:
        try:
            body = _read_own(path)
            found = json.loads(body) if body else {}
            before = {tuple(key): _checked(*rest) for key, *rest in found.get("files", ())}
            self.frames, self.bundle = dict(found.get("frames", {})), dict(found.get("bundle", {}))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}
        return before

    def _is_as_said(self, path: str, status: os.stat_result) -> bool:
        """Ask a server: what stat(2) says may be a minute old, opening a file asks again (nfs(5), close-to-open)."""
        if self._kind(path) not in _servers():
            return True
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return identity(os.fstat(fd)) == identity(status)
        finally:
            os.close(fd)

    def _kind(self, path: str) -> str:
        """Return the type of the file system that a path is on, "" where that is not known."""
        if self._mounts is None:
            try:
                kinds = {mount.path: mount.kind for mount in mountinfo.of_this_machine()}
            except (OSError, ValueError):
                kinds = {}
            self._mounts = (Tops(kinds), kinds)
        tops, kinds = self._mounts
        return kinds.get(tops.innermost(path), "")


def _checked(digest: str, head: str | None, found: dict[str, Any] | None) -> tuple[bytes, bytes | None, Any]:
    """Return an entry of a cache. Raises TypeError, ValueError, AttributeError: it is none."""
    return (
        bytes.fromhex(digest),
        None if head is None else head.encode("latin-1"),
        None if found is None else dict(found),
    )


_LOCAL = LOCAL_FILE_SYSTEMS | {"tmpfs"}


def _servers() -> frozenset[str]:
    return facts.cluster_file_systems()


def _header(body: bytes) -> bytes:
    return f"sdee {FORMAT} {_rules()} {hashlib.sha256(body).hexdigest()}\n".encode()


@cache
def _rules() -> str:
    """Return what facts depend on beside files: versions of sdee and Python and, in a checkout, the code's state."""
    states = []
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (
        here,
        f"{here}/elf",
        f"{here}/units",
        os.path.dirname(os.path.abspath(facts.__file__)) + "/../secrets",
    ):
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.stat()) for e in entries if e.name.endswith(".py"))
        states += [(name, status.st_size, status.st_mtime_ns) for name, status in found]
    return hashlib.sha256(repr((sdee.__version__, sys.version, states)).encode()).hexdigest()


def _read_own(path: str) -> bytes:
    """Return a cache's body, b"" where it does not count. Raises OSError."""
    _check(os.path.dirname(path))
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _is_private(status) or status.st_size > MAX_SIZE:
            return b""
        header, _, body = file.read(MAX_SIZE).partition(b"\n")
    return body if header + b"\n" == _header(body) else b""


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def directory() -> str:
    """Return the directory of the caches, "" where there can be none: $XDG_CACHE_HOME/sdee, or ~/.cache/sdee."""
    try:
        top = platformdirs.user_cache_dir("sdee")
    except RuntimeError:  # neither HOME nor an account tells where
        return ""
    has_place = bool(os.environ.get("XDG_CACHE_HOME")) or os.path.isdir(os.path.expanduser("~"))  # no home is made
    return top if top.startswith("/") and has_place else ""


def cache_of(trace: str) -> str:
    """Return the file that keeps what bundling a trace found, "" where none can be kept. Nothing is made."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(trace))).hexdigest()[:32]
    top = directory()
    return f"{top}/{name}{_SUFFIX}" if top else ""


def _make(top: str) -> None:
    """Make the directory of caches, the user's alone, where there is none. Raises OSError."""
    if not os.path.lexists(top):
        if os.geteuid() == 0 and not _is_in_roots(top):  # sudo -E: the user could never use it
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), top)
        os.makedirs(top, 0o700, exist_ok=True)


def _check(top: str) -> None:
    """Raise OSError where a directory of caches is not the user's alone."""
    status = os.lstat(top)
    if not stat.S_ISDIR(status.st_mode) or not _is_private(status):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), top)


def _is_in_roots(path: str) -> bool:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.stat(path).st_uid == 0


def caches(top: str) -> list[tuple[float, int, str]]:
    """Return when each cache of a directory was written, its size in bytes, and its path; the latest first."""
    found = []
    with contextlib.suppress(OSError), os.scandir(top) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if _SUFFIX in entry.name and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, status.st_size, entry.path))
    return sorted(found, reverse=True)


def prune(top: str) -> None:
    """Remove caches that are old, or more than all may take together."""
    total = 0
    for written, size, path in caches(top):
        total += size
        if total > MAX_SIZES or time.time() - written > MAX_AGE:
            with contextlib.suppress(OSError):
                os.unlink(path)
