"""New namespaces, where many ended just before: runtime/native/lib/unshare.c in Python."""

from __future__ import annotations

import ctypes
import errno
import os
import time

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
WAITS = (*(0.001 * 2**step for step in range(10)), *(0.512,) * 18)  # s: 10 in all
_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Make namespaces (man 2 unshare); try again for 10 s while there is no room for more.

    Raises OSError: with ENOSPC, a limit of /proc/sys/user is reached (man 7 namespaces).
    """
    for wait in (*WAITS, None):
        if _libc.unshare(flags) == 0:
            return
        number = ctypes.get_errno()
        if number != errno.ENOSPC or wait is None:
            reached = " (a limit in /proc/sys/user is reached)" if number == errno.ENOSPC else ""
            raise OSError(number, f"unshare: {os.strerror(number)}{reached}")
        time.sleep(wait)
