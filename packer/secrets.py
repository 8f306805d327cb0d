"""What must not leave this machine unasked: told by name, and by a private key's header."""

from __future__ import annotations

import os
import re
import stat
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import TYPE_CHECKING

from sdee.packer import tables
from sdee.packer.filesystem import is_below_any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdee.packer.filesystem import FileSystem

CONTENT_LIMIT = 1 << 20  # bytes; a key is some kilobytes
# RFC 7468's header alone on its line, and base64 or a header field after it: source code that only names it is no key
_KEY = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n\s*[A-Za-z0-9+/]", re.MULTILINE)
_SOURCE = (".py", ".pyc", ".so", ".c", ".h", ".js", ".pl", ".pm", ".rb", ".md", ".rst", ".html")


@lru_cache(maxsize=512)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(g) for g in globs) or r"(?!)")


def matches(path: str, globs: Iterable[str]) -> bool:
    """Return whether a glob matches `path`, or a directory above it: naming a directory means all of it.

    fnmatch's `*` goes past slashes, so `**` means no more than `*`.
    """
    while path not in ("/", ""):
        if any(fnmatchcase(path, glob.rstrip("/") or "/") for glob in globs):
            return True
        path = os.path.dirname(path)
    return False


def secret_by_name(path: str) -> str:
    """Return why a file's name means a secret, "" when it does not. Code is never one by its name."""
    if _pattern(tables.NOT_SECRET).match(path):
        return ""
    if _pattern(tables.SECRET_PATHS).match(path):
        return "lies where secrets are kept"
    name = os.path.basename(path)
    if not name.endswith(_SOURCE) and _pattern(tables.SECRET_NAMES).match(name):
        return f"is named like a secret: {name}"
    return ""


def secret_by_content(path: str, fs: FileSystem) -> str:
    """Return why a file's content is a secret, "" when it is not.

    Not looked into: source code, files over 1 MB, and root's world-readable files of the system, which are no
    secrets of anybody (sample keys in packages' documentation).
    """
    status = fs.status(path)
    if status is None or not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= CONTENT_LIMIT:
        return ""
    public = status.st_uid == 0 and status.st_mode & stat.S_IROTH and is_below_any(path, tables.SYSTEM_ROOTS)
    if public or path.endswith(_SOURCE) or fs.head(path)[:4] == b"\x7fELF":
        return ""
    return "holds a private key" if _KEY.search(fs.read(path, CONTENT_LIMIT)) else ""
