"""Merged traces: where two runs found something else at the same path, a bundle can carry only one of them.

Said of what travels, and only if the difference means something: not of what one rank writes and another one reads in
the meantime, nor of times alone on different machines, which install the same file at different times.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.builder import Builder, Draft
    from sdee.tracer.model import Run, State, Trace

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
        yield f"not the same in all traced runs either: {paths}{more}"


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
            return f"What travels is what was found by {_names(runs, trace)}"
        if draft.target and state.target == draft.target:
            return f"What travels is what was found by {_names(runs, trace)}"
    return f"What travels is what {what}"


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
