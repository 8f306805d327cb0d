"""What travels in a bundle and is another here by now: an edited script, a program that was compiled again."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.files import sha256
from sdee.base.paths import is_below_any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.format.reader import Bundle
    from sdee.packer.format.table import Entry

_MADE_AGAIN = "/__pycache__/"  # by the interpreter, when it is old


@dataclass(frozen=True)
class Change:
    """A file of a bundle that is another one here. `what`: "modified" or "deleted"; `newer`: than the bundle's."""

    path: str
    what: str
    newer: bool = False


def changes(bundle: Bundle, below: str = "") -> list[Change]:
    """Return the files and links of a bundle that are others here, or gone, by path.

    `below`: look in this directory only. Not what a node's own is used of, data. A file of the same size and another
    time is read: by its SHA-256 it may be the same.
    """
    live = frozenset(bundle.conf("fallback"))
    tops = tuple(dict.fromkeys((below, os.path.realpath(below)))) if below else ()
    found: list[Change] = []
    for path, entry in bundle.entries.items():
        if stat.S_ISDIR(entry.mode) or path in live or _MADE_AGAIN in path or (tops and not is_below_any(path, tops)):
            continue
        found += _compare(entry, bundle)
    return found


def _compare(entry: Entry, bundle: Bundle) -> Iterator[Change]:
    try:
        status = os.lstat(entry.path)
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(entry.mode):
            yield Change(entry.path, "modified")
        elif stat.S_ISLNK(entry.mode):
            if os.readlink(entry.path) != entry.link:
                yield Change(entry.path, "modified")
        else:
            size = bundle.entries[entry.link].size if entry.hard_link else entry.size
            same = status.st_size == size and (
                status.st_mtime_ns == entry.mtime_ns or sha256(entry.path) == entry.sha256.hex()
            )
            if not same:
                yield Change(entry.path, "modified", newer=status.st_mtime_ns > entry.mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        yield Change(entry.path, "deleted")
    except OSError:  # it cannot be read here: nobody can tell
        return
