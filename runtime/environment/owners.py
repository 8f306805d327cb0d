"""The file `owners`: emulated owners of what can have no attribute (links, pipes, sockets), as owners.c keeps them.

A line says device, inode, birth time in nanoseconds, uid, gid; the last for a file counts. The device is 0 for files of
the environment, since an overlay has another one at each mount.
"""

from __future__ import annotations

import ctypes
import os
import stat
from typing import TYPE_CHECKING

from sdee.base.libc import LIBC, checked
from sdee.runtime.environment.upper_layer import OWNER, attribute, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.runtime.environment.store import Environment

Key = tuple[int, int]  # inode, birth time
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME = -100, 0x100, 0x800


class _Statx(ctypes.Structure):
    """struct statx, statx(2), up to stx_btime."""

    _fields_ = [
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("spare", ctypes.c_uint16),
        ("ino", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("blocks", ctypes.c_uint64),
        ("attributes_mask", ctypes.c_uint64),
        ("atime", ctypes.c_int64 * 2),
        ("btime_seconds", ctypes.c_int64),
        ("btime_nanoseconds", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 180),
    ]


def key_of(path: str) -> Key:
    """Return by what owners.c knows a file: inode number and birth time, 0 where the file system keeps none."""
    file = _Statx()
    arguments = (_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, 0x7FF | _STATX_BTIME, ctypes.byref(file))
    checked(LIBC.statx(*arguments), "statx", path)
    born = file.btime_seconds * 10**9 + file.btime_nanoseconds if file.mask & _STATX_BTIME else 0
    return file.ino, born


class Owners:
    """What an environment shows as owners of the entries of its upper layers."""

    def __init__(self, environment: Environment) -> None:
        self._ranges = environment.plan().ranges
        self._recorded: dict[Key, tuple[int, int]] = {}
        self.outside: list[str] = []  # lines about files that are not the environment's
        for fields, line in _lines(environment):
            if fields[0]:
                self.outside.append(line)
            else:
                self._recorded[fields[1], fields[2]] = (fields[3], fields[4])

    def of(self, path: str, file: os.stat_result) -> tuple[int, int]:
        """Return the owner of an entry of an upper layer, of which `file` is lstat(2), as it shows inside."""
        if self._ranges:
            return _shown(file.st_uid, os.geteuid(), self._ranges[0]), _shown(
                file.st_gid, os.getegid(), self._ranges[1]
            )
        if stat.S_ISREG(file.st_mode) or stat.S_ISDIR(file.st_mode):
            recorded = attribute(path, OWNER).split()
            if len(recorded) == 2 and recorded[0].isdigit() and recorded[1].isdigit():
                return int(recorded[0]), int(recorded[1])
        return self._recorded.get(key_of(path), (0, 0)) if self._recorded else (0, 0)

    @property
    def emulated(self) -> bool:
        """Tell whether owners are emulated: else what is made as a copy of the host's is root's."""
        return self._ranges is None

    def is_recorded(self) -> bool:
        """Tell whether any owner stands in the file `owners` alone."""
        return bool(self._recorded)


def record_as_hosts(host: str, path: str) -> None:
    """Record in a file of an upper layer that its owner is that of the host's: as skeleton.c does."""
    owner = os.lstat(host)
    uid, gid = (
        (0 if owner.st_uid == os.geteuid() else owner.st_uid),
        (0 if owner.st_gid == os.getegid() else owner.st_gid),
    )
    if (uid, gid) != (0, 0):
        os.setxattr(path, OWNER, b"%d %d" % (uid, gid))


def _shown(number: int, own: int, numbers: tuple[int, int]) -> int:
    """user_namespaces(7): the user is root, their range follows; in the namespace itself the numbers are right."""
    if own == 0:
        return number
    start, count = numbers
    return 0 if number == own else number - start + 1 if start <= number < start + count else number


def _lines(environment: Environment) -> Iterator[tuple[list[int], str]]:
    try:
        with open(environment.path("owners"), encoding="ascii", errors="replace") as file:
            text = file.read()
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 5 and all(word.removeprefix("-").isdigit() for word in fields):
            yield [int(word) for word in fields], line


def write(environment: Environment, outside: list[str], owned: dict[str, tuple[int, int]]) -> None:
    """Rewrite `owners`: of files outside as given, and of entries of the upper layers, by their paths here."""
    text = "".join(f"{line}\n" for line in outside)
    for path, (uid, gid) in owned.items():
        inode, born = key_of(path)
        text += f"0 {inode} {born} {uid} {gid}\n"
    with open(environment.path("owners"), "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(environment.path("owners"), 0o600)


def recorded_below(owners: Owners, top: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield path below `top` and owner of links, pipes and sockets that are not root's."""
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            file = os.lstat(path)
            if not (stat.S_ISREG(file.st_mode) or stat.S_ISDIR(file.st_mode) or is_whiteout(file)):
                owner = owners.of(path, file)
                if owner != (0, 0):
                    yield path[len(top) :], owner
