"""Copies of files as they were before the job changed them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import NamedTuple

from sdee.base import trust
from sdee.base.secrets.files import secret_content, secret_name, secret_place, to_look_into

COPY_LIMIT = 64 << 20  # bytes copied where the file system has no reflinks: the job waits meanwhile
SUM_LIMIT = 1 << 30  # bytes of all copies together
FREE_SHARE = 0.05  # of the space that is free: the rest is the job's
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_NEVER = ("/dev/", "/proc/", "/sys/")


class Copy(NamedTuple):
    """A file's state. `copy`: its name in the directory of copies, or None with the reason in `why`."""

    path: str
    copy: str | None
    size: int
    mtime_ns: int
    mode: int
    why: str


class Saver:
    """Fills `directory` (made 0700 when first needed) with one copy for each path, numbered.

    One that another user has put there, or a link, is never used: its owner could replace the copies.
    """

    def __init__(self, directory: str, *, keep: bool) -> None:
        """`keep`: add to what is there (--append); else remove it."""
        self._directory = directory
        self._descriptor = -1  # of the directory, once it is there
        self._why = ""  # why sdee does not use the directory that is there
        self._done: set[str] = set()
        self._next = 0
        self._copied = 0
        with contextlib.suppress(OSError):
            self._begin(keep=keep)

    def _begin(self, *, keep: bool) -> None:
        """Count the copies that are there, or remove them: nothing else, since others may have moved a directory there.

        Raises OSError.
        """
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            names = os.listdir(descriptor)
            self._why = trust.distrusted_state(os.fstat(descriptor), self._directory)
            if not self._why and not all(_is_copy(name, descriptor) for name in names):
                self._why = "it holds more than copies"
            if self._why or keep:
                self._next = 0 if self._why else 1 + max(map(int, names), default=-1)
                return
            for name in names:
                os.unlink(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(self._directory)

    def made_by_the_job(self, path: str) -> None:
        """Note that the job itself made `path` (free of links): nothing of it is worth saving."""
        self._done.add(path)

    def save(self, path: str, status: os.stat_result, place: str) -> Copy | None:
        """Copy the regular file at `path` (free of links), reached at `place`; None when there is nothing to save."""
        if path in self._done or not stat.S_ISREG(status.st_mode) or path.startswith(_NEVER):
            return None
        self._done.add(path)
        name, why = str(self._next), ""
        if _may_be_secret(path, place):
            return Copy(path, None, status.st_size, status.st_mtime_ns, status.st_mode, "it may hold a secret")
        try:
            self._open()
            self._copy(place, name, status.st_size)
        except OSError as error:
            why = error.strerror or str(error)
        except _TooLargeError as error:
            why = str(error)
        else:
            self._next += 1
        return Copy(path, None if why else name, status.st_size, status.st_mtime_ns, status.st_mode, why)

    def _open(self) -> None:
        """Make the directory, or take the user's own. Raises OSError."""
        if self._descriptor >= 0:
            return
        if self._why:
            raise OSError(errno.EPERM, f"sdee does not use {self._directory}: {self._why}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if why := trust.distrusted_state(os.fstat(descriptor), self._directory):
            os.close(descriptor)
            raise OSError(errno.EPERM, f"sdee does not use {self._directory}: {why}")
        self._descriptor = descriptor

    def _copy(self, source: str, target: str, size: int) -> None:
        reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            writer = os.open(
                target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._descriptor
            )
            try:
                try:
                    fcntl.ioctl(writer, _FICLONE, reader)
                except OSError as error:
                    if size > COPY_LIMIT:
                        raise _TooLargeError(f"larger than {COPY_LIMIT >> 20} MiB") from error
                    space = os.fstatvfs(writer)
                    if size > space.f_bavail * space.f_frsize * FREE_SHARE or self._copied + size > SUM_LIMIT:
                        raise _TooLargeError("copies would take disk space that the job needs") from error
                    self._copied += size
                    left = size
                    while left and (done := os.sendfile(writer, reader, size - left, left)):
                        left -= done
            except BaseException:
                os.unlink(target, dir_fd=self._descriptor)
                raise
            finally:
                os.close(writer)
        finally:
            os.close(reader)


def remove(directory: str) -> None:
    """Remove a directory of copies, unless it is another user's or holds other things."""
    Saver(directory, keep=False)


def _is_copy(name: str, directory: int) -> bool:
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    return name.isascii() and name.isdigit() and stat.S_ISREG(mode)


def _may_be_secret(path: str, place: str) -> bool:
    if secret_place(path) or secret_name(path):
        return True
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return bool(secret_content(to_look_into(lambda size: os.pread(fd, size, 0)), path))
        finally:
            os.close(fd)
    except OSError:
        return False


class _TooLargeError(Exception):
    pass
