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
from sdee.tokens import has_token

if TYPE_CHECKING:
    from sdee.packer.filesystem import FileSystem

CONTENT_LIMIT = 1 << 20  # bytes; a key is some kilobytes
# RFC 7468's header alone on its line, and base64 or a header field after it: source code that only names it is no key
_KEYS = (
    (b"PRIVATE KEY", rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n\s*[A-Za-z0-9+/]"),
    (b"SSH2 ENCRYPTED", rb"^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\r?\n"),  # RFC 4716's sibling of ssh.com
    (b"PuTTY-User-Key-File", rb"\APuTTY-User-Key-File-[0-9]: "),
)
# What a file begins with that is a secret as a whole, whatever its name
_BEGINNINGS = (
    (rb"\x05[\x03\x04](?:\x00\x0c\x00\x01|\x00\x00\x00\x00)", "holds Kerberos tickets"),  # MIT, ccache format
    (rb"\x05\x02\x00\x00..\x00[\x01-\x08]", "holds Kerberos keys"),  # keytab format
    (rb"# (?:Netscape )?HTTP Cookie File[^\n]*\n(?s:.*)\t(?:TRUE|FALSE)\t", "holds cookies"),  # curl, wget
    (rb"SQLite format 3\0(?s:.*)CREATE TABLE (?:moz_)?cookies\b", "holds a browser's cookies"),
    (rb"SQLite format 3\0(?s:.*)CREATE TABLE (?:moz_)?logins\b", "holds a browser's passwords"),
    (
        rb"(?:#[^\n]*\n|\s)*machine\s+\S+\s+login\s+\S+\s+(?:account\s+\S+\s+)?password\s+\S",
        "holds passwords, as .netrc does",
    ),
)
_SOURCE = (".py", ".pyc", ".so", ".c", ".h", ".js", ".pl", ".pm", ".rb", ".md", ".rst", ".html")


@lru_cache(maxsize=512)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(g) for g in globs) or r"(?!)")


def matches(path: str, globs: tuple[str, ...]) -> bool:
    """Return whether a glob matches `path`, or a directory above it: naming a directory means all of it.

    fnmatch's `*` goes past slashes, so `**` means no more than `*`.
    """
    while globs and path not in ("/", ""):
        if any(fnmatchcase(path, glob.rstrip("/") or "/") for glob in globs):
            return True
        path = os.path.dirname(path)
    return False


def _is_public(path: str, status: os.stat_result) -> bool:
    """Return whether a file is the system's and anybody may read it: nobody's secret, whatever it looks like."""
    return status.st_uid == 0 and bool(status.st_mode & stat.S_IROTH) and is_below_any(path, tables.SYSTEM_ROOTS)


def secret_by_name(path: str, fs: FileSystem) -> str:
    """Return why a file's name means a secret, "" when it does not. Code is never one by its name."""
    if _pattern(tables.NOT_SECRET).match(path):
        return ""
    if _pattern(tables.SECRET_PATHS).match(path):
        return "lies where secrets are kept"
    name = os.path.basename(path)
    if name.endswith(_SOURCE) or not _pattern(tables.SECRET_NAMES).match(name):
        return ""
    status = fs.status(path)
    return "" if status is not None and _is_public(path, status) else f"is named like a secret: {name}"


def secret_by_content(path: str, fs: FileSystem, *, own: bool = False) -> str:
    """Return why a file's content is a secret, "" when it is not.

    Not looked into: files over 1 MB, the system's files that anybody may read (sample keys in packages' documentation)
    and source code, unless it is the user's `own` and no part of some software.
    """
    status = fs.status(path)
    if status is None or not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= CONTENT_LIMIT:
        return ""
    code = path.endswith(_SOURCE) and not (own and not path.endswith((".pyc", ".so")))
    if _is_public(path, status) or code:
        return ""
    content = fs.read(path, CONTENT_LIMIT)
    if content.startswith(b"\x7fELF"):
        return ""
    if _holds_key(content):
        return "holds a private key"
    if has_token(content):
        return "holds a token of some service"
    return next((why for begin, why in _BEGINNINGS if re.match(begin, content)), "")


def _holds_key(content: bytes) -> bool:
    return any(word in content and re.search(shape, content, re.MULTILINE) for word, shape in _KEYS)
