"""Files that a user names: opened without waiting where they are something else."""

from __future__ import annotations

import errno
import os
import stat

_KINDS = {
    stat.S_IFIFO: "it is a FIFO",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}
_OWN = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")  # what the shell passed: <(COMMAND), | COMMAND /dev/stdin


def open_regular(path: str, *, passed: bool = False) -> int:
    """Open a file to read from; return the descriptor.

    A FIFO would wait for a writer for ever (fifo(7)), and opening a device may act on it. `passed`: what the shell has
    opened for this process may be a pipe. Raises OSError, whose strerror says what the file is; not for directories.
    """
    kind = os.stat(path).st_mode
    wait = passed and path.startswith(_OWN)
    if not wait:
        _check(path, kind)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if wait else os.O_NONBLOCK))
    try:
        if not wait:  # it may have been replaced
            _check(path, os.fstat(fd).st_mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def _check(path: str, mode: int) -> None:
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is not None:
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", path)


def read_text(path: str) -> str:
    """Return a file's text as it is: not UTF-8 by surrogateescape, no line break changed. Raises OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def lines(text: str) -> list[str]:
    r"""Return the lines of a text in which names of files stand: those end with "\n" alone.

    str.splitlines() ends one at ten other characters too, and text files of Python at "\r": a file system by FUSE that
    another user mounts may have them in its name, which proc_pid_mountinfo(5) does not escape.
    """
    return text.removesuffix("\n").split("\n") if text else []


def mountinfo() -> str:
    """Return this process's mountinfo file. Raises OSError."""
    return read_text("/proc/self/mountinfo")
