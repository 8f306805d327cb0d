"""`sdee status`: trace, bundle, what changed since, what to repeat."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from sdee.base.paths import is_below_any
from sdee.base.text import count_text, safe, size_text
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.named import DEFAULT_BUNDLE, bundle_option, only_one
from sdee.packer import knowledge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.workflow.status import Bundled, Status, Traced

SHOWN = 20  # changed files


@click.command()
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@bundle_option
@click.option(
    "-t", "--trace", "trace_path", metavar="FILE", default="sdee.trace", help="Read this trace instead of sdee.trace."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, bundle_path: str | None, chosen: str | None, trace_path: str, as_json: bool) -> None:
    """Show trace and bundle, which of its files changed since, and what to repeat.

    A bundle runs the files that it holds: type `sdee bundle` after you edit a script. The list leaves out data on
    shared storage, since the job reads it there. Returns 0.
    """
    from sdee.workflow.status import status as of  # noqa: PLC0415 - not needed for --help

    found = of(trace_path, only_one(bundle_path, chosen) or DEFAULT_BUNDLE)
    if as_json:
        show.print_json(asdict(found))
    else:
        click.echo("\n".join(lines(found)))


def lines(found: Status) -> Iterator[str]:
    """Yield the status for people."""
    yield _trace_line(found.trace) if found.trace else "trace    none"
    yield _bundle_line(found.bundle, found) if found.bundle else "bundle   none"
    yield from _changes(found)
    if found.next:
        yield "next:"
        yield from (f"  {safe(command)}" for command in found.next)
        if found.changed and found.next[0].startswith("sdee bundle"):
            yield "  (first `sdee trace` again, if the new code uses other files than before)"
    elif found.bundle:
        yield f"next: sdee exec {safe(shlex.quote(found.bundle.path))}"


def _trace_line(trace: Traced) -> str:
    said = [safe(shlex.join(trace.command)), f"in {_short(trace.cwd)}"]
    said += [_when(trace.ended)] if trace.ended else []
    said += [f"ended with status {trace.status}"] if trace.status else []
    return f"trace    {safe(trace.path)}: {', '.join(said)}"


def _bundle_line(bundle: Bundled, found: Status) -> str:
    of = "of this trace" if found.trace else safe(shlex.join(bundle.command))
    return f"bundle   {safe(bundle.path)}: {size_text(bundle.size)}, {_when(bundle.made)}, {found.outdated or of}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _short(path: str) -> str:
    return "this directory" if os.path.realpath(path) == os.path.realpath(os.curdir) else safe(path)


def _changes(found: Status) -> Iterator[str]:
    if found.bundle is None:
        return
    if not found.changed:
        yield "changed  nothing since bundling"
        return
    yield "changed since it was bundled (the job uses the bundle's files):"
    own = [change for change in found.changed if not is_below_any(change.path, knowledge.SYSTEM_ROOTS)]
    for change in own[:SHOWN]:
        near = os.path.relpath(change.path)
        yield f"  {change.what:<9} {safe(near if not near.startswith('..') else change.path)}"
    more, system = max(len(own) - SHOWN, 0), len(found.changed) - len(own)
    if more:
        yield f"  and {count_text(more, 'more file')}: --json lists all"
    if system:
        yield f"  and {count_text(system, 'file')} of the system and its packages"
