"""A tar stream cut into zstd frames that are compressed on all cores, written in order.

Where the stream is cut depends on it alone, and only on what is near: a file that changes changes the frames that hold
it and at most a few after it. So an older bundle's frames serve again (reuse.py), and the same stream gives the same
bytes whatever was there before.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, final
from zlib import crc32

import zstandard

from sdee.packer.format import rules
from sdee.packer.format.table import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sdee.packer.format.reuse import OldFrames

# Bytes of tar stream. The launcher unpacks frames in parallel, or decodes those that are read (--unpack lazy), and
# `sdee cat` decodes whole ones, so small is good; large compresses better. Measured at level 7 on the whole closure of
# a numpy job with OpenBLAS, LEAST, USUAL, MOST, STEP of 1, 4, 8, 4 MiB: 115.70 MB; 1/2, 1, 2, 1/2: 121.33 MB, 4.9 %
# more; 1/8, 1/2, 1, 1/2: 124.58 MB, 7.7 % more.
LEAST = 512 << 10  # no cut before this
USUAL = 1 << 20  # from there on, about so far to the next cut
MOST = 2 << 20  # here the next member begins a new frame in any case
STEP = 512 << 10  # a member longer than this is cut at multiples of it from its content's beginning on: in whole pages
PIECE = 1 << 20  # read at once of a file too long to hold


@final
class FrameWriter:
    """A context manager that takes bytes and writes frames to `out`; memory stays within a few frames a thread.

    Every frame has zstd's content size and content checksum. The bytes written do not depend on the number of threads,
    nor on `old`, older frames that are taken where they hold the same. Afterwards `frames` has the frames in order,
    `digests` the SHA-256 of each one's bytes of stream, and `reused` is the number of those taken from `old`.
    """

    def __init__(self, out: IO[bytes], level: int, threads: int, old: OldFrames | None = None) -> None:
        self.frames: list[Frame] = []
        self.digests: list[bytes] = []
        self.reused = 0
        self.offset = 0  # bytes taken so far
        self._out = out
        self._level = level
        self._old = old
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="zstd")
        self._limit = threads + 4
        self._pending: deque[tuple[int, Future[tuple[bytes, bytes, bool]]]] = deque()
        self._local = threading.local()
        self._pieces: list[bytes | bytearray] = []
        self._filled = 0
        self._room = rules.MOST_FRAME  # bytes until the next cut within a member

    def __enter__(self) -> FrameWriter:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the threads; frames that were not begun are forgotten."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, name: bytes, length: int, header: int) -> None:
        """Say that a member begins: its name, its bytes of stream with header and padding, and those of its header.

        A cut comes before it if its name says so, the likelier the longer it is: then cuts are USUAL apart, and the
        same ones are found again after a member that came, went or changed its length.
        """
        long = length > STEP
        chosen = long or crc32(name) % USUAL < length
        if self._filled and ((self._filled >= LEAST and chosen) or self._filled + min(length, STEP) > MOST):
            self._cut()
        self._room = header + STEP if long else rules.MOST_FRAME - self._filled

    def write(self, data: bytes) -> None:
        """Take bytes. Raises OSError when `out` cannot be written."""
        if len(data) <= self._room:
            self._take(data)
            return
        view = memoryview(data)
        while view:
            piece = bytes(view[: self._room])
            self._take(piece)
            view = view[len(piece) :]

    def fill(self, read_into: Callable[[memoryview], int], limit: int) -> memoryview:
        """Let `read_into` put at most `limit` bytes straight into the frame being filled; return a view of them."""
        buffer = bytearray(min(limit, self._room, PIECE))
        size = read_into(memoryview(buffer))
        del buffer[size:]
        self._take(buffer)
        return memoryview(buffer)

    def finish(self) -> tuple[Frame, ...]:
        """Write what is left and return all frames."""
        if self._filled:
            self._cut()
        while self._pending:
            self._drain()
        return tuple(self.frames)

    def _take(self, data: bytes | bytearray) -> None:
        self._pieces.append(data)
        self._filled += len(data)
        self.offset += len(data)
        self._room -= len(data)
        if not self._room:
            self._cut()
            self._room = STEP

    def _cut(self) -> None:
        if len(self._pending) >= self._limit:
            self._drain()
        self._pending.append((self._filled, self._pool.submit(self._compress, self._pieces)))
        self._pieces = []
        self._filled = 0

    def _compress(self, pieces: list[bytes | bytearray]) -> tuple[bytes, bytes, bool]:
        """Return a frame, the digest of what it holds, and whether it was there before."""
        data = b"".join(pieces)
        pieces.clear()
        digest = hashlib.sha256(data).digest()
        if self._old and (known := self._old.find(digest, data)):
            return known, digest, True
        if not hasattr(self._local, "compressor"):
            self._local.compressor = zstandard.ZstdCompressor(
                level=self._level, write_checksum=True, write_content_size=True
            )
        compressed = self._local.compressor.compress(data)
        assert isinstance(compressed, bytes)
        return compressed, digest, False

    def _drain(self) -> None:
        size, future = self._pending.popleft()
        compressed, digest, known = future.result()
        self._out.write(compressed)
        self.frames.append(Frame(len(compressed), size))
        self.digests.append(digest)
        self.reused += known
