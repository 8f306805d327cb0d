"""What travels at a path: the names that a user may give it, and its entry as a value (also of the Python API)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.packer.format import table
    from sdee.packer.format.reader import Bundle

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


def job_path(bundle: Bundle, path: str) -> str:
    """Resolve a path as the job would: a relative one from its working directory."""
    joined = os.path.join(bundle.conf("cwd")[0], path)
    return "/" + os.path.normpath(joined).lstrip("/")


def named(bundle: Bundle, paths: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the bundle's names of what `paths` name, through links of directories, and the paths that name nothing."""
    found, missing = [], []
    for path in paths:
        name = job_path(bundle, path)
        entry = bundle.entries.get(name) or bundle.find(name)
        if entry or name == "/":
            found.append(entry.path if entry else name)
        else:
            missing.append(path)
    return tuple(found), missing
