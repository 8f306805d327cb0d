"""The engine on ptrace(2): the same filter, answering SECCOMP_RET_TRACE. For where a notify listener cannot be had.

python-ptrace's `ptrace.binding` is used, not its PtraceDebugger, which polls with sleeps of up to 0.5 s once there are
two processes. All tracees are seized (Linux 3.4), not attached, so that stop signals, SIGCONT and job control stay as
they are without a tracer. Only the entry of the selected calls stops, nothing at their exit.

Where a supervisor listens to seccomp already (a private environment of ours, podman), our filter's answer would be lost
for the calls that it is asked about: seccomp(2), USER_NOTIF goes before TRACE. There every call stops, at both ends
(PTRACE_SYSCALL, which comes before seccomp since Linux 4.8), and we choose: dearer, and nothing is missed.

If the tracer is killed, PTRACE_O_EXITKILL ends the job. The alternative is worse: without a tracer the kernel fails
each of the job's path calls with ENOSYS, and a job that goes on under that may write wrong results. The same holds
for background processes when the tracer is asked to end after the command has.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import select
import signal
import struct
import time
from typing import TYPE_CHECKING

from ptrace.binding import func as binding

from sdee.base import libc
from sdee.base.errors import KernelError
from sdee.tracer.engine import bpf, linux, ptrace_calls, tracee
from sdee.tracer.syscalls import AUDIT_ARCH_AARCH64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdee.tracer.engine.interface import Handler

_OPTIONS = (
    ptrace_calls.PTRACE_O_TRACESECCOMP
    | ptrace_calls.PTRACE_O_EXITKILL
    | binding.PTRACE_O_TRACEFORK
    | binding.PTRACE_O_TRACEVFORK
    | binding.PTRACE_O_TRACECLONE
    | binding.PTRACE_O_TRACEEXEC  # only to learn that an exec has changed a thread's id
)
_BIRTHS = (binding.PTRACE_EVENT_FORK, binding.PTRACE_EVENT_VFORK, binding.PTRACE_EVENT_CLONE)
_STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_CALL_STOP = signal.SIGTRAP | 0x80  # PTRACE_O_TRACESYSGOOD
_WALL = 0x40000000  # __WALL, wait(2): also children that end without SIGCHLD

# The job's own use of ptrace: the call's number, and the requests that a tracee cannot be the object of twice
_PTRACE_NUMBERS = {AUDIT_ARCH_X86_64: 101, AUDIT_ARCH_I386: 26, AUDIT_ARCH_AARCH64: 117}
_PTRACE_BEGINNINGS = {binding.PTRACE_TRACEME, binding.PTRACE_ATTACH, 0x4206}  # 0x4206: PTRACE_SEIZE

_PULSE = 1.0  # seconds
_GRACE = 3.0  # seconds after the command's end until sdee says what it waits for
_PROC_STATUS = re.compile(rb"\nTgid:\t(\d+)\n.*?\nPPid:\t(\d+)\nTracerPid:\t(\d+)\n", re.DOTALL)


class PtraceEngine:
    """See the module."""

    name = "ptrace"

    def run(self, program: str, argv: Sequence[str], env: Mapping[str, str], handler: Handler) -> int:
        """Run `program` under ptrace (engine.Engine.run)."""
        every_call = linux.has_listener()
        with tracee.Signals() as signals:
            job, complaints = _start(program, argv, env, signals, every_call=every_call)
            status = _Tracer(job.pid, signals, handler, every_call=every_call).run()
        with open(complaints, "rb") as file:
            refused = file.read()
        if refused:
            os.close(job.errors)
            number = struct.unpack("i", refused)[0]
            hint = "is the kernel built without CONFIG_SECCOMP_FILTER? `sdee doctor` says what this machine can do"
            raise KernelError(f"the kernel refuses a seccomp filter: {os.strerror(number)}", hint=hint)
        tracee.raise_exec_error(job, program)
        return status


def _start(
    program: str, argv: Sequence[str], env: Mapping[str, str], signals: tracee.Signals, *, every_call: bool
) -> tuple[tracee.Tracee, int]:
    """Start the job, seized before it installs the filter; also return the pipe that says why a filter was refused."""
    code = bpf.assemble(_filter(bpf.SECCOMP_RET_ALLOW if every_call else bpf.SECCOMP_RET_TRACE))
    wait_here, go = os.pipe()
    complaints, complain = os.pipe()

    def prepare() -> None:
        os.close(go)  # else our own end would keep the read from ending when the tracer dies
        if not os.read(wait_here, 1):
            raise ProcessLookupError(errno.ESRCH, "the tracer ended")
        try:
            _install(code)
        except OSError as error:
            os.write(complain, struct.pack("i", error.errno))
            raise

    job = tracee.start(program, argv, env, signals, prepare)
    os.close(wait_here)
    os.close(complain)
    try:
        ptrace_calls.seize(job.pid, _OPTIONS | (ptrace_calls.PTRACE_O_TRACESYSGOOD if every_call else 0))
        if every_call:
            ptrace_calls.interrupt(job.pid)  # calls stop only of one that was resumed so
    except OSError as error:
        os.close(go)  # the child ends
        os.waitpid(job.pid, 0)
        os.close(job.errors)
        os.close(complaints)
        hint = "kernel.yama.ptrace_scope above 1, or a container without SYS_PTRACE, forbids it: use --engine unotify"
        raise KernelError(f"the kernel refuses ptrace: {os.strerror(error.errno or 0)}", hint=hint) from error
    os.write(go, b"!")
    os.close(go)
    return job, complaints


def _filter(action: int) -> list[bpf.Instruction]:
    """Return the filter: our calls get `action`, and those that no tracer sees are refused."""
    return bpf.instructions(action, {arch: (nr,) for arch, nr in _PTRACE_NUMBERS.items()})


def _install(code: bytes) -> None:
    """Install the filter in this process. With CAP_SYS_ADMIN no_new_privs stays off, as in the other engine."""
    try:
        linux.seccomp_filter(code, 0)
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
        libc.no_new_privileges()
        linux.seccomp_filter(code, 0)


class _Tracer:
    """One job's loop. `_tasks`: every live thread of the job → its process."""

    def __init__(self, child: int, signals: tracee.Signals, handler: Handler, *, every_call: bool) -> None:
        self._resume = ptrace_calls.resume_to_call if every_call else ptrace_calls.resume
        self._every_call = every_call
        self._chosen = _filter(bpf.SECCOMP_RET_TRACE)
        self._child = child
        self._signals = signals
        self._handler = handler
        self._tasks: dict[int, int] = {child: child}
        self._reader = ptrace_calls.CallReader()
        self._own_pid = os.getpid()
        self._filter_works = False
        self._status: int | None = None
        self._ended_at = 0.0  # when the command itself did
        self._told = False
        self._leave = False

    def run(self) -> int:
        """Serve until the last tracee has ended; return the wait status of the first one."""
        self._handler.process(self._child, self._own_pid)
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        next_pulse = time.monotonic() + _PULSE
        gc.freeze()
        gc.disable()  # nothing here makes cycles in quantity, and a collection would hold every tracee up
        try:
            while not self._leave and self._serve():
                if poll.poll(_PULSE * 1000):
                    self._signals.relay(self._is_ours)
                if time.monotonic() >= next_pulse:
                    next_pulse = time.monotonic() + _PULSE
                    self._guarded(self._handler.pulse)
                if self._status is not None:
                    self._outlived()
        finally:
            gc.enable()
            gc.unfreeze()
        assert self._status is not None
        return self._status

    def _is_ours(self, pid: int) -> bool:
        return self._tasks.get(pid) == pid

    def _outlived(self) -> None:
        """The command has ended and processes of it go on: say so, and end with them (EXITKILL) when asked to."""
        if self._signals.last is not None and self._tasks:
            left = ", ".join(str(pid) for pid in sorted(set(self._tasks.values())))
            self._handler.incomplete("sdee ended background processes of the job with the tracer", None, left)
            self._leave = True
        elif not self._told and time.monotonic() - self._ended_at > _GRACE:
            self._told = True
            self._handler.waiting(ends_them=True)

    def _serve(self) -> bool:
        """Take every stop that waits, then answer them in turn (so none starves); return whether tracees are left."""
        batch = []
        left = True
        while True:
            try:
                tid, status = os.waitpid(-1, os.WNOHANG | _WALL)
            except ChildProcessError:
                left = False
                break
            if tid == 0:
                break
            batch.append((tid, status))
        for tid, status in batch:
            if os.WIFSTOPPED(status):
                with contextlib.suppress(ProcessLookupError):  # killed meanwhile: its end is reported next
                    self._stopped(tid, status >> 16, os.WSTOPSIG(status), status)
            else:
                self._ended(tid, status)
        return left

    def _stopped(self, tid: int, event: int, number: int, status: int) -> None:
        """Answer one stop (ptrace(2), "Stopped states"). Raises ProcessLookupError when the tracee has gone."""
        if tid not in self._tasks:
            self._born(tid)
        if event == ptrace_calls.PTRACE_EVENT_SECCOMP or number == _CALL_STOP:
            self._guarded(self._call, tid)
            self._resume(tid)
        elif event in _BIRTHS:
            child = ptrace_calls.event_message(tid)
            if child not in self._tasks:  # else its own first stop was seen before this
                self._born(child)
            self._resume(tid)
        elif event == binding.PTRACE_EVENT_EXEC:
            former = ptrace_calls.event_message(tid)
            if former != tid:
                self._tasks.pop(former, None)  # it is `tid` now, and its old id ends without a word
            self._check_filter(tid)
            self._resume(tid)
        elif event == ptrace_calls.PTRACE_EVENT_STOP and number in _STOP_SIGNALS:
            ptrace_calls.listen(tid)  # a group-stop: it lasts until SIGCONT, as without us
            if tid == self._child:
                self._signals.stop_with_job(status)
        elif event:
            self._resume(tid)  # a new task's first stop, or the end of a group-stop
        else:
            self._resume(tid, number)  # a signal on its way to the job

    def _check_filter(self, tid: int) -> None:
        """At the first exec: it must have stopped at its entry. If not, an outer filter's answer came before ours."""
        if not self._filter_works:
            self._filter_works = True
            why = "a filter around sdee answers system calls first (another tracer, a container), so sdee sees none"
            self._handler.incomplete(why, tid)

    def _guarded(self, action: Callable[..., None], *arguments: int) -> None:
        """Whatever fails in us, the job goes on."""
        try:
            action(*arguments)
        except ProcessLookupError:
            pass
        except Exception as error:  # noqa: BLE001
            tid = arguments[0] if arguments else None
            self._handler.incomplete("sdee could not handle a stop of the job", tid, f"{type(error).__name__}: {error}")

    def _call(self, tid: int) -> None:
        self._filter_works = True
        try:
            arch, nr, args = self._reader.read(tid)
        except ptrace_calls.LeavingCall:
            return
        if self._every_call and bpf.answer(self._chosen, arch, nr, args) != bpf.SECCOMP_RET_TRACE:
            return
        if nr == _PTRACE_NUMBERS.get(arch):
            if args[0] in _PTRACE_BEGINNINGS:
                why = "the job uses ptrace itself, which fails under the ptrace engine: use --engine unotify"
                self._handler.incomplete(why, self._tasks.get(tid), f"request {args[0]:#x}")
            return
        self._handler.stop(tid, arch, nr, args)

    def _born(self, tid: int) -> None:
        """Note a task not seen before. One that has already ended, or whose id is no longer ours, is skipped."""
        try:
            with open(f"/proc/{tid}/status", "rb") as file:
                match = _PROC_STATUS.search(file.read())
        except OSError:
            return
        if match is None or int(match[3]) != self._own_pid:
            return
        pid = int(match[1])
        if pid == tid:
            self._handler.process(pid, int(match[2]))
        self._tasks[tid] = pid

    def _ended(self, tid: int, status: int) -> None:
        pid = self._tasks.pop(tid, None)
        if tid == self._child:
            self._status, self._ended_at = status, time.monotonic()
            self._signals.child = 0
            self._signals.last = None  # that one was for the command
        if pid == tid:
            code = os.waitstatus_to_exitcode(status)
            self._handler.exit(pid, 128 - code if code < 0 else code)
