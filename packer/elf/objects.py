"""ELF objects as values: what a loader reads of one before it searches for anything. Parsed with pyelftools."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import astuple, dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf import elffile
from elftools.elf.notes import iter_notes
from elftools.elf.structs import ELFStructs

from sdee.packer.elf.demands import LEVELS, NOTHING, Demands, read_demands
from sdee.packer.filesystem import MAGIC, text, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdee.packer.filesystem import FileSystem

# elf.h
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
DT_FLAGS_1, DT_AUXILIARY, DT_FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
DF_1_NODEFLIB = 0x800
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

    `bits` is 32 or 64; `machine` pyelftools' name ("EM_X86_64"). DT_RPATH is None where DT_RUNPATH is there
    only by glibc's rule, so both are kept here.
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
            self._known[real] = self._look(real) if self._fs.head(real) == MAGIC else None
        return self._known[real]

    def _look(self, real: str) -> ElfObject | None:
        said = self._fs.fact(real, "elf", lambda: _said(real))
        try:
            return _from_said(real, said) if said else None
        except (TypeError, ValueError, IndexError):  # a cache that says nonsense
            return _parse(real)


def _said(path: str) -> list[object] | None:
    """Return an object's fields but its path, as JSON has them, [] for a damaged one; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            found = _from_file(path, file)
    except OSError:
        return None
    return list(astuple(found)[1:]) if found else []


def _from_said(path: str, said: list[Any]) -> ElfObject:
    """Return the object again. Raises TypeError, ValueError: a cache that says nonsense."""
    bits, machine, little, interpreter, soname, needed, auxiliary, filters, rpath, runpath, *rest = said
    no_default_lib, dynamic, notes, (level, kernel) = rest
    return ElfObject(
        path,
        int(bits),
        text(machine),
        bool(little),
        text(interpreter),
        text(soname),
        texts(needed),
        texts(auxiliary),
        texts(filters),
        None if rpath is None else text(rpath),
        None if runpath is None else text(runpath),
        bool(no_default_lib),
        bool(dynamic),
        tuple(DlopenNote(text(feature), texts(sonames), text(priority)) for feature, sonames, priority in notes),
        Demands(range(len(LEVELS))[level], (int(kernel[0]), int(kernel[1]), int(kernel[2]))),
    )


def read_versions(path: str) -> Versions:
    """Return the symbol versions of an ELF file; none for what cannot be read. Sections may be stripped.

    lief tells the same; it takes 0.25 s to import, and 2.6 times as long a file.
    """
    try:
        with open(path, "rb") as file:
            return _versions(elffile.ELFFile(file))
    except _DAMAGES:
        return Versions({}, ())


def _versions(elf: Any) -> Versions:
    segments = _program_headers(elf)
    dynamic = next((_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_DYNAMIC), b"")
    values = _dynamic_values(elf, dynamic)
    strings, kinds = _string_table(elf, segments, values), elf.structs
    required: dict[str, tuple[str, ...]] = {}
    defined: list[str] = []
    needs, definitions = (_start(segments, values, tag) for tag in (DT_VERNEED, DT_VERDEF))
    for need, at in _chain(elf, kinds.Elf_Verneed, "vn_next", needs, values.get(DT_VERNEEDNUM, ())):
        names = _chain(elf, kinds.Elf_Vernaux, "vna_next", at + need["vn_aux"], [need["vn_cnt"]])
        soname = _string(strings, need["vn_file"])
        required[soname] = (*required.get(soname, ()), *(_string(strings, name["vna_name"]) for name, _ in names))
    for definition, at in _chain(elf, kinds.Elf_Verdef, "vd_next", definitions, values.get(DT_VERDEFNUM, ())):
        first = struct_parse(kinds.Elf_Verdaux, elf.stream, at + definition["vd_aux"])
        defined.append(_string(strings, first["vda_name"]))
    return Versions(required, tuple(defined))


def _start(segments: list[_Segment], values: dict[int, list[int]], tag: int) -> int:
    """Return where in the file a table of the dynamic section is, -1 where there is none."""
    for address in values.get(tag, ()):
        for s in segments:
            if s.kind == PT_LOAD and s.address <= address < s.address + s.size:
                return address - s.address + s.offset
    return -1


def _chain(elf: Any, kind: Any, following: str, at: int, count: Sequence[int]) -> Iterator[tuple[Any, int]]:
    """Yield records that name the distance to the next, and where each is."""
    for _ in range(min(count[0] if count and at >= 0 else 0, _VERSIONS_LIMIT)):
        record = struct_parse(kind, elf.stream, at)
        yield record, at
        if not record[following]:
            return
        at += record[following]


_DAMAGES = (OSError, ELFError, ValueError, struct.error, KeyError, IndexError, AttributeError, AssertionError)


_structs: dict[tuple[Any, ...], dict[str, Any]] = {}


class _Structs(ELFStructs):
    """Describes ELF's structures once for each class, byte order, type, machine and ABI.

    pyelftools does so again for each file: a millisecond, half of what reading a file takes.
    """

    def create_basic_structs(self) -> None:
        self._once(super().create_basic_structs)

    def create_advanced_structs(self, *of_header: Any) -> None:
        self._once(super().create_advanced_structs, *of_header)

    def _once(self, create: Callable[..., None], *of_header: Any) -> None:
        key = (self.little_endian, self.elfclass, *of_header)
        if key not in _structs:
            create(*of_header)
            _structs[key] = dict(vars(self))
        vars(self).update(_structs[key])


vars(elffile)["ELFStructs"] = _Structs  # of which ELFFile makes its own


def _parse(path: str) -> ElfObject | None:
    try:
        with open(path, "rb") as file:
            return _from_file(path, file)
    except OSError:
        return None


def _from_file(path: str, file: IO[bytes]) -> ElfObject | None:
    try:
        return _from_elf(path, elffile.ELFFile(file))
    except OSError:
        raise
    except _DAMAGES:
        return None  # a damaged object: its bytes may travel, nothing can be learnt from it


def _from_elf(path: str, elf: Any) -> ElfObject:
    """Read what ld.so reads, and as it does: by program headers alone, which strip and sstrip leave in place.

    pyelftools' own DynamicSegment goes through all sections to find the string table: five times slower over the
    thousand objects of a closure, and led astray by section headers that no loader believes.
    """
    segments = _program_headers(elf)
    interpreter = next((_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_INTERP), b"")
    dynamic = next((_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_DYNAMIC), b"")
    values = _dynamic_values(elf, dynamic)
    strings = _string_table(elf, segments, values)
    texts = {tag: [_string(strings, n) for n in values.get(tag, ())] for tag in _STRING_TAGS}
    notes = [note for s in segments if s.kind == PT_NOTE for note in _dlopen_notes(elf, s)]
    raw_notes = (_bytes(elf, s.offset, s.size) for s in segments if s.kind == PT_NOTE)
    return ElfObject(
        path=path,
        bits=elf.elfclass,
        machine=str(elf.header.e_machine),
        little_endian=elf.little_endian,
        interpreter=_string(interpreter, 0) if interpreter else "",
        soname=(texts[DT_SONAME] or [""])[0],
        needed=tuple(texts[DT_NEEDED]),
        auxiliary=tuple(texts[DT_AUXILIARY]),
        filters=tuple(texts[DT_FILTER]),
        rpath=texts[DT_RPATH][0] if texts[DT_RPATH] else None,
        runpath=texts[DT_RUNPATH][0] if texts[DT_RUNPATH] else None,
        no_default_lib=any(flags & DF_1_NODEFLIB for flags in values.get(DT_FLAGS_1, ())),
        dynamic=bool(dynamic),
        dlopen=tuple(notes),
        demands=read_demands(raw_notes, little_endian=elf.little_endian, align=elf.elfclass // 8),
    )


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int  # in the file


def _program_headers(elf: Any) -> list[_Segment]:
    order = "<" if elf.little_endian else ">"
    if elf.elfclass == 64:  # p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
        shape, fields = struct.Struct(order + "II6Q"), (0, 2, 3, 5)
    else:  # p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_flags, p_align
        shape, fields = struct.Struct(order + "8I"), (0, 1, 2, 4)
    raw = _bytes(elf, elf.header.e_phoff, elf.header.e_phnum * shape.size)
    return [_Segment(*(header[i] for i in fields)) for header in shape.iter_unpack(raw)]


def _dynamic_values(elf: Any, dynamic: bytes) -> dict[int, list[int]]:
    """Return the values of each tag, in order, up to DT_NULL."""
    shape = struct.Struct(("<" if elf.little_endian else ">") + ("QQ" if elf.elfclass == 64 else "II"))
    values: dict[int, list[int]] = {}
    for tag, value in shape.iter_unpack(dynamic[: len(dynamic) // shape.size * shape.size]):
        if tag == DT_NULL:
            break
        values.setdefault(tag, []).append(value)
    return values


def _string_table(elf: Any, segments: list[_Segment], values: dict[int, list[int]]) -> bytes:
    at, sizes = _start(segments, values, DT_STRTAB), values.get(DT_STRSZ, ())
    return _bytes(elf, at, sizes[0]) if at >= 0 and sizes else b""


def _bytes(elf: Any, offset: int, size: int) -> bytes:
    elf.stream.seek(offset)
    return bytes(elf.stream.read(min(size, _PART_LIMIT)))


def _string(table: bytes, offset: int) -> str:
    return os.fsdecode(table[offset : table.index(0, offset)])


def _dlopen_notes(elf: Any, segment: _Segment) -> list[DlopenNote]:
    if b"FDO\0" not in _bytes(elf, segment.offset, segment.size):
        return []
    found = []
    notes: list[Any] = list(iter_notes(elf, segment.offset, segment.size))  # n_type is a name or, unknown, a number
    for note in notes:
        if (note["n_type"], note["n_name"]) != (_DLOPEN_NOTE, "FDO"):
            continue
        try:
            features = json.loads(bytes(note["n_descdata"]).rstrip(b"\0"))
        except ValueError:
            continue
        for feature in features if isinstance(features, list) else ():
            if isinstance(feature, dict) and isinstance(feature.get("soname"), list):
                sonames = tuple(str(name) for name in feature["soname"])
                priority = str(feature.get("priority", "recommended"))
                found.append(DlopenNote(str(feature.get("feature", "")), sonames, priority))
    return found
