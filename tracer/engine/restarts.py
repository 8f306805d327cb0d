"""Under seccomp user notification: calls that a signal interrupts before the listener has read them are begun again.

While a call waits to be read, any signal ends the wait (kernel/seccomp.c, seccomp_do_user_notification), and a handler
without SA_RESTART then makes the call fail with EINTR: an open or a stat that never fails so without a tracer, in 5 %
of the signals of a tight loop. Linux 5.19's WAIT_KILLABLE_RECV holds only once the call has been read.

Signals that come again and again come from timers. So a process that sets one (setitimer(2), alarm(2), timer_create(2))
is seized by ptrace(2), which costs nothing until a signal is delivered to it. At that stop, where the kernel is about
to return ERESTARTSYS from a call of the table, the error becomes ERESTARTNOINTR: the handler runs, and the call begins
again whatever the handler's flags. Calls that a signal may interrupt anyway (read, sleep) are not in the table.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WALL = 0x40000000  # __WALL, wait(2): threads too
_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Restarts:
    """The processes that were seized. `child`: the job's first process, whose changes its owner waits for itself."""

    def __init__(self, child: int, refused: Callable[[str], None]) -> None:
        """`refused`: told why a process cannot be seized."""
        self._child = child
        self._refused = refused
        self._watched: set[int] = set()

    def watches(self, tid: int) -> bool:
        """Tell whether a thread has been seized."""
        return tid in self._watched

    def watch(self, tid: int) -> None:
        """Seize the process of `tid`, all its threads, and those that they will make."""
        from sdee.tracer.engine import ptrace_calls  # noqa: PLC0415 - 12 ms, and few jobs set timers

        try:
            tasks = [int(name) for name in os.listdir(f"/proc/{tid}/task")]
            for task in tasks:
                if task not in self._watched:
                    ptrace_calls.seize(task, ptrace_calls.PTRACE_O_TRACECLONE)
                    self._watched.add(task)
        except ProcessLookupError:
            pass  # killed meanwhile
        except OSError as error:
            self._refused(error.strerror or "refused")

    def serve(self) -> None:
        """Answer all that has stopped, the job's first process excepted.

        A new thread's first stop may come before its maker's event, and its SIGCHLD with it: threads that this call
        learns of are asked at once.
        """
        asked = {self._child}
        while new := self._watched - asked:
            asked |= new
            for tid in new:
                self._answer_all(tid)

    def _answer_all(self, tid: int) -> None:
        try:
            while True:
                pid, status = os.waitpid(tid, os.WNOHANG | _WALL)
                if not pid:
                    break
                self.answer(tid, status)
        except ChildProcessError:
            self._watched.discard(tid)

    def answer(self, tid: int, status: int) -> bool:
        """Answer one change of a thread (ptrace(2), "Stopped states"); return whether it is in a stop that goes on."""
        if not os.WIFSTOPPED(status):
            self._watched.discard(tid)
            return False
        from sdee.tracer.engine import ptrace_calls  # noqa: PLC0415 - as above

        number, event = os.WSTOPSIG(status), status >> 16
        with contextlib.suppress(ProcessLookupError):  # killed meanwhile
            if event == ptrace_calls.PTRACE_EVENT_STOP and number in _STOPS:
                ptrace_calls.listen(tid)
                return True
            if event == ptrace_calls.PTRACE_EVENT_CLONE:
                self._watched.add(ptrace_calls.event_message(tid))
            if event == 0:
                ptrace_calls.restart_interrupted(tid)
            ptrace_calls.resume(tid, number if event == 0 else 0)
        return False

    def left(self) -> bool:
        """Tell whether any thread is still seized."""
        return bool(self._watched)
