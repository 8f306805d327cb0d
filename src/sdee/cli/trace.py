"""`sdee trace`: run a command once and record every file it uses."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from sdee.base.errors import KernelError, OutputError
from sdee.base.text import safe
from sdee.cli import output as show
from sdee.cli.completion import command_line, files
from sdee.tracer import host, session
from sdee.tracer.engine import choose
from sdee.workflow import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.runtime.launch.cold_home import Step


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-o",
    "--output",
    default="sdee.trace",
    metavar="FILE",
    show_default=True,
    shell_complete=files,
    help="The trace. %r: rank, %h: host, %p: process id.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", *choose.ENGINES]),
    default="auto",
    show_default=True,
    help="How system calls are stopped.",
)
@click.option("--append", is_flag=True, help="Add this run to the trace instead of replacing it.")
@click.option("--cold", is_flag=True, help="Run in a home without caches and settings, so that the job makes them.")
@click.option("-q", "--quiet", is_flag=True, help="No summary.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=command_line)
@click.pass_context
def trace(
    ctx: click.Context, *, output: str, engine: str, append: bool, cold: bool, quiet: bool, command: tuple[str, ...]
) -> NoReturn:
    """Run COMMAND once and record every file it uses, in it and in all processes that it starts.

    The command runs as ever, and its exit status is that of `sdee trace`. What was recorded is for `sdee bundle`.
    """
    plan = session.plan(command, output, append=append)._replace(keeps_older=True)
    chosen = choose.choose(engine)
    if ctx.obj and ctx.obj.get("debug"):
        show.say(f"executing {plan.program} under {chosen.name}, recording to {plan.output}")
    covered: Sequence[Step] = ()
    if cold:
        plan, covered = _cold(plan)
    result = session.run(plan, chosen, show.say)
    if not quiet:
        for sentence in tracing.summary(plan, result):
            show.say(sentence)
    if covered:
        _say_discarded(covered)
    if result.write_error:
        error = OutputError(
            f"cannot write the trace {plan.output!r}: {result.write_error.strerror}",
            hint="choose another place with -o FILE",
        )
        click.echo(error.render(), err=True)
        sys.exit(result.status or error.exit_code)
    if result.signal:
        show.die_by(result.signal)
    sys.exit(result.status)


def _cold(plan: session.Plan) -> tuple[session.Plan, Sequence[Step]]:
    """Cover the home for this process and the job. Raises KernelError."""
    from sdee.runtime.launch import cold_home  # noqa: PLC0415 - seldom needed

    words = (os.path.abspath(word) for word in (plan.program, *plan.command[1:]))
    keep = [os.getcwd(), os.path.dirname(plan.output), *(path for path in words if os.path.lexists(path))]
    plan = plan._replace(mounts=host.mounts(host.mounts_text()))
    try:
        steps = cold_home.plan(os.path.expanduser("~"), keep, plan.environment)
        cold_home.enter(steps)
    except OSError as error:
        hint = "`sdee doctor` says what is missing; without --cold the command runs in your home as it is"
        raise KernelError(f"--cold cannot cover your home: {error}", hint=hint) from error
    return plan, steps


def _say_discarded(covered: Sequence[Step]) -> None:
    from sdee.runtime.launch import cold_home  # noqa: PLC0415 - seldom needed

    if gone := cold_home.discarded(covered):
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        said = f"{', '.join(map(safe, gone[:3]))}{more}"
        show.say(f"warning: --cold discards what the command wrote into your home: {said}")
