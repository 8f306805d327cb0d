"""Reading and writing small files as what they are: without waiting, whole or not at all, as UTF-8."""

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
_CHUNK = 1 << 20  # bytes read at once
_OWN = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")  # what the shell passed: <(COMMAND), | COMMAND /dev/stdin


def open_regular(path: str, *, passed: bool = False) -> int:
    """Open a file to read from; return the descriptor.

    A FIFO would wait for a writer forever (fifo(7)), and opening a device may act on it. `passed`: what the shell has
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


def sha256(path: str, start: int = 0, end: int | None = None) -> str:
    """Return the SHA-256 in hex of a regular file, or of its bytes from `start` to `end`. Raises OSError."""
    import hashlib  # noqa: PLC0415 - entering an environment reads files, and digests none

    total = hashlib.sha256()
    fd = open_regular(path)
    try:
        while data := os.pread(fd, _CHUNK if end is None else min(_CHUNK, end - start), start):
            total.update(data)
            start += len(data)
    finally:
        os.close(fd)
    return total.hexdigest()


def private_opener(path: str, flags: int) -> int:
    """Open a file that is the user's alone when it is made, whatever the umask is: an `opener` for open()."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _check(path: str, mode: int) -> None:
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is not None:
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", path)


def write_whole(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file with these permissions, whole or not at all, in place of what is there. Raises OSError."""
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "wb", opener=private_opener) as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        os.replace(new, path)
    except BaseException:
        if os.path.lexists(new):
            os.unlink(new)
        raise


def write_script(path: str, text: str) -> None:
    """Write a script, executable, whole or not at all. Raises OutputError.

    It is the user's alone: it may hold a secret of a command line, or be a copy of a script that others may not read.
    """
    from sdee.base.errors import OutputError  # noqa: PLC0415 - entering an environment reads files, and does without enum

    try:
        write_whole(path, text.encode("utf-8", "surrogateescape"), 0o700)
    except OSError as error:
        raise OutputError(f"cannot write the script {path!a}: {error.strerror}") from error


def read_text(path: str) -> str:
    """Return a file's text as it is: not UTF-8 by surrogateescape, no line end changed. Raises OSError."""
    with open(path, "rb", buffering=0) as file:  # a third less than a text file takes, of which dpkg has thousands
        return file.read().decode("utf-8", "surrogateescape")


def lines(text: str) -> list[str]:
    r"""Return the lines of a text in which others' names stand: those end with "\n" alone.

    str.splitlines() ends one at ten other characters too, and text files of Python at "\r". A file system by FUSE that
    another user mounts may have them in its name, and proc_pid_mountinfo(5) does not escape them.
    """
    return text.removesuffix("\n").split("\n") if text else []


def text_of(path: str) -> str:
    """Return the text of a file as read_text() does, "" where there is none that can be read."""
    try:
        return read_text(path)
    except OSError:
        return ""


def beside(module: str, name: str) -> str:
    """Return a text that is installed beside a module, of which this is the `__file__`."""
    with open(os.path.join(os.path.dirname(module), name), encoding="utf-8") as file:
        return file.read()
