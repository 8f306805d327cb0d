"""The table of system calls that take a path, base/facts/syscalls.txt, for every ABI that a tracee may use.

Both engines, the filter (bpf.py) and the recorder read it; nothing else knows a system call's number.
"""

from __future__ import annotations

from typing import NamedTuple

from sdee.base import facts

# linux/audit.h: the ABI of a system call
AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
AUDIT_ARCH_AARCH64 = 0xC00000B7
X32_SYSCALL_BIT = 0x40000000  # asm/unistd.h: set in `nr` under AUDIT_ARCH_X86_64 for an x32 call
O_NOFOLLOW = {AUDIT_ARCH_X86_64: 0o400000, AUDIT_ARCH_I386: 0o400000, AUDIT_ARCH_AARCH64: 0o100000}  # linux/fcntl.h

# asm/unistd_x32.h: calls whose structures or pointers differ have numbers of their own
X32_NUMBERS = {"execve": 520, "execveat": 545}
NOT_ON_X32 = {"uselib"}

# The highest number that this table's author has judged. A call above it stops too and makes the trace incomplete:
# it may take a path. 469 is file_setattr (Linux 6.17), nothing was added in 6.18.
HIGHEST_KNOWN = 469
X32_HIGHEST_KNOWN = 547
# x32's own range: above HIGHEST_KNOWN, yet known
X32_OWN_FIRST = 512

IO_URING_SETUP = 425  # on every ABI: numbers above 402 are common to all
EXIT_GROUP = {AUDIT_ARCH_X86_64: 231, AUDIT_ARCH_I386: 252, AUDIT_ARCH_AARCH64: 94}

# setitimer, alarm, timer_create: their signals come again and again (restarts.py)
TIMERS = {AUDIT_ARCH_X86_64: (38, 37, 222), AUDIT_ARCH_I386: (104, 27, 259), AUDIT_ARCH_AARCH64: (103, 107)}

AT_FDCWD = -100  # linux/fcntl.h
AT_EMPTY_PATH = 0x1000

# glibc's and Rust's fstat(fd): these calls with exactly AT_EMPTY_PATH and a real descriptor. They tell nothing that the
# descriptor's open did not, and were 42 % of all stops in a pipeline of short programs, so the filter lets them go.
# What that misses: a stat of a *name* below a directory's descriptor with this flag, exactly. A later open is seen.
FSTAT_FORMS = {"newfstatat", "fstatat64", "statx"}


class PathArgument(NamedTuple):
    """Where a call's path is: indices into its arguments; `dirfd` is None when the working directory counts."""

    dirfd: int | None
    path: int


class SystemCall(NamedTuple):
    """One system call of one ABI."""

    name: str
    kind: str
    paths: tuple[PathArgument, ...]
    flags: int | None
    links: str


def _optional(text: str) -> int | None:
    return None if text == "-" else int(text)


def _path_arguments(text: str) -> tuple[PathArgument, ...]:
    arguments = []
    for item in () if text == "-" else text.split(","):
        dirfd, _, path = item.rpartition(":")
        arguments.append(PathArgument(int(dirfd) if dirfd else None, int(path)))
    return tuple(arguments)


def _load() -> dict[int, dict[int, SystemCall]]:
    calls: dict[int, dict[int, SystemCall]] = {AUDIT_ARCH_X86_64: {}, AUDIT_ARCH_I386: {}, AUDIT_ARCH_AARCH64: {}}
    for name, x86_64, i386, aarch64, kind, paths, flags, links, *_ in facts.rows("syscalls"):
        call = SystemCall(name, kind, _path_arguments(paths), _optional(flags), links)
        if x86_64 != "-":
            calls[AUDIT_ARCH_X86_64][int(x86_64)] = call
            if name not in NOT_ON_X32:
                calls[AUDIT_ARCH_X86_64][X32_NUMBERS.get(name, int(x86_64)) | X32_SYSCALL_BIT] = call
        if i386 != "-":
            calls[AUDIT_ARCH_I386][int(i386)] = call
        if aarch64 != "-":
            calls[AUDIT_ARCH_AARCH64][int(aarch64)] = call
    return calls


# AUDIT_ARCH_* → number as the kernel sees it (x32 with its bit) → the call
CALLS = _load()


def pointer_size(arch: int, nr: int) -> int:
    """Return how many bytes a pointer has in the memory of a process that makes this call."""
    return 4 if arch == AUDIT_ARCH_I386 or nr & X32_SYSCALL_BIT else 8
