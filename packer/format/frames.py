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
from itertools import accumulate
from typing import IO, TYPE_CHECKING, TypeAlias, final
from zlib import crc32

import zstandard

from sdee.packer.format import rules
from sdee.packer.format.content import Part
from sdee.packer.format.table import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from sdee.packer.format.content import Source
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

Piece: TypeAlias = "bytes | bytearray | Part"


@final
class FrameWriter:
    """A context manager that takes bytes and writes frames to `out`; memory stays within a few frames a thread.

    Every frame has zstd's content size and content checksum. The bytes written do not depend on the number of threads,
    nor on `old`, older frames that are taken where they hold the same. Afterwards `frames` has the frames in order,
    `digests` the SHA-256 of each one's bytes of stream, `made_of` the same in hex by what it was made of, where later
    changes of that are sure to show; and `reused` is the number of those taken from `old`.
    """

    def __init__(self, out: IO[bytes], level: int, threads: int, old: OldFrames | None = None) -> None:
        self.frames: list[Frame] = []
        self.digests: list[bytes] = []
        self.made_of: dict[str, str] = {}
        self.reused = 0
        self.offset = 0  # bytes taken so far
        self._out = out
        self._level = level
        self._old = old
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="zstd")
        self._limit = threads + 4
        self._pending: deque[tuple[int, str, Future[tuple[bytes, bytes, bool]]]] = deque()
        self._local = threading.local()
        self._pieces: list[Piece] = []
        self._made_of = hashlib.sha256()  # the frame being filled: headers as they are, files by their marks
        self._is_sure = True  # whether all of its files have one
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
        """Take bytes that are no file's. Raises OSError when `out` cannot be written."""
        for start, size in self._cuts(len(data)):
            piece = data[start : start + size]
            self._made_of.update(piece)
            self._take(piece, size)

    def write_file(self, data: bytes, mark: bytes) -> None:
        """Take a file's content; `mark` tells its state, b"" where nothing does. Raises OSError."""
        for start, size in self._cuts(len(data)):
            self._note(mark, start)
            self._take(data if size == len(data) else data[start : start + size], size)

    def refer(self, source: Source) -> None:
        """Take a file whose digest is known: it is read only if no older frame holds its bytes. Raises OSError."""
        for start, size in self._cuts(source.size):
            self._note(source.mark, start)
            self._take(Part(source, start, size), size)

    def fill(self, read_into: Callable[[memoryview], int], limit: int, mark: bytes, start: int) -> memoryview:
        """Let `read_into` put at most `limit` bytes straight into the frame being filled; return a view of them."""
        buffer = bytearray(min(limit, self._room, PIECE))
        size = read_into(memoryview(buffer))
        del buffer[size:]
        self._note(mark, start)
        self._take(buffer, size)
        return memoryview(buffer)

    def _cuts(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield start and size of the pieces that bytes are cut into: what one frame takes of them."""
        start = 0
        while start < size:
            piece = min(size - start, self._room)
            yield start, piece
            start += piece

    def _note(self, mark: bytes, start: int) -> None:
        """Note once a frame of which file a piece is: the header before it, or the frame's end, says how long it is."""
        self._is_sure = self._is_sure and bool(mark)
        if not start or not self._filled:
            self._made_of.update(b"%s %d\n" % (mark, start))

    def finish(self) -> tuple[Frame, ...]:
        """Write what is left and return all frames."""
        if self._filled:
            self._cut()
        while self._pending:
            self._drain()
        return tuple(self.frames)

    def places(self, start: int) -> list[tuple[str, int, int]]:
        """Return of each frame the SHA-256 in hex of what it holds, its place if the first is at `start`, its size."""
        sizes = [frame.compressed for frame in self.frames]
        places = accumulate(sizes, initial=start)
        return [(digest.hex(), place, size) for digest, place, size in zip(self.digests, places, sizes, strict=False)]

    def _take(self, piece: Piece, size: int) -> None:
        self._pieces.append(piece)
        self._filled += size
        self.offset += size
        self._room -= size
        if not self._room:
            self._cut()
            self._room = STEP

    def _cut(self) -> None:
        if len(self._pending) >= self._limit:
            self._drain()
        made_of = self._made_of.hexdigest() if self._is_sure else ""
        self._pending.append((self._filled, made_of, self._pool.submit(self._compress, self._pieces, made_of)))
        self._pieces = []
        self._made_of, self._is_sure = hashlib.sha256(), True
        self._filled = 0

    def _compress(self, pieces: list[Piece], made_of: str) -> tuple[bytes, bytes, bool]:
        """Return a frame, the digest of what it holds, and whether it was there before."""
        if self._old and made_of and (unread := self._old.find_made_of(made_of)):
            return *unread, True
        data = b"".join(piece.read() if isinstance(piece, Part) else piece for piece in pieces)
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
        size, made_of, future = self._pending.popleft()
        compressed, digest, known = future.result()
        self._out.write(compressed)
        self.frames.append(Frame(len(compressed), size))
        self.digests.append(digest)
        self.reused += known
        if made_of:
            self.made_of[made_of] = digest.hex()
