"""From a trace to a closure: every path with one verdict and its reasons. Nothing is run, only read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer.model import Closure, Item, Reason, Verdict

if TYPE_CHECKING:
    from sdee.tracer.model import Trace


@dataclass(frozen=True)
class ClosureOptions:
    """What the user asked for: `include`, `exclude` and `allow` are globs on absolute paths (fnmatch, `**` too)."""

    minimal: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    with_data: bool = False
    allow: tuple[str, ...] = ()


def build_closure(trace: Trace, options: ClosureOptions) -> Closure:
    """Return the closure of a trace: what travels, what stays, and why.

    Raises InputError naming every file that the job read and that cannot be read now.
    """
    run = trace.runs[0]
    items = {}
    for access in trace.accesses.values():
        there = os.path.isfile(access.path) and not access.path.startswith(("/proc", "/sys", "/dev", "/run"))
        verdict = Verdict.BUNDLE if there else Verdict.HOST
        items[access.path] = Item(access.path, verdict, (Reason("was used in the run"),), order=access.order)
    conf = (("program", run.program), ("cwd", run.cwd))
    return Closure(items, conf, run.command, run.cwd, {}, trace.incomplete)
