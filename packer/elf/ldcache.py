"""ld.so.cache as a value: what /sbin/ldconfig wrote, read as ld.so reads it.

The format is glibc's sysdeps/generic/dl-cache.h: an optional old part ("ld.so-1.7.0"), then the new one
("glibc-ld.so.cache1.1"), whose string offsets count from its own beginning, then extensions (2.33 and later).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

_OLD_MAGIC = b"ld.so-1.7.0"
_NEW_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_HEADER = 16  # magic, padded, and the number of libraries
_OLD_ENTRY = 12
_HEADER = struct.Struct("=20sIIB3xI12x")
_ENTRY = struct.Struct("=iIIIQ")
_EXTENSIONS_MAGIC = 0xEAA42174
_EXTENSION_HWCAPS = 1
_HWCAP_EXTENSION = 1 << 30  # in the upper half of an entry's hwcap: the lower half is an index of names

# Flags of an entry: the low byte is 3 for libc6, the next the ABI (sysdeps/generic/ldconfig.h)
_FLAGS = {
    ("EM_X86_64", 64): 0x0303,
    ("EM_X86_64", 32): 0x0803,
    ("EM_386", 32): 0x0003,
    ("EM_AARCH64", 64): 0x0A03,
    ("EM_PPC64", 64): 0x0503,
    ("EM_S390", 64): 0x0403,
}


@dataclass(frozen=True)
class CacheEntry:
    """One line of `ldconfig -p`: `hwcap` is the glibc-hwcaps sub-directory that it is for, "" for none."""

    soname: str
    path: str
    flags: int
    hwcap: str = ""


def parse_cache(data: bytes) -> tuple[CacheEntry, ...]:
    """Return a cache's entries in its order; () when it is not one or is damaged.

    Entries for legacy hardware capabilities (before glibc 2.33, gone in 2.37) are left out.
    """
    start = 0
    if data.startswith(_OLD_MAGIC) and len(data) >= _OLD_HEADER:
        (count,) = struct.unpack_from("=I", data, 12)
        start = -(-(_OLD_HEADER + count * _OLD_ENTRY) // 8) * 8
    if not data[start:].startswith(_NEW_MAGIC) or len(data) < start + _HEADER.size:
        return ()
    new = data[start:]
    _, count, _, _, extensions = _HEADER.unpack_from(new)
    if _HEADER.size + count * _ENTRY.size > len(new):
        return ()
    names = _hwcap_names(new, extensions)
    entries = []
    for flags, key, value, _, hwcap in _ENTRY.iter_unpack(new[_HEADER.size : _HEADER.size + count * _ENTRY.size]):
        name = ""
        if hwcap >> 32 == _HWCAP_EXTENSION:
            index = hwcap & 0xFFFFFFFF
            if index >= len(names):
                continue
            name = names[index]
        elif hwcap:
            continue
        entries.append(CacheEntry(_string(new, key), _string(new, value), flags, name))
    return tuple(entries)


def index_cache(entries: tuple[CacheEntry, ...]) -> dict[str, tuple[CacheEntry, ...]]:
    """Return a cache's entries by soname, each list in the cache's order."""
    by_name: dict[str, list[CacheEntry]] = {}
    for entry in entries:
        by_name.setdefault(entry.soname, []).append(entry)
    return {name: tuple(found) for name, found in by_name.items()}


def flags_fit(flags: int, machine: str, bits: int) -> bool:
    """Return whether an entry is for this ABI; for an ABI not in the table the file's own header decides later."""
    wanted = _FLAGS.get((machine, bits))
    return flags == wanted if wanted is not None else flags & 0xFF == 3


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    return os.fsdecode(data[offset:end]) if 0 < offset < len(data) and end >= 0 else ""


def _hwcap_names(data: bytes, offset: int) -> tuple[str, ...]:
    """Return the glibc-hwcaps names of the extension directory at `offset`."""
    if not offset or offset + 8 > len(data):
        return ()
    magic, count = struct.unpack_from("=II", data, offset)
    if magic != _EXTENSIONS_MAGIC or offset + 8 + 16 * count > len(data):
        return ()
    for n in range(count):
        tag, _, start, size = struct.unpack_from("=IIII", data, offset + 8 + 16 * n)
        if tag == _EXTENSION_HWCAPS and start + size <= len(data):
            offsets = struct.unpack_from(f"={size // 4}I", data, start)
            return tuple(_string(data, o) for o in offsets)
    return ()
