"""Recognise files that must not leave this machine unasked: by name, and by content."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from sdee.base.paths import is_below_any
from sdee.base.secrets.files import CODE, is_setting, secret_content, secret_name, secret_place, to_look_into
from sdee.packer import knowledge

if TYPE_CHECKING:
    import os

    from sdee.packer.filesystem import FileSystem


def _is_public(path: str, status: os.stat_result) -> bool:
    """Return whether a file is the system's and anybody may read it: nobody's secret, whatever it looks like."""
    return status.st_uid == 0 and bool(status.st_mode & stat.S_IROTH) and is_below_any(path, knowledge.SYSTEM_ROOTS)


def secret_by_name(path: str, fs: FileSystem) -> str:
    """Return why a file's name means a secret, "" when it does not. Code is never one by its name."""
    if why := secret_place(path):
        return why
    why, status = secret_name(path), fs.status(path)
    return "" if why and status is not None and _is_public(path, status) else why


def secret_by_content(path: str, fs: FileSystem, *, own: bool = False) -> str:
    """Return why a file's content is a secret, "" when it is not.

    Not looked into: what comes after 1 MB, of texts after 32 MB; the system's files that anybody may read (sample keys
    in packages' documentation) and source code, unless it is the user's `own` and no part of some software.
    """
    status = fs.status(path)
    if status is None or not stat.S_ISREG(status.st_mode) or not status.st_size:
        return ""
    code = path.endswith(CODE) and not (own and not path.endswith((".pyc", ".so")))
    if code or _is_public(path, status):
        return ""
    why = fs.fact(path, f"secret{is_setting(path):d}", lambda: _look(path, fs))
    return why if isinstance(why, str) else _look(path, fs) or ""


def _look(path: str, fs: FileSystem) -> str | None:
    content = to_look_into(lambda size: fs.read(path, size))
    return secret_content(content, path) if content else None
