"""A program's own directories: PREFIX/{share,lib,libexec}/NAME hold what it chooses from at run time by name.

One rule for plugins (Open MPI's components, ImageMagick's coders, GStreamer, Qt, GIO), helper programs (git-core,
MAFFT), modules (Ruby, Lua, Tcl, Octave) and data (GDAL, PROJ, GROMACS): with another input a program takes another
file of them. A directory is a program's own if the run used a file of it, if the program or a library that it loaded
names the directory in its own file, or if it has the program's or its package's name.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from sdee.packer import knowledge
from sdee.packer.units.base import Unit, View, Widening, is_the_c_librarys
from sdee.packer.units.own_directories import named_paths, path_texts, prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_ARCHITECTURE = re.compile(r"[^/]+-linux-[^/]+")
_LINKED = re.compile(r"lib[^/]+\.so\.\d[^/]*$")  # a library that was linked says nothing of what lies beside it
_LIBRARY = re.compile(r".*/lib(?:32|64|x32)?(?:/[^/]+-linux-[^/]+)?/lib[^/]+\.so[^/]*$")
LIMIT = 1 << 30  # bytes of one directory that something was used of
SETTINGS_LIMIT, TABLE_LIMIT = 1 << 20, 16 << 20  # bytes of one file that is named, in etc and elsewhere
UNTOUCHED_LIMIT = 100 << 20  # bytes of one directory that nothing was used of


class ProgramResources(Unit):
    """All directories of a name below one prefix, if something of one of them was used or it is a program's own."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each directory once: those that were used in order of first access, then those only named."""
        own_names = _names_of_programs(view)
        prefixes = {p.rpartition("/bin/")[0] for p in (*view.executed, *view.started, *view.seen) if "/bin/" in p}
        # a plugin tells as well as a program: `./ring` loads Open MPI's components, and no program of /usr/bin
        plugins = [p for p in view.seen if p.endswith(".so") and not _LINKED.search(p)]
        prefixes |= {prefix for path in plugins for prefix, name in homes(path) if is_own(name)}
        done: set[str] = set()
        # Debian's Lua and others open a module through a link: the link's name says whose it is, not its target's
        for path in dict.fromkeys((*view.seen, *view.named)):
            if _LINKED.search(path):
                continue
            for prefix, name in homes(path):
                if prefix in prefixes and (is_own(name) or (prefix, name) in own_names):
                    yield from self._new(view, prefix, name, path, done, used=True)
                    break
        for (prefix, name), source in {**_named_in_files(view), **own_names}.items():
            yield from self._new(view, prefix, name, source, done, used=False)

    @staticmethod
    def _new(view: View, prefix: str, name: str, source: str, done: set[str], *, used: bool) -> Iterator[Widening]:
        if f"{prefix}//{name}" in done:  # asked for each of thousands of files
            return
        done.add(f"{prefix}//{name}")
        for top in _family(view, prefix, name):
            if top not in done:
                done.add(top)
                paths = tuple(p for p in view.tree(top, knowledge.NOT_RUN) if not p.endswith(knowledge.NOT_RUN_FILES))
                limit = LIMIT if used else UNTOUCHED_LIMIT
                yield Widening(f"the resources of {name}", source, paths, limit=limit, with_libraries=not used)


class NamedFiles(Unit):
    """Files that a program or a library that it loaded names: PREFIX/etc/x.conf (/etc for /usr), share/misc/magic.

    `ssh -F` reads no settings, ssh does. With x.conf travels x.conf.d, with magic magic.mgc. Only what everybody may
    read, and of share and lib what lies in a directory that is no program's own: those travel whole.
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield those of each program and library."""
        for path in with_constants(view):
            etc = f"{prefix_of(path)}/etc/".removeprefix("/usr")
            paths: list[str] = []
            for named in path_texts(view.fs, path):
                if named.startswith(etc):
                    paths += [p for p in (named, *view.tree(f"{named}.d")) if is_small(view, p, SETTINGS_LIMIT)]
                elif any(not is_own(name) for _, name in homes(named)):
                    directory, base = os.path.split(named)
                    variants = (f"{directory}/{n}" for n in view.fs.names(directory) if n.startswith(f"{base}."))
                    paths += [p for p in (named, *variants) if is_small(view, p, TABLE_LIMIT)]
            if paths:
                yield Widening(f"what {os.path.basename(path)} names", path, tuple(dict.fromkeys(paths)))


def is_small(view: View, path: str, limit: int) -> bool:
    """Return whether a path leads to a regular file of at most `limit` bytes that everybody may read."""
    status = view.fs.resolve(path).status
    world = status is not None and stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IROTH)
    return world and status is not None and status.st_size <= limit


def with_constants(view: View) -> list[str]:
    """Return programs that were executed, those that scripts name, and the libraries of either, but glibc's."""
    libraries = [path for path in view.seen if _LIBRARY.match(path)]
    ours = [file for path in view.started for file in view.costs.needs(path)]
    every = dict.fromkeys((*view.programs(), *view.started, *libraries, *ours))
    return [path for path in every if prefix_of(path) and not is_the_c_librarys(path)]


def _names_of_programs(view: View) -> dict[tuple[str, str], str]:
    """Return the directories' names that the executed programs' own names make theirs, by prefix, and the program."""
    found: dict[tuple[str, str], str] = {}
    programs = [p for p in (*view.programs(), *view.started) if prefix_of(p)]
    owners = view.packages.owners(programs)
    for program in programs:
        package = owners.get(program, "").partition(" ")[0]
        for name in dict.fromkeys((os.path.basename(program), package)):
            if name and (is_own(name) or (name in knowledge.NAMED_FOR_ONE and program.endswith(f"/{name}"))):
                found.setdefault((prefix_of(program), name), program)
    return found


def _named_in_files(view: View) -> dict[tuple[str, str], str]:
    """Return what executed programs and the libraries that were loaded name in their own files."""
    found: dict[tuple[str, str], str] = {}
    for path in with_constants(view):
        for named in named_paths(view.fs, path):
            for prefix, name in homes(named + "/."):
                if prefix == prefix_of(path) and is_own(name):
                    found.setdefault((prefix, name), path)
                    break
    return found


def homes(path: str) -> Iterator[tuple[str, str]]:
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


def is_own(name: str) -> bool:
    """Return whether a directory of that name in share, lib or libexec is one program's, not one that many share."""
    if name in knowledge.COMMON_DIRECTORIES or name in knowledge.NAMED_FOR_ONE:
        return False
    return not re.match(r"python\d|pypy\d|gcc\d*$|llvm-\d", name)


def _family(view: View, prefix: str, name: str) -> list[str]:
    """Return the directories of that name: Lua and Open MPI, to name two, have them in share, lib and lib/ARCH."""
    libraries = [f"{prefix}/{lib}" for lib in ("lib", "lib64") if not os.path.islink(f"{prefix}/{lib}")]
    homes = [f"{prefix}/share", f"{prefix}/libexec", *libraries]
    homes += [f"{lib}/{n}" for lib in libraries for n in view.fs.names(lib) if _ARCHITECTURE.fullmatch(n)]
    if prefix == "/usr":
        homes.append("/etc")
    return [top for home in homes if view.fs.is_dir(top := f"{home}/{name}") and view.fs.resolve(top).real == top]
