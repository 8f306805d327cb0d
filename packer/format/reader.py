"""Read a bundle without running it: open and check, find paths, read files, verify everything.

Nothing in the file is trusted: every size is checked before memory is taken, and frames are decoded into buffers of the
size that the table announced (at most 16 MiB each).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from bisect import bisect_right
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, final

import zstandard

from sdee.base import typed
from sdee.base.errors import BundleError
from sdee.base.files import open_regular
from sdee.packer.format import rules
from sdee.packer.format.layout import MAX_LINKS
from sdee.packer.format.table import SKIPPABLE_HEADER, Entry, Footer, Table, parse_footer, parse_table
from sdee.packer.format.threads import usable_cores
from sdee.packer.model import Item, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

_RESULT = typed.record(
    {"kind": typed.text}, {"path": typed.text, "size": typed.whole, "sha256": typed.text, "target": typed.text}
)
_REASON = typed.record({"why": typed.text, "from": typed.text, "detail": typed.text})
_META = typed.record(
    {
        "summary": typed.record({}, {"verdicts": typed.named(typed.whole)}),
        "items": typed.many(
            typed.record(
                {"path": typed.text, "verdict": typed.text, "reasons": typed.many(_REASON)},
                {"package": typed.text, "size": typed.whole},
            )
        ),
    },
    {
        "command": typed.many(typed.text),
        "cwd": typed.text,
        "home": typed.text,
        "results": typed.many(_RESULT),
        "stdout": typed.maybe(_RESULT),
        "status": typed.maybe(typed.whole),
        "host": typed.maybe(typed.named(typed.text)),
        "incomplete": typed.many(typed.text),
        "warnings": typed.many(typed.text),
        "frames": typed.maybe(
            typed.record({}, {"level": typed.whole, "zstd": typed.text, "sha256": typed.many(typed.text)})
        ),
    },
)
_UNUSED_BIT = 0x10  # of a frame header's descriptor: RFC 8878, 3.1.1.1.1.4
_CHUNK = 1 << 20
LAUNCHER_MARK = b"SDEE launcher of a bundle"  # in an ELF note on the first page


def is_bundle(path: str) -> bool:
    """Tell by its name or its footer whether a file is a bundle."""
    if path.endswith(".sdee"):
        return True
    try:
        with open(open_regular(path), "rb") as file:
            file.seek(8 - rules.FOOTER_SIZE, os.SEEK_END)  # behind the head of its frame
            return file.read(len(rules.NAME_FOOTER)) == rules.NAME_FOOTER
    except OSError:
        return False


def open_bundle(path: str) -> Bundle:
    """Open a bundle and check its footer and its table of contents by every rule of docs/bundle-format.md.

    Raises BundleError: cannot be opened, not a bundle, truncated, damaged (naming the section), newer format, hostile.
    """
    try:
        fd = open_regular(path)
    except OSError as error:
        hint = "`sdee bundle` makes bundle.sdee; another is named first: BUNDLE" if error.errno == errno.ENOENT else ""
        raise BundleError(f"{path!a} cannot be opened: {error.strerror}", hint=hint) from error
    try:
        return Bundle(path, fd)
    except BundleError as error:
        os.close(fd)
        raise BundleError(f"{path!a}: {error.message}", hint=error.hint, tried=error.tried) from error


@final
class Bundle:
    """An open bundle; a context manager. `entries` is keyed by path."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError("not a bundle: not a regular file")
        self.footer = self._read_footer(status.st_size)
        start = self.footer.table_offset - SKIPPABLE_HEADER.size
        header = SKIPPABLE_HEADER.unpack(self._read(start, SKIPPABLE_HEADER.size))
        if header != (rules.MAGIC_TABLE, self.footer.table_size):
            raise BundleError("damaged table frame: its header is not one")
        self.table: Table = parse_table(self._read(self.footer.table_offset, self.footer.table_size), self.footer)
        self.entries: dict[str, Entry] = {entry.path: entry for entry in self.table.entries}
        frames = self.table.frames
        self._places = list(accumulate((f.compressed for f in frames), initial=self.footer.launcher_size))
        self._starts = list(accumulate((f.size for f in frames), initial=0))

    def __enter__(self) -> Bundle:
        """Return the bundle."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    @property
    def identity(self) -> str:
        """Return the SHA-256 of the table of contents, in hex: the bundle's name."""
        return self.footer.table_digest.hex()

    def conf(self, key: str) -> list[str]:
        """Return all values of a CONF key, in order."""
        return [value for name, value in self.table.conf if name == key]

    @property
    def kept_words(self) -> int:
        """Return how many words of the recorded command line stay when the bundle is started with arguments."""
        return int((self.conf("kept-args") or ["1"])[0])

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Return META's JSON object. Raises BundleError."""
        try:
            parameters = zstandard.get_frame_parameters(self.table.meta)
            most = min(rules.MOST_META, rules.MOST_META_FREE + rules.MOST_META_RATIO * len(self.table.meta))
            if not 0 < parameters.content_size <= most:
                raise self._error("hostile section META: it is larger than any closure")
            meta = typed.loads(zstandard.ZstdDecompressor().decompress(self.table.meta, allow_extra_data=False))
            _META(meta)
        except (zstandard.ZstdError, ValueError) as error:
            raise self._error(f"damaged section META: {error}") from error
        assert isinstance(meta, dict)  # _META has seen to it
        return meta

    @cached_property
    def items(self) -> dict[str, Item]:
        """Return every path that got a verdict, travelling or not, with its reasons. Raises BundleError."""
        try:
            return {raw["path"]: _item(raw) for raw in self.meta["items"]}
        except ValueError as error:  # of a verdict
            raise self._error(f"damaged section META: an item is not one ({error!r})") from error

    def find(self, path: str) -> Entry | None:
        """Return the entry that an absolute path leads to, following links within the bundle (path_resolution(7)).

        A hard link counts as its target. None when the path leads out of the bundle.
        """
        done: list[str] = []
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                continue
            done.append(part)
            entry = self.entries.get("/" + "/".join(done))
            if entry and stat.S_ISLNK(entry.mode):
                links += 1
                if links > MAX_LINKS:
                    return None
                done = [] if entry.link.startswith("/") else done[:-1]
                todo += [part for part in reversed(entry.link.split("/")) if part not in ("", ".")]
        entry = self.entries.get("/" + "/".join(done))
        return self.entries[entry.link] if entry and entry.hard_link else entry

    def read_file(self, path: str) -> Iterator[bytes]:
        """Yield a regular file's content in pieces, decoding only the frames that hold it; links are followed.

        Raises BundleError: no such file in the bundle, or damaged.
        """
        entry = self.find(path)
        if not entry or not stat.S_ISREG(entry.mode):
            raise self._error(f"{path!a} is not a file of the bundle")
        for _, data in self.contents([entry]):
            yield data

    def contents(
        self,
        entries: Sequence[Entry],
        *,
        every_frame: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[Entry, bytes]]:
        """Yield the content of regular files in pieces, in the stream's order; empty files and hard links give none.

        Frames are decoded in parallel, only those needed unless `every_frame`. `progress` is called with bytes of the
        stream done and in all. Raises BundleError at a damaged frame, and after a file whose SHA-256 is wrong.
        """
        todo = deque(sorted((e for e in entries if e.size), key=lambda e: e.offset))
        for entry in entries:
            if stat.S_ISREG(entry.mode) and not entry.hard_link and not entry.size:
                self._check_digest(entry, hashlib.sha256())
        digest, total = hashlib.sha256(), self._starts[-1]
        for start, data in self._decode(range(len(self.table.frames)) if every_frame else self._needed(todo)):
            while todo and todo[0].offset < start + len(data):
                entry = todo[0]
                piece = data[max(entry.offset - start, 0) : entry.offset + entry.size - start]
                digest.update(piece)
                yield entry, piece
                if entry.offset + entry.size > start + len(data):
                    break
                self._check_digest(todo.popleft(), digest)
                digest = hashlib.sha256()
            if progress:
                progress(start + len(data), total)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Check what open_bundle does not: the launcher's digest, every frame, every file's SHA-256, the metadata.

        Raises BundleError at the first damage.
        """
        digest = hashlib.sha256()
        for place in range(0, self.footer.launcher_size, _CHUNK):
            digest.update(self._read(place, min(_CHUNK, self.footer.launcher_size - place)))
        if digest.digest() != self.footer.launcher_digest:
            raise self._error("damaged launcher: its SHA-256 is not the one in the footer")
        for _ in self.contents(self.table.entries, every_frame=True, progress=progress):
            pass
        _ = self.items

    def _needed(self, entries: Sequence[Entry] | deque[Entry]) -> list[int]:
        """Return the numbers of the frames that hold the contents of `entries`, which are in the stream's order."""
        needed: list[int] = []
        for entry in entries:
            first = bisect_right(self._starts, entry.offset) - 1
            last = bisect_right(self._starts, entry.offset + entry.size - 1) - 1
            needed += range(max(first, needed[-1] + 1) if needed else first, last + 1)
        return needed

    def _decode(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the offset in the stream and the content of frames, decoded ahead by a thread for each core."""
        threads = min(usable_cores(), len(numbers) or 1)
        pool = ThreadPoolExecutor(threads, "zstd")
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        try:
            for number in numbers:
                waiting.append((self._starts[number], pool.submit(self._content, number)))
                if len(waiting) >= threads + 4:
                    start, future = waiting.popleft()
                    yield start, future.result()
            for start, future in waiting:
                yield start, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def frame(self, number: int) -> tuple[bytes, bytes]:
        """Return a frame of the payload as it is in the file, and what it holds. Raises BundleError: damaged."""
        size = self.table.frames[number].size
        data = self._read(self._places[number], self.table.frames[number].compressed)
        damaged = f"damaged payload: frame {number + 1} of {len(self.table.frames)}"
        try:
            parameters = zstandard.get_frame_parameters(data)
            if parameters.content_size != size or not parameters.has_checksum or data[4] & _UNUSED_BIT:
                raise self._error(f"{damaged} is not the one in the table of contents")
            content = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise self._error(f"{damaged}: {error}") from error
        if len(content) != size:
            raise self._error(f"{damaged} has not the size that the table of contents says")
        return data, content

    def _content(self, number: int) -> bytes:
        return self.frame(number)[1]

    def _check_digest(self, entry: Entry, digest: hashlib._Hash) -> None:
        if digest.digest() != entry.sha256:
            raise self._error(f"damaged file {entry.path!a}: its SHA-256 is not the one in the table of contents")

    def _read_footer(self, size: int) -> Footer:
        try:
            return parse_footer(self._read(max(0, size - rules.FOOTER_SIZE), min(rules.FOOTER_SIZE, size)), size)
        except BundleError as error:
            if not error.message.startswith("not a bundle") or not self._looks_like_launcher():
                raise
            raise BundleError(
                "truncated: it begins as a bundle, and its end is missing",
                hint="copy or make the bundle again",
            ) from error

    def _looks_like_launcher(self) -> bool:
        start = os.pread(self._fd, 4096, 0)
        return start.startswith(b"\x7fELF") and LAUNCHER_MARK in start

    def _read(self, offset: int, size: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        while len(data) < size:  # pread(2) transfers at most 2 GiB at once
            more = os.pread(self._fd, size - len(data), offset + len(data))
            if not more:
                raise BundleError("truncated: it became shorter while it was read")
            data += more
        return data

    def _error(self, why: str) -> BundleError:
        return BundleError(f"{self.path!a}: {why}")


def _item(raw: dict[str, Any]) -> Item:
    """Return an item from META's form, which was checked; raises ValueError for an unknown verdict."""
    reasons = tuple(Reason(r["why"], r["from"], r["detail"]) for r in raw["reasons"])
    package, size = raw.get("package", ""), raw.get("size", 0)
    return Item(raw["path"], Verdict(raw["verdict"]), reasons, package=package, size=size)
