"""ptrace(2) as functions: what ptrace.py needs beyond python-ptrace's `ptrace.binding`, one request each.

Every function raises ProcessLookupError when the tracee is gone or not stopped: a tracee can be killed at any moment,
also between its stop and our answer, so that callers treat it as normal.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from typing import NamedTuple

from ptrace.binding import func as binding
from ptrace.error import PtraceError

from sdee.tracer.syscalls import AUDIT_ARCH_AARCH64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, CALLS

# linux/ptrace.h, where python-ptrace has no name for it
_PTRACE_SEIZE = 0x4206
_PTRACE_LISTEN = 0x4208
_PTRACE_SETREGSET = 0x4205
_PTRACE_GET_SYSCALL_INFO = 0x420E  # Linux 5.3
_PTRACE_INTERRUPT = 0x4207
_SYSCALL_INFO_ENTRY, _SYSCALL_INFO_EXIT, _SYSCALL_INFO_SECCOMP = 1, 2, 3
_SYSCALL_INFO_SIZE = 88
PTRACE_O_TRACESYSGOOD = 1
PTRACE_O_TRACESECCOMP = 0x80
PTRACE_O_EXITKILL = 0x100000
PTRACE_O_TRACECLONE = 8
PTRACE_EVENT_CLONE = 3
PTRACE_EVENT_SECCOMP = 7
PTRACE_EVENT_STOP = 128

Arguments = tuple[int, int, int, int, int, int]


class LeavingCall(Exception):  # noqa: N818 - no error
    """The tracee has stopped at a call's end."""


class Call(NamedTuple):
    """A system call that a tracee is about to enter, as Handler.stop() takes it."""

    arch: int
    nr: int
    args: Arguments


def _request(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    try:
        return int(binding.ptrace(request, tid, address, data))
    except PtraceError as error:
        number = error.errno or errno.EIO
        # OSError picks the subclass by the number: ESRCH gives ProcessLookupError, EPERM PermissionError
        raise OSError(number, f"ptrace request {request:#x} on thread {tid}") from error


def seize(tid: int, options: int) -> None:
    """Trace `tid` without stopping it (PTRACE_SEIZE, Linux 3.4). Raises PermissionError where that is forbidden."""
    _request(_PTRACE_SEIZE, tid, 0, options)


def resume(tid: int, signal: int = 0) -> None:
    """Let a stopped tracee run, delivering `signal` if any (PTRACE_CONT)."""
    _request(binding.PTRACE_CONT, tid, 0, signal)


def resume_to_call(tid: int, signal: int = 0) -> None:
    """As resume(), until it enters or leaves its next system call (PTRACE_SYSCALL)."""
    _request(binding.PTRACE_SYSCALL, tid, 0, signal)


def interrupt(tid: int) -> None:
    """Stop a running tracee (PTRACE_INTERRUPT, Linux 3.4)."""
    _request(_PTRACE_INTERRUPT, tid)


def listen(tid: int) -> None:
    """Leave a tracee in its group-stop until SIGCONT, and hear of it then (PTRACE_LISTEN)."""
    _request(_PTRACE_LISTEN, tid)


def event_message(tid: int) -> int:
    """Return the value of the event at which a tracee has stopped: a new thread's id, the former id at an exec."""
    message = ctypes.c_ulong()  # the binding's own function has room for an int only, where the kernel writes a long
    _request(binding.PTRACE_GETEVENTMSG, tid, 0, ctypes.addressof(message))
    return message.value


class CallReader:
    """Reads the call at which a tracee has stopped, into a buffer used again for each.

    `has_syscall_info` turns False at the first refusal (before Linux 5.3); from then on registers are read.
    """

    def __init__(self) -> None:
        self.has_syscall_info = True
        self._buffer = ctypes.create_string_buffer(512)
        self._address = ctypes.addressof(self._buffer)

    def read(self, tid: int) -> Call:
        """Return the call that a tracee is about to enter, in a PTRACE_EVENT_SECCOMP stop or a syscall-entry-stop.

        Raises LeavingCall in a syscall-exit-stop, OSError when it cannot be read.
        """
        if self.has_syscall_info:
            try:
                return self._syscall_info(tid)
            except ProcessLookupError:
                raise
            except OSError as error:
                if error.errno not in {errno.EIO, errno.EINVAL}:
                    raise
                self.has_syscall_info = False
        return self._registers(tid)

    def _syscall_info(self, tid: int) -> Call:
        """PTRACE_GET_SYSCALL_INFO: struct ptrace_syscall_info; its ABI is the call's own, also after `int $0x80`."""
        _request(_PTRACE_GET_SYSCALL_INFO, tid, _SYSCALL_INFO_SIZE, self._address)
        operation, arch = struct.unpack_from("=B3xI", self._buffer, 0)
        nr, *args = struct.unpack_from("=7Q", self._buffer, 24)
        if operation == _SYSCALL_INFO_EXIT:
            raise LeavingCall
        if operation not in (_SYSCALL_INFO_SECCOMP, _SYSCALL_INFO_ENTRY):
            raise OSError(errno.EPROTO, f"thread {tid} is not in a seccomp stop but in {operation}")
        return Call(arch, nr, (args[0], args[1], args[2], args[3], args[4], args[5]))

    def _registers(self, tid: int) -> Call:
        """PTRACE_GETREGSET of NT_PRSTATUS: struct user_regs_struct, whose size tells the process's ABI.

        A 64-bit process's `int $0x80` looks like a 64-bit call here: the kernel tells the difference only since 5.3.
        """
        vector = struct.pack("=QQ", self._address, len(self._buffer))
        vector_buffer = ctypes.create_string_buffer(vector, len(vector))
        _request(binding.PTRACE_GETREGSET, tid, binding.NT_PRSTATUS, ctypes.addressof(vector_buffer))
        size = struct.unpack_from("=Q", vector_buffer, 8)[0]
        if platform.machine() == "aarch64":
            values = struct.unpack_from("=9Q", self._buffer, 0)  # x0 … x8
            return Call(AUDIT_ARCH_AARCH64, values[8] & 0xFFFFFFFF, values[0:6])
        if size == 17 * 4:  # asm/user_32.h: ebx ecx edx esi edi ebp eax ds es fs gs orig_eax …
            small = struct.unpack_from("=12I", self._buffer, 0)
            return Call(AUDIT_ARCH_I386, small[11], small[0:6])
        # asm/user_64.h: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax …
        big = struct.unpack_from("=16Q", self._buffer, 0)
        return Call(AUDIT_ARCH_X86_64, big[15] & 0xFFFFFFFF, (big[14], big[13], big[12], big[7], big[9], big[8]))


# linux/errno.h: no program sees them; the kernel judges them when it delivers a signal (arch/x86/kernel/signal.c)
_ERESTARTSYS, _ERESTARTNOINTR = -512, -513


def restart_interrupted(tid: int) -> None:
    """In a signal-delivery-stop: if a call of syscalls.CALLS was interrupted, let it begin again after the handler.

    Only on x86: on aarch64 the registers that a tracer sees no longer tell the call.
    """
    buffer = ctypes.create_string_buffer(512)
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(buffer), len(buffer)), 16)
    _request(binding.PTRACE_GETREGSET, tid, binding.NT_PRSTATUS, ctypes.addressof(vector))
    size = struct.unpack_from("=Q", vector, 8)[0]
    if platform.machine() != "x86_64":
        return
    # asm/user_32.h and user_64.h: where (e)ax and orig_(e)ax are
    small = size == 17 * 4
    arch, result, number, form = (AUDIT_ARCH_I386, 24, 44, "=i") if small else (AUDIT_ARCH_X86_64, 80, 120, "=q")
    call = struct.unpack_from(form, buffer, number)[0]
    if struct.unpack_from(form, buffer, result)[0] == _ERESTARTSYS and call in CALLS[arch]:
        struct.pack_into(form, buffer, result, _ERESTARTNOINTR)
        struct.pack_into("=QQ", vector, 0, ctypes.addressof(buffer), size)
        _request(_PTRACE_SETREGSET, tid, binding.NT_PRSTATUS, ctypes.addressof(vector))
