"""Carries out the file system calls that standard input lists, and prints what each gave.

Run by tests/environment/test_env_calls.py in an environment and as real root. Needs nothing but Python's own library.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from typing import Any

CLOCK = 1_000_000_000  # times before it were set by the calls themselves; others are the clock's


def fields(file: os.stat_result) -> list[Any]:
    kind = stat.S_IFMT(file.st_mode)
    size = 0 if kind == stat.S_IFDIR else file.st_size  # overlayfs shows either layer's
    links = 0 if kind == stat.S_IFDIR else file.st_nlink
    time = file.st_mtime_ns if file.st_mtime < CLOCK else 0
    mode = file.st_mode & ~(0o6000 if kind != stat.S_IFDIR else 0)  # a write drops these bits in any user namespace
    return [oct(mode), file.st_uid, file.st_gid, size, links, time]


def opened(path: str, flags: int, mode: int, text: str = "") -> Any:
    descriptor = os.open(path, flags, mode)
    try:
        if text:
            os.write(descriptor, text.encode())
        return fields(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def by_descriptor(path: str, call: str, *arguments: Any) -> Any:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        getattr(os, call)(descriptor, *arguments)
    finally:
        os.close(descriptor)


def as_user(uid: int, gid: int, calls: list[list[Any]]) -> list[Any]:
    """Do calls with other file system ids, as daemons do that keep a way back."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return [carry_out(call) for call in calls]
    finally:
        os.seteuid(0)
        os.setegid(0)


CALLS: dict[str, Any] = {
    "stat": lambda path: fields(os.stat(path)),
    "lstat": lambda path: fields(os.lstat(path)),
    "statat": lambda directory, path: fields(os.stat(path, dir_fd=os.open(directory, os.O_PATH))),
    "access": os.access,
    "open": opened,
    "chmod": os.chmod,
    "chown": os.chown,
    "lchown": os.lchown,
    "fchmod": lambda path, mode: by_descriptor(path, "fchmod", mode),
    "fchown": lambda path, uid, gid: by_descriptor(path, "fchown", uid, gid),
    "utime": lambda path, ns, follow: os.utime(path, ns=(ns, ns), follow_symlinks=follow),
    "futime": lambda path, ns: by_descriptor(path, "utime", (ns, ns)),
    "truncate": os.truncate,
    "rename": os.rename,
    "link": lambda source, target, follow: os.link(source, target, follow_symlinks=follow),
    "symlink": os.symlink,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "mkdir": os.mkdir,
    "mkfifo": os.mkfifo,
    "readlink": os.readlink,
    "setxattr": lambda path, value, follow: os.setxattr(path, "user.x", value.encode(), follow_symlinks=follow),
    "getxattr": lambda path, follow: os.getxattr(path, "user.x", follow_symlinks=follow).decode(),
    "removexattr": lambda path: os.removexattr(path, "user.x"),
    "list": lambda path: sorted(os.listdir(path)),
    "read": read,
    "chdir": os.chdir,
    "umask": os.umask,
    "as_user": as_user,
}


def carry_out(call: list[Any]) -> Any:
    try:
        return CALLS[call[0]](*call[1:])
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def tree(top: str) -> dict[str, Any]:
    found = {}
    for directory, names, files in os.walk(top):
        for name in sorted((*names, *files)):
            path = os.path.join(directory, name)
            content = read(path) if stat.S_ISREG(os.lstat(path).st_mode) else ""
            found[path[len(top) :]] = [fields(os.lstat(path)), content]
    return found


def main() -> None:
    for line in sys.stdin:
        top, calls = json.loads(line)
        os.chdir(top)
        os.umask(0o022)
        said = [carry_out(call) for call in calls]
        print(json.dumps([said, tree(top)]), flush=True)


if __name__ == "__main__":
    main()
