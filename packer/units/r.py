"""R: its own library whole, and of each other package that was loaded the whole, with what that one imports."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = re.compile(
    r"(?P<package>(?P<library>.*/(?:library|site-library|R/[^/]+/\d[\d.]*))/(?P<name>[A-Za-z][\w.]*))/.+$"
)
_FIELDS = re.compile(r"^(?:Depends|Imports):((?:.*\n[ \t]+)*.*)$", re.MULTILINE)
_NOT_RUN = frozenset(("doc", "html", "help", "tests", "demo", "include", "unitTests"))
_HOME_LIMIT, _LIMIT = 2 << 30, 4 << 30


class RHome(Unit):
    """R_HOME (R RHOME), the directory that has lib/libR.so or bin/exec/R, with its base and recommended packages."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each R_HOME that was used, with Debian's share and etc directories of it."""
        done: set[str] = set()
        for path in (*view.executed, *view.seen):
            home = path.rpartition("/lib/libR.so")[0] or path.rpartition("/bin/exec/R")[0]
            if not home or home in done or not view.fs.is_dir(f"{home}/library"):
                continue
            done.add(home)
            tops = [home, *(top for top in ("/usr/share/R", "/etc/R") if home.startswith("/usr/lib"))]
            # a site library below it holds what the site installed: that comes by its use
            skip = _NOT_RUN | {"site-library"}
            paths = [p for top in tops if view.fs.is_dir(top) for p in view.tree(top, skip)]
            yield Widening("R itself", path, tuple(paths), limit=_HOME_LIMIT)


class RPackages(Unit):
    """A package (a directory with DESCRIPTION) whole, and those that it Depends on or Imports, wherever they lie."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each package once, in order of first access."""
        libraries: dict[str, None] = {}
        todo: list[tuple[str, str, str]] = []
        for path in view.seen:
            match = _PACKAGE.match(path)
            if match and view.fs.is_file(f"{match['package']}/DESCRIPTION"):
                libraries[match["library"]] = None
                todo.append((match["name"], match["library"], path))
        done: set[str] = set()
        while todo:
            name, library, source = todo.pop(0)
            places = dict.fromkeys((library, *libraries))
            top = next((f"{p}/{name}" for p in places if view.fs.is_file(f"{p}/{name}/DESCRIPTION")), "")
            if not top or top in done:
                continue
            done.add(top)
            yield Widening(f"the R package {name}", source, view.tree(top, _NOT_RUN), limit=_LIMIT)
            description = os.fsdecode(view.fs.read(f"{top}/DESCRIPTION"))
            needed = {word for field in _FIELDS.findall(description) for word in re.findall(r"[A-Za-z][\w.]*", field)}
            todo += [(other, library, f"{top}/DESCRIPTION") for other in sorted(needed)]
