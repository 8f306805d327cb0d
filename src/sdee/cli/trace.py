"""`sdee trace`: run a command once and record every file it uses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from sdee.base.process import flush
from sdee.base.text import safe
from sdee.cli import output as show
from sdee.cli.completion import command_line, files
from sdee.tracer.engine import choose
from sdee.workflow import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-o",
    "--output",
    default="sdee.trace",
    metavar="FILE",
    show_default=True,
    shell_complete=files,
    help="Write this file (%t rank, %N node, %j job, %a array task, %p pid).",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", *choose.ENGINES]),
    default="auto",
    show_default=True,
    help="Stop system calls in this way.",
)
@click.option("--append", is_flag=True, help="Add this run to the trace instead of replacing it.")
@click.option("--cold", is_flag=True, help="Hide caches and settings of your home from the command.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; send what COMMAND prints to standard error.")
@click.option("-q", "--quiet", is_flag=True, help="Print no summary.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=command_line)
@click.pass_context
def trace(
    ctx: click.Context,
    *,
    output: str,
    engine: str,
    append: bool,
    cold: bool,
    as_json: bool,
    quiet: bool,
    command: tuple[str, ...],
) -> NoReturn:
    """Run COMMAND once and record every file it uses, in it and in all processes that it starts.

    The command behaves exactly as it does untraced, and sdee returns its exit status. `sdee bundle` reads the trace.
    """
    debug = bool(ctx.obj and ctx.obj.get("debug"))
    wanted = tracing.Wanted(output, engine, append, cold, keeps_older=True)
    with tracing.replaced({1: 2} if as_json else {}):  # then standard output is for the JSON alone
        recorded = tracing.record(command, wanted, say=show.say, verbose=debug)
    if as_json:
        show.print_json(tracing.facts(recorded))
    elif not quiet:
        for sentence in tracing.summary(recorded):
            show.say(sentence)
    if recorded.discarded and not as_json:
        _say_discarded(recorded.discarded)
    if recorded.error:
        click.echo(recorded.error.render(), err=True)
        sys.exit(recorded.status or recorded.error.exit_code)
    if recorded.signal:
        flush()
        show.die_by(recorded.signal)
    sys.exit(recorded.status)


def _say_discarded(gone: Sequence[str]) -> None:
    more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    said = f"{', '.join(map(safe, gone[:3]))}{more}"
    show.say(f"warning: --cold discards what the command wrote into your home: {said}")
