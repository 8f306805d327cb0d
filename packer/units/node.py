"""Node.js: a project's node_modules whole, its own code, and of globally installed packages those that were used."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCRIPTS = (".js", ".mjs", ".cjs")
_CODE = (*_SCRIPTS, ".json", ".node", ".wasm")
_LIMIT = 4 << 30
_NOT_RUN = frozenset((".cache", ".bin", "test", "tests", "docs", "example", "examples"))
# Where packages of the whole system lie: each is a package by itself there
_GLOBAL = ("/usr/share/nodejs", "/usr/lib/nodejs", "/usr/lib/node_modules", "/usr/local/lib/node_modules")


class NodePackages(Unit):
    """Packages require each other by name at run time: what one uses lies in node_modules beside or above it."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield node_modules of each project that used its own, and each global package with its dependencies."""
        done: set[str] = set()
        for path in view.seen:
            top = next((f"{root}/" for root in _GLOBAL if path.startswith(f"{root}/")), "")
            if top:
                yield from self._installed(view, top, _name(path[len(top) :]), path, done)
            elif "/node_modules/" in path:
                tree = path.partition("/node_modules/")[0] + "/node_modules"
                if tree not in done:
                    done.add(tree)
                    yield Widening("the project's node_modules", path, view.tree(tree, _NOT_RUN), limit=_LIMIT)
            elif path.endswith(_SCRIPTS):
                project = _project(view, path)
                if project and project not in done:
                    done.add(project)
                    own = view.tree(project, _NOT_RUN | {"node_modules"})
                    code = tuple(p for p in own if p.endswith(_CODE) or view.fs.is_dir(p))
                    yield Widening("the Node.js project", path, code, limit=_LIMIT, owned=False)

    def _installed(self, view: View, top: str, name: str, source: str, done: set[str]) -> Iterator[Widening]:
        todo = [name]
        while todo:
            directory = next((d for root in (top[:-1], *_GLOBAL) if view.fs.is_dir(d := f"{root}/{todo[0]}")), "")
            todo.pop(0)
            if not directory or directory in done:
                continue
            done.add(directory)
            yield Widening(f"the Node.js package {os.path.basename(directory)}", source, view.tree(directory, _NOT_RUN))
            todo += _dependencies(view, directory)


def _name(rest: str) -> str:
    """Return a package's name: its first component, two for a scope (@scope/name)."""
    return "/".join(rest.split("/")[: 2 if rest.startswith("@") else 1])


def _project(view: View, path: str) -> str:
    directory = os.path.dirname(path)
    while directory != "/":
        if view.fs.is_file(f"{directory}/package.json"):
            return directory
        directory = os.path.dirname(directory)
    return ""


def _dependencies(view: View, directory: str) -> list[str]:
    try:
        package = json.loads(view.fs.read(f"{directory}/package.json"))
        return sorted(package.get("dependencies") or {})
    except (ValueError, AttributeError, TypeError):
        return []
