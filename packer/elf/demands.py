"""What ELF objects demand of a machine: instruction sets and kernel, as their notes say (x86-64 psABI; elf(5))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NT_GNU_ABI_TAG, NT_GNU_PROPERTY_TYPE_0 = 1, 5
GNU_PROPERTY_X86_ISA_1_NEEDED = 0xC0008002
# Bits of the property, from the second on; the first is the baseline
LEVELS = ("x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4")


class Demands(NamedTuple):
    """`level`: index into LEVELS; `kernel`: the oldest Linux, (0, 0, 0) when it is not said."""

    level: int = 0
    kernel: tuple[int, int, int] = (0, 0, 0)


NOTHING = Demands()


def read_demands(notes: Iterator[bytes], *, little_endian: bool, align: int) -> Demands:
    """Return what the PT_NOTE segments' bytes demand; what is damaged demands nothing.

    `align`: of properties, 8 in 64-bit objects and 4 in others. A segment of notes is aligned as its first note is.
    """
    level, kernel = 0, (0, 0, 0)
    order = "<" if little_endian else ">"
    for segment in notes:
        for kind, content in _gnu_notes(segment, order):
            if kind == NT_GNU_ABI_TAG and len(content) >= 16:
                system, *version = struct.unpack_from(f"{order}4I", content)
                kernel = max(kernel, (version[0], version[1], version[2])) if system == 0 else kernel
            if kind == NT_GNU_PROPERTY_TYPE_0:
                level = max(level, _level(content, order, align))
    return Demands(level, kernel)


def _gnu_notes(segment: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(segment):
        name_size, size, kind = struct.unpack_from(f"{order}3I", segment, at)
        name_end = at + 12 + (name_size + 3) // 4 * 4
        # a property note's content is a multiple of 8 by itself, so that 4 serves for all
        if segment[at + 12 : at + 16] == b"GNU\0" and name_size == 4 and name_end + size <= len(segment):
            yield kind, segment[name_end : name_end + size]
        at = name_end + (size + 3) // 4 * 4


def _level(content: bytes, order: str, align: int) -> int:
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}2I", content, at)
        if kind == GNU_PROPERTY_X86_ISA_1_NEEDED and size == 4 and at + 12 <= len(content):
            (bits,) = struct.unpack_from(f"{order}I", content, at + 8)
            return min(max(int(bits).bit_length() - 1, 0), len(LEVELS) - 1)
        at += 8 + -(-size // align) * align
    return 0
