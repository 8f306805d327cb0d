"""`sdee verify`: run a bundle here where nothing else of this machine is visible, and say what it misses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from sdee.base import trust
from sdee.base.errors import BundleError
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.named import DEFAULT_BUNDLE, bundle_option, words_after
from sdee.packer.inspect import report
from sdee.runtime.launch.bare_node import HOMES, ROOTS

if TYPE_CHECKING:
    from collections.abc import Sequence


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
@bundle_option
@click.option("--root", "roots", multiple=True, type=click.Choice(ROOTS), help="Try this root only.")
@click.option(
    "--home",
    "homes",
    multiple=True,
    type=click.Choice(HOMES),
    help="Try this home only: as here, empty, or empty at another path.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="GLOB",
    shell_complete=files,
    help="Do not compare these results (or stdout). Repeatable.",
)
@click.option("--compare", is_flag=True, help="Run the job here, too, discard its writes, and compare.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print problems only.")
def verify(
    *,
    bundle_path: str | None,
    arguments: tuple[str, ...],
    chosen: str | None,
    roots: tuple[str, ...],
    homes: tuple[str, ...],
    ignore: tuple[str, ...],
    compare: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a bundle here as on bare nodes, and say what differs from the traced run.

    A bare node has its own kernel and nothing of this machine but the job's directories and inputs, as copies: sdee
    discards what the job writes. The job runs in the closed and in the merged root. It runs with the inputs of your
    home, with an empty home, and with a home at another path. ARGS replace the recorded arguments.
    Returns 0 when nothing is missing and all results are those of the traced run, else 1. With ARGS the job must end
    with status 0, or with --compare as it does here.
    """
    path, arguments = words_after(bundle_path, arguments, chosen)
    result = run(path or _default_bundle(), arguments, roots=roots, homes=homes, ignore=ignore, compare=compare)
    if as_json:
        show.print_json(report.as_dict(result))
    else:
        click.echo("\n".join(report.lines(result, quiet=quiet)))
    sys.exit(0 if result.passed else 1)


def _default_bundle() -> str:
    """Return the default bundle. Raises BundleError: it would run another user's program."""
    if why := trust.distrusted(DEFAULT_BUNDLE):
        hint = f"if you trust it, name it: sdee verify {DEFAULT_BUNDLE}"
        raise BundleError(f"sdee does not run the bundle {DEFAULT_BUNDLE!a} here unasked: {why}", hint=hint)
    return DEFAULT_BUNDLE


def run(bundle: str, arguments: Sequence[str], **options: Any) -> report.Report:
    """Run a bundle as workflow.verifying does and show what the job prints. If Ctrl-C ends the job, sdee ends, too."""
    from sdee.workflow import verifying  # noqa: PLC0415 - not needed for --help

    try:
        return verifying.run(bundle, arguments, show=_show, **options)
    except verifying.JobInterrupted as ended:
        show.die_by(ended.status - 128)


def _show(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.flush()
