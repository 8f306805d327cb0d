"""The bundle format as values: footer, table of contents, entries, frames, conf; packed and parsed.

docs/bundle-format.md is the specification; every rule it gives is checked here when parsing, and by the launcher in C.
Paths are str with surrogateescape (os.fsdecode), in the order of their bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.errors import BundleError
from sdee.packer.format import rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SKIPPABLE_HEADER = struct.Struct("<II")
HARD_LINK = 1

_FOOTER = struct.Struct(rules.FOOTER)
_TOC = struct.Struct("<8sII")
_SECTION = struct.Struct("<4sIQQ")
_ENTRY = struct.Struct(rules.ENTRY)
_FRAME = struct.Struct("<QQ")
_NO_DIGEST = bytes(32)
_SHAPES = {key: re.compile(rule.shape, re.DOTALL) for key, rule in rules.CONF.items()}
_PERMISSIONS = {stat.S_IFREG: 0o777, stat.S_IFDIR: 0o1777, stat.S_IFLNK: 0o777}


@dataclass(frozen=True)
class Footer:
    """The last 128 bytes: sizes in bytes, offsets from the file's start, SHA-256 digests."""

    launcher_size: int
    payload_size: int
    table_size: int
    table_digest: bytes
    launcher_digest: bytes

    @property
    def table_offset(self) -> int:
        """Return where the table's first byte is."""
        return self.launcher_size + self.payload_size + SKIPPABLE_HEADER.size

    @property
    def file_size(self) -> int:
        """Return the size of the whole bundle."""
        return self.table_offset + self.table_size + rules.FOOTER_SIZE

    def pack(self) -> bytes:
        """Return the footer's 128 bytes."""
        return _FOOTER.pack(
            rules.MAGIC_FOOTER,
            rules.FOOTER_SIZE - SKIPPABLE_HEADER.size,
            rules.NAME_FOOTER,
            rules.VERSION,
            0,
            self.launcher_size,
            self.payload_size,
            self.table_offset,
            self.table_size,
            self.file_size,
            self.table_digest,
            self.launcher_digest,
        )


@dataclass(frozen=True)
class Entry:
    """One path of the tar stream. `offset` counts in the decompressed stream; `link` as docs/bundle-format.md says."""

    path: str
    mode: int
    mtime_ns: int = 0
    size: int = 0
    offset: int = 0
    link: str = ""
    hard_link: bool = False
    sha256: bytes = _NO_DIGEST

    @property
    def kind(self) -> int:
        """Return S_IFREG, S_IFDIR or S_IFLNK."""
        return stat.S_IFMT(self.mode)


@dataclass(frozen=True)
class Frame:
    """One zstd frame of the payload: sizes in bytes."""

    compressed: int
    size: int


@dataclass(frozen=True)
class Table:
    """The table of contents. `meta` is the zstd frame with the JSON object, still compressed."""

    entries: tuple[Entry, ...]
    frames: tuple[Frame, ...]
    conf: tuple[tuple[str, str], ...]
    meta: bytes


def parse_footer(data: bytes, file_size: int) -> Footer:
    """Parse the last 128 bytes of a file of `file_size` bytes.

    Raises BundleError: not a bundle, truncated, damaged footer, newer format.
    """
    if len(data) != rules.FOOTER_SIZE:
        raise BundleError("not a bundle: too short for one", hint="`sdee bundle` makes one")
    magic, length, name, version, zero, launcher, payload, offset, table, whole, digest, launcher_digest = (
        _FOOTER.unpack(data)
    )
    if name != rules.NAME_FOOTER:
        raise BundleError(
            "not a bundle",
            hint="`sdee bundle` makes one; if it was one, its end is missing: copy it again or make it again",
        )
    if version > rules.VERSION:
        raise BundleError(
            f"bundle format {version} is newer than this sdee, which knows {rules.VERSION}", hint="install a newer sdee"
        )
    if magic != rules.MAGIC_FOOTER or length != rules.FOOTER_SIZE - SKIPPABLE_HEADER.size or version < 1 or zero:
        raise BundleError("damaged footer")
    footer = Footer(launcher, payload, table, digest, launcher_digest)
    if whole != footer.file_size or offset != footer.table_offset or not launcher:
        raise BundleError("damaged footer: its sizes do not add up")
    if whole != file_size:
        raise BundleError(f"truncated: the footer says {whole} bytes, the file has {file_size}")
    return footer


def pack_table(table: Table) -> bytes:
    """Return the table's bytes. `table.entries` must be sorted by the bytes of their paths."""
    pool = bytearray(b"\0")
    offsets: dict[str, int] = {"": 0}

    def intern(text: str) -> int:
        if text not in offsets:
            offsets[text] = len(pool)
            pool.extend(os.fsencode(text) + b"\0")
        return offsets[text]

    entries = b"".join(
        _ENTRY.pack(
            intern(e.path),
            intern(e.link),
            e.size,
            e.offset,
            *divmod(e.mtime_ns, 1_000_000_000),
            e.mode,
            HARD_LINK if e.hard_link else 0,
            0,
        )
        for e in table.entries
    )
    digests = b"".join(e.sha256 for e in table.entries)
    frames = b"".join(_FRAME.pack(f.compressed, f.size) for f in table.frames)
    conf = b"".join(os.fsencode(text) + b"\0" for pair in table.conf for text in pair)
    return _pack_sections((bytes(pool), entries, digests, frames, conf, table.meta))


def _pack_sections(sections: Sequence[bytes]) -> bytes:
    out = bytearray(_TOC.pack(rules.NAME_TABLE, len(sections), 0))
    start = len(out) + _SECTION.size * len(sections)
    for tag, section in zip(rules.TAGS, sections, strict=True):
        start = (start + 7) & ~7
        out += _SECTION.pack(tag, 0, start, len(section))
        start += len(section)
    for section in sections:
        out += bytes(-len(out) % 8) + section
    return bytes(out)


def parse_table(data: bytes, footer: Footer) -> Table:
    """Parse and check a table against its footer.

    Raises BundleError naming the section that is damaged, or the entry that breaks a rule.
    """
    if hashlib.sha256(data).digest() != footer.table_digest:
        raise BundleError("damaged table of contents: its SHA-256 is not the one in the footer")
    pool, raw_entries, digests, raw_frames, raw_conf, meta = _sections(data)
    frames = tuple(Frame(*pair) for pair in _FRAME.iter_unpack(_multiple(raw_frames, _FRAME.size, "FRAM")))
    if sum(f.compressed for f in frames) != footer.payload_size:
        raise BundleError("damaged section FRAM: the frames are not as long as the payload")
    if any(not 0 < f.size <= rules.MOST_FRAME or not f.compressed for f in frames):
        raise BundleError(f"hostile section FRAM: a frame is empty or larger than {rules.MOST_FRAME} bytes")
    if not pool or pool[0] or pool[-1]:
        raise BundleError("damaged section STRS: it does not begin and end with NUL")
    _multiple(raw_entries, _ENTRY.size, "ENTR")
    if len(digests) != 32 * (len(raw_entries) // _ENTRY.size):
        raise BundleError("damaged section SHAS: not one digest for each entry")
    entries = tuple(_entries(raw_entries, pool, digests))
    _check_entries(entries, sum(f.size for f in frames))
    return Table(entries, frames, _conf(raw_conf), meta)


def _multiple(section: bytes, size: int, tag: str) -> bytes:
    if len(section) % size:
        raise BundleError(f"damaged section {tag}: its size is not a multiple of {size}")
    return section


def _sections(data: bytes) -> list[bytes]:
    if len(data) < _TOC.size:
        raise BundleError("damaged table of contents: too short")
    magic, count, zero = _TOC.unpack_from(data)
    end = _TOC.size + _SECTION.size * count
    if magic != rules.NAME_TABLE or zero or not len(rules.TAGS) <= count <= rules.MOST_SECTIONS or end > len(data):
        raise BundleError("damaged table of contents: its header is not one")
    sections = []
    for n, header in enumerate(_SECTION.iter_unpack(data[_TOC.size : end])):
        tag, zero, offset, size = header
        gap = data[end:offset] if offset <= len(data) else b"\1"
        if zero or offset != (end + 7) & ~7 or any(gap) or size > len(data) - offset:
            raise BundleError(f"damaged table of contents: section {n + 1} is not where it should be")
        if n < len(rules.TAGS) and tag != rules.TAGS[n]:
            raise BundleError(f"damaged table of contents: section {n + 1} is not {rules.TAGS[n].decode()}")
        sections.append(data[offset : offset + size])
        end = offset + size
    if end != len(data):
        raise BundleError("damaged table of contents: bytes after its last section")
    return sections[: len(rules.TAGS)]


def _entries(raw: bytes, pool: bytes, digests: bytes) -> Iterator[Entry]:
    def text(offset: int) -> str:
        if offset >= len(pool):
            raise BundleError("damaged section ENTR: a string lies outside STRS")
        return os.fsdecode(pool[offset : pool.index(0, offset)])

    for n, (path, link, size, offset, seconds, nanoseconds, mode, flags, zero) in enumerate(_ENTRY.iter_unpack(raw)):
        name = text(path)
        if zero or flags & ~HARD_LINK or nanoseconds >= 1_000_000_000:
            raise _hostile(name, "unknown flags or an impossible time")
        mtime_ns = seconds * 1_000_000_000 + nanoseconds
        digest = digests[32 * n : 32 * n + 32]
        yield Entry(name, mode, mtime_ns, size, offset, text(link), bool(flags), digest)


def _hostile(path: str, why: str) -> BundleError:
    return BundleError(f"hostile entry {path!a}: {why}")


_ODD_PART = re.compile(r"/\.{0,2}(?:/|\Z)")


def is_normal(path: str) -> bool:
    """Return whether a path is absolute, has no empty, "." or ".." component, and is as short as a bundle's must be.

    "/" itself is not normal. As path_is_normal() of the launcher.
    """
    if len(path) <= rules.MOST_COMPONENT and path.isascii():  # most: 3 µs instead of 10
        return path.startswith("/") and not _ODD_PART.search(path)
    name = os.fsencode(path)
    parts = name[1:].split(b"/")
    return (
        name.startswith(b"/")
        and len(name) <= rules.MOST_PATH
        and all(part not in (b"", b".", b"..") and len(part) <= rules.MOST_COMPONENT for part in parts)
    )


def _check_entries(entries: Sequence[Entry], stream: int) -> None:
    """Check every rule on entries; `stream` is the size of the decompressed tar stream."""
    known: dict[str, Entry] = {}
    last = b""
    for entry in entries:
        if not is_normal(entry.path):
            raise _hostile(entry.path, "not a normalised absolute path, or too long")
        key = os.fsencode(entry.path)
        if key <= last:
            raise _hostile(entry.path, "twice, or not in order")
        last = key
        # sorted by bytes, a directory always stands before what is in it
        parent = entry.path.rpartition("/")[0]
        if parent and (parent not in known or known[parent].kind != stat.S_IFDIR):
            raise _hostile(entry.path, "its parent is not a directory of the bundle")
        _check_entry(entry)
        known[entry.path] = entry
    for entry in entries:
        target = known.get(entry.link) if entry.hard_link else None
        if entry.hard_link and (
            target is None
            or target.kind != stat.S_IFREG
            or target.hard_link
            or target.sha256 != entry.sha256
            or (target.mode, target.mtime_ns) != (entry.mode, entry.mtime_ns)
        ):
            raise _hostile(entry.path, "a hard link to what is not a file like it")
    end = 0
    for entry in sorted((e for e in entries if e.size), key=lambda e: e.offset):
        if entry.offset < end:
            raise _hostile(entry.path, "its content overlaps another's")
        end = entry.offset + entry.size
        if end > stream:
            raise _hostile(entry.path, "its content lies beyond the payload")


def _check_entry(entry: Entry) -> None:
    kind = entry.kind
    if kind not in _PERMISSIONS or entry.mode & ~(kind | _PERMISSIONS[kind]):
        raise _hostile(entry.path, f"mode {entry.mode:o} is not allowed")
    if entry.hard_link and kind != stat.S_IFREG:
        raise _hostile(entry.path, "a hard link must be a regular file")
    if len(os.fsencode(entry.link)) > rules.MOST_LINK:
        raise _hostile(entry.path, "a link longer than a path can be")
    if bool(entry.link) != (entry.hard_link or kind == stat.S_IFLNK):
        raise _hostile(entry.path, "a link without a target, or a target without a link")
    if (entry.size or entry.offset) and (kind != stat.S_IFREG or entry.hard_link):
        raise _hostile(entry.path, "content on what is not a regular file")
    if entry.offset and not entry.size:
        raise _hostile(entry.path, "an offset without content")
    if kind != stat.S_IFREG and entry.sha256 != _NO_DIGEST:
        raise _hostile(entry.path, "a digest on what is not a regular file")


def _conf(raw: bytes) -> tuple[tuple[str, str], ...]:
    texts = [os.fsdecode(text) for text in raw.split(b"\0")]
    if texts.pop() or len(texts) % 2:
        raise BundleError("damaged section CONF: not pairs of strings")
    conf = tuple(zip(texts[::2], texts[1::2], strict=True))
    if why := wrong_conf(conf):
        raise BundleError(f"damaged section CONF: {why}")
    return conf


def wrong_conf(conf: tuple[tuple[str, str], ...]) -> str:
    """Return which rule of docs/bundle-format.md pairs break, "" when none."""
    found = Counter(key for key, _ in conf)
    for key, rule in rules.CONF.items():
        if not rule.least <= found[key] <= rule.most:
            return f"{key} is there {found[key]} times"
    for key, value in conf:
        shape = _SHAPES.get(key)
        if shape and not shape.fullmatch(os.fsencode(value)):
            return f"{key} cannot be {value!a}, it must be {rules.CONF[key].called}"
    return ""
