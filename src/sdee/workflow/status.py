"""Find the trace and the bundle of a job, what changed since, and what to repeat."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer.format.reader import open_bundle
from sdee.packer.inspect.changes import Change, changes
from sdee.tracer.tracefile.reader import read_traces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.packer.format.reader import Bundle
    from sdee.tracer.tracefile.model import Run


@dataclass(frozen=True)
class Traced:
    """A trace: its file, the first run's command and directory, when it ended (s since 1970), with which status."""

    path: str
    command: tuple[str, ...]
    cwd: str
    ended: float | None
    status: int | None


@dataclass(frozen=True)
class Bundled:
    """A bundle: its file, what it runs and where, its size in bytes, when it was written (s since 1970)."""

    path: str
    command: tuple[str, ...]
    cwd: str
    size: int
    made: float


@dataclass(frozen=True)
class Status:
    """All of it. `outdated`: why the bundle is not of this trace, "" where it is; `next`: commands to repeat."""

    trace: Traced | None
    bundle: Bundled | None
    outdated: str
    changed: tuple[Change, ...]
    next: tuple[str, ...]


def status(trace_path: str, bundle_path: str) -> Status:
    """Return what is there. Raises TraceError, BundleError for what cannot be read."""
    traced = bundled = None
    changed: list[Change] = []
    if os.path.exists(trace_path):
        traced = _traced(trace_path, read_traces([trace_path]).runs[0])
    if os.path.exists(bundle_path):
        with open_bundle(bundle_path) as bundle:
            bundled, changed = _bundled(bundle), changes(bundle)
    outdated = _outdated(traced, bundled)
    commands = zip(_commands(traced, bundled, bundle_path), _next(traced, bundled, outdated, changed), strict=True)
    return Status(traced, bundled, outdated, tuple(changed), tuple(command for command, wanted in commands if wanted))


def _traced(path: str, run: Run) -> Traced:
    return Traced(path, tuple(run.command), run.cwd, run.ended, run.status)


def _bundled(bundle: Bundle) -> Bundled:
    found = os.stat(bundle.path)
    return Bundled(bundle.path, tuple(bundle.conf("arg")), bundle.conf("cwd")[0], found.st_size, found.st_mtime)


def _outdated(traced: Traced | None, bundled: Bundled | None) -> str:
    if traced is None or bundled is None:
        return ""
    if (traced.command, traced.cwd) != (bundled.command, bundled.cwd):
        return "it is of another command than the trace"
    return "the trace is newer" if os.stat(traced.path).st_mtime > bundled.made else ""


def _commands(traced: Traced | None, bundled: Bundled | None, bundle_path: str) -> tuple[str, str]:
    """Return the commands that trace and bundle again, as a shell reads them."""
    known = traced or bundled
    if known is None:
        return "sdee trace -- COMMAND", "sdee bundle"
    other = [traced.path] if traced and traced.path != "sdee.trace" else []
    away = os.path.realpath(known.cwd) != os.path.realpath(os.curdir)
    output = [os.path.abspath(traced.path if traced else "sdee.trace")] if away else other
    trace = shlex.join(["sdee", "trace", *(["-o", *output] if output else []), "--", *known.command])
    trace = f"(cd {shlex.quote(known.cwd)} && {trace})" if away else trace
    output = ["-o", bundle_path] if bundle_path != "bundle.sdee" else []
    return trace, shlex.join(["sdee", "bundle", *other, *output])


def _next(
    traced: Traced | None, bundled: Bundled | None, outdated: str, changed: Sequence[Change]
) -> tuple[bool, bool]:
    """Tell whether the command has to be traced, and bundled, again."""
    deleted = any(change.what == "deleted" for change in changed)
    if traced is None:
        again = bundled is None or bool(changed)
        return again, again
    again = bool(traced.status) or (deleted and not outdated)
    return again, again or bundled is None or bool(outdated or changed)
