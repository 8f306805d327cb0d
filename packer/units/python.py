"""Python: the standard library, distributions (PEP 376, PEP 427), a project's own packages, virtual environments."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening
from sdee.packer.units.python_index import SiteIndex, imported_names, required_names, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.filesystem import FileSystem

_STDLIB = re.compile(r"(?P<top>.*/lib(?:64)?/(?:python|pypy)\d\.\d+t?)/(?P<rest>.+)")
_SITE = re.compile(r"(?P<site>.*/(?:site|dist)-packages)/(?P<rest>.+)")
# Parts of the standard library that a job does not import by chance; they travel when it did
NOT_RUN = frozenset(
    ("test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "config")
)
_TESTS = frozenset(("tests",))
# Of what is only imported somewhere in the code: bytes of one distribution, and of all
_IMPORTED_EACH, _IMPORTED_LIMIT = 20 << 20, 60 << 20
_UNLIMITED = 1 << 50  # bytes: a part of a distribution that was imported is worse than a large bundle
_MARKS = ("site-packages", "dist-packages")


class StandardLibrary(Unit):
    """lib/pythonX.Y without its tests and its GUI, lib-dynload whole."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the standard library of each interpreter that imported something from it."""
        done: set[str] = set()
        for path in view.seen:
            match = _STDLIB.match(path)
            if not match or match["top"] in done or match["rest"].split("/")[0] in _MARKS:
                continue
            top = match["top"]
            if not view.fs.is_file(f"{top}/os.py"):
                continue
            done.add(top)
            config = {n for n in view.fs.names(top) if n.startswith("config-")}  # static library and its Makefile
            skip = NOT_RUN | config | set(_MARKS)
            paths = tuple(p for p in view.tree(top, frozenset(skip)) if not _SITE.match(p))
            yield Widening("Python's standard library", path, paths)


class Distributions(Unit):
    """The whole distribution of each module that was used: by RECORD, else the top-level package.

    With it what it requires (Requires-Dist), and what its code imports by name somewhere, if that is small: optional
    parts (fsspec, lxml, spglib) are imported where an option or another input leads.
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each distribution once: those that were used in order of first access, then what they want."""
        indexes: dict[str, SiteIndex] = {}
        done: set[str] = set()
        used: list[Widening] = []
        for path in view.seen:
            match = _SITE.match(path)
            if match:
                site = match["site"]
                if site not in indexes:
                    indexes[site] = SiteIndex(view.fs, site)
                used += self._used(view, indexes[site], path, match["rest"], done)
        yield from used
        wanted = list(self._required(view, used, indexes, done))
        yield from wanted
        left = _IMPORTED_LIMIT
        for name, source in imported_names(view, [p for w in used for p in w.paths]):
            for widening in self._named(view, name, indexes, done):
                size = view.size(widening.paths)
                if size <= min(left, _IMPORTED_EACH):
                    left -= size
                    yield replace(widening, source=source)

    def _used(self, view: View, index: SiteIndex, path: str, rest: str, done: set[str]) -> Iterator[Widening]:
        infos = index.owners.get(path) or index.owners.get(source_of(path)) or []
        for info in infos:
            if info not in done:
                done.add(info)
                yield self._distribution(view, index, info, path)
        if not infos:
            top = self._top(view, index.site, rest)
            if top not in done:
                done.add(top)
                yield self._package(view, index, top, path)

    def _required(
        self, view: View, used: list[Widening], indexes: dict[str, SiteIndex], done: set[str]
    ) -> Iterator[Widening]:
        """Yield what distributions require, and what that requires."""
        todo = [p for w in used for p in w.paths if p.endswith((".dist-info", ".egg-info"))]
        while todo:
            info = todo.pop(0)
            for name in required_names(view.fs, info):
                for index in indexes.values():
                    for found in index.named.get(name, ()):
                        todo += [found] if found not in done else []
                        yield from self._whole(view, index, found, info, done)

    def _whole(self, view: View, index: SiteIndex, info: str, source: str, done: set[str]) -> Iterator[Widening]:
        """Yield a distribution by its metadata: by RECORD, else by its top-level packages."""
        if info in done:
            return
        done.add(info)
        if index.files.get(info):
            yield self._distribution(view, index, info, source)
            return
        for name in (n for n, infos in index.tops.items() if info in infos):
            for top in (f"{index.site}/{name}", f"{index.site}/{name}.py"):
                if top not in done and view.fs.status(top):
                    done.add(top)
                    yield self._package(view, index, top, source)

    def _named(self, view: View, name: str, indexes: dict[str, SiteIndex], done: set[str]) -> Iterator[Widening]:
        """Yield what an import of `name` would load, unless it travels already."""
        for index in indexes.values():
            for place in (f"{index.site}/{name}/__init__.py", f"{index.site}/{name}.py"):
                if view.fs.is_file(place):
                    yield from self._used(view, index, place, place[len(index.site) + 1 :], done)
                    return

    @staticmethod
    def _distribution(view: View, index: SiteIndex, info: str, source: str) -> Widening:
        prefix = index.site.split("/lib/")[0].rstrip("/") + "/"
        # a wheel's RECORD also names scripts and data below the prefix; nothing outside is believed
        paths = [p for p in index.files[info] if p.startswith(prefix) and view.fs.status(p) is not None]
        used = set(view.seen)
        kept = [p for p in paths if p in used or not _TESTS & set(p[len(index.site) :].split("/")[:-1])]
        packages = {os.path.dirname(p) for p in kept if p.endswith(".py")}
        wanted = {p for p in kept if p.endswith(".py")}
        # only pip lists the compiled modules; they are stale without their mtimes, slow to miss
        cached = [
            f"{d}/__pycache__/{name}"
            for d in sorted(packages)
            for name in view.fs.names(f"{d}/__pycache__")
            if f"{d}/{name.split('.')[0]}.py" in wanted
        ]
        found = (*kept, *cached, *view.tree(info))
        return Widening(f"the Python distribution {_name(info)}", source, tuple(dict.fromkeys(found)), _UNLIMITED)

    @staticmethod
    def _top(view: View, site: str, rest: str) -> str:
        """Return the package by itself: below directories without __init__.py (PEP 420) if need be."""
        parts = rest.split("/")
        if parts[0] == "__pycache__" and len(parts) > 1:
            return source_of(f"{site}/{rest}")
        top = f"{site}/{parts[0]}"
        for part in parts[1:-1]:
            if view.fs.is_file(f"{top}/__init__.py") or top.endswith((".dist-info", ".egg-info", ".libs")):
                break
            top = f"{top}/{part}"
        return top

    @staticmethod
    def _package(view: View, index: SiteIndex, top: str, source: str) -> Widening:
        name = os.path.basename(top)
        paths = list(view.tree(top, _TESTS)) if view.fs.is_dir(top) else [top, *_compiled(view, top)]
        for info in index.tops.get(name.removesuffix(".py"), ()):
            paths += view.tree(info) if view.fs.is_dir(info) else [info]
        libs = f"{index.site}/{name}.libs"
        paths += view.tree(libs) if view.fs.is_dir(libs) else []
        return Widening(f"the Python package {name}", source, tuple(paths), _UNLIMITED)


class ProjectPackages(Unit):
    """A package outside any site-packages (a project's own, an editable install): the code of all of it."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each top-level package once; data among it stays data."""
        done: set[str] = set()
        for path in view.seen:
            if not path.endswith((".py", ".pyc", ".so")) or _SITE.match(path) or _STDLIB.match(path):
                continue
            top = ""
            directory = os.path.dirname(source_of(path))
            while view.fs.is_file(f"{directory}/__init__.py"):
                top, directory = directory, os.path.dirname(directory)
            if top and top not in done:
                done.add(top)
                name = f"the Python package {os.path.basename(top)}"
                yield Widening(name, path, view.tree(top, _TESTS), limit=1 << 30, owned=False)


class VirtualEnvironments(Unit):
    """What makes a directory a virtual environment (PEP 405): pyvenv.cfg, the interpreter's links, .pth files."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each environment's own files; its distributions come by their use."""
        done: set[str] = set()
        for path in (*view.named, *view.seen):
            top = _environment(view.fs, path)
            if not top or top in done:
                continue
            done.add(top)
            binaries = [f"{top}/bin/{n}" for n in view.fs.names(f"{top}/bin") if re.fullmatch(r"python[\d.]*", n)]
            inside = (m["site"] for p in view.seen if p.startswith(f"{top}/") and (m := _SITE.match(p)))
            hooks = [f"{s}/{n}" for s in dict.fromkeys(inside) for n in view.fs.names(s) if n.endswith(".pth")]
            links = [f"{top}/lib64"] if view.fs.status(f"{top}/lib64") else []
            home = _home(os.fsdecode(view.fs.read(f"{top}/pyvenv.cfg")))
            base = [f"{home}/{os.path.basename(b)}" for b in binaries if home]
            base = [b for b in base if view.fs.is_file(b)]
            paths = (f"{top}/pyvenv.cfg", *binaries, *links, *hooks, *base)
            yield Widening(f"the virtual environment {top}", path, paths)


def _environment(fs: FileSystem, path: str) -> str:
    """Return the virtual environment that a path is part of, by PREFIX/bin/x, PREFIX/lib/pythonX.Y/… or PREFIX/x."""
    prefix = path.partition("/lib/python")[0] if "/lib/python" in path else os.path.dirname(path)
    prefix = os.path.dirname(prefix) if os.path.basename(prefix) == "bin" else prefix
    return prefix if fs.is_file(f"{prefix}/pyvenv.cfg") else ""


def _home(configuration: str) -> str:
    pairs = (line.partition("=") for line in configuration.splitlines())
    return next((value.strip() for key, _, value in pairs if key.strip().lower() == "home"), "")


def _compiled(view: View, source: str) -> list[str]:
    directory, name = os.path.split(source)
    stem = name.removesuffix(".py") + "."
    return [f"{directory}/__pycache__/{n}" for n in view.fs.names(f"{directory}/__pycache__") if n.startswith(stem)]


def _name(info: str) -> str:
    return os.path.basename(info).rpartition(".")[0]
