"""Globs of the command line: names and patterns as a shell would take them."""

from __future__ import annotations

import glob
import os


def absolute(globs: tuple[str, ...], *, anywhere: bool = True) -> tuple[str, ...]:
    """Expand names and globs as a shell would, from here. An existing file of that name wins over a pattern.

    `anywhere`: `*.pyc` and `**/tests` mean any directory, as for tar and rsync.
    """
    found = []
    for name in globs:
        literal = os.path.normpath(os.path.join(os.getcwd(), name))
        if os.path.lexists(literal):
            found.append(glob.escape(literal))
        else:
            found.append(name if anywhere and name.startswith("*") else literal)
    return tuple(found)
