"""The C library's functions that Python does not offer, each named by its man page. All raise OSError."""

from __future__ import annotations

import ctypes
import errno
import os
import time

WAITS = (*(0.001 * 2**step for step in range(10)), *(0.512,) * 18)  # s: 10 in all

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def checked(result: int, what: str, path: str | None = None) -> int:
    """Return the result of a call of LIBC. Raises OSError with errno where it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", path)
    return result


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system (man 2 mount)."""
    names = (os.fsencode(source), os.fsencode(target), os.fsencode(kind))
    result = LIBC.mount(*names, ctypes.c_ulong(flags), os.fsencode(options) or None)
    checked(result, f"mount {source} on {target}")


def umount2(target: str, flags: int) -> None:
    """Unmount a file system (man 2 umount)."""
    checked(LIBC.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make another directory the root (man 2 pivot_root)."""
    number = ctypes.c_long(_SYS_PIVOT_ROOT[os.uname().machine])
    checked(LIBC.syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


def no_new_privileges() -> None:
    """Set PR_SET_NO_NEW_PRIVS (man 2 prctl): what an unprivileged process gives up to install a filter."""
    checked(LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def die_with_parent(signal: int) -> None:
    """Ask for a signal when the parent ends, also when it is killed (man 2 prctl, PR_SET_PDEATHSIG)."""
    checked(LIBC.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def unshare(flags: int) -> None:
    """Make namespaces (man 2 unshare); try again for 10 s while there is no room for more, as native/lib/unshare.c.

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
