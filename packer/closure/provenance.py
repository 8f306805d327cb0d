"""Which program asked for a path: the links of the chain that `sdee why` prints, from a file back to the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdee.packer.model import Reason

if TYPE_CHECKING:
    from sdee.tracer.tracefile.model import Access, Trace

# What was done to a path, strongest first
_DEEDS = (
    ("exec", "was executed"),
    ("read", "was read"),
    ("list", "was listed"),
    ("chdir", "was a working directory"),
    ("probe", "was looked up"),
    ("create", "was created"),
    ("rename", "was renamed to"),
    ("write", "was written"),
    ("remove", "was removed"),
)


class Provenance:
    """Programs by process, in the order in which they were executed."""

    def __init__(self, trace: Trace) -> None:
        self._parents = {process.pid: process.ppid for process in trace.processes}
        self._programs: dict[int, list[str]] = {}
        self._orders = {path: access.order for path, access in trace.accesses.items()}
        self._interpreted: dict[str, str] = {}
        for execution in trace.execs:
            self._programs.setdefault(execution.pid, []).append(execution.path)
            script = execution.path
            for interpreter in execution.interpreters:
                self._interpreted.setdefault(interpreter, script)
                script = interpreter

    def reason(self, access: Access) -> Reason:
        """Return the reason for a path of the trace: what was done to it, and by which program."""
        if access.path in self._interpreted:
            return Reason("is the interpreter of", self._interpreted[access.path])
        why = next((words for deed, words in _DEEDS if deed in access.ops), "was used")
        return Reason(why, self._by(access))

    def _by(self, access: Access) -> str:
        pid = access.pid
        for _ in range(len(self._parents) + 1):
            programs = self._programs.get(pid, [])
            # a process may execute one program after another: the last that had begun by then, and not the path itself
            begun = [p for p in programs if p != access.path and self._orders.get(p, -1) <= access.order]
            if begun:
                return begun[-1]
            if pid not in self._parents or self._parents[pid] == pid:
                break
            pid = self._parents[pid]
        return ""
