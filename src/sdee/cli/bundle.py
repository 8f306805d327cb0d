"""`sdee bundle`: trace → closure → one executable file."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sdee.base import trust
from sdee.base.errors import BundleError, TraceError, UsageError
from sdee.base.text import safe
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.globs import absolute
from sdee.cli.summary import plan_lines, summarize, written_lines

if TYPE_CHECKING:
    from sdee.packer.model import Closure

DEFAULT_TRACE = "sdee.trace"
DEFAULT_OUTPUT = "bundle.sdee"
# Measured with 4 MiB frames on two cores. Files seen of a numpy/scipy/pandas job, 167 MB: level 3 52.0 MB, 6 48.4,
# 7 47.8, 8 47.5, 9 47.2, 12 46.9 (tar | gzip -6: 56.3); seconds of processor: 6 2.8, 7 2.9, 8 3.8, 9 4.0. 500 MB of
# /usr/lib: 3 155 MB in 2.0 s, 6 145 MB in 4.9 s, 9 141 MB in 6.8 s, 12 140 MB in 10.5 s. 7 costs what 6 does.
DEFAULT_LEVEL = 7


@dataclass(frozen=True)
class ForJobs:
    """What sdee's own commands, which submit jobs, ask of `sdee bundle` besides.

    `stand_ins`: as of ClosureOptions; `instead`: bundles of other commands, of which one is taken if it holds all;
    `apart`: directories that the nodes see, which do not count there; `notice`: said where a bundle is written.
    """

    stand_ins: tuple[tuple[str, str], ...] = ()
    instead: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    notice: str = ""


NOTHING = ForJobs()


@click.command()
@click.argument("traces", metavar="[TRACE]...", nargs=-1, type=click.Path())
@click.option(
    "-o", "--output", default=DEFAULT_OUTPUT, show_default=True, type=click.Path(), help="File to write, executable."
)
@click.option("--minimal", is_flag=True, help="Only what the run used: do not widen to whole packages and libraries.")
@click.option(
    "--expand",
    type=click.Choice(["packages"]),
    multiple=True,
    help="Widen to the whole distribution package of each file that the run used.",
)
@click.option("--level", type=click.IntRange(1, 19), show_default=str(DEFAULT_LEVEL), help="zstd compression level.")
@click.option(
    "--include", multiple=True, metavar="GLOB", shell_complete=files, help="Let these travel too. May be repeated."
)
@click.option(
    "--exclude", multiple=True, metavar="GLOB", shell_complete=files, help="Let these not travel. May be repeated."
)
@click.option("--with-data", is_flag=True, help="Let input data on shared storage travel too.")
@click.option(
    "--allow",
    multiple=True,
    metavar="SECRET",
    shell_complete=files,
    help="Let this file travel though it may hold a secret.",
)
@click.option(
    "--reuse",
    multiple=True,
    metavar="BUNDLE",
    shell_complete=files,
    help="Take what did not change from this older bundle too; the one that is replaced serves in any case.",
)
@click.option("--verify", is_flag=True, help="Then run it here as on a bare node: sdee verify.")
@click.option("-n", "--dry-run", is_flag=True, help="List every path with its verdict and reason; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors and warnings.")
def bundle(
    *,
    traces: tuple[str, ...],
    output: str,
    level: int | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    allow: tuple[str, ...],
    expand: tuple[str, ...],
    minimal: bool,
    with_data: bool,
    reuse: tuple[str, ...],
    verify: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    for_jobs: ForJobs = NOTHING,
) -> tuple[str, Closure]:
    """Pack what a traced command needs into one executable file.

    Reads one or more TRACE files (default sdee.trace) of the same job and works out what must travel: programs,
    libraries, modules, resources. Input data on shared storage stays there; secrets are refused.

    \b
      sdee bundle                          sdee.trace → bundle.sdee
      sdee bundle --dry-run | less         what would travel, and why
      sdee bundle rank.* -o job.sdee       traces of several ranks, merged
    """  # noqa: D301 - click wants the backspace character itself
    from sdee.cli import policy  # noqa: PLC0415
    from sdee.packer.closure.build import build_closure  # noqa: PLC0415
    from sdee.packer.closure.options import ClosureOptions  # noqa: PLC0415
    from sdee.packer.knowledge import PACKAGES_LIMIT, SOFTWARE_LIMIT  # noqa: PLC0415
    from sdee.tracer.tracefile.reader import read_traces  # noqa: PLC0415

    if os.path.isdir(output):
        raise UsageError(f"{output!a} is a directory", hint="name a file: -o FILE")
    settings = policy.load()
    options = ClosureOptions(
        minimal=minimal or settings.get("minimal", default=False),
        include=(*settings.get("include", ()), *absolute(include, anywhere=False)),
        exclude=(*settings.get("exclude", ()), *absolute(exclude)),
        with_data=with_data or settings.get("with-data", default=False),
        allow=(*settings.get("allow", ()), *absolute(allow)),
        expand=(*settings.get("expand", ()), *expand),
        host=tuple(settings.get("host", ())),
        shared=tuple(settings.get("shared", ())),
        fixed_environment=tuple(settings.get("fixed-environment", ())),
        live_environment=tuple(settings.get("live-environment", ())),
        without_units=tuple(settings.get("without-units", ())),
        stand_ins=for_jobs.stand_ins,
        software_limit=settings.get("software-limit", default=SOFTWARE_LIMIT // 10**6) * 10**6,
        package_limit=settings.get("package-limit", default=PACKAGES_LIMIT // 10**6) * 10**6,
    )
    level = level or settings.get("level", DEFAULT_LEVEL)
    closure = build_closure(read_traces(_without_copies(traces) or [_default_trace()]), options)
    summary = summarize(closure)
    if dry_run:
        _print_plan(closure, summary, as_json=as_json, quiet=quiet)
        return output, closure
    serving, closure = _serving(for_jobs, closure)
    if not serving:
        if for_jobs.notice:
            click.echo(f"sdee: {safe(for_jobs.notice)}", err=True)
        _write(closure, summary, output, level, reuse, as_json=as_json, quiet=quiet)
        if verify:
            _verify(output, quiet=quiet or as_json)
    return serving or output, closure


def _serving(for_jobs: ForJobs, closure: Closure) -> tuple[str, Closure]:
    """Return the first of other commands' bundles that holds all of a closure; else "" and the closure to bundle.

    That holds what the first of them holds, too, where it can: it will then serve both.
    """
    from sdee.packer.format.reader import open_bundle  # noqa: PLC0415
    from sdee.packer.inspect.coverage import lacking, with_both  # noqa: PLC0415

    both = closure
    for path in for_jobs.instead:
        with contextlib.suppress(BundleError), open_bundle(path) as opened:
            lack = lacking(opened, closure, for_jobs.apart)
            if lack is None:
                return path, closure
            if lack.mends and both is closure:
                both = with_both(opened, closure)
    return "", both


def _without_copies(traces: tuple[str, ...]) -> list[str]:
    """Leave out the directories of saved copies that `rank.*` names beside the traces that they belong to."""
    return [t for t in traces if not (t.endswith(".saved") and t.removesuffix(".saved") in traces and os.path.isdir(t))]


def _default_trace() -> str:
    if not os.path.exists(DEFAULT_TRACE):
        raise TraceError(f"there is no trace {DEFAULT_TRACE!a} here", hint="record one: sdee trace -- COMMAND")
    if why := trust.distrusted(DEFAULT_TRACE):
        hint = f"if you trust it, name it: sdee bundle {DEFAULT_TRACE}"
        raise TraceError(f"the trace {DEFAULT_TRACE!a} here is not read unasked: {why}", hint=hint)
    return DEFAULT_TRACE


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


def _write(
    closure: Closure,
    summary: dict[str, Any],
    output: str,
    level: int,
    reuse: tuple[str, ...],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from sdee.packer.format.writer import write_bundle  # noqa: PLC0415
    from sdee.runtime.programs import launcher_path  # noqa: PLC0415

    # The writer removes its temporary file when an exception passes: let a terminated or hung up command raise one
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    start = time.monotonic()
    try:
        with show.progress_bar("bundling", hidden=quiet or as_json) as progress:
            written = write_bundle(closure, launcher_path(), output, level=level, progress=progress, reuse=reuse)
    except KeyboardInterrupt:
        click.echo("sdee: interrupted, nothing was written", err=True)
        sys.exit(128 + signal.SIGINT)
    seconds = time.monotonic() - start
    summary["warnings"] += written.warnings
    if as_json:
        show.print_json({"bundle": asdict(written), "seconds": round(seconds, 3), **summary})
        return
    _warn(summary)
    if not quiet:
        runs = output if "/" in output else f"./{output}"
        click.echo("\n".join([*written_lines(written, seconds), *plan_lines(summary)]))
        click.echo(f"next: sdee exec {safe(output)}     (or {safe(runs)}, where there is no sdee)")


def _verify(output: str, *, quiet: bool) -> None:
    """Run the new bundle on a bare node; what is missing is a warning, and exit status 1."""
    from sdee.cli.verify import lines, run  # noqa: PLC0415

    result = run(output, [])
    for text in lines(result, quiet=quiet):
        click.echo(text, err=not result.good or quiet)
    if not result.good:
        sys.exit(1)


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _warn(summary: dict[str, Any]) -> None:
    """Say on standard error what a user must not overlook in a script's log."""
    for notice in summary["notices"]:
        click.echo(f"sdee: warning: {safe(notice)}", err=True)
    if summary["incomplete"]:
        click.echo(f"sdee: warning: the trace is incomplete: {safe(summary['incomplete'][0])}", err=True)
    if summary["secret"]:
        paths = ", ".join(safe(s["path"]) for s in summary["secret"][:3])
        more = f" and {len(summary['secret']) - 3} more" if len(summary["secret"]) > 3 else ""
        click.echo(f"sdee: warning: left out as secret: {paths}{more} (--allow PATH to let one travel)", err=True)
