"""glibc's search for libraries: ld.so(8), and where that is short, _dl_map_object in glibc's elf/dl-load.c (2.36).

Not followed: the legacy hwcaps sub-directories (tls, haswell, x86_64 …), which distributions no longer fill and
glibc dropped in 2.37.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from sdee.packer.elf.ldcache import CacheEntry, flags_fit, index_cache, parse_cache
from sdee.packer.elf.search import Context, Loaded, Search, Trial, absolute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.elf.objects import ElfObject, ElfReader
    from sdee.packer.filesystem import FileSystem

# A dynamic string token: braces, or a name that no identifier character follows (is_dst in elf/dl-load.c)
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
_PRINTABLE = bytes(range(0x21, 0x7F))
_CACHE = b"/ld.so.cache"

# $PLATFORM is AT_PLATFORM, which some glibc versions replace by what the CPU can do: all that it may be
_PLATFORMS = {
    "EM_X86_64": ("haswell", "xeon_phi", "x86_64"),
    "EM_386": ("i686", "i586", "i486", "i386"),
    "EM_AARCH64": ("aarch64",),
}


@dataclass(frozen=True)
class LoaderFacts:
    """What was compiled into one ld.so: its cache file, its default directories, its $LIB."""

    cache: str = "/etc/ld.so.cache"
    system_dirs: tuple[str, ...] = ("/lib", "/usr/lib")

    @property
    def lib(self) -> str:
        """Return $LIB, which is the first default directory without its prefix."""
        return self.system_dirs[0].removeprefix("/usr").lstrip("/")


def read_facts(loader: bytes, bits: int = 64) -> LoaderFacts:
    """Return the facts found in the bytes of an ld.so; where they are not found, those of a plain glibc.

    Nothing is run: `ld.so --list-diagnostics` would say the same, but only of a loader for this machine.
    """
    strings = _strings(loader)
    cache = next((text for text in strings if text.endswith(_CACHE) and text != _CACHE), b"/etc/ld.so.cache")
    plain = ("/lib64", "/usr/lib64") if bits == 64 else ("/lib", "/usr/lib")
    return LoaderFacts(os.fsdecode(cache), tuple(os.fsdecode(d).rstrip("/") for d in _directories(strings)) or plain)


def _strings(loader: bytes) -> list[bytes]:
    """Return what can be printed before each NUL, from its first slash on; b"" where there is none.

    Not by a regular expression, which would go through a row of slashes again from each.
    """
    return [_from_slash(chunk) if b"/" in chunk else b"" for chunk in loader.split(b"\0")[:-1]]


def _from_slash(chunk: bytes) -> bytes:
    text = chunk[len(chunk.rstrip(_PRINTABLE)) :]
    return text[text.find(b"/") :] if b"/" in text else b""


def _directories(strings: list[bytes]) -> list[bytes]:
    """Return the loader's own list of directories: the first that stand one after the other."""
    found: list[bytes] = []
    for text in strings:
        if text.endswith(b"/") and b"lib" in text:
            found.append(text)
        elif len(found) > 1:
            break
        else:
            found = []
    return found if len(found) > 1 else []


@dataclass
class GlibcRules:
    """The rules of one ld.so, over one machine's files."""

    fs: FileSystem
    reader: ElfReader
    facts: LoaderFacts = field(default_factory=LoaderFacts)
    _index: dict[str, tuple[CacheEntry, ...]] | None = None

    def origin(self, name: str, *, is_program: bool) -> str:
        """Return $ORIGIN: a program's real directory (/proc/self/exe), but a library's as it was named, links kept."""
        return os.path.dirname(self.fs.resolve(name).real if is_program else name)

    def search(self, name: str, by: Loaded, context: Context) -> Search:
        """Look for `name` as ld.so(8) says: RPATH chain, LD_LIBRARY_PATH, RUNPATH, ld.so.cache, default directories."""
        trial = Trial(self.fs, self.reader, by.object)
        if "/" in name:
            for path in self._expand(name, by):
                if trial.accepts(absolute(path, context.cwd)):
                    return self._found(name, by, absolute(path, context.cwd), "named by its path", trial)
            return Search(name, by.name, None, considered=tuple(trial.considered))
        for directory, how in chain(self._before_cache(by, context)):
            for path in self._variants(directory, name, context):
                if trial.accepts(path):
                    return self._found(name, by, path, how, trial)
        for entry in self._cached(name, by.object, context):
            if trial.accepts(entry.path):
                found = self._found(name, by, entry.path, f"listed in {self.facts.cache}", trial)
                others = [e.path for e in self._entries(name, by.object) if e.hwcap and e.path != entry.path]
                return replace(found, siblings=tuple(dict.fromkeys((*others, *found.siblings))))
        for directory in () if by.object.no_default_lib else self.facts.system_dirs:
            for path in self._variants(directory, name, context):
                if trial.accepts(path):
                    return self._found(name, by, path, "in a default directory", trial)
        return Search(name, by.name, None, considered=tuple(dict.fromkeys(trial.considered)))

    def _before_cache(self, by: Loaded, context: Context) -> Iterator[tuple[str, str]]:
        """Yield directories in the order of the search, each with the rule that names it."""
        if by.object.runpath is None:
            for link in by.chain():  # DT_RPATH counts only where there is no DT_RUNPATH
                if link.object.rpath is not None and link.object.runpath is None:
                    for directory in self._directories(link.object.rpath, ":", link, context):
                        yield directory, f"RPATH of {link.name}"
        if context.libpath:
            program = list(by.chain())[-1]
            for directory in self._directories(context.libpath, ":;", program, context):
                yield directory, "LD_LIBRARY_PATH"
        if by.object.runpath is not None:
            for directory in self._directories(by.object.runpath, ":", by, context):
                yield directory, f"RUNPATH of {by.name}"

    def _directories(self, text: str, separators: str, link: Loaded, context: Context) -> Iterator[str]:
        for element in re.split(f"[{separators}]", text):
            for expanded in self._expand(element, link):
                yield absolute(expanded.rstrip("/") or expanded, context.cwd)

    def _expand(self, text: str, link: Loaded) -> list[str]:
        """Return `text` with $ORIGIN, $LIB and $PLATFORM replaced: several where the platform can be several."""
        platforms: tuple[str, ...] = ("",)
        if any("PLATFORM" in match.groups() for match in _TOKEN.finditer(text)):
            platforms = _PLATFORMS.get(link.object.machine, ())
        values = {"ORIGIN": link.origin, "LIB": self.facts.lib}
        return [
            _TOKEN.sub(lambda m: {**values, "PLATFORM": p}[m.group(1) or m.group(2)], text)  # noqa: B023 - used at once
            for p in platforms
        ]

    def _variants(self, directory: str, name: str, context: Context) -> Iterator[str]:
        """Yield where a directory may hold `name`: the CPU's glibc-hwcaps sub-directories first."""
        hwcaps = f"{directory}/glibc-hwcaps"
        if context.hwcaps and self.fs.is_dir(hwcaps):
            for level in context.hwcaps:
                yield f"{hwcaps}/{level}/{name}"
        yield f"{directory}/{name}"

    def _entries(self, name: str, wanted: ElfObject) -> list[CacheEntry]:
        if self._index is None:
            self._index = index_cache(parse_cache(self.fs.read(self.facts.cache)))
        return [e for e in self._index.get(name, ()) if flags_fit(e.flags, wanted.machine, wanted.bits)]

    def _cached(self, name: str, by: ElfObject, context: Context) -> list[CacheEntry]:
        """Return the cache's answer, at most one entry: the best sub-directory for the CPU, else the plain one."""
        entries = self._entries(name, by)
        ranks = {level: rank for rank, level in enumerate(context.hwcaps)}
        usable = [e for e in entries if not e.hwcap or e.hwcap in ranks]
        best = sorted(usable, key=lambda e: ranks.get(e.hwcap, len(ranks)))[:1]
        if by.no_default_lib:  # DF_1_NODEFLIB: entries in default directories do not count either
            best = [e for e in best if not e.path.startswith(tuple(f"{d}/" for d in self.facts.system_dirs))]
        return best

    def _found(self, name: str, by: Loaded, path: str, how: str, trial: Trial) -> Search:
        considered = tuple(dict.fromkeys(trial.considered))
        return Search(name, by.name, path, how, considered, tuple(self.siblings(path)))

    def siblings(self, path: str) -> list[str]:
        """Return the variants of a library for other CPUs: the node's may choose another than this machine's did."""
        directory, name = os.path.split(path)
        above, _, level = directory.rpartition("/glibc-hwcaps/")
        base = above if above and "/" not in level else directory
        hwcaps = f"{base}/glibc-hwcaps"
        names = self.fs.names(hwcaps) if self.fs.is_dir(hwcaps) else ()
        candidates = [f"{base}/{name}", *(f"{hwcaps}/{level}/{name}" for level in names)] if names else []
        return [p for p in candidates if p != path and self.fs.is_file(p)]
