"""What entries of an overlay's upper layer mean (Documentation/filesystems/overlayfs.rst), with `userxattr`."""

from __future__ import annotations

import os
import stat

OWNER = "user.sdee.owner"  # owners.h
OPAQUE = "user.overlay.opaque"
WORKSHOP = ".sdee-own"  # copy_up.c: where copies are made


def is_whiteout(file: os.stat_result) -> bool:
    """Tell whether an entry of an upper layer says that the host's is removed (overlayfs: device 0/0)."""
    return stat.S_ISCHR(file.st_mode) and file.st_rdev == 0


def is_opaque(path: str) -> bool:
    """Tell whether a directory of an upper layer hides the host's content."""
    return attribute(path, OPAQUE) == b"y"


def attribute(path: str, name: str) -> bytes:
    """Return an extended attribute, b"" where there is none."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""
