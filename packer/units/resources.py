"""A program's own directories: PREFIX/{share,lib,libexec}/NAME hold what it chooses from at run time by name.

One rule for plugins (Open MPI's components, ImageMagick's coders, GStreamer, Qt, GIO), helper programs (git-core,
MAFFT), modules (Ruby, Lua, Tcl, Octave) and data (GDAL, PROJ, GROMACS): with another input a program takes another
file of them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer import tables
from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_ARCHITECTURE = re.compile(r"[^/]+-linux-[^/]+")
_LINKED = re.compile(r"lib[^/]+\.so\.\d[^/]*$")  # a library that was linked says nothing of what lies beside it
LIMIT = 200 << 20  # bytes


class ProgramResources(Unit):
    """All directories of a name below one prefix, if something of one of them was used."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each directory once."""
        prefixes = {p.rpartition("/bin/")[0] for p in (*view.executed, *view.seen) if "/bin/" in p}
        # a plugin tells as well as a program: `./ring` loads Open MPI's components, and no program of /usr/bin
        plugins = [p for p in view.seen if p.endswith(".so") and not _LINKED.search(p)]
        prefixes |= {prefix for path in plugins for prefix, name in _homes(path) if _is_own(name)}
        done: set[str] = set()
        for path in view.seen:
            if _LINKED.search(path):
                continue
            for prefix, name in _homes(path):
                if prefix in prefixes and _is_own(name):
                    yield from self._new(view, prefix, name, path, done)
                    break

    @staticmethod
    def _new(view: View, prefix: str, name: str, source: str, done: set[str]) -> Iterator[Widening]:
        for top in _family(view, prefix, name):
            if top not in done:
                done.add(top)
                paths = tuple(p for p in view.tree(top, tables.NOT_RUN) if not p.endswith(tables.NOT_RUN_FILES))
                yield Widening(f"the resources of {name}", source, paths, limit=LIMIT)


def _homes(path: str) -> Iterator[tuple[str, str]]:
    """Yield each prefix and name that a path can be a resource of, the outermost first."""
    parts = path.split("/")
    for at, part in enumerate(parts):
        name = at + 1
        if part not in ("share", "libexec", "lib", "lib64"):
            continue
        if part.startswith("lib") and name < len(parts) and _ARCHITECTURE.fullmatch(parts[name]):
            name += 1
        if name < len(parts) - 1:
            yield "/".join(parts[:at]), parts[name]


def _is_own(name: str) -> bool:
    return name not in tables.COMMON_DIRECTORIES and not re.match(r"python\d|pypy\d|gcc\d*$|go-\d|llvm-\d", name)


def _family(view: View, prefix: str, name: str) -> list[str]:
    """Return the directories of that name: Lua and Open MPI, to name two, have them in share, lib and lib/ARCH."""
    libraries = [f"{prefix}/{lib}" for lib in ("lib", "lib64") if not os.path.islink(f"{prefix}/{lib}")]
    homes = [f"{prefix}/share", f"{prefix}/libexec", *libraries]
    homes += [f"{lib}/{n}" for lib in libraries for n in view.fs.names(lib) if _ARCHITECTURE.fullmatch(n)]
    if prefix == "/usr":
        homes.append("/etc")
    return [top for home in homes if view.fs.is_dir(top := f"{home}/{name}") and view.fs.resolve(top).real == top]
