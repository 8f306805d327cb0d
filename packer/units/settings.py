"""What settings name: XML catalogues name further ones and the directories of style sheets, includes name files.

The program finds them when its input asks for it (`xsltproc http://…/docbook.xsl`), so that the traced run shows none.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from sdee.base.paths import is_below_any
from sdee.packer import knowledge
from sdee.packer.units.base import Unit, View, Widening
from sdee.packer.units.own_directories import path_texts
from sdee.packer.units.resources import SETTINGS_LIMIT, TABLE_LIMIT, homes, is_own, is_small

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = re.compile(rb"(?:file://|(?<=[\s\"'=:,;(<>]))(/[\w.+@/-]{1,400})")
_LIMIT = 32 << 20  # bytes
_MOST = 1000  # files of settings that are read


class NamedBySettings(Unit):
    """Files that settings in etc name by absolute paths, settings named by those, and data with what lies beside it.

    Data only of settings that the run read or that an executed program itself names: half of all programs load a
    library that knows XML catalogues, and few are about them.
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield what the settings of each start name."""
        direct = {path: path for path in view.seen if _is_settings(view, path)}
        for program in view.programs():
            direct |= {path: program for path in path_texts(view.fs, program) if _is_settings(view, path)}
        brought = {path: path for path in sorted(view.claimed) if _is_settings(view, path)}
        done: set[str] = set()
        for settings, source in {**direct, **brought}.items():
            further, data = _follow(view, settings, done)
            paths = (*further, *(p for d in data for p in _with_neighbours(view, d))) if settings in direct else further
            if paths:
                name = f"what {settings} leads to"
                yield Widening(name, source, tuple(dict.fromkeys(paths)), limit=_LIMIT)


def _follow(view: View, start: str, done: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the settings that a file of settings leads to, and the other files that any of them names."""
    further: list[str] = []
    data: dict[str, None] = {}
    todo = [start]
    while todo:
        settings = todo.pop()
        if settings in done or len(done) > _MOST:
            continue
        done.add(settings)
        further += [settings] if settings != start else []
        for named in _names(view, settings):
            if _is_settings(view, named):
                todo.append(named)
            elif _is_data(view, named):
                data[named] = None
    return tuple(further), tuple(data)


def _names(view: View, path: str) -> Iterator[str]:
    content = view.fs.read(path, SETTINGS_LIMIT)
    if b"\0" not in content:
        yield from (os.fsdecode(name.rstrip(b"/.")) for name in dict.fromkeys(_PATH.findall(content)))


def _is_settings(view: View, path: str) -> bool:
    """Return whether a file is one of settings that everybody may read, and not the node's own."""
    return "/etc/" in path and not is_below_any(path, knowledge.HOST_FILES) and is_small(view, path, SETTINGS_LIMIT)


def _is_data(view: View, path: str) -> bool:
    """Return whether a file is installed, and no program: settings name shells, and more that is run than read."""
    status = view.fs.resolve(path).status
    runs = status is not None and bool(stat.S_IMODE(status.st_mode) & 0o111)
    return any(home in path for home in ("/share/", "/lib/")) and not runs and is_small(view, path, TABLE_LIMIT)


def _with_neighbours(view: View, path: str) -> tuple[str, ...]:
    """Return a file and all in its directory and below, if that is not one that many programs share (share/misc)."""
    real = view.fs.resolve(path).real
    directory = os.path.dirname(real)
    name = next((name for _, name in homes(real)), "")
    own = bool(name) and (is_own(name) or os.path.basename(directory) != name)
    return (path, *view.tree(directory, knowledge.NOT_RUN)) if own else (path,)
