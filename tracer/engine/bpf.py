"""The seccomp filter: which system calls stop. One classic BPF program for all ABIs (seccomp(2), linux/filter.h).

Numbers are found by bisection over the table's ranges, so a call costs about eight instructions; calls that the
filter always allows do not even run it on Linux 5.11 and later (the kernel's per-ABI bitmap of constant answers),
because it loads nothing but the number and the ABI.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from sdee.tracer.syscalls import (
    AT_EMPTY_PATH,
    AUDIT_ARCH_X86_64,
    CALLS,
    FSTAT_FORMS,
    HIGHEST_KNOWN,
    IO_URING_SETUP,
    X32_HIGHEST_KNOWN,
    X32_OWN_FIRST,
    X32_SYSCALL_BIT,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sdee.tracer.syscalls import SystemCall

# linux/seccomp.h
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000

# An answer that no SECCOMP_RET_ value can be: the action, unless the call is fstat(2); plus the index of its flags
_UNLESS_FSTAT = 1 << 32

# linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JGE|BPF_K, BPF_JMP|BPF_JA, BPF_RET|BPF_K
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_NOT_LESS, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x05, 0x06
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16  # struct seccomp_data
_NO_CALL = 0x80000000  # numbers with the sign bit (a tracer's "skip this call") are no calls

Instruction = tuple[int, int, int, int]  # code, jt, jf, k
Range = tuple[int, int]  # first number, what the filter answers from there on


def _ranges(stops: dict[int, int], action: int, first_unknown: int, offset: int) -> list[Range]:
    """Return the answers as sorted ranges: `stops` as they say, unknown calls `action`, io_uring_setup ENOSYS."""
    answers = dict(stops)
    # Its opens run in the kernel's own threads, which no filter sees. Programs fall back to read and write.
    answers[IO_URING_SETUP + offset] = SECCOMP_RET_ERRNO | errno.ENOSYS
    ranges: list[Range] = [(0, SECCOMP_RET_ALLOW)]
    for nr in sorted(answers):
        if ranges[-1][0] == nr:
            ranges[-1] = (nr, answers[nr])
        else:
            ranges.append((nr, answers[nr]))
        ranges.append((nr + 1, SECCOMP_RET_ALLOW))
    if offset:  # x32: the numbers between the common calls and its own are not judged yet either
        ranges += [(HIGHEST_KNOWN + 1 + offset, action), (X32_OWN_FIRST + offset, SECCOMP_RET_ALLOW)]
    ranges.append((first_unknown, action))
    ranges.append((_NO_CALL, SECCOMP_RET_ALLOW))
    merged: list[Range] = []
    for first, answer in sorted(dict(ranges).items()):
        if not merged or merged[-1][1] != answer:
            merged.append((first, answer))
    return merged


def _leaf(answer: int, action: int) -> list[Instruction]:
    """Return what ends a decision. Arguments are looked at in their lower halves: flags and descriptors are ints."""
    if answer < _UNLESS_FSTAT:
        return [(_RETURN, 0, 0, answer)]
    flags = answer - _UNLESS_FSTAT
    return [
        (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * flags),
        (_JUMP_IF_EQUAL, 0, 2, AT_EMPTY_PATH),
        (_LOAD, 0, 0, _OFFSET_ARGUMENTS),
        (_JUMP_IF_NOT_LESS, 0, 1, 1 << 31),  # AT_FDCWD
        (_RETURN, 0, 0, action),
        (_RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]


def _bisect(ranges: list[Range], action: int) -> list[Instruction]:
    """Return a decision tree over `ranges`, the number being in the accumulator."""
    if len(ranges) == 1:
        return _leaf(ranges[0][1], action)
    middle = len(ranges) // 2
    below, above = _bisect(ranges[:middle], action), _bisect(ranges[middle:], action)
    if len(below) <= 255:  # a conditional jump's offset has eight bits
        return [(_JUMP_IF_NOT_LESS, len(below), 0, ranges[middle][0]), *below, *above]
    return [(_JUMP_IF_NOT_LESS, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _answer(call: SystemCall, action: int) -> int:
    if call.name in FSTAT_FORMS and call.flags is not None:
        return _UNLESS_FSTAT + call.flags
    return action


def instructions(action: int, extra: Mapping[int, Collection[int]] | None = None) -> list[Instruction]:
    """Return the filter that answers `action` (a SECCOMP_RET_ value) to the calls of syscalls.CALLS.

    `extra`: AUDIT_ARCH_* → more numbers that stop on that ABI (and on x32). A call above the highest number that
    the table's author knew stops as well, and so does every call of an ABI that the table lacks.
    """
    program: list[Instruction] = [(_LOAD, 0, 0, _OFFSET_ARCH)]
    for arch, calls in CALLS.items():
        stops = {nr: _answer(call, action) for nr, call in calls.items()}
        if extra and arch in extra:
            bits = (0, X32_SYSCALL_BIT) if arch == AUDIT_ARCH_X86_64 else (0,)
            more = {number | bit for number in extra[arch] for bit in bits}
            stops |= dict.fromkeys(more, action)
        native = {nr: answer for nr, answer in stops.items() if not nr & X32_SYSCALL_BIT}
        body = [(_LOAD, 0, 0, _OFFSET_NR)]
        ranges = _ranges(native, action, HIGHEST_KNOWN + 1, 0)
        if arch == AUDIT_ARCH_X86_64:
            offset = X32_SYSCALL_BIT
            others = {nr: answer for nr, answer in stops.items() if nr not in native}
            x32 = _ranges(others, action, X32_HIGHEST_KNOWN + 1 + offset, offset)
            ranges = [item for item in ranges if item[0] < offset] + [(offset, SECCOMP_RET_ALLOW), *x32[1:]]
        body += _bisect(ranges, action)
        program += [(_JUMP_IF_EQUAL, 1, 0, arch), (_JUMP, 0, 0, len(body)), *body]
    program.append((_RETURN, 0, 0, action))
    return program


def assemble(program: list[Instruction]) -> bytes:
    """Return `program` as an array of struct sock_filter (linux/filter.h)."""
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def answer(program: list[Instruction], arch: int, nr: int, args: Sequence[int] = (0,) * 6) -> int:
    """Run `program` on a call in Python: the SECCOMP_RET_ value that it returns."""
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == _RETURN:
            return k
        if code == _LOAD:
            values = {_OFFSET_NR: nr, _OFFSET_ARCH: arch}
            accumulator = values[k] if k in values else args[(k - _OFFSET_ARGUMENTS) // 8] & 0xFFFFFFFF
        elif code == _JUMP:
            at += k
        else:
            hit = accumulator == k if code == _JUMP_IF_EQUAL else accumulator >= k
            at += if_true if hit else if_false
