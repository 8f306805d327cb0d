"""A program's own resources: PREFIX/bin/prog that read of PREFIX/share/NAME may read all of it with another input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARE = re.compile(r"(?P<top>(?P<prefix>.*)/share/(?P<name>[^/]+))/.+$")
LIMIT = 200 << 20  # bytes
# Directories of share/ that belong to no one program; some are units of their own
_COMMON = frozenset(
    {
        "applications",
        "bash-completion",
        "ca-certificates",
        "common-licenses",
        "dbus-1",
        "dict",
        "doc",
        "dpkg",
        "fonts",
        "gcc",
        "gettext",
        "glib-2.0",
        "gtk-doc",
        "i18n",
        "icons",
        "info",
        "java",
        "javascript",
        "keyrings",
        "libthai",
        "licenses",
        "lintian",
        "locale",
        "man",
        "menu",
        "mime",
        "misc",
        "perl",
        "perl5",
        "pixmaps",
        "pkgconfig",
        "polkit-1",
        "python",
        "python3",
        "terminfo",
        "themes",
        "X11",
        "xml",
        "zoneinfo",
        "zsh",
    }
)


class ProgramResources(Unit):
    """PREFIX/share/NAME, if a program of PREFIX ran and a file there was read."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each resource directory once."""
        prefixes = {p.rpartition("/bin/")[0] for p in (*view.executed, *view.seen) if "/bin/" in p}
        done: set[str] = set()
        for path in view.seen:
            match = _SHARE.match(path)
            if match and match["top"] not in done and match["prefix"] in prefixes and match["name"] not in _COMMON:
                done.add(match["top"])
                yield Widening(f"the resources of {match['name']}", path, view.tree(match["top"]), limit=LIMIT)
