"""Kernel interfaces that Python does not offer: a thin function for each, named by its man page. All raise OSError."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from sdee.base.libc import LIBC, checked, no_new_privileges

_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2  # Linux 4.17
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5  # Linux 5.19: only deadly signals interrupt a call that has been read
_SFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC

SIGINFO_SIZE = 128  # struct signalfd_siginfo
_machine = os.uname().machine


class _SockFprog(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def seccomp_filter(program: bytes, flags: int) -> int:
    """seccomp(2), SECCOMP_SET_MODE_FILTER: return the listener's descriptor with _NEW_LISTENER, else 0.

    With SECCOMP_FILTER_FLAG_SPEC_ALLOW where the kernel has it: before Linux 5.16 a filter without it slows down all
    that the job computes (barriers against speculative stores, Documentation/userspace-api/spec_ctrl.rst).
    """
    try:
        return _set_filter(program, flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _set_filter(program, flags)


def _set_filter(program: bytes, flags: int) -> int:
    filter_program = _SockFprog(len(program) // 8, program)
    number = ctypes.c_long(_SYS_SECCOMP[_machine])
    result = LIBC.syscall(number, SECCOMP_SET_MODE_FILTER, ctypes.c_uint(flags), ctypes.byref(filter_program))
    return checked(result, "seccomp(SECCOMP_SET_MODE_FILTER)")


_LET_ALL_GO = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)


def has_listener() -> bool:
    """Tell whether a supervisor listens to this process already: a second one would get EBUSY (seccomp(2))."""
    pid = os.fork()  # what is installed stays, so it is tried in a child
    if pid == 0:
        number = 0
        try:
            no_new_privileges()
            seccomp_filter(_LET_ALL_GO, SECCOMP_FILTER_FLAG_NEW_LISTENER)
        except OSError as error:
            number = error.errno or 0
        finally:
            os._exit(number & 0xFF)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EBUSY


def speculation() -> tuple[str, str]:
    """Return what the kernel does against speculation in this process, and in one under a filter of ours.

    As proc_pid_status(5) says it of stores; "" where it does not, or where it takes no filter.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            no_new_privileges()
            seccomp_filter(_LET_ALL_GO, 0)
            os.write(theirs, _speculation().encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, encoding="ascii") as pipe:
        found = pipe.read()
    os.waitpid(pid, 0)
    return _speculation(), found


def _speculation() -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        fields = dict(line.strip().split(":", 1) for line in file if ":" in line)
    return fields.get("Speculation_Store_Bypass", "").strip()


def signalfd(signals: set[int]) -> int:
    """Return a descriptor from which `signals`, which must be blocked, can be read; non-blocking, close-on-exec.

    See signalfd(2).
    """
    mask = ctypes.create_string_buffer(128)  # sigset_t of glibc and musl
    for number in signals:
        mask[(number - 1) // 8] = bytes([mask.raw[(number - 1) // 8] | 1 << (number - 1) % 8])
    return checked(LIBC.signalfd(-1, mask, _SFD_FLAGS), "signalfd")


def supported() -> str | None:
    """Return None when the tracer knows this machine's system calls, else why not."""
    if _machine not in _SYS_SECCOMP:
        return f"{_machine} processors are not supported, only {' and '.join(_SYS_SECCOMP)}"
    if sys.maxsize <= 1 << 32:
        return "this is a 32-bit Python: use a 64-bit one"
    return None
