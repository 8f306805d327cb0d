"""ELF objects as values: what a loader reads of one before it searches for anything. Parsed with pyelftools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from sdee.packer.filesystem import FileSystem

MAGIC = b"\x7fELF"
DF_1_NODEFLIB = 0x800  # elf.h
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

    def fits(self, other: ElfObject) -> bool:
        """Return whether a loader that loaded `other` would take this one: same class, byte order and machine."""
        return (self.bits, self.machine, self.little_endian) == (other.bits, other.machine, other.little_endian)


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


def _parse(path: str) -> ElfObject | None:
    try:
        with open(path, "rb") as file:
            return _from_elf(path, ELFFile(file))
    except (OSError, ELFError, ValueError, UnicodeError, KeyError, IndexError, AttributeError, AssertionError):
        return None  # a damaged object: its bytes may travel, nothing can be learnt from it


def _from_elf(path: str, elf: Any) -> ElfObject:
    texts: dict[str, list[str]] = {}
    flags = 0
    interpreter = ""
    dynamic = False
    notes: list[DlopenNote] = []
    for segment in elf.iter_segments():
        kind = segment.header.p_type
        if kind == "PT_INTERP":
            interpreter = segment.get_interp_name()
        elif kind == "PT_NOTE":
            notes += _dlopen_notes(segment)
        elif isinstance(segment, DynamicSegment):
            dynamic = True
            for tag in segment.iter_tags():
                name = tag.entry.d_tag
                if name == "DT_FLAGS_1":
                    flags = tag.entry.d_val
                elif name in _TEXTS:
                    texts.setdefault(name, []).append(_text(segment, tag))
    first = {name: values[0] for name, values in texts.items()}
    return ElfObject(
        path=path,
        bits=elf.elfclass,
        machine=elf.header.e_machine,
        little_endian=elf.little_endian,
        interpreter=interpreter,
        soname=first.get("DT_SONAME", ""),
        needed=tuple(texts.get("DT_NEEDED", ())),
        auxiliary=tuple(texts.get("DT_AUXILIARY", ())),
        filters=tuple(texts.get("DT_FILTER", ())),
        rpath=first.get("DT_RPATH"),
        runpath=first.get("DT_RUNPATH"),
        no_default_lib=bool(flags & DF_1_NODEFLIB),
        dynamic=dynamic,
        dlopen=tuple(notes),
    )


_TEXTS = frozenset(("DT_NEEDED", "DT_SONAME", "DT_RPATH", "DT_RUNPATH", "DT_AUXILIARY", "DT_FILTER"))


def _text(segment: Any, tag: Any) -> str:
    # pyelftools knows the first four by name; the two filters only as numbers
    attribute = {"DT_NEEDED": "needed", "DT_SONAME": "soname", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}
    name = attribute.get(tag.entry.d_tag)
    if name:
        return str(getattr(tag, name))
    return str(segment._get_stringtable().get_string(tag.entry.d_val))  # noqa: SLF001 - no public way to the table


def _dlopen_notes(segment: Any) -> list[DlopenNote]:
    found = []
    for note in segment.iter_notes():
        if note["n_type"] != _DLOPEN_NOTE or note["n_name"] != "FDO":
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
