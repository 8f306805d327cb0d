"""What a bare node would lack: a bundle compared with a trace of its run in a root where nothing else is visible."""

from __future__ import annotations

import json
import os
import shlex
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer import tables
from sdee.packer.filesystem import ancestors, is_below, is_below_any
from sdee.packer.host_libraries import never_travels
from sdee.packer.model import Verdict
from sdee.packer.places import host_reason
from sdee.packer.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdee.packer.reader import Bundle
    from sdee.tracer.model import Trace


@dataclass(frozen=True)
class Missing:
    """A path that is here and would not be on a bare node.

    `kind`: "program", "file" or "directory"; `by`: the program that wanted it; `why`: why it is not in the bundle;
    `option`: what `sdee bundle` needs to be told so that it travels, "" when it cannot.
    """

    path: str
    kind: str
    by: str
    why: str
    option: str


@dataclass(frozen=True)
class Report:
    """How the run on the bare node went. `expected`: the recorded status, None when the bundle does not know it."""

    status: int
    expected: int | None
    missing: tuple[Missing, ...]
    provided: tuple[str, ...]  # the node must have them
    incomplete: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Return whether the bundle can be expected to run on a bare node."""
        return not self.missing and self.expected in (None, self.status)


def what_a_node_has(bundle: Bundle) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the directories that a bare node has for the job, and the inputs: what stays on shared storage.

    A node has its own accounts and network settings too.
    """
    directories = [*bundle.conf("live"), *bundle.conf("cwd")]
    produced = {path: item for path, item in bundle.items.items() if item.verdict is Verdict.PRODUCED}
    above = {os.path.dirname(path) for path in produced} - produced.keys()
    directories += sorted(path for path in above if is_below_any(path, tuple(directories)) and os.path.isdir(path))
    shared = [path for path, item in bundle.items.items() if item.verdict is Verdict.SHARED]
    # what was there before and is only written, moved or removed is no input, and yet there
    was_there = "was there and written by the job"
    shared += [p for p, item in produced.items() if any(reason.why == was_there for reason in item.reasons)]
    own = [path for path in bundle.conf("host") if is_below_any(path, (*tables.HOST_FILES, "/run"))]
    drivers = [path for path, item in bundle.items.items() if item.verdict is Verdict.HOST and never_travels(path)]
    own += [name for path in drivers for name in (path, os.path.realpath(path))]  # libcuda.so.1 → libcuda.so.535.104
    inputs = sorted(path for path in {*shared, *own} if path not in directories)
    return tuple(dict.fromkeys(directories)), tuple(inputs)


def job_part(lines: Iterable[str], program: str) -> list[str]:
    """Return the lines of a trace less those of paths before the launcher, `program`, executed the job.

    What the launcher made, a mount point and all that is mounted on it, was there for the job.
    """
    kept, begun = [], False
    launched = False
    made: set[str] = set()
    for line in lines:
        record = json.loads(line)
        kind = record["t"]
        if kind == "exec":
            begun = begun or launched
            launched = launched or record["path"] == program
        if kind == "path" and not begun and not {"create", "rename"}.isdisjoint(record["ops"]):
            made.add(record["path"])
        if kind in ("path", "socket", "saved", "incomplete") and not begun:
            continue
        if kind == "path" and record.get("made") and not made.isdisjoint((record["path"], *ancestors(record["path"]))):
            del record["made"]
            line = json.dumps(record) + "\n"  # noqa: PLW2901 - what is kept of it
        # that the launcher mounts is no news; what the job could not be followed into is
        if kind == "incomplete" and ("mount" in record["why"] or "root" in record["why"]):
            continue
        if kind != "exec" or begun:
            kept.append(line)
    return kept


def report(bundle: Bundle, trace: Trace, *, recorded: bool = True) -> Report:
    """Compare a bundle with the trace of its run on a bare node (its job_part).

    `recorded`: it was the recorded command line, so that the exit status should be the same too.
    """
    provenance = Provenance(trace)
    missing, provided = [], []
    for access in sorted(trace.accesses.values(), key=lambda a: a.order):
        path = access.path
        if access.existed or not os.path.lexists(path) or access.ops <= {"create", "rename", "write"}:
            continue
        item = bundle.items.get(path)
        if host_reason(path) and not (item and item.verdict is Verdict.SECRET):
            provided += [path] if item is not None and item.verdict is Verdict.HOST else []
            continue
        if _is_the_nodes(path, bundle) and (item is None or item.verdict in (Verdict.PRODUCED, Verdict.ABSENT)):
            continue
        why, option = _explain(item.verdict if item else None, path)
        missing.append(Missing(path, _kind(path), provenance.reason(access).source, why, option))
    status = trace.runs[0].status if trace.runs[0].status is not None else -1
    expected = bundle.meta.get("status") if recorded else None
    if expected is None or status != expected:
        missing += _left_out(bundle, trace, {m.path for m in missing})
    return Report(
        status,
        expected,
        tuple(m for m in missing if not any(m.path != n.path and is_below(m.path, n.path) for n in missing)),
        tuple(dict.fromkeys(provided)),
        trace.incomplete,
    )


def _left_out(bundle: Bundle, trace: Trace, known: set[str]) -> list[Missing]:
    """Return what the recorded run used, what was left out, and what this run, which failed, did not even look for.

    Python and others list a directory, see that a name is not among the others, and ask no further.
    """
    found = []
    for path, item in bundle.items.items():
        access = trace.accesses.get(path)
        left_out = item.verdict is Verdict.SECRET or any("--exclude" in reason.why for reason in item.reasons)
        if left_out and path not in known and not (access and access.existed) and os.path.isfile(path):
            by = next((reason.source for reason in item.reasons if reason.source), "")
            why, option = _explain(item.verdict, path)
            found.append(Missing(path, _kind(path), by, why, option))
    return found


def _is_the_nodes(path: str, bundle: Bundle) -> bool:
    return is_below_any(path, (*tables.TEMPORARY_ROOTS, *bundle.conf("live")))


def _kind(path: str) -> str:
    status = os.stat(path) if os.path.exists(path) else os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "program" if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 and not _is_library(path) else "file"


def _is_library(path: str) -> bool:
    return bool(tables.SHARED_OBJECT.search(os.path.basename(path)))


def _explain(verdict: Verdict | None, path: str) -> tuple[str, str]:
    quoted = shlex.quote(path)
    if verdict is Verdict.SECRET:
        return "it was refused as a secret", f"--allow {quoted}"
    if verdict is Verdict.SHARED:
        return "it stays on shared storage", "--with-data"
    if verdict is Verdict.HOST:
        return "it was left out", f"--include {quoted}"
    if verdict is Verdict.ABSENT:
        return "it was not there when the job was traced", f"--include {quoted}"
    return "the traced run did not use it", f"--include {quoted}"
