"""What a program names in its own file: PREFIX/{share,lib,lib/ARCH,libexec}/NAME, PREFIX/etc, what it opens or starts.

Configured at build time (`--libdir`, `--datadir`), so that a program finds its plugins and tables from any directory:
they show what a program may open though the traced run opened nothing there.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from sdee.packer.filesystem import MAGIC, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.filesystem import FileSystem

_PREFIX = re.compile(r"(?P<prefix>.*?)/(?:bin|sbin|libexec|lib(?:32|64|x32)?)/")
_HOMES = ("share", "lib", "lib64", "libexec", "etc")
_LIBRARY = re.compile(rb"(lib[\w+.-]{1,80}\.so[\d.]*)\0")
_PATH = re.compile(rb"[\w.+@/-]{1,400}")
_BEFORE = frozenset(b"\0:=\"' ;,\n\t(I")  # `-I/usr/share/x`, `a=/usr/lib/x:/usr/share/x`
_PROGRAM = re.compile(rb"\0([A-Za-z_][\w.+-]{1,40})(?=\0| -| %| \|)")
_STARTING = (b"execvp", b"execlp", b"execvpe", b"posix_spawnp", b"popen", b"system")
_PROGRAM_LIMIT = 16 << 20  # bytes of a file whose constants may be programs
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
    return _constants(fs, path).paths


def named_libraries(fs: FileSystem, path: str) -> tuple[str, ...]:
    """Return the libraries (libx.so.1) that the ELF file at `path` names, () if it does not call dlopen(3)."""
    return _constants(fs, path).libraries


def named_programs(fs: FileSystem, path: str) -> tuple[str, ...]:
    """Return the words that may be programs for execvp(3) or system(3) of the ELF file at `path`, () if it calls none.

    A constant that is one word, or a word before an option, a conversion of printf(3) or a pipe; prose is neither.
    """
    return _constants(fs, path).programs


def names_time_zones(fs: FileSystem, path: str) -> bool:
    """Return whether the ELF file at `path` has the place of the time zones in it (Go's programs ask no C library)."""
    return _constants(fs, path).zones


class _Constants(NamedTuple):
    paths: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    zones: bool = False


def _constants(fs: FileSystem, path: str) -> _Constants:
    status = fs.status(path)
    if status is None or status.st_size > _FILE_LIMIT or fs.head(path) != MAGIC:
        return _Constants()
    prefix = prefix_of(path)
    found = fs.fact(path, f"constants {prefix}", lambda: _read_constants(fs, path, prefix))
    try:
        paths, libraries, programs, zones = found or ((), (), (), False)
        return _Constants(texts(paths), texts(libraries), texts(programs), bool(zones))
    except (TypeError, ValueError):  # a cache that says nonsense
        return _Constants()


def _read_constants(fs: FileSystem, path: str, prefix: str) -> list[object] | None:
    """Return what a file names; None where it cannot be read."""
    if not (content := fs.read(path, _FILE_LIMIT)):
        return None
    paths = dict.fromkeys(map(os.fsdecode, _texts(content, os.fsencode(prefix)))) if prefix else {}
    libraries = dict.fromkeys(map(os.fsdecode, _libraries(content))) if b"\0dlopen\0" in content else {}
    starts = len(content) <= _PROGRAM_LIMIT and any(b"\0%s\0" % name in content for name in _STARTING)
    programs = dict.fromkeys(map(os.fsdecode, _PROGRAM.findall(content))) if starts else {}
    return [list(paths), list(libraries), list(programs), b"/usr/share/zoneinfo/" in content]


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
            if at == 0 or content[at - 1] in _BEFORE or content.endswith(b"file://", 0, at):
                yield content[at:end].rstrip(b"/.")
            at = content.find(start, end)
