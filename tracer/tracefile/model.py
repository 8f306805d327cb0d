"""The trace as values: what a trace file holds, after its segments are merged.

Paths are str with surrogateescape (os.fsdecode), absolute and lexically normalised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sdee.tracer.tracefile.sightings import State

FORMAT = 1
COPIES = ".saved"  # the directory of a trace's copies: its name and this

__all__ = ["FORMAT", "Access", "Exec", "Host", "Process", "Result", "Run", "Saved", "State", "Trace"]


@dataclass(frozen=True)
class Host:
    """The machine of a segment (docs/trace-format.md, `host`)."""

    os_id: str = ""
    os_version: str = ""
    os_name: str = ""
    kernel: str = ""
    machine: str = ""
    cpu_level: str = ""
    libc_path: str = ""
    libc_version: str = ""
    libc_build_id: str = ""
    hostname: str = ""
    mounts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Result:
    """What a run left at a path that it wrote or made; of standard output `path` is "".

    `kind`: "file", "dir" or "link"; `size` in bytes and `sha256` (hex, "" if unknown) are a file's, `target` a link's.
    """

    path: str
    kind: str
    size: int = 0
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True)
class Run:
    """One traced command: a segment's header and end. `status` is None when the trace was cut off.

    `began`, `ended`: seconds since 1970, None if not known. `trace`: the file's name, and `segment` the run's number
    in it, from 1. `stdout`: where that went to a file.
    """

    command: tuple[str, ...]
    program: str
    cwd: str
    env: dict[str, str]
    env_dropped: tuple[str, ...]
    umask: int
    rlimits: dict[str, tuple[int, int]]
    uid: int
    gid: int
    home: str
    engine: str
    host: Host
    status: int | None
    ended: float | None = None
    began: float | None = None
    trace: str = ""
    segment: int = 1
    results: tuple[Result, ...] = ()
    stdout: Result | None = None


@dataclass(frozen=True)
class Exec:
    """One execve. `interpreters`: the #! chain, then the ELF program interpreter."""

    pid: int
    path: str
    argv: tuple[str, ...]
    interpreters: tuple[str, ...]
    libpath: str | None
    setid: bool


@dataclass(slots=True)
class Access:
    """All that was done to one path; `order` is its rank in first access."""

    path: str
    order: int
    pid: int
    ops: set[str] = field(default_factory=set)
    existed: bool = False  # at first access
    made: bool = False  # by the job itself, it or a directory above it
    replaced: bool = False  # what was there at first was emptied, removed or renamed over before it was used
    kind: str | None = None
    hops: tuple[tuple[str, str], ...] = ()
    real: str = ""


@dataclass(frozen=True)
class Saved:
    """A file as it was before the job changed it; `copy` is an absolute path, or None with the reason in `why`."""

    path: str
    copy: str | None
    size: int
    mtime_ns: int
    mode: int
    why: str = ""


@dataclass(frozen=True)
class Process:
    """One process of the job. `status` is None if it outlived the trace."""

    pid: int
    ppid: int
    status: int | None


@dataclass(frozen=True)
class Trace:
    """One or more runs, merged. The first run's command, environment and cwd are what a bundle repeats.

    `differing`: paths free of links that runs found in different states before they changed anything there, each state
    with the numbers of the runs that did; `changed`: which runs changed or made a path. Both of several runs only.
    `listings`: the names in directories when they were listed first, where that was asked for.
    `groups`: numbers of the groups that files were given to.
    """

    runs: tuple[Run, ...]
    processes: tuple[Process, ...]
    execs: tuple[Exec, ...]
    accesses: dict[str, Access]
    sockets: tuple[str, ...]
    saved: dict[str, Saved]
    incomplete: tuple[str, ...]
    differing: dict[str, dict[State, list[int]]] = field(default_factory=dict)
    changed: dict[str, list[int]] = field(default_factory=dict)
    listings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
