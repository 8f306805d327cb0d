"""What travels at a path, as a value: `sdee ls --json`, and Bundle.entries() of the Python API."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdee.packer.format import table

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}


@dataclass(frozen=True)
class Entry:
    """What travels at a path. `kind`: "file", "dir", "link" or "hard link"; `size` in bytes; `mode`: permissions.

    `link`: where a link leads; `sha256`: of a file's content, in hex, None for others.
    """

    path: str
    kind: str
    mode: int
    size: int
    mtime_ns: int
    link: str
    sha256: str | None


def entry_of(entry: table.Entry) -> Entry:
    """Return an entry of the table of contents as such a value."""
    return Entry(
        path=entry.path,
        kind="hard link" if entry.hard_link else _KINDS[entry.kind],
        mode=stat.S_IMODE(entry.mode),
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        link=entry.link,
        sha256=entry.sha256.hex() if stat.S_ISREG(entry.mode) else None,
    )
