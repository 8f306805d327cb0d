"""From a path as a tracee gives it to the file it means: path_resolution(7), component by component, with every hop."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from sdee.tracer.syscalls import AT_FDCWD

_MAX_HOPS = 40  # MAXSYMLINKS: the kernel answers ELOOP beyond
_CACHE_LIMIT = 50_000  # directories

Hops = tuple[tuple[str, str], ...]

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


class Resolved(NamedTuple):
    """What a path means now.

    `path`: absolute, without `.`, `..` and doubled slashes, symbolic links as used (what precedes a `..` is
    resolved first, since `link/..` is not where `link` stands). `real`: the same without symbolic links. `hops`: each
    link met, as (where it stands, free of links itself; its text). `status` is None when nothing is there.
    """

    path: str
    real: str
    hops: Hops
    status: os.stat_result | None

    @property
    def kind(self) -> str | None:
        """`file`, `dir`, `link`, `socket`, `fifo`, `char`, `block`, or None when nothing is there."""
        return _KINDS.get(stat.S_IFMT(self.status.st_mode)) if self.status else None


class _Directory(NamedTuple):
    used: str  # "" is the root
    real: str
    hops: Hops


_ROOT = _Directory("", "", ())


class Resolver:
    """Resolves paths of one root.

    `root`: what leads there, "" for our own, /proc/PID/root for another. `shown`: what stands before its paths as seen
    from our root, for a chroot(2); "" for our own root and for a root that we cannot see (another mount namespace).

    Directories are remembered until forget() is called, which whoever changes or removes links or directories must do.
    """

    def __init__(self, root: str = "", shown: str = "") -> None:
        self.root = root
        self._shown = shown
        self._cache: dict[str, _Directory] = {}
        self._hops_left = _MAX_HOPS

    def forget(self) -> None:
        """Forget what was remembered: links or directories have changed."""
        self._cache.clear()

    def place(self, found: Resolved) -> str:
        """Return the path by which this process reaches what was found."""
        return found.real if self._shown else self.root + found.real

    def may_change(self, found: Resolved) -> bool:
        """Tell whether the kernel lets names come and go in its directory (access(2), as the tracer's own user).

        In a sticky one only the file's owner and the directory's may remove (unlink(2), EPERM).
        """
        directory, user = os.path.dirname(self.place(found)) or "/", os.geteuid()
        if not os.access(directory, os.W_OK | os.X_OK):
            return False
        if user == 0 or found.status is None or found.status.st_uid == user:
            return True
        above = os.stat(directory)
        return not above.st_mode & stat.S_ISVTX or above.st_uid == user

    def resolve(self, path: str, pid: int, *, follow: bool = True) -> Resolved:
        """Resolve the absolute `path` as process `pid` (for /proc/self); `follow` a link in the last component."""
        self._hops_left = _MAX_HOPS
        found = self._resolve(path, pid, follow=follow)
        if self._hops_left < 0:  # ELOOP
            found = found._replace(status=None)
        if self._shown:
            return found._replace(path=self._shown + found.path, real=self._shown + found.real)
        return found

    def _resolve(self, path: str, pid: int, *, follow: bool) -> Resolved:
        head, _, name = path.rpartition("/")
        if name in ("", ".", ".."):  # a directory's own name with more after it: links are followed
            used, real, hops = self._directory(path, pid)
            return Resolved(used or "/", real or "/", hops, self._lstat(real or "/"))
        used, parent, hops = self._directory(head, pid)
        location = f"{parent}/{name}"
        status = self._lstat(location)
        if status is None or not stat.S_ISLNK(status.st_mode):
            return Resolved(f"{used}/{name}", location, hops, status)
        target = self._link(location, pid)
        if target is None:  # a link of /proc to what has no path: a pipe, a socket
            return Resolved(f"{used}/{name}", location, hops, self._stat(location) if follow else status)
        hops = (*hops, (location, target))
        if not follow:
            return Resolved(f"{used}/{name}", location, hops, status)
        self._hops_left -= 1
        _, real, more = self._directory(_join(parent, target), pid)
        end = self._stat(real) if real.startswith("/proc/") else self._lstat(real or "/")  # there a pipe stays a link
        return Resolved(f"{used}/{name}", real or "/", hops + more, end)

    def _directory(self, path: str, pid: int) -> _Directory:
        """Resolve `path` with all its links, from the longest part that is known. Not recursive but for links.

        The hops of a whole path are counted, not how deep they lie: `a -> a/../a` doubles them at each.
        """
        rest: list[tuple[str, str]] = []  # (path up to here, last component), innermost first
        while path and path not in self._cache:
            head, _, name = path.rpartition("/")
            rest.append((path, name))
            path = head
        found = self._cache[path] if path else _ROOT
        for upto, name in reversed(rest):
            used, real, hops = found
            if name in ("", "."):
                continue
            if name == "..":
                real = real.rpartition("/")[0]
                found = _Directory(real, real, hops)
                continue
            location = f"{real}/{name}"
            target = self._link(location, pid) if self._hops_left >= 0 else None
            if target is None:
                found = _Directory(f"{used}/{name}", location, hops)
            else:
                self._hops_left -= 1
                _, real, more = self._directory(_join(real, target), pid)
                found = _Directory(f"{used}/{name}", real, (*hops, (location, target), *more))
            if self._hops_left >= 0 and self._cacheable(location, found.real):
                self._cache[upto] = found
        return found

    def _cacheable(self, location: str, real: str) -> bool:
        """/proc differs for each process and moment; what is not there yet may come."""
        if location.startswith("/proc") or real.startswith("/proc"):
            return False
        if len(self._cache) > _CACHE_LIMIT:
            self._cache.clear()
        return self._lstat(real) is not None

    def _link(self, location: str, pid: int) -> str | None:
        """Return a link's text, None for what is no link (readlink(2))."""
        if location.startswith("/proc/"):
            if location == "/proc/self":
                return str(pid)
            if location == "/proc/thread-self":
                return f"{pid}/task/{pid}"
        try:
            target = os.readlink(self.root + location)
        except OSError:
            return None
        magic = location.startswith("/proc/") and not target.startswith("/") and ":" in target
        return None if magic else target

    def _lstat(self, location: str) -> os.stat_result | None:
        try:
            return os.lstat(self.root + location)
        except (OSError, ValueError):
            return None

    def _stat(self, location: str) -> os.stat_result | None:
        try:
            return os.stat(self.root + location)
        except OSError:
            return None


def _join(directory: str, target: str) -> str:
    return target if target.startswith("/") else f"{directory}/{target}"


def start_of(tid: int, dirfd: int) -> str:
    """Return where a relative path of a thread starts (proc_pid_fd(5), proc_pid_cwd(5)).

    `dirfd` is as in the register: an int, whatever the upper half holds. Raises OSError: EBADF, ENOTDIR, ESRCH.
    """
    number = (dirfd & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    if number == AT_FDCWD:
        return os.readlink(f"/proc/{tid}/cwd")
    if number < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    base = os.readlink(f"/proc/{tid}/fd/{number}")
    if not base.startswith("/"):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return base
