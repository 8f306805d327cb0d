"""A recorder of what a launcher's job does, and not of what the launcher does: for `sdee verify`.

Unpacking a bundle of Perl, and looking through what is left of it at the end, are 13,700 stops of 13,900.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdee.tracer.recorder import Recorder
from sdee.tracer.syscalls import CALLS

if TYPE_CHECKING:
    from sdee.tracer.recorder import Call

# kinds of calls that tell whose the paths of later calls are
_ALWAYS = frozenset(("exec", "mount", "fsconfig", "root", "setns"))


class JobRecorder(Recorder):
    """The job is the program that the one at the path `launcher` executes, and what that starts."""

    def __init__(self, launcher: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._launcher = launcher
        self._launched = self._begun = False
        self._others: set[int] = set()  # processes that are not the job's

    def stop(self, tid: int, arch: int, nr: int, args: tuple[int, ...]) -> None:
        """Record one stop, if it is the job's."""
        call = CALLS.get(arch, {}).get(nr)
        if call is None or call.kind in _ALWAYS or not self._is_other(tid):
            super().stop(tid, arch, nr, args)

    def exit(self, pid: int, status: int) -> None:
        """See engine.Handler."""
        self._others.discard(pid)  # another process may get its id
        super().exit(pid, status)

    def _is_other(self, tid: int) -> bool:
        pid = self.records.pid(tid)
        if not self._begun:
            self._others.add(pid)
        return pid in self._others

    def _on_exec(self, call: Call) -> None:
        self.records.executed = ""
        super()._on_exec(call)
        if self.records.executed:
            self._begun = self._begun or self._launched
            self._launched = self._launched or self.records.executed == self._launcher
        if self._begun:
            self._others.discard(self.records.pid(call.tid))
