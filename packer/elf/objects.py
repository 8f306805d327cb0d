"""ELF objects as values: what a loader reads of one before it searches for anything (elf(5), gABI).

Rejected: pyelftools, of which we used five structures. Its import takes 85 ms of the 930 ms of processor time of a
small `sdee bundle`, and a file takes 2.4 times as long.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

from sdee.packer.elf.demands import NOTHING, Demands, notes_of, read_demands

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdee.packer.filesystem import FileSystem

MAGIC = b"\x7fELF"
# elf.h
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
DT_FLAGS_1, DT_AUXILIARY, DT_FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
DF_1_NODEFLIB = 0x800
# e_machine of the ABIs whose loaders we know
_MACHINES = {3: "EM_386", 21: "EM_PPC64", 22: "EM_S390", 62: "EM_X86_64", 183: "EM_AARCH64", 243: "EM_RISCV"}
# From e_type on, without byte order: e_machine is the second field, e_phoff the fifth, e_phnum the tenth
_HEADERS = {32: "16xHHIIIIIHHHHHH", 64: "16xHHIQQQIHHHHHH"}
# Records of versions, the same in 32 and 64 bits; the last field is the distance to the next one
_VERNEED, _VERNAUX, _VERDEF, _VERDAUX = "HHIII", "IHHII", "HHHHIII", "II"
_STRING_TAGS = (DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH, DT_AUXILIARY, DT_FILTER)
_PART_LIMIT = 64 << 20  # bytes: a damaged header may claim anything
_VERSIONS_LIMIT = 4096  # of one table, and of one library in it: libc.so.6 defines 40
_DLOPEN_NOTE = 0x407C0C0A  # systemd's "ELF dlopen() metadata" specification, owner FDO


@dataclass(frozen=True)
class DlopenNote:
    """One feature of a `.note.dlopen` section: `sonames` are alternatives, best first."""

    feature: str
    sonames: tuple[str, ...]
    priority: str  # "required", "recommended" or "suggested"


@dataclass(frozen=True)
class ElfObject:
    """The dynamic section of an ELF file. `rpath` and `runpath` are as written, None when there is none.

    `bits` is 32 or 64; `machine` elf.h's name ("EM_X86_64"), a number where no loader is known. DT_RPATH is None where
    DT_RUNPATH is there only by glibc's rule, so both are kept here.
    """

    path: str
    bits: int
    machine: str
    little_endian: bool
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    no_default_lib: bool = False
    dynamic: bool = False
    dlopen: tuple[DlopenNote, ...] = ()
    demands: Demands = NOTHING

    def fits(self, other: ElfObject) -> bool:
        """Return whether a loader that loaded `other` would take this one: same class, byte order and machine."""
        return (self.bits, self.machine, self.little_endian) == (other.bits, other.machine, other.little_endian)


@dataclass(frozen=True)
class Versions:
    """Symbol versions (gABI supplement of the LSB, 10.7): those wanted of each library, and those defined, in order."""

    required: Mapping[str, tuple[str, ...]]
    defined: tuple[str, ...]


class ElfReader:
    """Parses each file once."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._known: dict[str, ElfObject | None] = {}

    def read(self, path: str) -> ElfObject | None:
        """Return the object at `path`, links followed; None when it is not a readable ELF file."""
        real = self._fs.resolve(path).real
        if real not in self._known:
            self._known[real] = _parse(real) if self._fs.head(real)[:4] == MAGIC else None
        return self._known[real]


def read_versions(path: str) -> Versions:
    """Return the symbol versions of an ELF file; none for what cannot be read. Sections may be stripped.

    lief tells the same; it takes 0.25 s to import, and 2.6 times as long a file.
    """
    try:
        with open(path, "rb") as file:
            return _versions(_opened(file))
    except _DAMAGES:
        return Versions({}, ())


def _versions(elf: _Elf) -> Versions:
    segments = _program_headers(elf)
    dynamic = next((_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_DYNAMIC), b"")
    values = _dynamic_values(elf, dynamic)
    strings = _string_table(elf, segments, values)
    required: dict[str, tuple[str, ...]] = {}
    defined: list[str] = []
    needs, definitions = (_start(segments, values, tag) for tag in (DT_VERNEED, DT_VERDEF))
    for (_, count, file, first, _), at in _chain(elf, _VERNEED, needs, values.get(DT_VERNEEDNUM, ())):
        soname = _string(strings, file)
        names = (_string(strings, name) for (*_, name, _), _ in _chain(elf, _VERNAUX, at + first, [count]))
        required[soname] = (*required.get(soname, ()), *names)
    for (*_, first, _), at in _chain(elf, _VERDEF, definitions, values.get(DT_VERDEFNUM, ())):
        defined += [_string(strings, name) for (name, _), _ in _chain(elf, _VERDAUX, at + first, [1])]
    return Versions(required, tuple(defined))


def _start(segments: list[_Segment], values: dict[int, list[int]], tag: int) -> int:
    """Return where in the file a table of the dynamic section is, -1 where there is none."""
    for address in values.get(tag, ()):
        for s in segments:
            if s.kind == PT_LOAD and s.address <= address < s.address + s.size:
                return address - s.address + s.offset
    return -1


def _chain(elf: _Elf, kind: str, at: int, count: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield records that name the distance to the next, and where each is."""
    shape = struct.Struct(elf.order + kind)
    for _ in range(min(count[0] if count and at >= 0 else 0, _VERSIONS_LIMIT)):
        record = shape.unpack(_bytes(elf, at, shape.size))
        yield record, at
        if not record[-1]:
            return
        at += record[-1]


_DAMAGES = (OSError, ValueError, struct.error, KeyError, IndexError)


class _Elf(NamedTuple):
    """An open file and what its header says; `order`: of bytes, as struct has it."""

    stream: IO[bytes]
    bits: int
    order: str
    machine: str
    headers: int  # where the program headers begin, and how many there are
    headers_count: int


def _opened(file: IO[bytes]) -> _Elf:
    head = file.read(64)
    if head[:4] != MAGIC:
        raise ValueError("no ELF file")
    bits, order = {1: 32, 2: 64}[head[4]], {1: "<", 2: ">"}[head[5]]
    _, machine, _, _, headers, _, _, _, _, count, *_ = struct.unpack_from(order + _HEADERS[bits], head)
    return _Elf(file, bits, order, _MACHINES.get(machine, str(machine)), headers, count)


def _parse(path: str) -> ElfObject | None:
    try:
        with open(path, "rb") as file:
            return _from_elf(path, _opened(file))
    except _DAMAGES:
        return None  # a damaged object: its bytes may travel, nothing can be learnt from it


def _from_elf(path: str, elf: _Elf) -> ElfObject:
    """Read what ld.so reads, and as it does: by program headers alone, which strip and sstrip leave in place."""
    segments = _program_headers(elf)
    interpreter = next((_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_INTERP), b"")
    dynamic = next((_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_DYNAMIC), b"")
    values = _dynamic_values(elf, dynamic)
    strings = _string_table(elf, segments, values)
    texts = {tag: [_string(strings, n) for n in values.get(tag, ())] for tag in _STRING_TAGS}
    notes = [_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_NOTE]
    return ElfObject(
        path=path,
        bits=elf.bits,
        machine=elf.machine,
        little_endian=elf.order == "<",
        interpreter=_string(interpreter, 0) if interpreter else "",
        soname=(texts[DT_SONAME] or [""])[0],
        needed=tuple(texts[DT_NEEDED]),
        auxiliary=tuple(texts[DT_AUXILIARY]),
        filters=tuple(texts[DT_FILTER]),
        rpath=texts[DT_RPATH][0] if texts[DT_RPATH] else None,
        runpath=texts[DT_RUNPATH][0] if texts[DT_RUNPATH] else None,
        no_default_lib=any(flags & DF_1_NODEFLIB for flags in values.get(DT_FLAGS_1, ())),
        dynamic=bool(dynamic),
        dlopen=tuple(note for segment in notes for note in _dlopen_notes(segment, elf.order)),
        demands=read_demands(notes, order=elf.order, align=elf.bits // 8),
    )


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int  # in the file


def _program_headers(elf: _Elf) -> list[_Segment]:
    if elf.bits == 64:  # p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
        shape, fields = struct.Struct(elf.order + "II6Q"), (0, 2, 3, 5)
    else:  # p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_flags, p_align
        shape, fields = struct.Struct(elf.order + "8I"), (0, 1, 2, 4)
    raw = _bytes(elf, elf.headers, elf.headers_count * shape.size)
    return [_Segment(*(header[i] for i in fields)) for header in shape.iter_unpack(raw)]


def _dynamic_values(elf: _Elf, dynamic: bytes) -> dict[int, list[int]]:
    """Return the values of each tag, in order, up to DT_NULL."""
    shape = struct.Struct(elf.order + ("QQ" if elf.bits == 64 else "II"))
    values: dict[int, list[int]] = {}
    for tag, value in shape.iter_unpack(dynamic[: len(dynamic) // shape.size * shape.size]):
        if tag == DT_NULL:
            break
        values.setdefault(tag, []).append(value)
    return values


def _string_table(elf: _Elf, segments: list[_Segment], values: dict[int, list[int]]) -> bytes:
    at, sizes = _start(segments, values, DT_STRTAB), values.get(DT_STRSZ, ())
    return _bytes(elf, at, sizes[0]) if at >= 0 and sizes else b""


def _bytes(elf: _Elf, offset: int, size: int) -> bytes:
    elf.stream.seek(offset)
    return elf.stream.read(min(size, _PART_LIMIT))


def _string(table: bytes, offset: int) -> str:
    return os.fsdecode(table[offset : table.index(0, offset)])


def _dlopen_notes(segment: bytes, order: str) -> list[DlopenNote]:
    found = []
    for name, kind, content in notes_of(segment, order):
        if (name, kind) != (b"FDO\0", _DLOPEN_NOTE):
            continue
        try:
            features = json.loads(content.rstrip(b"\0"))
        except ValueError:
            continue
        for feature in features if isinstance(features, list) else ():
            if isinstance(feature, dict) and isinstance(feature.get("soname"), list):
                sonames = tuple(str(name) for name in feature["soname"])
                priority = str(feature.get("priority", "recommended"))
                found.append(DlopenNote(str(feature.get("feature", "")), sonames, priority))
    return found
