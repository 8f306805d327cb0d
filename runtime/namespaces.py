"""New namespaces, where many ended just before: runtime/launcher/unshare.c in Python."""

from __future__ import annotations

import ctypes
import errno
import os
import time

from sdee.base.libc import CLONE_NEWNS, CLONE_NEWUSER, LIBC, MS_PRIVATE, MS_REC, mount

WAITS = (*(0.001 * 2**step for step in range(10)), 0.977)  # s: 2 in all


def unshare(flags: int) -> None:
    """Make namespaces (man 2 unshare); try again for 2 s while there is no room for more.

    Raises OSError: with ENOSPC, a limit of /proc/sys/user is reached (man 7 namespaces).
    """
    for wait in (*WAITS, None):
        if LIBC.unshare(flags) == 0:
            return
        number = ctypes.get_errno()
        if number != errno.ENOSPC or wait is None:
            reached = " (a limit in /proc/sys/user is reached)" if number == errno.ENOSPC else ""
            raise OSError(number, f"unshare: {os.strerror(number)}{reached}")
        time.sleep(wait)


def own_namespaces() -> None:
    """Make a mount namespace, as an ordinary user by a user namespace in which the ids stay (user_namespaces(7))."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0))
    if uid:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def _write(path: str, text: str) -> None:
    """Write a /proc file in one write(2)."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
