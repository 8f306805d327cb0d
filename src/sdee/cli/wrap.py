"""`sdee wrap`: rewrite a batch script so that what it starts with srun runs in a bundle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sdee.cli import output as show
from sdee.cli.submit import MANAGER, WORDS, PassingCommand, shared_options, show_plan

if TYPE_CHECKING:
    from sdee.runtime.jobs.model import JobManager, Words


@click.command(cls=PassingCommand, options_metavar="[OPTIONS] [SBATCH OPTIONS] SCRIPT [ARGUMENTS]...")
@shared_options
@click.option(
    "--program",
    "programs",
    multiple=True,
    metavar="NAME",
    help="Run this program of the script in the bundle, too. Repeatable.",
)
@click.option("--submit", "submitting_it", is_flag=True, help="Submit the new script instead of printing it.")
@click.pass_context
def wrap(
    ctx: click.Context,
    *,
    retrace: bool,
    no_trace: bool,
    ready: str | None,
    broadcast: str,
    results: str,
    parent: str,
    manager: str,  # noqa: ARG001 - looked at before, in PassingCommand
    dry_run: bool,
    programs: tuple[str, ...],
    submitting_it: bool,
) -> None:
    """Rewrite the batch script SCRIPT so that what it starts with srun runs in a bundle, and print it.

    sdee runs the script here once under trace, each srun as one process, unless its trace is still valid. It bundles
    the script and puts a few functions between the script's options and its commands. The commands stay as they are:
    `srun` is then such a function, and so is `mpirun` where the script calls it. All other commands run on the node
    itself, as usual; sdee names them. A program of --program runs on the script's own node.

    \b
      sdee wrap job.sh | sbatch
      sdee wrap --submit -N4 job.sh input.dat
      sdee wrap --program python3 job.sh > new.sh
    """  # noqa: D301 - click wants the backspace character itself
    from sdee.workflow import submitting, wrapping  # noqa: PLC0415 - not needed for --help

    words: Words = ctx.meta[WORDS]
    chosen: JobManager = ctx.meta[MANAGER]
    where = os.path.abspath(results) if results else ""
    wanted = submitting.Wanted(retrace, no_trace, ready or "", broadcast, where, parent)
    if dry_run:
        show_plan(wrapping.plan(words, chosen, wanted, programs, show.say, submitting=submitting_it))
        return
    with show.interruptible():
        text = wrapping.wrap(words, chosen, wanted, programs, show.say, submitting=submitting_it)
    click.echo(text, nl=False)
