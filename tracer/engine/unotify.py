"""The engine on seccomp user notification (seccomp_unotify(2); Linux 5.5): one wake-up a stop, no ptrace.

A filter gives up path calls to a listener; this process reads each, lets the handler look, and answers "continue".
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import fcntl
import gc
import mmap
import os
import select
import struct
import time
from array import array
from typing import TYPE_CHECKING, NoReturn

from sdee.base import libc
from sdee.base.errors import KernelError
from sdee.tracer.engine import bpf, linux, tracee
from sdee.tracer.engine.restarts import Restarts
from sdee.tracer.syscalls import EXIT_GROUP, TIMERS, X32_SYSCALL_BIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from sdee.tracer.engine.interface import Handler

# linux/seccomp.h
_NOTIF = struct.Struct("=QIIiI7Q")  # struct seccomp_notif: id, pid, flags; seccomp_data: nr, arch, ip, args
_RECV = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV
_SEND = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND
_SET_FLAGS = 0x40082104  # SECCOMP_IOCTL_NOTIF_SET_FLAGS
_SYNC_WAKE_UP = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6: the tracee runs on this CPU while we wait
_RESPONSE = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE

_IN_FLIGHT = 10_000  # calls that may wait when the tracer dies: one for each thread

_PULSE = 1.0  # seconds
_CLOCK_EVERY = 256  # stops: looking at the clock at each would cost more than it tells
_GRACE = 3.0  # seconds after the command's end until sdee says what it waits for


# What stops beside the table's calls
_EXTRA = {arch: (number, *TIMERS[arch]) for arch, number in EXIT_GROUP.items()}
_BITS = (0, X32_SYSCALL_BIT)
_TIMERS = frozenset((arch, nr | bit) for arch, numbers in TIMERS.items() for nr in numbers for bit in _BITS)
_TIMER_NUMBERS = frozenset(nr for _, nr in _TIMERS)


class UnotifyEngine:
    """See the module. Also stops exit_group (syscalls.EXIT_GROUP), the only sign of most processes' ends."""

    name = "unotify"

    def run(self, program: str, argv: Sequence[str], env: Mapping[str, str], handler: Handler) -> int:
        """Run `program` under the filter (engine.Engine.run)."""
        with tracee.Signals() as signals:
            job, listener = _start(program, argv, env, signals)
            with _Guard(listener) as guard:
                try:
                    status = _Supervisor(listener, job.pid, signals, handler, guard).run()
                finally:
                    os.close(listener)
        tracee.raise_exec_error(job, program)
        return status


def _start(
    program: str, argv: Sequence[str], env: Mapping[str, str], signals: tracee.Signals
) -> tuple[tracee.Tracee, int]:
    """Start the job and receive its listener over a socket (SCM_RIGHTS, unix(7))."""
    code = bpf.assemble(bpf.instructions(bpf.SECCOMP_RET_USER_NOTIF, _EXTRA))
    ours, theirs = _socket.socketpair()
    rights = array("i", [0])

    def prepare() -> None:
        try:
            rights[0] = install(code)
        except OSError as error:
            theirs.send(struct.pack("i", error.errno))
            raise
        theirs.sendmsg([bytes(4)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])

    job = tracee.start(program, argv, env, signals, prepare)
    theirs.close()
    message, ancillary, _, _ = ours.recvmsg(4, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    ours.close()
    if ancillary:
        return job, array("i", ancillary[0][2])[0]
    os.waitpid(job.pid, 0)
    os.close(job.errors)
    number = struct.unpack("i", message)[0] if message else errno.ESRCH
    hint = {
        errno.EBUSY: "another tracer or container runtime already listens to this process: use --engine ptrace",
        errno.EINVAL: "the kernel is older than Linux 5.5 or built without CONFIG_SECCOMP_FILTER: use --engine ptrace",
    }.get(number, "try --engine ptrace; `sdee doctor` says what this machine can do")
    raise KernelError(f"the kernel refuses a seccomp listener: {os.strerror(number)}", hint=hint)


def install(code: bytes) -> int:
    """Install the filter in this process and return its listener (seccomp(2)), with what this kernel can do.

    With CAP_SYS_ADMIN no_new_privs stays off, so that root's jobs may run set-user-ID programs as usual.
    """
    flags = linux.SECCOMP_FILTER_FLAG_NEW_LISTENER | linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    while True:
        try:
            return linux.seccomp_filter(code, flags)
        except OSError as error:  # noqa: PERF203 - three rounds at most
            if error.errno == errno.EACCES:
                libc.no_new_privileges()
            elif error.errno == errno.EINVAL and flags & linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
                flags = linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
            else:
                raise


def _filters(pid: int | str) -> int:
    """Return how many seccomp filters a process has, before Linux 5.9 whether any (proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", "rb") as file:
        fields = dict(line.split(b":", 1) for line in file if line.startswith(b"Seccomp"))
    return int(fields.get(b"Seccomp_filters", fields.get(b"Seccomp", b"0")))


def _answer_for_ever(listener: int) -> NoReturn:
    """Let every call go on until the last tracee has ended: what remains of a tracer that was asked to go."""
    notification = bytearray(_NOTIF.size)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not poll.poll()[0][1] & select.POLLHUP:
        try:
            notification[:] = bytes(_NOTIF.size)
            fcntl.ioctl(listener, _RECV, notification)
            fcntl.ioctl(listener, _SEND, _RESPONSE.pack(_NOTIF.unpack(notification)[0], 0, 0, _CONTINUE))
        except OSError:  # noqa: PERF203 - that thread was killed meanwhile
            continue
    os._exit(0)


class _Guard:
    """A process that holds the listener too and answers when this one is gone, killed by SIGKILL or the OOM killer.

    Without it the kernel would fail every path call of the job with ENOSYS, and a job that goes on under that may write
    wrong results.
    """

    def __init__(self, listener: int) -> None:
        # The id of the call that is being looked at: if this process dies just then, only the guard can answer it
        self.current = mmap.mmap(-1, 8)
        reader, self._alive = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            self._stand_by(listener, reader, self.current)
        os.close(reader)

    @staticmethod
    def _stand_by(listener: int, reader: int, current: mmap.mmap) -> NoReturn:
        os.setsid()
        # standard descriptors may be closed, so that ours have their numbers
        listener, reader = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (listener, reader))
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        first, second = sorted((listener, reader))
        os.closerange(3, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, 65536)
        if os.read(reader, 1):
            os._exit(0)
        # Numbers are given in turn. Of those that nobody has read yet the kernel refuses the answer (EINPROGRESS)
        last = int.from_bytes(current[:8], "little")
        for number in range(last, last + _IN_FLIGHT):
            with contextlib.suppress(OSError):
                fcntl.ioctl(listener, _SEND, _RESPONSE.pack(number % (1 << 64), 0, 0, _CONTINUE))
        _answer_for_ever(listener)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alive >= 0:
            os.write(self._alive, b"!")
            os.close(self._alive)
            os.waitpid(self._pid, 0)

    def take_over(self) -> None:
        """Let it answer from now on."""
        os.close(self._alive)
        self._alive = -1


class _Supervisor:
    """One job's loop: wait, receive, let the handler look, answer."""

    def __init__(self, listener: int, child: int, signals: tracee.Signals, handler: Handler, guard: _Guard) -> None:
        self._listener = listener
        self._guard = guard
        self._child = child
        self._signals = signals
        self._handler = handler
        self._status: int | None = None
        self._ended = 0.0
        self._told = False
        self._left = False
        self._restarts = Restarts(child, self._may_interrupt)
        with contextlib.suppress(OSError):  # before Linux 6.6: slower, nothing else
            fcntl.ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)

    def run(self) -> int:
        """Serve until no process holds the filter any more; return the wait status of the first one."""
        self._handler.process(self._child, os.getpid())
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._signals.fd, select.POLLIN)
        gc.freeze()
        gc.disable()  # nothing here makes cycles in quantity, and a collection would hold every tracee up
        try:
            while not self._left and self._wait(poll.poll):
                try:
                    self._housekeeping()
                except Exception as error:  # noqa: BLE001, PERF203 - whatever fails in us, the job goes on
                    self._failed(error, self._child)
        except BaseException:
            self._leave()  # or the job's calls would fail with ENOSYS
            raise
        finally:
            gc.enable()
            gc.unfreeze()
        while self._status is None:
            if self._restarts.left():  # a process ends when its threads, which are ours to wait for, have
                self._restarts.serve()
                time.sleep(0.001)
            self._reap(os.WNOHANG if self._restarts.left() else 0)
        return self._status

    def _wait(self, wait: Callable[[float], list[tuple[int, int]]]) -> bool:
        """Answer calls until something else is to be done (True) or the last tracee has ended (False)."""
        ioctl, unpack, pack_into, stop = fcntl.ioctl, _NOTIF.unpack, _RESPONSE.pack_into, self._handler.stop
        listener, empty, clock, current = self._listener, bytes(_NOTIF.size), time.monotonic, self._guard.current
        notification, response = bytearray(_NOTIF.size), bytearray(_RESPONSE.size)
        a_call = [(listener, select.POLLIN)]
        end, countdown = clock() + _PULSE, _CLOCK_EVERY
        while True:
            events = wait(_PULSE * 1000)
            if events != a_call:
                return not any(fd == listener and not flags & select.POLLIN for fd, flags in events)
            notification[:] = empty
            try:
                ioctl(listener, _RECV, notification)
            except OSError:  # ENOENT, EINTR: that thread was killed meanwhile
                continue
            current[:8] = notification[:8]
            call = unpack(notification)
            try:
                if call[3] in _TIMER_NUMBERS and (call[4], call[3]) in _TIMERS:
                    self._restarts.watch(call[1])
                else:
                    stop(call[1], call[4], call[3], call[6:])
            except Exception as error:  # noqa: BLE001 - whatever fails in us, the job goes on
                self._failed(error, call[1])
            pack_into(response, 0, call[0], 0, 0, _CONTINUE)
            try:
                ioctl(listener, _SEND, response)
            except OSError:  # killed while we looked
                continue
            countdown -= 1
            if not countdown:
                if clock() >= end:
                    return True
                countdown = _CLOCK_EVERY

    def _failed(self, error: Exception, tid: int) -> None:
        detail = f"{type(error).__name__}: {error}"
        with contextlib.suppress(Exception):
            self._handler.incomplete("the tracer failed on a system call (a bug in sdee)", tid, detail)

    def _may_interrupt(self, why: str) -> None:
        self._handler.incomplete(
            "a timer's signals may interrupt the job's system calls here (--engine ptrace avoids this)", None, why
        )

    def _housekeeping(self) -> None:
        """Signals, the end of the command, and what the handler does once a second."""
        if self._signals.relay(self._is_ours) or self._restarts.left():
            self._reap(os.WNOHANG)  # first: its events may tell of threads
            self._restarts.serve()
        self._handler.pulse()
        if self._status is None:
            return
        if self._signals.last is not None:
            self._leave()
        elif not self._told and time.monotonic() - self._ended > _GRACE:
            self._told = True
            self._handler.waiting(ends_them=False)

    def _is_ours(self, pid: int) -> bool:
        """Tell whether `pid` is a process of the job in our group: it signalled that, so the job has the signal.

        Others of the group, the script that started us and what it runs, do not have our filter.
        """
        try:
            return os.getpgid(pid) == os.getpgrp() and _filters(pid) > _filters("self")
        except OSError:
            return False

    def _reap(self, options: int) -> None:
        """Take the command's status if it has ended, or stop with it (waitpid(2))."""
        if self._status is not None:
            return
        pid, status = os.waitpid(self._child, options | os.WUNTRACED)
        if not pid:
            return
        if self._restarts.watches(self._child) and not self._restarts.answer(pid, status) and os.WIFSTOPPED(status):
            return
        if os.WIFSTOPPED(status):
            self._handler.pulse()
            self._signals.stop_with_job(status)
            return
        self._status, self._ended = status, time.monotonic()
        self._signals.child = 0
        self._signals.last = None
        self._handler.exit(
            self._child, os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        )

    def _leave(self) -> None:
        """Asked to end while background processes go on: the guard answers their calls."""
        self._guard.take_over()
        self._handler.incomplete("a signal ended the tracer while background processes of the job still ran")
        self._left = True
