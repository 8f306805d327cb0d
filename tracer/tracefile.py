"""Writing and reading trace files: docs/trace-format.md."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from sdee.errors import OutputError, TraceError, UsageError
from sdee.tracer.model import FORMAT, Access, Exec, Host, Process, Run, Saved, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FLUSH_SIZE = 64 << 10  # characters kept back at most; pulse() writes them out once a second
_RECORDS = {"header", "process", "exec", "path", "socket", "saved", "exit", "incomplete", "end"}
_RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")


def expand_name(name: str, env: Mapping[str, str]) -> str:
    """Replace %r (MPI or Slurm rank, 0 outside of one), %h (host name), %p (process id) and %% in a trace's name.

    Raises UsageError for any other `%`.
    """
    rank = next((env[variable] for variable in _RANKS if env.get(variable, "").isdigit()), "0")
    values = {"r": rank, "h": os.uname().nodename, "p": str(os.getpid()), "%": "%"}
    pieces = name.split("%")
    text, at = pieces[0], 1
    while at < len(pieces):
        key = pieces[at][:1] or "%"
        if key not in values or (not pieces[at] and at + 1 == len(pieces)):
            raise UsageError(
                f"unknown expansion %{pieces[at][:1]} in {name!r}", hint="%r rank, %h host, %p process id, %% for %"
            )
        if pieces[at]:
            text += values[key] + pieces[at][1:]
            at += 1
        else:  # "%%" splits into an empty piece
            text += "%" + pieces[at + 1]
            at += 2
    return text


class Writer:
    """A trace file being written. Failures never reach the job: `error` keeps the first, and nothing is written after it."""

    def __init__(self, path: str, *, append: bool) -> None:
        """Open `path`, mode 0600. Raises OutputError when that cannot be done: before the job has begun."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | (os.O_APPEND if append else os.O_TRUNC)
        try:
            self._descriptor = os.open(path, flags, 0o600)
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fchmod(self._descriptor, 0o600)
        except OSError as error:
            hint = "choose another place with -o FILE"
            raise OutputError(f"cannot write the trace {path!r}: {error.strerror}", hint=hint) from error
        self.path = path
        self.error: OSError | None = None
        self._lines: list[str] = []
        self._size = 0

    def line(self, text: str) -> None:
        """Add one record, JSON and a newline."""
        self._lines.append(text)
        self._size += len(text)
        if self._size >= _FLUSH_SIZE:
            self.flush()

    def record(self, kind: str, **fields: object) -> None:
        """Add one record of `kind` with `fields`."""
        self.line(json.dumps({"t": kind, **fields}, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Write out what is buffered."""
        data = memoryview("".join(self._lines).encode("ascii"))
        self._lines.clear()
        self._size = 0
        while data and self.error is None:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                self.error = error

    def close(self) -> None:
        """Write out everything and close."""
        self.flush()
        try:
            os.close(self._descriptor)
        except OSError as error:  # NFS reports a full disk here
            self.error = self.error or error


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


class _Reader:
    """Merges segments, of one file after the other."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.statuses: list[int | None] = []
        self.processes: list[Process] = []
        self.execs: list[Exec] = []
        self.accesses: dict[str, Access] = {}
        self.sockets: dict[str, None] = {}
        self.saved: dict[str, Saved] = {}
        self.incomplete: dict[str, None] = {}
        self._path = ""
        self._alive: dict[int, int] = {}  # pid → index into processes: numbers are used again
        self._open = False
        self._made: set[str] = set()

    def read(self, path: str) -> None:
        self._path = path
        try:
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")
        except OSError as error:
            hint = "`sdee trace -- COMMAND` makes one"
            raise TraceError(f"cannot read the trace {path!r}: {error.strerror}", hint=hint) from error
        cut = lines.pop() != b""  # the last line has no newline: it was being written
        self._open = False
        begun = False
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                kind = record["t"]
                if not begun and kind != "header":
                    raise TraceError(f"{path!r} is not a trace: its first line is no header")
                begun = True
                if kind in _RECORDS:  # a later version of the same format may add kinds
                    getattr(self, f"_on_{kind}")(record)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                if begun and b"\0" in line:  # a node that crashed leaves zeros
                    self._note(f"line {number} of the trace {path} is damaged")
                    continue
                hint = "is this the file that `sdee trace` wrote?"
                raise TraceError(f"{path!r}, line {number}, is not a trace record: {error}", hint=hint) from error
        if not begun:
            raise TraceError(f"{path!r} is not a trace: it is empty", hint="was it cut off before the job began?")
        if self._open or cut:
            self._cut_off()

    def _note(self, sentence: str) -> None:
        self.incomplete[sentence] = None

    def _cut_off(self) -> None:
        self._note(f"the trace {self._path} was cut off: the tracer was killed before the job ended")

    def _on_header(self, record: dict[str, Any]) -> None:
        if record["sdee"] > FORMAT:
            version = record.get("version", "?")
            message = f"{self._path!r} has trace format {record['sdee']}; this sdee reads format {FORMAT}"
            raise TraceError(message, hint=f"use sdee {version} or later")
        if self._open:
            self._cut_off()
        self._open = True
        self._alive = {}
        self.runs.append(record)
        self.statuses.append(None)

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
        path, ops = record["path"], record["ops"]
        access = self.accesses.get(path)
        if access is None:
            access = self.accesses[path] = Access(path, len(self.accesses), record["pid"], existed=record["exists"])
        elif record["exists"] and not access.existed and path not in self._made:
            access.existed = True  # it came meanwhile, and not from the job: an input after all
        if not {"create", "rename"}.isdisjoint(ops):
            self._made.add(path)
        if record["exists"] or not access.real:
            access.kind, access.real = record["kind"] or access.kind, record["real"]
        if len(record["hops"]) > len(access.hops):
            access.hops = tuple((link, target) for link, target in record["hops"])
        access.ops.update(ops)

    def _on_socket(self, record: dict[str, Any]) -> None:
        self.sockets[record["path"]] = None

    def _on_saved(self, record: dict[str, Any]) -> None:
        copy = record["copy"] and os.path.join(os.path.abspath(self._path) + ".saved", record["copy"])
        size, mtime, mode = record["size"], record["mtime_ns"], record["mode"]
        self.saved.setdefault(record["path"], Saved(record["path"], copy, size, mtime, mode, record.get("why", "")))

    def _on_incomplete(self, record: dict[str, Any]) -> None:
        detail = f": {record['detail']}" if record.get("detail") else ""
        self._note(record["why"] + detail)

    def _on_end(self, record: dict[str, Any]) -> None:
        self._open = False
        self.statuses[-1] = record["status"]

    def trace(self) -> Trace:
        runs = (_run(header, status) for header, status in zip(self.runs, self.statuses, strict=True))
        return Trace(
            runs=tuple(runs),
            processes=tuple(self.processes),
            execs=tuple(self.execs),
            accesses=self.accesses,
            sockets=tuple(self.sockets),
            saved=self.saved,
            incomplete=tuple(self.incomplete),
        )


def _run(header: Mapping[str, Any], status: int | None) -> Run:
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
        home=header["home"],
        engine=header["engine"],
        host=_host(header["host"]),
        status=status,
    )


def read_traces(paths: Sequence[str] | Iterable[str]) -> Trace:
    """Read and merge trace files, in order; their segments likewise.

    `Access.existed` tells whether the path was there before the job made it. A file that was cut off is read as far
    as it goes and named in `incomplete`. Raises TraceError for what is no trace, damaged within, or of a newer format.
    """
    reader = _Reader()
    for path in paths:
        reader.read(path)
    if not reader.runs:
        raise TraceError("no trace was given")
    try:
        return reader.trace()
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"a header lacks {error}", hint="is this the file that `sdee trace` wrote?") from error
