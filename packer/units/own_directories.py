"""What a program names in its own file: PREFIX/{share,lib,lib/ARCH,libexec}/NAME, PREFIX/etc, libraries for dlopen(3).

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
_HOMES = ("share", "lib", "lib64", "libexec", "etc")
_LIBRARY = re.compile(rb"(lib[\w+.-]{1,80}\.so[\d.]*)\0")
_PATH = re.compile(rb"[\w.+@/-]{1,400}")
_BEFORE = frozenset(b"\0:=\"' ;,\n\t(I")  # `-I/usr/share/x`, `a=/usr/lib/x:/usr/share/x`
_FILE_LIMIT = 64 << 20  # bytes: constants of larger files are mostly data


def prefix_of(path: str) -> str:
    """Return the directory above bin, lib or libexec that a program or library is installed below, "" for none."""
    match = _PREFIX.match(path)
    return match["prefix"] or "/usr" if match else ""


def named_paths(fs: FileSystem, path: str) -> tuple[str, ...]:
    """Return the paths below its own prefix that the ELF file at `path`, without links, names and that exist."""
    return tuple(name for name in path_texts(fs, path) if fs.resolve(name).status is not None)


def path_texts(fs: FileSystem, path: str) -> tuple[str, ...]:
    """Return the same whether or not they exist: a program may add an ending (magic.mgc)."""
    return _constants(fs, path)[0]


def named_libraries(fs: FileSystem, path: str) -> tuple[str, ...]:
    """Return the libraries (libx.so.1) that the ELF file at `path` names, () if it does not call dlopen(3)."""
    return _constants(fs, path)[1]


def names_time_zones(fs: FileSystem, path: str) -> bool:
    """Return whether the ELF file at `path` has the place of the time zones in it (Go's programs ask no C library)."""
    return _constants(fs, path)[2]


def _constants(fs: FileSystem, path: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    status = fs.status(path)
    if status is None or status.st_size > _FILE_LIMIT or fs.head(path)[:4] != b"\x7fELF":
        return (), (), False
    return _read_constants(path, prefix_of(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _read_constants(
    path: str, prefix: str, _mtime_ns: int, _size: int
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return what a file names: paths of the prefix, libraries, zones at all; once for a state of the file."""
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_LIMIT)
    except OSError:
        return (), (), False
    paths = dict.fromkeys(map(os.fsdecode, _texts(content, os.fsencode(prefix)))) if prefix else {}
    libraries = dict.fromkeys(map(os.fsdecode, _libraries(content))) if b"\0dlopen\0" in content else {}
    return tuple(paths), tuple(libraries), b"/usr/share/zoneinfo/" in content


def _libraries(content: bytes) -> Iterator[bytes]:
    at = content.find(b"\0lib")
    while at >= 0:
        if match := _LIBRARY.match(content, at + 1):
            yield match[1]
        at = content.find(b"\0lib", at + 1)


def _texts(content: bytes, prefix: bytes) -> Iterator[bytes]:
    for home in _HOMES:
        start = b"%s/%s/" % (b"" if prefix == b"/usr" and home == "etc" else prefix, home.encode())
        # bytes.find is some ten times as fast as a regular expression here
        at = content.find(start)
        while at >= 0:
            match = _PATH.match(content, at)
            end = match.end() if match else at + len(start)
            if at == 0 or content[at - 1] in _BEFORE:
                yield content[at:end].rstrip(b"/.")
            at = content.find(start, end)
