"""Say what a user must know of a closure, whether or not anything failed.

Where two merged runs found something else at the same path, a bundle can carry only one of them. Said of what travels,
and only if the difference means something: not of what one rank writes and another one reads in the meantime, nor of
times alone on different machines, which install the same file at different times.
"""

from __future__ import annotations

import contextlib
import grp
import os
import shlex
import signal
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.secrets.tokens import BLANK
from sdee.packer.closure.globs import Globs
from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.closure.verdicts import Builder, Draft
    from sdee.tracer.tracefile.model import Run, State, Trace

SHOWN = 5  # paths
NAMED = 3  # runs of one state


@dataclass(frozen=True)
class Conflict:
    """A path without links, and the states in which runs found it, each with the numbers of these runs."""

    path: str
    states: tuple[tuple[State, tuple[int, ...]], ...]


def conflicts(trace: Trace) -> Iterator[Conflict]:
    """Yield where runs found something else, whether or not it travels."""
    for path, states in trace.differing.items():
        changers = trace.changed.get(path, [])
        kept = {
            state: tuple(run for run in runs if not _in_the_midst(run, changers, trace.runs))
            for state, runs in states.items()
        }
        found = [(state, runs) for state, runs in kept.items() if runs]
        if any(_differ(*one, *other, trace.runs) for n, one in enumerate(found) for other in found[:n]):
            yield Conflict(path, tuple(found))


def _in_the_midst(run: int, changers: list[int], runs: tuple[Run, ...]) -> bool:
    """Return whether another run that changed the path went on at the same time, as ranks of one job do."""
    return any(other != run and _overlap(runs[run], runs[other]) for other in changers)


def _overlap(one: Run, other: Run) -> bool:
    if one.began is None or one.ended is None or other.began is None or other.ended is None:
        return True  # cut off: it cannot be told
    return one.began < other.ended and other.began < one.ended


def _differ(one: State, runs: tuple[int, ...], other: State, others: tuple[int, ...], every: tuple[Run, ...]) -> bool:
    if {one.kind, other.kind} == {"", "dir"}:
        return False  # what is in it counts for itself
    if one.kind != other.kind or one.target != other.target:
        return True
    if -1 in (one.size, other.size):
        return False
    if one.size != other.size:
        return True
    hosts = {every[run].host.hostname for run in runs} & {every[run].host.hostname for run in others}
    return bool(hosts) and one.mtime_ns != other.mtime_ns


def conflict_notices(trace: Trace, builder: Builder) -> Iterator[str]:
    """Yield a sentence for each conflict about what travels, and one for those that are too many."""
    found = [c for c in conflicts(trace) if (d := builder.drafts.get(c.path)) and d.verdict is Verdict.BUNDLE]
    found.sort(key=lambda c: (builder.drafts[c.path].order is None, builder.drafts[c.path].order or 0, c.path))
    for conflict in found[:SHOWN]:
        seen = "; ".join(f"{_words(state)} ({_names(runs, trace)})" for state, runs in conflict.states)
        own = ", and the job itself changes it" if conflict.path in trace.changed else ""
        travels = _travels(conflict, builder.drafts[conflict.path], trace)
        yield f"{conflict.path!a} was not the same in all traced runs{own}: {seen}. {travels}"
    if len(found) > SHOWN:
        more = f" and {len(found) - SHOWN - 3} more" if len(found) > SHOWN + 3 else ""
        paths = ", ".join(ascii(c.path) for c in found[SHOWN : SHOWN + 3])
        yield f"these differ between the traced runs, too: {paths}{more}"


def _travels(conflict: Conflict, draft: Draft, trace: Trace) -> str:
    """Say which of the states the bundle has."""
    if draft.origin:
        what, size, mtime_ns = "was there before the job changed it", draft.size, draft.mtime_ns
    else:
        status = draft.status
        size, mtime_ns = (status.st_size, status.st_mtime_ns) if status else (None, None)
        what = "is there now"
    for state, runs in conflict.states:
        if state.kind == "file" and (state.size, state.mtime_ns) == (size, mtime_ns) and not draft.target:
            return f"The bundle has what {_names(runs, trace)} found"
        if draft.target and state.target == draft.target:
            return f"The bundle has what {_names(runs, trace)} found"
    return f"The bundle has what {what}"


def _words(state: State) -> str:
    if not state.kind:
        return "nothing"
    if state.kind == "link":
        return f"a link to {state.target!a}"
    if state.kind != "file":
        return {"dir": "a directory"}.get(state.kind, f"a {state.kind}")
    if state.size < 0:
        return "a file"
    return f"a file of {state.size} bytes, {time.strftime('%F %T', time.localtime(state.mtime_ns // 10**9))}"


def _names(runs: tuple[int, ...], trace: Trace) -> str:
    """Name runs as the user does: by their traces, and on which machines if these differ."""
    every = trace.runs
    appended = {run.trace for run in every if run.segment > 1}
    alone = len({run.trace for run in every}) == 1
    hosts = len({run.host.hostname for run in every}) > 1
    names = []
    for run in (every[n] for n in runs[:NAMED]):
        name = ascii(os.path.basename(run.trace)).strip("'")
        if run.trace in appended:
            name = f"run {run.segment}" if alone else f"run {run.segment} of {name}"
        names.append(f"{name} on {run.host.hostname}" if hosts else name)
    more = f" and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
    return ", ".join(names) + more


def only_executed(trace: Trace, builder: Builder) -> list[str]:
    """Return the programs that the job could execute and nobody here can read (mode 0111)."""
    executed = {builder.fs.resolve(execution.path).real for execution in trace.execs}
    return [path for path in dict.fromkeys(builder.unreadable) if path in executed]


def notices(trace: Trace, builder: Builder) -> Iterator[str]:
    """Yield a sentence for each thing that a user must look at."""
    for path in only_executed(trace, builder):
        yield (
            f"you may execute {path!a} but not read it: it does not travel, and sdee cannot see what it uses; "
            "run on nodes that have it, or make it readable (chmod +r) and trace again"
        )
    for run in trace.runs:
        if run.status:
            number = run.status - 128  # a program may return such a number itself, as ssh does 255
            by = f" (signal {signal.Signals(number).name})" if number in signal.valid_signals() else ""
            how = f"ended with status {run.status}{by}"
            yield f"the traced run {how}, so it may not have used all that the job needs: {shlex.join(run.command)}"
    ended = max((run.ended for run in trace.runs if run.ended is not None), default=None)
    used = [d for d in builder.travelling() if d.order is not None and not d.origin and d.status]
    late = [d.path for d in used if d.status and stat.S_ISREG(d.status.st_mode) and ended and d.status.st_mtime > ended]
    if late:
        more = f" and {len(late) - 3} more" if len(late) > 3 else ""
        said = f"{', '.join(map(ascii, late[:3]))}{more}"
        yield f"changed since the job was traced; the bundle has the present content: {said}"
    if any(BLANK in argument for argument in trace.runs[0].command):
        yield "sdee did not record a secret of the command line: give the bundle all its arguments"
    yield from conflict_notices(trace, builder)
    yield from _of_groups(trace)
    yield from _of_own_mounts(builder)
    for option, globs in (("exclude", builder.options.exclude), ("allow", builder.options.allow)):
        for glob in globs:
            if not any(map(Globs((glob,)).match, builder.drafts)):
                yield f"--{option} {glob!a} matches nothing that the job uses"


def _of_groups(trace: Trace) -> Iterator[str]:
    """Yield a sentence for each group that only the bare job may give files to: a bundle's user namespace lacks it."""
    run = trace.runs[0]
    for gid in trace.groups if run.uid else ():
        if gid != run.gid:
            name = str(gid)
            with contextlib.suppress(KeyError):
                name = grp.getgrgid(gid).gr_name
            yield (
                f"the job gives files to the group {name} ({gid}); in a bundle, chown fails for all groups but the "
                f"primary one (Invalid argument): start it by `sg {name} -c ./bundle.sdee`, or ask the administrator "
                f"for the line USER:{gid}:1 in /etc/subgid of the nodes"
            )


def _of_own_mounts(builder: Builder) -> Iterator[str]:
    """Yield a sentence for each file system that the user has mounted and that holds the job's data: no node has it."""
    ends = {
        Verdict.SHARED: ("stays", "--with-data packs it, or the job must mount it, too"),
        Verdict.PRODUCED: ("is written", "unless the job mounts it, too, the output goes to the directory beneath"),
    }
    found: dict[tuple[str, Verdict], list[str]] = {}
    for draft in builder.drafts.values():
        is_directory = draft.status is not None and stat.S_ISDIR(draft.status.st_mode)
        if draft.verdict in ends and not is_directory and (mount := builder.site.own_mount(draft.path)):
            found.setdefault((mount, draft.verdict), []).append(draft.path)
    for (mount, verdict), paths in found.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        (does, remedy), kind = ends[verdict], builder.site.mounts[mount]
        yield f"{paths[0]!a}{more} {does} on {mount!a}, a {kind} mount of this machine: {remedy}"
