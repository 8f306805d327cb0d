"""`sdee verify`: run a bundle here where nothing else of this machine is visible, and say what it misses."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sdee.base import trust
from sdee.base.errors import BundleError
from sdee.base.text import count_text, safe
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.inspect import DEFAULT_BUNDLE
from sdee.runtime.launch.bare_node import HOMES, ROOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdee.packer.inspect.outcome import Report, RunReport

SHOWN = 20


class BundleThenArguments(click.Command):
    """A command with words `[BUNDLE] [--] [ARGS]…`: `--` ends its own words before or after the bundle.

    Not click's own handling of `--`: the word after it would be the bundle where none is named.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at the first `--`, unless it stands among the job's arguments: that one is the job's."""
        if "--" not in args or ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        at = args.index("--")
        left = super().parse_args(ctx, args[:at])
        before = ctx.params["arguments"]
        ctx.params["arguments"] = (*before, *args[at if before else at + 1 :])
        return left


@click.command(cls=BundleThenArguments, context_settings={"allow_interspersed_args": False})
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED, shell_complete=files)
@click.option("--root", "roots", multiple=True, type=click.Choice(ROOTS), help="Try this root only.")
@click.option(
    "--home",
    "homes",
    multiple=True,
    type=click.Choice(HOMES),
    help="Try this home only: inputs as here, none, or none at another path.",
)
@click.option(
    "--ignore", multiple=True, metavar="GLOB", shell_complete=files, help="Do not compare these results, or stdout."
)
@click.option("--compare", is_flag=True, help="Run the job here, too, without effect; compare status and output.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print problems only.")
def verify(
    *,
    bundle_path: str | None,
    arguments: tuple[str, ...],
    roots: tuple[str, ...],
    homes: tuple[str, ...],
    ignore: tuple[str, ...],
    compare: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a bundle here as on bare nodes, and say what differs from the traced run.

    A bare node has its own kernel, the job's directories and inputs (as copies: nothing that the job writes stays), and
    nothing else of this machine. The job runs in the closed and in the merged root, with the inputs of your home, with
    an empty home, and with a home at another path. ARGS take the place of the recorded arguments.
    Returns 0 when nothing is missing and all came out as in the traced run, else 1. With ARGS the job must end with
    status 0, or with --compare as it does here.
    """
    result = run(bundle_path or _default_bundle(), arguments, roots=roots, homes=homes, ignore=ignore, compare=compare)
    if as_json:
        show.print_json(as_dict(result))
    else:
        click.echo("\n".join(lines(result, quiet=quiet)))
    sys.exit(0 if result.good else 1)


def _default_bundle() -> str:
    """Return the bundle that is meant when none is named. Raises BundleError: it would run another user's program."""
    if why := trust.distrusted(DEFAULT_BUNDLE):
        hint = f"if you trust it, name it: sdee verify {DEFAULT_BUNDLE}"
        raise BundleError(f"the bundle {DEFAULT_BUNDLE!a} here is not run unasked: {why}", hint=hint)
    return DEFAULT_BUNDLE


def run(bundle: str, arguments: Sequence[str], **options: Any) -> Report:
    """Run a bundle as workflow.verifying does; what the job prints is shown. A job that Ctrl-C ended ends this."""
    from sdee.workflow import verifying  # noqa: PLC0415 - not needed for --help

    try:
        return verifying.run(bundle, arguments, show=_show, **options)
    except verifying.JobInterrupted as ended:
        show.die_by(ended.status - 128)


def _show(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.flush()


def as_dict(result: Report) -> dict[str, Any]:
    """Return the report as --json prints it. `status` is that of the first run."""
    status = next((run.status for run in result.runs if run.status is not None), None)
    missing = [asdict(m) for m in result.missing]
    return {**asdict(result), "status": status, "missing": missing, "in_home": result.in_home, "good": result.good}


def lines(result: Report, *, quiet: bool = False) -> list[str]:
    """Return the report as lines."""
    said = [] if quiet and result.good else _table(result)
    for run in result.runs:
        said += _differences(run, {d for other in result.runs[: result.runs.index(run)] for d in other.differences})
    if result.missing:
        said.append(f"missing on a bare node: {count_text(len(result.missing), 'path')}")
        for m in result.missing[:SHOWN]:
            by = f", wanted by {safe(m.by)}" if m.by else ""
            said.append(f"  {m.kind} {safe(m.path)}{by}: {m.why}")
            said += [f"      sdee bundle {safe(m.option)}"] if m.option else []
        if len(result.missing) > SHOWN:
            said.append(f"  … and {len(result.missing) - SHOWN} more: --json lists all")
    elif not quiet:
        said.append(_of_nothing(result))
    said += _of_home(result)
    if not quiet:
        said += _notes(result)
    said += [f"not everything could be seen: {safe(why)}" for why in result.incomplete]
    return said


def _of_nothing(result: Report) -> str:
    """Return what to say where no path is missing: of a job that failed, nothing is known past its end."""
    failed = sorted({run.status for run in result.runs if run.status})
    if not failed:
        return "nothing is missing on a bare node"
    said = f"nothing is missing up to where the job ended with status {', '.join(map(str, failed))}"
    if result.expected is None:
        said += "\n  hint: sdee verify --compare runs it here, too, and compares"
    return said


def _table(result: Report) -> list[str]:
    rows = ["root    home     status"]
    for run in result.runs:
        if run.status is None:
            rows.append(f"{run.root:<7} {run.home:<8} not tried: {safe(run.why)}")
            continue
        words = []
        if result.expected is not None:
            same = run.status == result.expected
            words.append(f"as {result.when}" if same else f"{result.expected} {result.when}")
        elif run.status:
            words.append("failed")
        words += [f"{count_text(len(run.missing), 'path')} missing"] if run.missing else []
        words += [count_text(len(run.differences), "difference")] if run.differences else []
        rows.append(f"{run.root:<7} {run.home:<8} {run.status:<6}  {', '.join(words)}".rstrip())
    return rows


def _differences(run: RunReport, known: set[object]) -> list[str]:
    """Return what a run left otherwise, less what another did as well."""
    said = [f"{run.root} root, home {run.home}:"]
    for d in run.differences:
        if d not in known:
            said.append(f"  {d.kind} {safe(d.path)}: {d.what}" if d.kind != "stdout" else f"  stdout {d.what}")
            more = f" and {len(d.names) - 5} more" if len(d.names) > 5 else ""
            said += [f"      {', '.join(map(safe, d.names[:5]))}{more}"] if d.names else []
            said += [f"      sdee bundle {d.option}"] if d.option else []
    said += [f"  it said: {safe(line)}" for line in run.said]
    return said if len(said) > 1 else []


def _of_home(result: Report) -> list[str]:
    if not result.in_home:
        return []
    bad = {run.home for run in result.runs if run.status is not None and not run.good}
    said = [f"the job needs {count_text(len(result.in_home), 'path')} of your home"]
    if "here" not in bad:
        said.append("  hint: where nodes see your home: sdee verify --home here")
    if any("/." in path for path in result.in_home):
        said.append(
            "  hint: if these are caches or settings: sdee trace --cold records what the job needs without them"
        )
    return said


def _notes(result: Report) -> Iterable[str]:
    if result.varies:
        yield f"not compared, different in every run: {_some(result.varies)}"
    if result.lost:
        yield f"gone when the job ends: {_some(result.lost)} (sdee exec --save DIR keeps it)"
    if result.changed and any(run.differences for run in result.runs):
        yield f"changed since the job was bundled, so that its results may differ: {_some(result.changed)}"
    if result.old:
        yield f"changed here since, and the bundle's used: {_some(result.old)}; `sdee bundle` takes the new one"
    yield from (f"the node must provide {safe(path)}" for path in result.provided)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(safe(os.path.relpath(p) if len(os.path.relpath(p)) < len(p) else p) for p in paths[:3]) + more
