"""The interface between the engines, which stop a job's system calls, and what is done at each stop.

An engine knows processes and registers, a handler knows paths. Neither knows the other's inside, so that both engines
(unotify.py, ptrace.py) feed the same recorder and tests can put a list in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Handler(Protocol):
    """What an engine tells about a job. No method may raise: an engine that meets an exception nevertheless lets the
    call go on and reports `incomplete`.
    """

    def stop(self, tid: int, arch: int, nr: int, args: tuple[int, int, int, int, int, int]) -> None:
        """A thread is about to enter a system call that the filter of bpf.py selects; the kernel has not begun it.

        `tid`: the thread, in the tracer's PID namespace. `arch`: AUDIT_ARCH_*. `nr`: the system call's number as the
        kernel sees it (with X32_SYSCALL_BIT for x32). `args`: its six arguments as unsigned 64-bit values (for i386
        the upper halves are zero). The thread waits until this returns. The first stop of a job is the execve of its
        own program. unotify also stops exit_group (syscalls.EXIT_GROUP). The same call may be seen twice (restarted
        by a signal): handlers must not mind.
        """

    def process(self, pid: int, ppid: int) -> None:
        """A process (not a thread) has been seen for the first time; before its first stop.

        The first process of the job is always told. An engine that learns nothing of the others (unotify) is silent:
        handlers look up an unknown thread's process in /proc/TID/status at its stop.
        """

    def exit(self, pid: int, status: int) -> None:
        """A process has ended. `status`: its exit status, or 128+n for signal n.

        An engine that cannot know it (unotify: a process that is not its child, ended by a signal) says nothing.
        """

    def incomplete(self, why: str, pid: int | None = None, detail: str = "") -> None:
        """Say that something may be missing from the trace, in a sentence for the user."""

    def waiting(self, *, ends_them: bool) -> None:
        """The command has ended, and background processes that it left have kept the tracer for some seconds.

        `ends_them`: whether interrupting the tracer now ends them (ptrace) or leaves them running (unotify).
        """

    def pulse(self) -> None:
        """Called about once a second, and whenever the job is idle: time to write out what is buffered."""


class Engine(Protocol):
    """A way to stop the system calls of a program and of all its descendants at their entry."""

    name: str  # as in `--engine`

    def run(self, program: str, argv: Sequence[str], env: Mapping[str, str], handler: Handler) -> int:
        """Run `program` to the end of its last descendant; return its own wait status (wait(2)).

        `program` is as for execve(2), see tracee.find_program(). Uses tracee.start() to begin it and tracee.Signals
        meanwhile, so that signals, terminal and descriptors are as without a tracer.

        Raises sdee.base.errors.KernelError when the kernel refuses this engine (nothing has been run then), and
        sdee.base.errors.CommandNotFoundError or CommandNotExecutableError when execve refuses the program.
        """
