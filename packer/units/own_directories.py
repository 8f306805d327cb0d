"""Directories that a program names in its own file: PREFIX/{share,lib,lib/ARCH,libexec}/NAME stand there as text.

Configured at build time (`--libdir`, `--datadir`), so that a program finds its plugins and tables from any directory:
they show what a program may open though the traced run opened nothing there.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.filesystem import FileSystem

_PREFIX = re.compile(r"(?P<prefix>.*?)/(?:bin|sbin|libexec|lib(?:32|64|x32)?)/")
_HOMES = ("share", "lib", "lib64", "libexec")
_PATH = re.compile(rb"[\w.+@/-]{1,400}")
_BEFORE = frozenset(b"\0:=\"' ;,\n\t(I")  # `-I/usr/share/x`, `a=/usr/lib/x:/usr/share/x`
_FILE_LIMIT = 64 << 20  # bytes: constants of larger files are mostly data


def prefix_of(path: str) -> str:
    """Return the directory above bin, lib or libexec that a program or library is installed below, "" for none."""
    match = _PREFIX.match(path)
    return match["prefix"] or "/usr" if match else ""


def named_paths(fs: FileSystem, path: str) -> tuple[str, ...]:
    """Return the paths below its own prefix that the ELF file at `path`, without links, names and that exist."""
    status = fs.status(path)
    prefix = prefix_of(path)
    if status is None or not prefix or status.st_size > _FILE_LIMIT or fs.head(path)[:4] != b"\x7fELF":
        return ()
    found = _strings(path, prefix, status.st_mtime_ns, status.st_size)
    return tuple(name for name in found if fs.resolve(name).status is not None)


@lru_cache(maxsize=4096)
def _strings(path: str, prefix: str, _mtime_ns: int, _size: int) -> tuple[str, ...]:
    """Return the texts of a file that begin as paths of the prefix's share, lib or libexec; once for a state of it."""
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_LIMIT)
    except OSError:
        return ()
    return tuple(dict.fromkeys(os.fsdecode(text) for text in _texts(content, os.fsencode(prefix))))


def _texts(content: bytes, prefix: bytes) -> Iterator[bytes]:
    for home in _HOMES:
        start = b"%s/%s/" % (prefix, home.encode())
        # bytes.find is some ten times as fast as a regular expression here
        at = content.find(start)
        while at >= 0:
            match = _PATH.match(content, at)
            end = match.end() if match else at + len(start)
            if at == 0 or content[at - 1] in _BEFORE:
                yield content[at:end].rstrip(b"/.")
            at = content.find(start, end)
