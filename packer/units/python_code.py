"""The user's own Python code: what it imports anywhere, though the traced run did not come to that line.

`import` behind an `if` or in a function names a module that another option or input needs. Names are looked up where
the traced interpreter looks: beside the code, in PYTHONPATH, in the directories that it listed or loaded modules from.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from sdee.base.paths import is_below_any
from sdee.packer import knowledge
from sdee.packer.command_words import code_of
from sdee.packer.filesystem import texts
from sdee.packer.units.base import Unit, View, Widening
from sdee.packer.units.python import NOT_RUN
from sdee.packer.units.python_index import IMPORT, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARY = re.compile(r"(?P<top>.*/lib(?:64)?/(?:python|pypy)\d\.\d+t?)/(?!.*(?:site|dist)-packages/)")
_SITE = re.compile(r"(?P<site>.*/(?:site|dist)-packages)/")
_INTERPRETER = re.compile(rb"#!.*\bpython")
# Bytes of one file and of all: ast.parse takes a second for 2 MB
_FILE_LIMIT, _ALL_LIMIT = 512 << 10, 4 << 20
_FILES = 1000
_CTYPES = frozenset(("find_library", "CDLL", "PyDLL", "LoadLibrary"))
_LOADERS = frozenset(("import_module", "__import__"))


class PythonImports(Unit):
    """Modules that the user's own scripts and modules import by name: those beside them, and, for other units, all."""

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return the modules: distributions, and a project's packages, travel whole by them."""
        return tuple(dict.fromkeys(p for path in _imported(view) for p in (path, view.fs.resolve(path).real)))

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the user's own modules, and parts of the standard library that travel only when they are imported."""
        for path, source in _imported(view).items():
            library = _LIBRARY.match(path)
            left_out = library and path[len(library["top"]) + 1 :].split("/")[0].removesuffix(".py") in NOT_RUN
            if left_out:
                yield Widening("what Python code imports", source, view.tree(os.path.dirname(path)))
            elif not library and not _SITE.match(path):
                yield Widening("what Python code imports", source, (path,), owned=False)


def _imported(view: View) -> dict[str, str]:
    """Return the files of all modules that the user's code imports, and the code that names each first."""
    libraries = dict.fromkeys(match["top"] for path in view.seen if (match := _LIBRARY.match(path)))
    if not libraries:
        return {}  # no Python ran
    sites = dict.fromkeys(match["site"] for path in view.seen if (match := _SITE.match(path)))
    sites |= dict.fromkeys(site for top in libraries for site in _sites(top, view.env.get("VIRTUAL_ENV", "")))
    searched = [*view.paths_of("PYTHONPATH"), *view.listed, *sites, *libraries]
    scripts = view.code_named
    todo = list(dict.fromkeys(source_of(p) for p in (*view.seen, *view.named, *scripts) if _is_own(view, p)))
    known, found, left = set(todo), dict[str, str](), _ALL_LIMIT  # what counts as seen by this is found again
    texts = [(path, "") for path in todo] + [("", text) for text in _given(view)]
    while texts:
        path, text = texts.pop(0)
        size, names = _names_in(view, path) if path else _said(os.fsencode(text))
        if size > min(left, _FILE_LIMIT):
            continue
        left -= size
        places = list(dict.fromkeys((*_beside(view, path), *searched))) if path else searched
        for name in names:
            above = _above(path, name)
            for module in _modules(view, name.lstrip("."), [above] if above else places):
                real = view.fs.resolve(module).real
                found.setdefault(module, path or view.execs[0].path)
                if real not in known:
                    known.add(real)
                    texts += [(real, "")] if real.endswith(".py") and _is_own(view, real) else []
    return found


def _names_in(view: View, path: str) -> tuple[int, tuple[str, ...]]:
    """Return a file's size in bytes, or more than is looked into, and the names that it imports."""

    def said_by(code: bytes) -> list[object] | None:
        return list(_said(code)) if code else None

    said = view.fs.fact(path, "python", lambda: said_by(view.fs.read(path, _FILE_LIMIT + 1)))
    try:
        size, names = said or [0, ()]
        return int(str(size)), texts(names)
    except (TypeError, ValueError):  # a cache that says nonsense
        return _said(view.fs.read(path, _FILE_LIMIT + 1))


def _said(code: bytes) -> tuple[int, tuple[str, ...]]:
    return len(code), imported_names(code) if len(code) <= _FILE_LIMIT else ()


def _sites(library: str, environment: str) -> list[str]:
    """Return where a Python with its library in lib/pythonX.Y has distributions: of its own, Debian's, a venv's."""
    prefix, name = os.path.dirname(os.path.dirname(library)), os.path.basename(library)
    sites = [f"{environment}/lib/{name}/site-packages"] if environment else []
    sites += [f"{library}/site-packages", f"{library}/dist-packages", f"{prefix}/lib/python3/dist-packages"]
    return [*sites, f"{prefix}/local/lib/{name}/dist-packages"]


def _given(view: View) -> Iterator[str]:
    """Yield what `python -c` was given."""
    for execution in view.execs:
        if re.match(r"python|pypy", os.path.basename(execution.path)):
            yield from code_of([execution.path, *execution.argv[1:]])


def _is_own(view: View, path: str) -> bool:
    """Return whether a file is Python code that belongs neither to the standard library nor to a distribution."""
    if is_below_any(path, knowledge.SYSTEM_ROOTS) or _LIBRARY.match(path) or _SITE.match(path):
        return False
    return path.endswith((".py", ".pyc", ".pyw")) or bool(_INTERPRETER.match(view.fs.head(path)))


@lru_cache(maxsize=4096)
def imported_names(code: bytes) -> tuple[str, ...]:
    """Return the dotted names that code imports, relative ones with their dots; by its text where it does not parse."""
    tree = _parsed(code)
    if tree is None:
        found = [w for several, one in IMPORT.findall(code) for w in (several.split(b",") if several else [one])]
        return tuple(dict.fromkeys(w.split()[0].decode() for w in found if w.strip()))
    names: dict[str, None] = {}
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
            continue
        names.update(dict.fromkeys(_names_of(node)))
        todo += ast.iter_child_nodes(node)
    return tuple(names)


def opened_libraries(view: View) -> dict[str, str]:
    """Return the libraries that the user's Python code names for ctypes, `-lx` for find_library's, and the code."""
    found: dict[str, str] = {}
    own = [path for path in dict.fromkeys((*view.seen, *view.named)) if path.endswith(".py") and _is_own(view, path)]
    for path in own[:_FILES]:
        code = view.fs.read(path, _FILE_LIMIT)
        for node in ast.walk(_parsed(code) or ast.Module([], [])) if b"ctypes" in code else ():
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called, value = getattr(node.func, "attr", getattr(node.func, "id", "")), node.args[0].value
                if called in _CTYPES and isinstance(value, str) and value:
                    found.setdefault(f"-l{value}" if called == "find_library" else value, path)
    return found


@lru_cache(maxsize=256)
def _parsed(code: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the user's strings
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # of another version of Python
        return None


def _names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        dot = "." if node.module else ""
        yield from ((module,) if node.module else ())
        yield from (f"{module}{dot}{alias.name}" for alias in node.names)  # a module of the package, perhaps
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in _LOADERS and isinstance(node.args[0].value, str):
            yield node.args[0].value


def _above(path: str, name: str) -> str:
    """Return the directory that a relative name starts from, "" for an absolute one."""
    level = len(name) - len(name.lstrip("."))
    directory = path
    for _ in range(level):
        directory = os.path.dirname(directory)
    return directory if level else ""


def _beside(view: View, path: str) -> list[str]:
    """Return where a file's own directory is on the path: its own for a script, above its package for a module."""
    directory = os.path.dirname(path)
    above = directory
    while above != "/" and view.fs.is_file(f"{above}/__init__.py"):
        above = os.path.dirname(above)
    return [directory, above]


def _modules(view: View, name: str, places: list[str]) -> list[str]:
    """Return the files that importing a dotted name loads, from the first place that has it; as far as there are some.

    A name may be an attribute (`from os import path`): what there is of it counts.
    """
    parts = name.split(".")
    for place in places:
        found: list[str] = []
        directory = place
        for part in parts:
            stem = f"{directory}/{part}"
            files = [f"{stem}/__init__.py", f"{stem}.py"]
            files += [
                f"{directory}/{n}" for n in view.fs.names(directory) if n.startswith(f"{part}.") and n.endswith(".so")
            ]
            hit = next((file for file in files if view.fs.is_file(file)), "")
            if not hit and not view.fs.is_dir(stem):
                break
            found += [hit] if hit else []
            directory = stem
        if found:
            return found
    return []
