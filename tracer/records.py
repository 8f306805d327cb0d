"""What has been recorded already, and the lines for what has not (docs/trace-format.md)."""

from __future__ import annotations

import contextlib
import os
from _json import encode_basestring_ascii as quote  # json's own C function without its layers: half of a line's cost
from typing import TYPE_CHECKING

from sdee.base.secrets.tokens import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.tracer.resolve import Resolved, Resolver
    from sdee.tracer.saved import Saver
    from sdee.tracer.tracefile.writer import Writer

_PATHS_LIMIT = 1_000_000  # paths remembered; then all are forgotten and lines may repeat, which readers merge
_DETAILS_LIMIT = 20  # records for one reason of incompleteness

_OPS = ("read", "probe", "list", "exec", "write", "truncate", "create", "rename", "remove", "chdir")
_USES = frozenset(("read", "exec"))
_WRITES = frozenset(("write", "truncate", "create", "rename"))
_BITS = {(op, exists): 1 << (2 * at + exists) for at, op in enumerate(_OPS) for exists in (False, True)}


class Records:
    """Writes each access, process, program and reason once."""

    def __init__(self, writer: Writer, saver: Saver, *, listings: bool = False) -> None:
        self.writer = writer
        self._listings = listings
        self._listed: set[str] = set()
        self.saver = saver
        self.paths = 0
        self.processes = 0
        self.executed = ""  # the last program
        self.reasons: dict[str, int] = {}  # why the trace is incomplete → how often
        self._recorded: dict[str, int] = {}  # path → bits of what was recorded
        self._real: dict[str, str] = {}  # paths through links → where they led first
        self._used: set[str] = set()  # real paths that were read or executed
        self._made: set[str] = set()  # real paths that the job itself made, or moved there after it had made them
        self.changed: dict[str, None] = {}  # real paths that the job wrote or made, in order
        self.moved: set[str] = set()  # real paths that it gave to something by renaming it
        self._sockets: set[str] = set()
        self._groups: set[int] = set()
        self._pids: dict[int, int] = {}  # thread → process, while they live
        self._threads: dict[int, list[int]] = {}  # process → its known threads

    def access(self, op: str, found: Resolved, pid: int) -> None:
        """Record that `op` is done to what `found` means, unless it was recorded before."""
        exists = found.status is not None
        made = exists and bool(self._made) and self.is_made(found.real)
        if exists and op in _USES:
            self._used.add(found.real)
        if op in _WRITES:
            self.changed[found.real] = None
            if op == "rename":
                self.moved.add(found.real)
        if found.hops and found.path != found.real:  # a link on the way may have led elsewhere before
            known = self._real.setdefault(found.path, found.real)
            if known != found.real:
                self.access(op, found._replace(path=found.real, hops=()), pid)
        bit = _BITS[op, exists]
        before = self._recorded.get(found.path)
        if before is None:
            self.paths += 1
            if len(self._recorded) >= _PATHS_LIMIT:
                self._recorded.clear()
        elif before & bit:
            return
        self._recorded[found.path] = (before or 0) | bit
        hops = ",".join([f"[{quote(link)},{quote(target)}]" for link, target in found.hops])
        kind = found.kind
        flag = "true" if exists else "false"
        shown = quote(kind) if kind else "null"
        own = ',"made":true' if made else ""
        if kind == "file" and op in _USES and found.status:
            own += f',"size":{found.status.st_size},"mtime_ns":{found.status.st_mtime_ns}'
        self.writer.line(
            f'{{"t":"path","path":{quote(found.path)},"ops":["{op}"],"pid":{pid},"exists":{flag},"kind":{shown},'
            f'"hops":[{hops}],"real":{quote(found.real)}{own}}}\n'
        )

    def listing(self, path: str, place: str) -> None:
        """Record the names in a directory, reached at `place`, when it is opened for the first time; if asked for."""
        if self._listings and path not in self._listed:
            self._listed.add(path)
            with contextlib.suppress(OSError):
                self.writer.record("listing", path=path, names=sorted(os.listdir(place)))

    def made(self, real: str) -> None:
        """Note that the job makes `real` (free of links): what will lie there, or below it, is its own."""
        if len(self._made) >= _PATHS_LIMIT:
            self._made.clear()
        self._made.add(real)
        self.saver.made_by_the_job(real)

    def is_made(self, real: str) -> bool:
        """Tell whether the job made a path or a directory above it."""
        while real:
            if real in self._made:
                return True
            real = real.rpartition("/")[0]
        return False

    def save(self, found: Resolved, resolver: Resolver, *, replaced: bool = False) -> None:
        """Save what `found` means as it is now: the job is about to change it.

        `replaced`: nothing of it will be left. What the job has not read until then needs no copy: no input.
        """
        if found.status is None or self.is_made(found.real):
            return
        if replaced and found.real not in self._used:
            self.saver.made_by_the_job(found.real)
            return
        copy = self.saver.save(found.real, found.status, resolver.place(found))
        if copy:
            fields = copy._asdict()
            if not copy.why:
                del fields["why"]
            self.writer.record("saved", **fields)

    def socket(self, path: str, pid: int) -> None:
        """Record a connection to a Unix socket."""
        if path not in self._sockets:
            self._sockets.add(path)
            self.writer.record("socket", path=path, pid=pid)

    def group(self, gid: int, pid: int) -> None:
        """Record that a file was given to a group."""
        if gid not in self._groups:
            self._groups.add(gid)
            self.writer.record("group", gid=gid, pid=pid)

    def program(
        self, pid: int, path: str, argv: list[str], interpreters: list[str], libpath: str | None, *, setid: bool
    ) -> None:
        """Record an execve."""
        self.executed = path
        fields = {
            "pid": pid,
            "path": path,
            "argv": redact(argv),
            "interpreters": interpreters,
            "libpath": libpath,
            "setid": setid,
        }
        self.writer.record("exec", **fields)

    def incomplete(self, why: str, pid: int | None = None, detail: str = "") -> None:
        """Record that something may be missing."""
        count = self.reasons[why] = self.reasons.get(why, 0) + 1
        if count <= _DETAILS_LIMIT:
            fields: dict[str, object] = {"why": why}
            fields |= {"pid": pid} if pid is not None else {}
            fields |= {"detail": detail} if detail else {}
            self.writer.record("incomplete", **fields)

    def process(self, pid: int, ppid: int) -> None:
        """Record a process that has not been seen."""
        if pid not in self._threads:
            self._threads[pid] = [pid]
            self._pids[pid] = pid
            self.processes += 1
            self.writer.line(f'{{"t":"process","pid":{pid},"ppid":{ppid}}}\n')

    def pid(self, tid: int) -> int:
        """Return the process of a thread; look an unknown one up (proc_pid_status(5)) and record its process."""
        known = self._pids.get(tid)
        if known is not None:
            return known
        pid, ppid = tid, 0
        try:
            with open(f"/proc/{tid}/status", "rb") as file:
                fields = file.read()
            at = fields.index(b"\nTgid:")
            pid = int(fields[at + 6 : fields.index(b"\n", at + 1)])
            at = fields.index(b"\nPPid:", at)
            ppid = int(fields[at + 6 : fields.index(b"\n", at + 1)])
        except (OSError, ValueError):
            pass  # killed meanwhile
        self.process(pid, ppid)
        if tid != pid:
            self._pids[tid] = pid
            self._threads[pid].append(tid)
        return pid

    def knows(self, pid: int) -> bool:
        """Tell whether `pid` is a process of the job, as far as it has been seen."""
        return pid in self._threads

    def living(self) -> list[int]:
        """Return the processes that have been seen and whose end has not."""
        return list(self._threads)

    def exit(self, pid: int, status: int) -> None:
        """Record a process's end, once."""
        if pid in self._threads:
            self.forget(pid)
            self.writer.line(f'{{"t":"exit","pid":{pid},"status":{status}}}\n')

    def forget(self, pid: int) -> None:
        """Forget a process that has ended: its number may be used again."""
        for tid in self._threads.pop(pid, ()):
            self._pids.pop(tid, None)

    def forget_ended(self, alive: Callable[[str], bool] = os.path.exists) -> None:
        """Forget processes whose end was not seen (killed by a signal, under unotify)."""
        for pid in [pid for pid in self._threads if not alive(f"/proc/{pid}")]:
            self.forget(pid)
