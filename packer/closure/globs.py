"""Globs on absolute paths, as --include and the others take them.

All that was changed in a private environment is tens of thousands of them, each a path: so what has no wildcards is
looked up, not tried one after the other.
"""

from __future__ import annotations

import os
import re
from fnmatch import translate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPED = re.compile(r"\[([*?[])\]")  # as glob.escape writes them


def only_path(glob: str) -> str | None:
    """Return the one path that a glob can match, None where it has wildcards."""
    if any(c in _ESCAPED.sub("", glob) for c in "*?["):
        return None
    return _ESCAPED.sub(r"\1", glob)


class Globs:
    """Any of some globs. fnmatch's `*` goes past slashes, so `**` means no more than `*`."""

    def __init__(self, globs: Iterable[str]) -> None:
        trimmed = [glob.rstrip("/") or "/" for glob in globs]
        self._paths = frozenset(path for glob in trimmed if (path := only_path(glob)) is not None)
        wild = [translate(glob) for glob in trimmed if only_path(glob) is None]
        self._wild = re.compile("|".join(wild)) if wild else None

    def match(self, path: str) -> bool:
        """Return whether a glob matches `path`, or a directory above it: naming a directory means all of it."""
        if not self._paths and self._wild is None:
            return False
        while path not in ("/", ""):
            if path in self._paths or (self._wild is not None and self._wild.match(path)):
                return True
            path = os.path.dirname(path)
        return False
