"""The machine's files as the closure reads them: each asked about once, symbolic links followed hop by hop.

Paths are str with surrogateescape. What cannot be looked at counts as not being there; `unreadable` tells.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sdee.base.paths import is_below_any
from sdee.packer.contents import Contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.packer.contents import Content

Fact = TypeVar("Fact", str, "list[object]")

MAX_LINKS = 40  # path_resolution(7)
HEAD = 128  # bytes
_PIECE = 16 << 20  # bytes read at once
MAGIC = b"\x7fELF"
# Links in these are the kernel's or the node's own affair: they are never followed here
KERNEL_ROOTS = ("/proc", "/sys", "/dev")


class Resolution(NamedTuple):
    """Where a path leads (path_resolution(7)): the links met, in order, with their targets; the path without links."""

    hops: tuple[tuple[str, str], ...]
    real: str
    status: os.stat_result | None  # lstat(2) of `real`; None when it is not there


class FileSystem:
    """lstat(2), readlink(2), getdents(2) and the first bytes of files, each remembered.

    `links_before`: symbolic links that have changed since, by where they stand, and where they led before.
    """

    def __init__(self, links_before: dict[str, str] | None = None, contents: Contents | None = None) -> None:
        self.links_before = links_before or {}
        self.contents = contents or Contents()
        self._status: dict[str, os.stat_result | None] = {}
        self._resolved: dict[str, Resolution] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._readable: dict[str, bool] = {}

    def status(self, path: str) -> os.stat_result | None:
        """Return lstat(2) of `path`, None when it is not there or may not be looked at."""
        try:
            return self._status[path]
        except KeyError:
            pass
        try:
            found: os.stat_result | None = os.lstat(path)
        except (OSError, ValueError):
            found = None
        self._status[path] = found
        return found

    def resolve(self, path: str, depth: int = 0) -> Resolution:
        """Follow every link of an absolute path; `..` after a link means the target's parent, as for the kernel."""
        if (known := self._resolved.get(path)) is None:
            todo, end = [path], path.rfind("/")
            while end > 0 and path[:end] not in self._resolved:
                todo.append(path[:end])
                end = path.rfind("/", 0, end)
            for above in reversed(todo):  # from the top, since _resolve() asks for what is above: 2,000 names deep
                known = self._resolved[above] = self._resolve(above, depth)
            assert known is not None
        return known

    def _resolve(self, path: str, depth: int) -> Resolution:
        head, _, tail = path.rstrip("/").rpartition("/")
        if not tail:
            return Resolution((), "/", self.status("/"))
        above = self.resolve(head or "/", depth)
        if tail in (".", ".."):
            real = above.real if tail == "." else os.path.dirname(above.real)
            return Resolution(above.hops, real, self.status(real))
        here = above.real.rstrip("/") + "/" + tail
        status = self.status(here) if above.status else None
        is_link = status is not None and stat.S_ISLNK(status.st_mode) and not is_below_any(here, KERNEL_ROOTS)
        if not is_link and here not in self.links_before:
            return Resolution(above.hops, here, status)
        target = self.target(here)
        if depth >= MAX_LINKS or not target:
            return Resolution(above.hops, here, None)
        there = self.resolve(os.path.join(above.real, target), depth + 1)
        hops = tuple(dict.fromkeys((*above.hops, (here, target), *there.hops)))
        return Resolution(hops, there.real, there.status)

    def target(self, link: str) -> str:
        """Return the text of a symbolic link (readlink(2)) as it was before the job, "" when it is none."""
        if (before := self.links_before.get(link)) is not None:
            return before
        try:
            return os.readlink(link)
        except OSError:
            return ""

    def is_file(self, path: str) -> bool:
        """Return whether `path` leads to a regular file."""
        status = self.resolve(path).status
        return status is not None and stat.S_ISREG(status.st_mode)

    def is_dir(self, path: str) -> bool:
        """Return whether `path` leads to a directory."""
        status = self.resolve(path).status
        return status is not None and stat.S_ISDIR(status.st_mode)

    def names(self, directory: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, () when it is none or may not be listed."""
        if directory not in self._listed:
            try:
                self._listed[directory] = tuple(sorted(os.listdir(directory)))
            except OSError:
                self._listed[directory] = ()
        return self._listed[directory]

    def walk(self, top: str, skip: frozenset[str] = frozenset()) -> list[str]:
        """Return every path below `top`, sorted, links not followed; directories named in `skip` are left out."""
        found: list[str] = []
        todo = [top]
        while todo:
            directory = todo.pop()
            for name in self.names(directory):
                path = directory.rstrip("/") + "/" + name
                status = self.status(path)
                if status is None:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if name in skip:
                        continue
                    todo.append(path)
                found.append(path)
        return sorted(found)

    def head(self, path: str) -> bytes:
        """Return what a regular file begins with where that tells its kind, else b"": `#` and its line, ELF's magic."""
        content = self._content(path)
        if content is None:
            return b""
        if content.head is None:
            begin = self._read(path, HEAD)
            if not begin and content.status.st_size:
                return b""  # cannot be read now
            content.head = _telling(begin)
        return content.head

    def read(self, path: str, limit: int = 16 << 20) -> bytes:
        """Return a regular file's content up to `limit` bytes, b"" when it cannot be read."""
        found = self._read(path, limit)
        if found and (content := self._content(path)) is not None and content.head is None:
            content.head = _telling(found[:HEAD])
        return found

    def fact(self, path: str, name: str, find: Callable[[], Fact | None]) -> Fact | None:
        """Return what `find` finds in a regular file, a value that JSON has; asked once for a state of the file.

        None is not remembered: the file cannot be read.
        """
        content = self._content(path)
        if content is None:
            return None
        known: Fact | None = None if content.facts is None else content.facts.get(name)
        if known is None and (known := find()) is not None:
            content.facts = {**(content.facts or {}), name: known}
        return known

    def _content(self, path: str) -> Content | None:
        _, real, status = self.resolve(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return self.contents.of(real, status)

    def readable(self, path: str) -> bool:
        """Return whether this user can open `path` for reading."""
        if path not in self._readable:
            self._readable[path] = os.access(path, os.R_OK)
        return self._readable[path]

    def _read(self, path: str, limit: int) -> bytes:
        _, real, status = self.resolve(path)
        if status is None or not stat.S_ISREG(status.st_mode):  # never block on a fifo, never wake a device
            return b""
        try:
            fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                self._readable[path] = False
            return b""
        try:  # no file object around it: they were a third of the time of reading thousands of small files
            return _read_up_to(fd, limit)
        except OSError:
            return b""
        finally:
            os.close(fd)


def texts(value: object) -> tuple[str, ...]:
    """Return a fact that is a list of texts. Raises TypeError for another: a cache is a file."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise TypeError("not a list of texts")
    return tuple(value)


def text(value: object) -> str:
    """Return a fact that is a text. Raises TypeError for another."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _telling(begin: bytes) -> bytes:
    return begin if begin[:1] == b"#" else begin[:4] if begin[:4] == MAGIC else b""


def _read_up_to(fd: int, limit: int) -> bytes:
    """Return at most `limit` bytes from the beginning of a file (read(2))."""
    pieces = []
    left = os.fstat(fd).st_size or limit  # files of /proc say 0
    while (size := min(left, limit, _PIECE)) > 0 and (piece := os.read(fd, size)):
        pieces.append(piece)
        limit -= len(piece)
        left -= len(piece)
    return b"".join(pieces)
