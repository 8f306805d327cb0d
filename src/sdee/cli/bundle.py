"""`sdee bundle`: trace → closure → one executable file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sdee.base.text import safe
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.workflow.settings import DEFAULT_LEVEL
from sdee.workflow.summary import plan_lines, summarize, warnings, written_lines

if TYPE_CHECKING:
    from sdee.packer.model import Closure
    from sdee.workflow.bundling import Bundled

DEFAULT_OUTPUT = "bundle.sdee"


@click.command()
@click.argument("traces", metavar="[TRACE]...", nargs=-1, type=click.Path())
@click.option(
    "-o",
    "--output",
    default=DEFAULT_OUTPUT,
    show_default=True,
    type=click.Path(),
    help="Write the bundle to this file.",
)
@click.option("--minimal", is_flag=True, help="Pack only what the run used, without whole packages and libraries.")
@click.option(
    "--whole-packages",
    is_flag=True,
    help="Add the whole distribution package of each file the run used.",
)
@click.option("--expand", type=click.Choice(["packages"]), multiple=True, hidden=True)  # before 0.2.0
@click.option(
    "--level", type=click.IntRange(1, 19), show_default=str(DEFAULT_LEVEL), help="Compress with this zstd level."
)
@click.option(
    "--include", multiple=True, metavar="GLOB", shell_complete=files, help="Pack these files, too. Repeatable."
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", shell_complete=files, help="Leave these files out. Repeatable."
)
@click.option("--with-data", is_flag=True, help="Pack input data on shared storage, too.")
@click.option(
    "--allow",
    multiple=True,
    metavar="PATH",
    shell_complete=files,
    help="Pack this file although it may hold a secret. Repeatable.",
)
@click.option(
    "--reuse",
    multiple=True,
    metavar="BUNDLE",
    shell_complete=files,
    help="Reuse unchanged data of BUNDLE, besides that of the replaced one.",
)
@click.option("--no-cache", is_flag=True, help="Read every file again, unchanged ones too.")
@click.option("--verify", is_flag=True, help="Run the bundle here as on a bare node (sdee verify).")
@click.option("-n", "--dry-run", is_flag=True, help="List every path with its verdict and reason; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors and warnings.")
def bundle(
    *,
    traces: tuple[str, ...],
    output: str,
    level: int | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    allow: tuple[str, ...],
    whole_packages: bool,
    expand: tuple[str, ...],
    minimal: bool,
    with_data: bool,
    reuse: tuple[str, ...],
    no_cache: bool,
    verify: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Pack what a traced command needs into one executable file.

    Reads one or more TRACE files (default sdee.trace) of the same job and works out what must travel: programs,
    libraries, modules, resources. Input data on shared storage stays there; secrets are refused.

    \b
      sdee bundle                          sdee.trace → bundle.sdee
      sdee bundle --dry-run | less         what would travel, and why
      sdee bundle rank.* -o job.sdee       traces of several ranks, merged
    """  # noqa: D301 - click wants the backspace character itself
    from sdee.workflow import bundling  # noqa: PLC0415 - not needed for --help

    bundling.check_output(output)
    widened = ("packages",) if whole_packages else expand
    wanted = bundling.Wanted(include, exclude, allow, widened, minimal, with_data, level, no_cache=no_cache)
    with show.interruptible():
        plan = bundling.plan(traces or (bundling.default_trace(),), wanted, show.say)
        found = summarize(plan.closure)
        if dry_run:
            _print_plan(plan.closure, found, as_json=as_json, quiet=quiet)
            return
        with show.progress_bar("bundling", hidden=quiet or as_json) as progress:
            bundled = bundling.write(plan, output, reuse=reuse, progress=progress)
    _print_written(bundled, found, as_json=as_json, quiet=quiet)
    if verify:
        _verify(output, quiet=quiet or as_json)


def _print_plan(closure: Closure, summary: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        items = [asdict(item) for _, item in sorted(closure.items.items())]
        show.print_json({**summary, "items": items, "conf": closure.conf})
        return
    if not quiet:
        for path, item in sorted(closure.items.items()):
            why = "; ".join(f"{r.why} ({r.detail})" if r.detail else r.why for r in item.reasons[:1])
            click.echo(f"{item.verdict.value:<8} {item.kind:<4} {item.size:>12}  {safe(path)}  # {safe(why)}")
        click.echo("\n".join(plan_lines(summary)))
    _warn(summary)


def _print_written(bundled: Bundled, summary: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    summary["warnings"] += bundled.summary.warnings
    if as_json:
        show.print_json({"bundle": asdict(bundled.summary), "seconds": round(bundled.seconds, 3), **summary})
        return
    _warn(summary)
    if not quiet:
        runs = bundled.path if "/" in bundled.path else f"./{bundled.path}"
        click.echo("\n".join([*written_lines(bundled.summary, bundled.seconds), *plan_lines(summary)]))
        click.echo(f"next: sdee exec {safe(bundled.path)}     (or {safe(runs)} on a node without sdee)")


def _verify(output: str, *, quiet: bool) -> None:
    """Run the new bundle on a bare node; what is missing is a warning, and exit status 1."""
    from sdee.cli.verify import run  # noqa: PLC0415
    from sdee.packer.inspect.report import lines  # noqa: PLC0415

    result = run(output, ())
    for text in lines(result, quiet=quiet):
        click.echo(text, err=not result.passed or quiet)
    if not result.passed:
        sys.exit(1)


def _warn(summary: dict[str, Any]) -> None:
    """Print on standard error what a user must not overlook in a script's log."""
    for sentence in warnings(summary):
        show.say(sentence)
