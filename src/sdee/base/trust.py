"""Whose a file is that sdee finds by a name of its own: in a shared directory another user may have put it there.

As git's safe.directory and sshd's StrictModes: what belongs to the user or to root, and nobody else may write, counts.
The directory around it does not: who may write to that can replace the file, but not by one of this user's.
"""

from __future__ import annotations

import os
import stat

_ACL = "system.posix_acl_access"  # acl(5): with one, the group's bits are those of everybody that it names


def distrusted(path: str) -> str:
    """Return why what lies at a path does not count, "" when it does and when nothing lies there."""
    try:
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode):
            return distrusted_state(found, path)
        return foreign(found) or distrusted_state(os.stat(path), path)
    except OSError:
        return ""  # whoever opens it says why that fails


def foreign(found: os.stat_result) -> str:
    """Return whose a file is when it is neither the user's nor root's, else ""."""
    return "" if found.st_uid in (os.geteuid(), 0) else f"it belongs to {user_name(found.st_uid)}"


def is_own(path: str) -> bool:
    """Tell whether what lies at a path is the user's."""
    return os.lstat(path).st_uid == os.geteuid()


def distrusted_state(found: os.stat_result, path: str) -> str:
    """Return the same of a file that is open, or of a link's target; `path`: where it was found."""
    if why := foreign(found):
        return why
    if found.st_mode & stat.S_IWOTH:
        return "anybody may write to it"
    if found.st_mode & stat.S_IWGRP and not _is_private_group(found, path):
        return f"its group {_group_name(found.st_gid)} may write to it"
    return ""


def user_name(uid: int) -> str:
    """Return a user's name for people."""
    import pwd  # noqa: PLC0415 - seldom needed

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group_name(gid: int) -> str:
    import grp  # noqa: PLC0415

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_private_group(found: os.stat_result, path: str) -> bool:
    """Tell whether a group is the user's alone: named as the user, nobody else in it (umask 002 of Red Hat, Debian)."""
    import grp  # noqa: PLC0415
    import pwd  # noqa: PLC0415

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    if (user.pw_gid, user.pw_name) != (group.gr_gid, group.gr_name) or set(group.gr_mem) - {user.pw_name}:
        return False
    try:
        os.getxattr(path, _ACL)
    except OSError:
        return True
    return False
