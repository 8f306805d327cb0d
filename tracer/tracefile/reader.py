"""Merging the segments of trace files into one Trace: read_traces()."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from sdee.base import typed
from sdee.base.errors import TraceError
from sdee.base.files import open_regular
from sdee.tracer.tracefile.model import COPIES, FORMAT, Access, Exec, Host, Process, Result, Run, Saved, Trace
from sdee.tracer.tracefile.shapes import HEADER, RECORDS
from sdee.tracer.tracefile.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_USES = frozenset(("read", "exec"))
_REPLACES = frozenset(("truncate", "remove", "rename"))
_RESULT = ("path", "kind", "size", "sha256", "target")
_VALUES = 4_000_000  # of one record


def _host(facts: Mapping[str, Any]) -> Host:
    system, libc = facts.get("os", {}), facts.get("libc", {})
    return Host(
        os_id=system.get("ID", ""),
        os_version=system.get("VERSION_ID", ""),
        os_name=system.get("PRETTY_NAME", ""),
        kernel=facts.get("kernel", ""),
        machine=facts.get("machine", ""),
        cpu_level=facts.get("cpu_level", ""),
        libc_path=libc.get("path", ""),
        libc_version=libc.get("version", ""),
        libc_build_id=libc.get("build_id", ""),
        hostname=facts.get("hostname", ""),
        mounts=tuple((point, kind) for point, kind in facts.get("mounts", ())),
    )


def _normal(path: str) -> str:
    """Return a path as a bundle can hold it: also of a job that changed its root, and of what no sdee wrote."""
    if "//" in path or "/." in path or path.endswith("/"):
        return os.path.normpath("/" + path.lstrip("/"))
    return path


NO_HOME = "/nonexistent"  # as passwd(5) has it for nobody: HOME may be anything, also no path


class Reader:
    """Merges segments, of one file after the other."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.statuses: list[int | None] = []
        self.times: list[tuple[float | None, float | None]] = []  # of each run: when it began and ended
        self.names: list[tuple[str, int]] = []  # of each run: its trace, its number there
        self.results: list[dict[str, Result]] = []  # of each run; standard output is ""
        self.processes: list[Process] = []
        self.execs: list[Exec] = []
        self.accesses: dict[str, Access] = {}
        self.sockets: dict[str, None] = {}
        self.groups: dict[int, None] = {}
        self.saved: dict[str, Saved] = {}
        self.incomplete: dict[str, None] = {}
        self.listings: dict[str, tuple[str, ...]] = {}
        self._path = ""
        self._segments = 0
        self._alive: dict[int, int] = {}  # pid → index into processes: numbers are used again
        self._open = False
        self._made: set[str] = set()
        # real paths whose first content was used, and those whose first content was gone before it was used
        self._used: set[str] = set()
        self._replaced: set[str] = set()
        self._sightings = Sightings()
        self._copies = ""  # the directory of saved copies of this file
        self._no_copies = ""  # why those do not count

    def read(self, path: str) -> None:
        """Add the segments of one file. Raises TraceError."""
        self._path = path
        try:
            with open(open_regular(path, passed=True), "rb") as file:
                self._find_copies(os.fstat(file.fileno()).st_uid)
                lines = file.read().split(b"\n")
        except OSError as error:
            hint = "`sdee trace -- COMMAND` makes one"
            raise TraceError(f"cannot read the trace {path!r}: {error.strerror}", hint=hint) from error
        cut = lines.pop() != b""  # the last line has no newline: it was being written
        self._open = False
        self._segments = 0
        begun = False
        for number, line in enumerate(lines, 1):
            try:
                record = typed.loads(line, values=_VALUES)
                kind = record["t"]
                if not begun and kind != "header":
                    raise TraceError(f"{path!r} is not a trace: its first line is no header")
                begun = True
                if kind == "header":
                    self._on_header(record)
                elif kind in RECORDS:  # a later version of the same format may add kinds
                    RECORDS[kind](record)
                    getattr(self, f"_on_{kind}")(record)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:  # noqa: PERF203 - lines are judged one by one
                if begun and b"\0" in line:  # a node that crashed leaves zeros
                    self._note(f"line {number} of the trace {path} is damaged")
                    continue
                if line.startswith(b"\x7fELF"):
                    hint = "of a bundle: `sdee info` shows what it is, `sdee exec` runs it"
                    raise TraceError(f"{path!r} is a program or a bundle, not a trace", hint=hint) from error
                hint = "is this the file that `sdee trace` wrote?"
                raise TraceError(f"{path!r}, line {number}, is not a trace record: {error}", hint=hint) from error
        if not begun:
            raise TraceError(f"{path!r} is not a trace: it is empty", hint="was it cut off before the job began?")
        if self._open or cut:
            self._cut_off()

    def _find_copies(self, owner: int) -> None:
        """Find the directory of saved copies. Another's than the trace's does not count, nor one that is a link."""
        self._copies, self._no_copies = os.path.abspath(self._path) + COPIES, ""
        try:
            found = os.lstat(self._copies)
        except OSError:
            return
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid(), 0):
            self._no_copies = f"{self._copies} does not belong to the trace's owner"

    def _note(self, sentence: str) -> None:
        self.incomplete[sentence] = None

    def _cut_off(self) -> None:
        self._note(f"the trace {self._path} was cut off: the tracer was killed before the job ended")

    def _on_header(self, record: dict[str, Any]) -> None:
        if record["sdee"] > FORMAT:
            version = record.get("version", "?")
            message = f"{self._path!r} has trace format {record['sdee']}; this sdee reads format {FORMAT}"
            raise TraceError(message, hint=f"use sdee {version} or later")
        HEADER(record)
        if self._open:
            self._cut_off()
        self._open = True
        self._alive = {}
        self.runs.append(record)
        self.statuses.append(None)
        self.times.append((None, None))
        self.results.append({})
        self._segments += 1
        self.names.append((self._path, self._segments))
        self._sightings.begin()

    def _on_process(self, record: dict[str, Any]) -> None:
        self._alive[record["pid"]] = len(self.processes)
        self.processes.append(Process(record["pid"], record["ppid"], None))

    def _on_exit(self, record: dict[str, Any]) -> None:
        at = self._alive.pop(record["pid"], None)
        if at is not None:
            self.processes[at] = Process(self.processes[at].pid, self.processes[at].ppid, record["status"])

    def _on_exec(self, record: dict[str, Any]) -> None:
        argv, interpreters = tuple(record["argv"]), tuple(record["interpreters"])
        made = Exec(record["pid"], record["path"], argv, interpreters, record["libpath"], record["setid"])
        self.execs.append(made)

    def _on_path(self, record: dict[str, Any]) -> None:
        path, ops = _normal(record["path"]), record["ops"]
        self._sightings.add(record)
        there = record["exists"] and not record.get("made", False)
        access = self.accesses.get(path)
        if access is None:
            access = self.accesses[path] = Access(path, len(self.accesses), record["pid"], existed=there)
        elif there and not access.existed and path not in self._made:
            access.existed = True  # it came meanwhile, and not from the job: an input after all
        access.made = access.made or bool(record.get("made"))
        if not {"create", "rename"}.isdisjoint(ops):
            self._made.add(path)
        if there and not _REPLACES.isdisjoint(ops) and record["real"] not in self._used:
            self._replaced.add(record["real"])
        if there and not _USES.isdisjoint(ops) and record["real"] not in self._replaced:
            self._used.add(record["real"])
        if record["exists"] or not access.real:
            access.kind, access.real = record["kind"] or access.kind, record["real"] and _normal(record["real"])
        if len(record["hops"]) > len(access.hops):
            access.hops = tuple((_normal(link), target) for link, target in record["hops"])
        access.ops.update(ops)

    def _on_socket(self, record: dict[str, Any]) -> None:
        self.sockets[record["path"]] = None

    def _on_group(self, record: dict[str, Any]) -> None:
        self.groups[int(record["gid"])] = None

    def _on_saved(self, record: dict[str, Any]) -> None:
        copy, why = record["copy"], record.get("why", "")
        if copy is not None:
            copy, why = (None, self._no_copies) if self._no_copies else (os.path.join(self._copies, copy), why)
        size, mtime, mode = record["size"], record["mtime_ns"], record["mode"]
        self.saved.setdefault(record["path"], Saved(record["path"], copy, size, mtime, mode, why))

    def _on_incomplete(self, record: dict[str, Any]) -> None:
        detail = f": {record['detail']}" if record.get("detail") else ""
        self._note(record["why"] + detail)

    def _on_listing(self, record: dict[str, Any]) -> None:
        self.listings.setdefault(record["path"], tuple(record["names"]))

    def _on_result(self, record: dict[str, Any]) -> None:
        self.results[-1][record["path"]] = Result(**{name: record[name] for name in _RESULT if name in record})

    def _on_end(self, record: dict[str, Any]) -> None:
        self._open = False
        if stdout := record.get("stdout"):
            self.results[-1][""] = Result("", "file", stdout["size"], stdout["sha256"])
        self.statuses[-1] = record["status"]
        ended = record.get("time")
        self.times[-1] = (ended - record.get("seconds", 0) if ended else None, ended)

    def trace(self) -> Trace:
        """Return what has been read."""
        for access in self.accesses.values():
            access.replaced = access.existed and access.real in self._replaced
        self._sightings.end()
        several = len(self.runs) > 1
        rows = zip(self.runs, self.statuses, self.times, self.names, self.results, strict=True)
        runs = (_run(*row) for row in rows)
        return Trace(
            runs=tuple(runs),
            processes=tuple(self.processes),
            execs=tuple(self.execs),
            accesses=self.accesses,
            sockets=tuple(self.sockets),
            saved=self.saved,
            incomplete=tuple(self.incomplete),
            differing=self._sightings.differing() if several else {},
            changed=self._sightings.changed if several else {},
            listings=self.listings,
            groups=tuple(self.groups),
        )


def _run(
    header: Mapping[str, Any],
    status: int | None,
    times: tuple[float | None, float | None],
    name: tuple[str, int],
    results: Mapping[str, Result],
) -> Run:
    return Run(
        command=tuple(header["command"]),
        program=header["program"],
        cwd=header["cwd"],
        env=dict(header["env"]),
        env_dropped=tuple(header["env_dropped"]),
        umask=header["umask"],
        rlimits={name: (soft, hard) for name, (soft, hard) in header["rlimits"].items()},
        uid=header["uid"],
        gid=header["gid"],
        home=_normal(header["home"]) if header["home"].startswith("/") else NO_HOME,
        engine=header["engine"],
        host=_host(header["host"]),
        status=status,
        ended=times[1],
        began=times[0],
        trace=name[0],
        segment=name[1],
        results=tuple(result for path, result in results.items() if path),
        stdout=results.get(""),
    )


def read_traces(paths: Iterable[str]) -> Trace:
    """Read and merge trace files, in order; their segments likewise.

    `Access.existed` tells whether the path was there before the job made it. A file that was cut off is read as far
    as it goes and named in `incomplete`. Raises TraceError for what is no trace, damaged within, or of a newer format.
    """
    reader = Reader()
    for path in paths:
        reader.read(path)
    if not reader.runs:
        raise TraceError("no trace was given")
    try:
        return reader.trace()
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"a header lacks {error}", hint="is this the file that `sdee trace` wrote?") from error
