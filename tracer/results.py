"""What a run left behind: each file that it wrote, and its standard output, looked at as soon as it has ended.

`sdee verify` compares the run of a bundle with these (docs/trace-format.md, `result` and `end`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sdee.base.files import sha256
from sdee.base.secrets.files import secret_name, secret_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_LIMIT = 256 << 20  # bytes: larger files are recorded without a digest, the user waits meanwhile
SUM_LIMIT = 1 << 30  # bytes of all files together: one to three seconds
_NOT_FILES = ("/dev/", "/proc/", "/sys/", "/run/")


def left_by(changed: Iterable[str], moved: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield what is at each of the paths (free of links) now: fields of `result` records. What is gone yields none.

    `changed`: paths that the run wrote or made. `moved`: those that it renamed: all below them moved, too.
    """
    todo = dict.fromkeys(changed)
    for top in moved:
        for directory, _, names in os.walk(top):
            todo |= dict.fromkeys(os.path.join(directory, name) for name in names)
    left = SUM_LIMIT
    for path in todo:
        if path.startswith(_NOT_FILES):
            continue
        with contextlib.suppress(OSError):
            result = look(path, left)
            left -= result["size"] if isinstance(result.get("size"), int) and "sha256" in result else 0  # type: ignore[operator]
            if result:
                yield result


def look(path: str, limit: int = SUM_LIMIT) -> dict[str, object]:
    """Return path, kind, and of a file its size in bytes and digest, of a link its target; {} for other kinds.

    A file larger than `limit`, or that may hold a secret by its name, has no digest. Raises OSError.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return {"path": path, "kind": "link", "target": os.readlink(path)}
    if stat.S_ISDIR(status.st_mode):
        return {"path": path, "kind": "dir"}
    if not stat.S_ISREG(status.st_mode):
        return {}
    found: dict[str, object] = {"path": path, "kind": "file", "size": status.st_size}
    secret = secret_place(path) or secret_name(path)
    if status.st_size <= min(limit, FILE_LIMIT) and not secret:
        with contextlib.suppress(OSError):  # written with mode 0200
            found["sha256"] = sha256(path, 0, status.st_size)
    return found


class Output(NamedTuple):
    """Standard output that is a regular file, and where in it the run began to write. The job's own is not touched."""

    start: int

    @classmethod
    def begin(cls) -> Output | None:
        """Return it; None for a terminal or a pipe, and for a file that standard error goes to as well."""
        try:
            out = os.fstat(1)
            with contextlib.suppress(OSError):
                error = os.fstat(2)
                if (error.st_dev, error.st_ino) == (out.st_dev, out.st_ino):
                    return None
            if not stat.S_ISREG(out.st_mode):
                return None
            appends = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_APPEND
            return cls(out.st_size if appends else os.lseek(1, 0, os.SEEK_CUR))
        except OSError:
            return None

    def end(self) -> dict[str, object]:
        """Return size and digest of what the run has written there, {} when that cannot be told."""
        try:
            size = os.fstat(1).st_size - self.start
            if not 0 <= size <= FILE_LIMIT:
                return {}
            return {"size": size, "sha256": sha256("/proc/self/fd/1", self.start, self.start + size)}
        except OSError:  # opened for writing, and not to be read by this user
            return {}
