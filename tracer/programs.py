"""What the kernel opens by itself at execve(2): the #! chain and the ELF program interpreter."""

from __future__ import annotations

import os
import stat
import struct
from typing import NamedTuple

_HEAD = 4096  # bytes read of a program: headers and, as linkers lay it out, the interpreter's name
_SHEBANG = 256  # BINPRM_BUF_SIZE, Linux 5.1
_PT_INTERP = 3


class Program(NamedTuple):
    """One executable file. `interpreter`: the path in its #! line or PT_INTERP, as written, or None."""

    interpreter: str | None
    script: bool
    setid: bool


def _elf_interpreter(descriptor: int, head: bytes) -> str | None:
    """Return PT_INTERP of an ELF file (elf(5)), None for a static one."""
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    if wide:
        offset, size, count = *struct.unpack_from(order + "Q", head, 32), *struct.unpack_from(order + "HH", head, 54)
    else:
        offset, size, count = *struct.unpack_from(order + "I", head, 28), *struct.unpack_from(order + "HH", head, 42)
    table = os.pread(descriptor, size * min(count, 128), offset)
    for at in range(0, len(table) - size + 1, size or 1):
        if struct.unpack_from(order + "I", table, at)[0] != _PT_INTERP:
            continue
        where, length = (
            (struct.unpack_from(order + "Q", table, at + 8)[0], struct.unpack_from(order + "Q", table, at + 32)[0])
            if wide
            else struct.unpack_from(order + "I8xI", table, at + 4)
        )
        return os.fsdecode(os.pread(descriptor, min(length, 4096), where).split(b"\0")[0])
    return None


def _has_capabilities(descriptor: int) -> bool:
    try:
        return bool(os.getxattr(descriptor, "security.capability"))
    except OSError:
        return False


def read_program(path: str, status: os.stat_result) -> Program:
    """Read the program at `path` (free of links). What cannot be read has no interpreter, as for an unknown format.

    `setid`: execve would raise its privilege (set-user-ID, set-group-ID or file capabilities), which a filter without
    privilege forbids.
    """
    privileged = bool(
        status.st_mode & stat.S_ISUID or (status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP)
    )
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return Program(None, script=False, setid=privileged)
    try:
        head = os.pread(descriptor, _HEAD, 0)
        privileged = privileged or _has_capabilities(descriptor)
        if head.startswith(b"#!"):
            words = head[2:_SHEBANG].split(b"\n")[0].strip(b" \t").split(None, 1)
            return Program(os.fsdecode(words[0]) if words else None, script=True, setid=False)
        if head.startswith(b"\x7fELF") and len(head) >= 64:
            return Program(_elf_interpreter(descriptor, head), script=False, setid=privileged)
    except (OSError, struct.error, OverflowError):  # a damaged header may say anything
        pass
    finally:
        os.close(descriptor)
    return Program(None, script=False, setid=privileged)
