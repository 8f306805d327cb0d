"""Namespaces of our own, for a process that mounts."""

from __future__ import annotations

import os

from sdee.base.libc import CLONE_NEWNS, CLONE_NEWUSER, MS_PRIVATE, MS_REC, mount, unshare


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
