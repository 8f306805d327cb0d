"""Writing trace files: docs/trace-format.md."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from typing import TYPE_CHECKING

from sdee.base import facts, patterns, trust
from sdee.base.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping


_JOB, _TASK = ("SLURM_JOB_ID", "JOB_ID"), ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID")
_ARRAY = ("SLURM_ARRAY_JOB_ID", "JOB_ID")
_FLUSH_SIZE = 64 << 10  # characters kept back at most; pulse() writes them out once a second


def expand_name(name: str, env: Mapping[str, str]) -> str:
    """Replace patterns in a trace's name (base/patterns.py). A rank, job or task that does not exist is 0.

    Raises UsageError for any other `%`.
    """
    rank = facts.rank_of(env) if "%t" in name or "%r" in name else ""
    host = os.uname().nodename.partition(".")[0]
    job, task = (next((env[v] for v in names if env.get(v, "").isdigit()), "0") for names in (_JOB, _TASK))
    array = next((env[v] for v in _ARRAY if env.get(v, "").isdigit()), job)
    values = {"t": rank, "N": host, "j": job, "A": array, "a": task, "p": str(os.getpid())}
    older = {"r": rank, "h": os.uname().nodename}  # before 0.2.0
    return patterns.expand(name, values | older)


_LINKS = 40  # path_resolution(7)


def _open(path: str, more: int) -> int:
    """Open a trace to be written; return the descriptor. Raises OSError, also for what another user put there.

    A link counts when it is the user's own or root's (/dev/stderr), as sysctl fs.protected_symlinks has it, which looks
    at sticky directories only; a pipe or a file that is there already when it is.
    """
    flags = os.O_CLOEXEC | os.O_NOCTTY | more
    for _ in range(_LINKS):
        try:
            return os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            link = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(link)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink > 1:
                _leave_other_names(path, more)
                continue
            if not stat.S_ISLNK(found.st_mode):
                return _open_known(link, flags, found)
            if trust.foreign(found):
                raise OSError(errno.EPERM, f"it is a link of another user: {trust.foreign(found)}")
            if path.startswith(("/proc/", "/dev/")):  # of the kernel's: what it leads to has perhaps no name
                return _open_known(link, flags, os.stat(path), path)
            path = os.path.join(os.path.dirname(path), os.readlink("", dir_fd=link))
        finally:
            os.close(link)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _leave_other_names(path: str, more: int) -> None:
    """Make way for a new file: another user may have linked a file of this user's there. Raises OSError."""
    if more & os.O_APPEND:
        raise OSError(errno.EPERM, "it has a second name (hard link)")
    os.unlink(path)


def _open_known(descriptor: int, flags: int, found: os.stat_result, path: str = "") -> int:
    """Open what is there, by a descriptor (O_PATH) or the path of a link of the kernel's."""
    regular = stat.S_ISREG(found.st_mode)
    if trust.foreign(found) or (regular and found.st_uid != os.geteuid()):
        raise OSError(errno.EPERM, f"it is not yours: it belongs to {trust.user_name(found.st_uid)}")
    place = path or f"/proc/self/fd/{descriptor}"
    try:
        return os.open(place, flags | os.O_RDWR)
    except OSError:  # a pipe that somebody reads, a terminal
        return os.open(place, flags | os.O_WRONLY)


class Writer:
    """A trace file being written. Failures never reach the job: `error` keeps the first and ends the writing."""

    def __init__(self, path: str, *, append: bool) -> None:
        """Open `path`, mode 0600. Raises OutputError when that cannot be done: before the job has begun."""
        try:
            self._descriptor = _open(path, os.O_APPEND if append else 0)
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                self._claim(path)
                os.fchmod(self._descriptor, 0o600)
                if not append:
                    os.ftruncate(self._descriptor, 0)
        except OSError as error:
            hint = "choose another place with -o FILE"
            raise OutputError(f"cannot write the trace {path!r}: {error.strerror}", hint=hint) from error
        self.path = path
        self.error: OSError | None = None
        self._lines: list[str] = []
        self._size = 0

    def _claim(self, path: str) -> None:
        """Lock the file against other tracers (flock(2)), where the file system has locks."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            hint = "give each its own trace: -o trace.%t (rank) or -o trace.%p (process)"
            raise OutputError(f"another sdee is writing the trace {path!r}", hint=hint) from error
        except OSError:
            pass

    def line(self, text: str) -> None:
        """Add one record, JSON and a newline."""
        self._lines.append(text)
        self._size += len(text)
        if self._size >= _FLUSH_SIZE:
            self.flush()

    def record(self, kind: str, /, **fields: object) -> None:
        """Add one record of `kind` with `fields`."""
        self.line(json.dumps({"t": kind, **fields}, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Write out what is buffered."""
        data = memoryview("".join(self._lines).encode("ascii"))
        self._lines.clear()
        self._size = 0
        while data and self.error is None:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:  # noqa: PERF203 - a short write is followed by the error that caused it
                self.error = error

    def close(self) -> None:
        """Write out everything and close; a trace that the job removed (`rm -f *`) is put back."""
        self.flush()
        self._put_back()
        try:
            os.close(self._descriptor)
        except OSError as error:  # NFS reports a full disk here
            self.error = self.error or error

    def _put_back(self) -> None:
        try:
            if os.fstat(self._descriptor).st_nlink or self.error:
                return
            with open(self.path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                at = 0
                while data := os.pread(self._descriptor, 1 << 20, at):
                    at += file.write(data)
        except OSError as error:
            self.error = self.error or error
