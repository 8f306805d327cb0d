"""`sdee submit`: trace, bundle and hand a command over to the job manager, as sbatch does with a script."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sdee.base.text import safe
from sdee.cli import output as show
from sdee.cli.completion import files, program_or_file
from sdee.runtime.jobs import model, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from sdee.runtime.jobs.model import JobManager, Words
    from sdee.workflow.submitting import Plan

Function = TypeVar("Function", bound="Callable[..., Any]")
WORDS, MANAGER = "sdee.words", "sdee.manager"  # keys of click's Context.meta


class PassingCommand(click.Command):
    """A command that keeps unknown options, and the words after them, for the job manager.

    Not click's ignore_unknown_options: it takes `-N2` apart, and knows not which options of others have a value.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the command line; only our own words are click's."""
        if ctx.resilient_parsing:  # completion: no manager need be here
            super().parse_args(ctx, [])
            ctx.args = list(args)
            return ctx.args
        own = {name: not getattr(p, "is_flag", False) for p in self.get_params(ctx) for name in p.opts}
        before = args[: args.index("--")] if "--" in args else args
        if before and before[0] in ctx.help_option_names:
            return super().parse_args(ctx, before[:1])
        manager = registry.choose(_manager_named(before))
        words = manager.split(args, own)
        ctx.meta[MANAGER], ctx.meta[WORDS] = manager, words
        return super().parse_args(ctx, list(words.own))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete our own options; after `--` a command line; else a file: a batch script."""
        found = super().shell_complete(ctx, incomplete)
        if found or (incomplete.startswith("-") and "--" not in ctx.args):
            return found
        return program_or_file("--" not in ctx.args or ctx.args[-1] != "--", incomplete)


def _manager_named(words: Sequence[str]) -> str:
    for at, word in enumerate(words):
        if word.startswith("--manager="):
            return word.partition("=")[2]
        if word == "--manager" and at + 1 < len(words):
            return words[at + 1]
    return "auto"


MANAGER_OPTION = click.option(
    "--manager",
    type=click.Choice(["auto", *registry.MANAGERS]),
    default="auto",
    show_default=True,
    help="Submit to this job manager. auto: the first one installed here.",
)
SHARED_OPTIONS = (
    click.option("--retrace", is_flag=True, help="Trace the command again even if nothing changed."),
    click.option("--no-trace", is_flag=True, help="Do not run it here: use the existing trace, changed or not."),
    click.option(
        "--bundle", "ready", metavar="FILE", shell_complete=files, help="Run in this bundle; neither trace nor bundle."
    ),
    click.option(
        "--broadcast",
        type=click.Choice(model.BROADCAST),
        default="auto",
        show_default=True,
        help="Send the bundle into the nodes' memory (auto: by size and nodes).",
    ),
    click.option(
        "--results",
        metavar="DIR",
        shell_complete=files,
        default="",
        help="Copy what tasks write on nodes to DIR/NODE (%N node, %j job, %a array task).",
    ),
    click.option(
        "--dir",
        "parent",
        metavar="DIR",
        shell_complete=files,
        default="",
        help="Keep trace, bundle and scripts in DIR.  [default: sdee-jobs]",
    ),
    MANAGER_OPTION,
    click.option("--dry-run", is_flag=True, help="Show the steps and the script; do nothing."),
)


def shared_options(function: Function) -> Function:
    """Add the options that `submit` and `wrap` share."""
    for option in reversed(SHARED_OPTIONS):
        function = option(function)
    return function


@click.command(cls=PassingCommand, options_metavar="[OPTIONS] [SBATCH OPTIONS] -- COMMAND...")
@shared_options
@click.option("--json", "as_json", is_flag=True, help="Print the job's number, script, bundle and trace as JSON.")
@click.pass_context
def submit(
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
    as_json: bool,
) -> None:
    """Run COMMAND as a batch job: `sdee submit [OPTIONS] -- COMMAND…` is for a command what sbatch is for a script.

    sdee traces the command by running it here once, unless its trace is still valid. It bundles the command, writes a
    batch script that starts the bundle with srun, and executes sbatch. It keeps trace, bundle and scripts in
    sdee-jobs/; you can read a script and submit it again by hand. All other options belong to sbatch, or to srun
    (--mpi, --cpu-bind, --label). On Grid Engine they belong to qsub.

    \b
      sdee submit -N2 --ntasks=4 --time=5 -- ./app input.dat
      sdee submit -J big --results out --dry-run -- python job.py
      sdee submit --bundle bundle.sdee -p long          as recorded
    """  # noqa: D301 - click wants the backspace character itself
    from sdee.workflow import submitting  # noqa: PLC0415 - not needed for --help

    words: Words = ctx.meta[WORDS]
    chosen: JobManager = ctx.meta[MANAGER]
    where = os.path.abspath(results) if results else ""
    wanted = submitting.Wanted(retrace, no_trace, ready or "", broadcast, where, parent)
    if dry_run:
        plan = submitting.plan(words, chosen, wanted, show.say)
        if as_json:
            show.print_json(plan.facts(chosen))
        else:
            show_plan(plan)
        return
    with show.interruptible():
        if not as_json:
            submitting.submit(words, chosen, wanted, show.say)
        submitted = submitting.hand_over_words(words, chosen, wanted, show.say)
    show.print_json(asdict(submitted))
    sys.exit(submitted.status)


def show_plan(plan: Plan) -> None:
    """Print each step on a line, then the script."""
    submission = plan.submission
    for line in (*plan.lines, f"write   {submission.script}", f"execute {shlex.join(submission.argv)}"):
        click.echo(safe(line))
    click.echo(f"\n{submission.text}", nl=False)
    if plan.note:
        click.echo(f"# {plan.note}")
