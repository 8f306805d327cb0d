"""What the loaders' search rules have in common: link maps, contexts, and a search's result with all it considered."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.elf.objects import ElfObject, ElfReader
    from sdee.packer.filesystem import FileSystem

# Sub-directories of glibc-hwcaps that a CPU of this level uses, best first (ld.so(8), glibc 2.33 and later)
HWCAPS = {
    "x86-64-v2": ("x86-64-v2",),
    "x86-64-v3": ("x86-64-v3", "x86-64-v2"),
    "x86-64-v4": ("x86-64-v4", "x86-64-v3", "x86-64-v2"),
}


@dataclass(frozen=True)
class Context:
    """What decides a search besides the files: one process's LD_LIBRARY_PATH, its directory, its CPU."""

    libpath: str | None = None
    cwd: str = "/"
    hwcaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A link map: `name` is the path by which the object was loaded, `loader` what asked for it first."""

    name: str
    object: ElfObject
    origin: str
    loader: Loaded | None = None

    def chain(self) -> Iterator[Loaded]:
        """Yield this object, what loaded it, and so on up to the program."""
        link: Loaded | None = self
        while link is not None:
            yield link
            link = link.loader


@dataclass(frozen=True)
class Search:
    """One name looked for: `path` as the loader would open it, None on a miss.

    `how` is the rule that found it ("RUNPATH of /x"); `considered` every path tried, in order, with what was
    wrong with it in brackets when it was there; `siblings` variants for other CPUs.
    """

    name: str
    by: str
    path: str | None
    how: str = ""
    considered: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()
    optional: bool = False


class Rules(Protocol):
    """One loader's way from a name to a file."""

    def search(self, name: str, by: Loaded, context: Context) -> Search:
        """Look for `name` as needed by `by`."""

    def origin(self, name: str, *, is_program: bool) -> str:
        """Return what $ORIGIN means for an object loaded by the path `name`."""


@dataclass
class Trial:
    """Collects the paths of one search as they are tried."""

    fs: FileSystem
    reader: ElfReader
    wanted: ElfObject
    considered: list[str] = field(default_factory=list)

    def accepts(self, path: str) -> bool:
        """Return whether the loader would take the file at `path`; notes the attempt."""
        if not self.fs.is_file(path):
            self.considered.append(path)
            return False
        found = self.reader.read(path)
        if found is None:
            self.considered.append(f"{path} (not an ELF object)")
            return False
        if not found.fits(self.wanted):
            self.considered.append(f"{path} (wrong ELF class or machine)")
            return False
        self.considered.append(path)
        return True


def absolute(path: str, cwd: str) -> str:
    """Return a search path's element as a directory, relative ones from `cwd`; `..` is left to the file system."""
    return path if path.startswith("/") else os.path.join(cwd, path) if path else cwd


def load(rules: Rules, reader: ElfReader, root: Loaded, context: Context) -> list[Search]:
    """Return every search that loading `root` causes, breadth first as _dl_map_object_deps (glibc elf/dl-deps.c) does.

    A name that an object loaded earlier answers to, by the name it was asked for or by its DT_SONAME, is not
    looked for again.
    """
    searches: list[Search] = []
    loaded = [root]
    names = {link.object.soname for link in root.chain()} | {root.name}
    seen = {link.object.path for link in root.chain()}
    if root.object.interpreter:
        names |= {root.object.interpreter, os.path.basename(root.object.interpreter)}
    for link in loaded:
        for name, optional in _wanted(link.object):
            if name in names:
                continue
            result = rules.search(name, link, context)
            if optional:
                result = Search(name, link.name, result.path, result.how, result.considered, result.siblings, True)
            searches.append(result)
            found = reader.read(result.path) if result.path else None
            if result.path is None or found is None:
                continue
            names |= {name, found.soname} - {""}
            if found.path not in seen:
                seen.add(found.path)
                loaded.append(Loaded(result.path, found, rules.origin(result.path, is_program=False), link))
    return searches


def _wanted(found: ElfObject) -> Iterator[tuple[str, bool]]:
    """Yield what an object asks for at load time, and whether the loader goes on without it."""
    yield from ((name, True) for name in found.auxiliary)
    yield from ((name, False) for name in found.filters)
    yield from ((name, False) for name in found.needed)
