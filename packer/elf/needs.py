"""What ELF files need that the run did not show: searched as the loader of each program would search."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdee.packer.elf.glibc import GlibcRules, LoaderFacts, read_facts
from sdee.packer.elf.musl import MuslRules, is_musl
from sdee.packer.elf.objects import ElfReader
from sdee.packer.elf.search import HWCAPS, Context, Loaded, Rules, Search, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.elf.objects import ElfObject
    from sdee.packer.filesystem import FileSystem
    from sdee.tracer.tracefile.model import Trace

# Where each ABI's loader is, for libraries that no traced program can load (System V ABI supplements)
_LOADERS = {
    ("EM_X86_64", 64): "/lib64/ld-linux-x86-64.so.2",
    ("EM_X86_64", 32): "/libx32/ld-linux-x32.so.2",
    ("EM_386", 32): "/lib/ld-linux.so.2",
    ("EM_AARCH64", 64): "/lib/ld-linux-aarch64.so.1",
    ("EM_PPC64", 64): "/lib64/ld64.so.2",
    ("EM_S390", 64): "/lib/ld64.so.1",
    ("EM_RISCV", 64): "/lib/ld-linux-riscv64-lp64d.so.1",
}


@dataclass(frozen=True)
class Program:
    """A program as it was started: what later loads inherit from it. `link` is its link map."""

    link: Loaded
    context: Context
    rules: Rules

    @property
    def key(self) -> tuple[object, ...]:
        """Return what makes two programs load a library differently."""
        own = self.link.object
        rpath = own.rpath if own.runpath is None else None
        tokens = "$" in (rpath or "") + (self.context.libpath or "")
        return (id(self.rules), self.context, rpath, self.link.origin if tokens else "", own.bits, own.machine)


@dataclass
class Needs:
    """Finds what a growing set of ELF files needs; each file is searched for once."""

    fs: FileSystem
    hwcaps: tuple[str, ...]
    libpath: str | None
    cwd: str
    reader: ElfReader = field(init=False)
    misses: list[Search] = field(default_factory=list)
    interpreters: dict[str, None] = field(default_factory=dict)
    _programs: dict[tuple[object, ...], Program] = field(default_factory=dict)
    _rules: dict[str, Rules] = field(default_factory=dict)
    _done: set[tuple[object, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.reader = ElfReader(self.fs)

    def of_program(self, path: str, libpath: str | None) -> Iterator[Search]:
        """Yield the searches that executing `path` with this LD_LIBRARY_PATH causes."""
        found = self.reader.read(path)
        if found is None or not found.interpreter:
            return
        self.interpreters.setdefault(found.interpreter)
        rules = self._rules_of(found.interpreter, found.bits)
        link = Loaded(path, found, rules.origin(path, is_program=True))
        program = Program(link, Context(libpath, self.cwd, self.hwcaps), rules)
        self._programs.setdefault(program.key, program)
        if (found.path, program.key) not in self._done:
            self._done.add((found.path, program.key))
            yield from self._load(link, program)

    def of_file(self, path: str) -> Iterator[Search]:
        """Yield the searches that loading the ELF file at `path` causes, in every program that could load it."""
        found = self.reader.read(path)
        if found is None or not found.dynamic:
            return
        if found.interpreter and not _is_library(path):
            yield from self.of_program(path, self.libpath)
            return
        if self._is_loader(path):
            return
        for program in self._programs_for(found):
            if (found.path, program.key) in self._done:
                continue
            self._done.add((found.path, program.key))
            origin = program.rules.origin(path, is_program=False)
            yield from self._load(Loaded(path, found, origin, program.link), program)

    def _load(self, link: Loaded, program: Program) -> Iterator[Search]:
        for search in load(program.rules, self.reader, link, program.context):
            if search.path is None and not search.optional:
                self.misses.append(search)
            found = self.reader.read(search.path) if search.path else None
            if found is not None and not any(up.object.rpath for up in link.chain()):
                self._done.add((found.path, program.key))
            yield search
        yield from self._announced(link, program)

    def _announced(self, link: Loaded, program: Program) -> Iterator[Search]:
        """Yield the libraries that an object says it may dlopen (.note.dlopen): of each feature the first there is."""
        for note in link.object.dlopen:
            for soname in note.sonames:
                search = program.rules.search(soname, link, program.context)
                if search.path:
                    how = f"dlopen note, {note.priority} for {note.feature or 'a feature'}: {search.how}"
                    yield Search(soname, link.name, search.path, how, search.considered, search.siblings, True)
                    break

    def _programs_for(self, found: ElfObject) -> list[Program]:
        fitting = [p for p in self._programs.values() if p.link.object.fits(found)]
        if fitting:
            return fitting
        loader = _LOADERS.get((found.machine, found.bits), "")
        own = self.reader.read(loader) if loader else None
        if own is None or not own.fits(found):
            return []
        rules = self._rules_of(loader, found.bits)
        program = Program(Loaded(loader, own, os.path.dirname(loader)), self._context(), rules)
        self._programs[program.key] = program
        return [program]

    def _context(self) -> Context:
        return Context(self.libpath, self.cwd, self.hwcaps)

    def _rules_of(self, interpreter: str, bits: int) -> Rules:
        if interpreter not in self._rules:
            if is_musl(interpreter):
                self._rules[interpreter] = MuslRules(self.fs, self.reader, interpreter)
            else:
                content = self.fs.read(interpreter)
                facts = read_facts(content, bits) if content else LoaderFacts()
                self._rules[interpreter] = GlibcRules(self.fs, self.reader, facts)
        return self._rules[interpreter]

    def _is_loader(self, path: str) -> bool:
        return any(self.fs.resolve(i).real == self.fs.resolve(path).real for i in self.interpreters)

    def known(self, path: str) -> ElfObject | None:
        """Return the ELF object at `path`, None when it is none."""
        return self.reader.read(path)

    def library_directories(self) -> tuple[str, ...]:
        """Return the default directories of the first glibc loader that the job's programs have, () when none has."""
        facts = [rules.facts for rules in self._rules.values() if isinstance(rules, GlibcRules)]
        return facts[0].system_dirs if facts else ()

    def siblings(self, path: str) -> list[str]:
        """Return the glibc-hwcaps variants of a library."""
        return GlibcRules(self.fs, self.reader).siblings(path)


def _is_library(path: str) -> bool:
    # libc.so.6 and others have a PT_INTERP so that they can be run to print their version
    return ".so" in os.path.basename(path)


def needs_of(trace: Trace, fs: FileSystem) -> Needs:
    """Return the finder for a trace: CPU level and LD_LIBRARY_PATH as the first run had them."""
    run = trace.runs[0]
    return Needs(fs, HWCAPS.get(run.host.cpu_level, ()), run.env.get("LD_LIBRARY_PATH"), run.cwd)
