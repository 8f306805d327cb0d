"""The files that travel, read once each: survey them first, then load them in order ahead of the writer."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.errors import InputError
from sdee.packer.contents import identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdee.packer.contents import Content, Contents
    from sdee.packer.format.layout import Node

# Files up to this size are read whole, ahead of the writer, so that opening them (slow on network storage) overlaps
# with compression. Larger ones are read by the writer, straight into the frame.
SMALL = 1 << 20
AHEAD = 16  # batches in memory at once
BATCH = 64  # files of one


@dataclass(frozen=True)
class Source:
    """A file as it was when surveyed (stat(2)). `public`: its mode, and those of its directories, let all read it.

    `known`: what earlier bundles, or the closure, found in it; `mark` tells its state from each other one, b"" where
    none is sure to (packer/contents.py).
    """

    node: Node
    size: int
    mtime_ns: int
    device: int
    inode: int
    known: Content
    public: bool = True
    mark: bytes = b""

    def check(self, status: os.stat_result) -> None:
        """Raise InputError if the file is not the one that was surveyed any more."""
        now = (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
        if now != (self.size, self.mtime_ns, self.device, self.inode):
            raise changed(self.node.origin)


@dataclass(frozen=True)
class Loaded:
    """A surveyed file; `data` and `digest` (SHA-256) are there for small ones."""

    source: Source
    data: bytes | None
    digest: bytes


def changed(path: str) -> InputError:
    """Return the error for a file that another process writes to."""
    return InputError(f"{path!a} changed while it was read", hint="wait until nothing writes to it, then bundle again")


def survey(nodes: Sequence[Node], contents: Contents) -> list[Source]:
    """Return the sources of all files to read, in the same order, from stat(2) and access(2).

    Raises one InputError that names every file that is gone, is not a regular file any more or may not be read.
    """
    sources, failed = [], []
    open_to_all: dict[str, bool] = {"/": True}
    for node in nodes:
        try:
            status = os.stat(node.origin)
        except OSError as error:
            failed.append(f"{node.origin!a}: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            failed.append(f"{node.origin!a}: not a regular file any more")
        elif not os.access(node.origin, os.R_OK, effective_ids=True):
            failed.append(f"{node.origin!a}: Permission denied")
        # by the path that the job knows: a copy of what it was before the job changed it is the user's alone
        public = bool(node.mode & stat.S_IROTH) and _is_open_to_all(os.path.dirname(node.path), open_to_all)
        known = contents.of(node.origin, status)
        mark = repr(identity(status)).encode() if contents.is_settled(node.origin, status) else b""
        state = (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
        sources.append(Source(node, *state, known, public, mark))
    if failed:
        raise InputError(
            f"{len(failed)} file{'s' * (len(failed) > 1)} that should travel cannot be read",
            tried=tuple(failed),
            hint="leave them out with --exclude, or make them readable",
        )
    return sources


def _is_open_to_all(directory: str, known: dict[str, bool]) -> bool:
    """Tell whether all users may search a directory and those above it."""
    if directory not in known:
        try:
            mode = os.stat(directory).st_mode
        except OSError:  # the job has removed it: the file's own mode tells
            mode = stat.S_IXOTH
        known[directory] = bool(mode & stat.S_IXOTH) and _is_open_to_all(os.path.dirname(directory), known)
    return known[directory]


def with_capabilities(nodes: Sequence[Node]) -> list[str]:
    """Return the paths of executables with file capabilities (capabilities(7)), which do not travel."""
    found = []
    for node in nodes:
        if node.mode & 0o111:
            try:
                os.getxattr(node.origin, "security.capability")
            except OSError:
                continue
            found.append(node.path)
    return found


def open_source(source: Source) -> int:
    """Open a file that was surveyed; return the descriptor. Raises InputError."""
    try:
        fd = os.open(source.node.origin, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise InputError(f"{source.node.origin!a} cannot be read: {error.strerror}") from error
    try:
        source.check(os.fstat(fd))
    except InputError:
        os.close(fd)
        raise
    return fd


def read_into(fd: int, view: memoryview, path: str) -> int:
    """Read some bytes into `view` (readv(2)); return how many. Raises InputError, also at an early end of file."""
    try:
        size = os.readv(fd, [view])
    except OSError as error:
        raise InputError(f"{path!a} cannot be read: {error.strerror}") from error
    if not size:
        raise changed(path)
    return size


@dataclass(frozen=True)
class Part:
    """Bytes of a source whose digest is known: they are read only if no older frame holds them."""

    source: Source
    start: int
    size: int

    def read(self) -> bytes:
        """Return the bytes. Raises InputError for a file that cannot be read or changed since the survey."""
        fd = open_source(self.source)
        try:
            data = bytearray(self.size)
            view = memoryview(data)
            os.lseek(fd, self.start, os.SEEK_SET)
            while view:
                view = view[read_into(fd, view, self.source.node.origin) :]
            if identity(os.fstat(fd)) != identity(self.source.known.status):
                raise changed(self.source.node.origin)
        finally:
            os.close(fd)
        return bytes(data)


def _load(source: Source) -> Loaded:
    fd = open_source(source)
    try:
        buffer = bytearray(source.size)
        view = memoryview(buffer)
        while view:
            view = view[read_into(fd, view, source.node.origin) :]
        source.check(os.fstat(fd))
    finally:
        os.close(fd)
    data = bytes(buffer)
    return Loaded(source, data, hashlib.sha256(data).digest())


def load_in_order(sources: Sequence[Source], pool: ThreadPoolExecutor) -> Iterator[Loaded]:
    """Yield every source in order; small ones are read and hashed ahead, AHEAD batches at once, by `pool`.

    Those whose digest is known are not read here.
    Raises InputError for a file that cannot be read or changed since the survey.
    """
    waiting: deque[Future[list[Loaded]] | list[Loaded]] = deque()
    for batch in _batches(sources):
        if len(waiting) >= AHEAD:
            yield from _result(waiting.popleft())
        if _is_read_here(batch[0]):
            waiting.append(pool.submit(lambda batch: list(map(_load, batch)), batch))
        else:
            waiting.append([Loaded(source, None, source.known.digest) for source in batch])
    while waiting:
        yield from _result(waiting.popleft())


def _is_read_here(source: Source) -> bool:
    return source.size <= SMALL and not source.known.digest


def _batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Yield sources in order, those together that are read here, or not, up to SMALL bytes: a task costs 50 µs."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        if batch and (
            _is_read_here(source) != _is_read_here(batch[0]) or size + source.size > SMALL or len(batch) == BATCH
        ):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += source.size
    if batch:
        yield batch


def _result(loaded: Future[list[Loaded]] | list[Loaded]) -> list[Loaded]:
    return loaded.result() if isinstance(loaded, Future) else loaded
