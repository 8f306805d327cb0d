"""Make a bundle from traces and settings: the options, the plan, and the file."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base import trust
from sdee.base.errors import BundleError, TraceError, UsageError
from sdee.packer.closure.build import build_closure
from sdee.packer.closure.options import ClosureOptions
from sdee.packer.contents import Contents, cache_of
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.writer import write_bundle
from sdee.packer.inspect.coverage import lacking, with_both
from sdee.packer.knowledge import PACKAGES_LIMIT, SOFTWARE_LIMIT
from sdee.runtime.programs import launcher_path
from sdee.tracer.tracefile.model import COPIES
from sdee.tracer.tracefile.reader import read_traces
from sdee.workflow import settings
from sdee.workflow.globs import absolute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdee.packer.format.writer import BundleSummary
    from sdee.packer.model import Closure

DEFAULT_TRACE = "sdee.trace"


@dataclass(frozen=True)
class Wanted:
    """Options of a bundle besides sdee.toml: they add to its lists and replace its other values.

    Globs are as typed in the current directory. `level`: zstd's, None for the usual one; `stand_ins`: as of
    ClosureOptions; `no_cache`: look into each file, whatever was found the last time.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    minimal: bool = False
    with_data: bool = False
    level: int | None = None
    stand_ins: tuple[tuple[str, str], ...] = ()
    no_cache: bool = False


@dataclass(frozen=True)
class Plan:
    """What will be bundled, at which level of zstd, and what is known of the files."""

    closure: Closure
    level: int
    contents: Contents


@dataclass(frozen=True)
class Bundled:
    """A bundle that was written, and how long that took."""

    path: str
    closure: Closure
    summary: BundleSummary
    seconds: float


def plan(traces: Sequence[str], wanted: Wanted, say: Callable[[str], None]) -> Plan:
    """Work out what must travel. Raises TraceError, InputError, UsageError."""
    if not traces:
        raise UsageError("no trace is given")
    given = settings.load(say)
    options = ClosureOptions(
        minimal=wanted.minimal or given.get("minimal", default=False),
        include=(*given.get("include", ()), *absolute(wanted.include, anywhere=False)),
        exclude=(*given.get("exclude", ()), *absolute(wanted.exclude)),
        with_data=wanted.with_data or given.get("with-data", default=False),
        allow=(*given.get("allow", ()), *absolute(wanted.allow)),
        expand=(*given.get("expand", ()), *wanted.expand),
        host=tuple(given.get("host", ())),
        shared=tuple(given.get("shared", ())),
        fixed_environment=tuple(given.get("fixed-environment", ())),
        live_environment=tuple(given.get("live-environment", ())),
        without_units=tuple(given.get("without-units", ())),
        stand_ins=wanted.stand_ins,
        software_limit=given.get("software-limit", default=SOFTWARE_LIMIT // 10**6) * 10**6,
        package_limit=given.get("package-limit", default=PACKAGES_LIMIT // 10**6) * 10**6,
    )
    level = wanted.level or given.get("level", settings.DEFAULT_LEVEL)
    contents = Contents("" if wanted.no_cache else cache_of(traces[0]))
    return Plan(build_closure(read_traces(_without_copies(traces)), options, contents), level, contents)


def _without_copies(traces: Sequence[str]) -> list[str]:
    """Leave out the directories of saved copies that `rank.*` names beside the traces that they belong to."""
    return [t for t in traces if not (t.endswith(COPIES) and t.removesuffix(COPIES) in traces and os.path.isdir(t))]


def default_trace() -> str:
    """Return the default trace. Raises TraceError if none is here, or it is another user's."""
    if not os.path.exists(DEFAULT_TRACE):
        raise TraceError(f"there is no trace {DEFAULT_TRACE!a} here", hint="record one: sdee trace -- COMMAND")
    if why := trust.distrusted(DEFAULT_TRACE):
        hint = f"if you trust it, name it: sdee bundle {DEFAULT_TRACE}"
        raise TraceError(f"sdee does not read the trace {DEFAULT_TRACE!a} here unasked: {why}", hint=hint)
    return DEFAULT_TRACE


def check_output(output: str) -> None:
    """Raise UsageError for a name that a bundle cannot have; before the traces are read, which takes time."""
    if os.path.isdir(output):
        raise UsageError(f"{output!a} is a directory", hint="name a file: -o FILE")


def serving(instead: Sequence[str], apart: tuple[str, ...], closure: Closure) -> tuple[str, Closure]:
    """Return the first of other commands' bundles that holds all of a closure; else "" and the closure to bundle.

    That holds what the first of them holds, too, where it can: it will then serve both. `apart`: directories that the
    nodes see, which do not count.
    """
    both = closure
    for path in instead:
        with contextlib.suppress(BundleError), open_bundle(path) as opened:
            lack = lacking(opened, closure, apart)
            if lack is None:
                return path, closure
            if lack.mends and both is closure:
                both = with_both(opened, closure)
    return "", both


def write(
    todo: Plan,
    output: str,
    *,
    reuse: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Bundled:
    """Write a bundle, whole or not at all. `reuse`: older ones; `progress`: told bytes done, and in all.

    Raises OutputError, InputError.
    """
    start = time.monotonic()
    written = write_bundle(
        todo.closure,
        launcher_path(),
        output,
        level=todo.level,
        progress=progress,
        reuse=reuse,
        contents=todo.contents,
    )
    todo.contents.save()
    return Bundled(output, todo.closure, written, time.monotonic() - start)
