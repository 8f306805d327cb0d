"""`sdee submit`: trace, bundle and hand a command over to the job manager, as sbatch does with a script."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from sdee.base.errors import UsageError
from sdee.base.secrets.tokens import BLANK, redact
from sdee.base.text import safe
from sdee.cli import served
from sdee.cli.completion import files, program_or_file
from sdee.runtime.jobs import model, registry
from sdee.runtime.programs import front_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from sdee.cli.prepare import Preparation
    from sdee.runtime.jobs.model import JobManager, Request, Words

Function = TypeVar("Function", bound="Callable[..., Any]")
WORDS, MANAGER = "sdee.words", "sdee.manager"  # keys of click's Context.meta


class PassingCommand(click.Command):
    """A command of which options that are not its own, and the words after them, are kept for the job manager.

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
    help="The job manager to submit to. auto: the first that is here.",
)
SHARED_OPTIONS = (
    click.option("--retrace", is_flag=True, help="Trace it again, though nothing changed."),
    click.option("--no-trace", is_flag=True, help="Do not run it here: take the trace that there is, changed or not."),
    click.option(
        "--bundle", "ready", metavar="FILE", shell_complete=files, help="Run in this bundle: neither trace nor bundle."
    ),
    click.option(
        "--broadcast",
        type=click.Choice(model.BROADCAST),
        default="auto",
        show_default=True,
        help="Send the bundle into the nodes' memory before the start. auto: by its size and the number of nodes.",
    ),
    click.option(
        "--results",
        metavar="DIR",
        shell_complete=files,
        default="",
        help="Bring back what the tasks write outside of shared storage, to DIR/NODE. %j job, %a array task.",
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
    click.option("--dry-run", is_flag=True, help="Show what would be done, and the script; do nothing."),
)


def shared_options(function: Function) -> Function:
    """Add the options that `submit` and `wrap` share."""
    for option in reversed(SHARED_OPTIONS):
        function = option(function)
    return function


@click.command(cls=PassingCommand, options_metavar="[OPTIONS] [SBATCH OPTIONS]")
@shared_options
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
) -> None:
    """Run COMMAND as a batch job: `sdee submit [OPTIONS] -- COMMAND…` is for a command what sbatch is for a script.

    Traces the command by running it here once, unless there is a trace of it and nothing that it used has changed;
    bundles it; writes a batch script that starts the bundle with srun; and becomes sbatch. Everything that belongs to
    the command is kept in sdee-jobs/, scripts to be read and submitted again by hand. Options that are not below are
    sbatch's, or srun's (--mpi, --cpu-bind, --label). On Grid Engine they are qsub's.

    \b
      sdee submit -N2 --ntasks=4 --time=5 -- ./app input.dat
      sdee submit -J big --results out --dry-run -- python job.py
      sdee submit --bundle bundle.sdee -p long          as recorded
    """  # noqa: D301 - click wants the backspace character itself
    from sdee.cli import prepare  # noqa: PLC0415 - not needed for --help

    words: Words = ctx.meta[WORDS]
    chosen: JobManager = ctx.meta[MANAGER]
    check(retrace=retrace, no_trace=no_trace, ready=ready)
    where = os.path.abspath(results) if results else ""
    kept = parent or prepare.own_directory()
    if ready:
        bundle, recorded = existing(ready)
        directory = prepare.directory_of(kept, os.path.basename(ready), bundle)
        command = () if list(words.command) == recorded else words.command
        if not command and any(BLANK in word for word in recorded):
            hint = f"give the whole command: sdee submit --bundle {ready} -- COMMAND"
            raise UsageError("the command that this bundle records has a secret, which was not recorded", hint=hint)
        request = _request(
            words, prepare.script_in(directory), bundle, broadcast, where, shown=words.command or recorded
        )
        request = model.replace(request, command=command, collect=left_by(bundle) if where else ())
        request = by_launcher(request, directory, chosen)
        submission = chosen.submission(request)
        if dry_run:
            show_plan([f"keep    {bundle}"], submission)
            return
        with prepare.locked(directory):
            _carry_out(request, directory, chosen)
    if not words.command:
        raise UsageError("there is no command to submit", hint="sdee submit [OPTIONS] -- COMMAND; --help says more")
    cwd, stdin = (os.path.abspath(path) if path else "" for path in chosen.place(words.options))
    cwd = cwd or os.getcwd()
    recorded = redact(words.command)
    directory = prepare.directory_of(kept, os.path.basename(words.command[0]), cwd, *recorded)
    # A bundle records no secret: where there is one the script has the command
    given = () if recorded == list(words.command) else words.command
    if dry_run:
        todo = prepare.plan(directory, words.command, cwd, stdin, retrace=retrace, no_trace=no_trace, manager=chosen)
        request = _request(words, prepare.script_in(directory), todo.bundle, broadcast, where, shown=words.command)
        collect = collected(todo) if where and not todo.trace_why else ()
        request = model.replace(request, command=given, collect=collect)
        request = by_launcher(request, directory, chosen, made=not todo.bundle_why)
        show_plan(todo.lines(), chosen.submission(request))
        if where and todo.trace_why:
            click.echo("# what the job leaves in the nodes' /tmp is known, and comes back, when it has been traced")
        return
    with prepare.locked(directory):
        todo = prepare.plan(directory, words.command, cwd, stdin, retrace=retrace, no_trace=no_trace, manager=chosen)
        # what is wrong with the options is said before the command is run here
        chosen.submission(_request(words, "", todo.bundle, broadcast, where, shown=words.command))
        bundle = prepare.carry_out(todo)
        request = _request(words, prepare.script_in(directory), bundle, broadcast, where, shown=words.command)
        request = model.replace(request, command=given, collect=collected(todo) if where else ())
        _carry_out(by_launcher(request, directory, chosen), directory, chosen)


def by_launcher(request: Request, directory: str, manager: JobManager, *, made: bool = True) -> Request:
    """Return a request with what serves its bundle, where its command starts the processes itself, as mpirun does.

    `made`: the bundle is there already, and tells.
    """
    if not manager.remote or not (served.is_needed(request.bundle) if made else served.may_be_needed(request.shown)):
        return request
    return model.replace(request, served=served.words(directory, request.bundle))


def _carry_out(request: Request, directory: str, manager: JobManager) -> NoReturn:
    if request.served:
        said = f"{safe(request.shown[0])} starts the processes: it runs once, on the job's first node"
        click.echo(f"sdee: {said}, and what it starts on the others runs in the bundle, too", err=True)
        if request.broadcast == "always":
            click.echo("sdee: warning: the nodes read that bundle from shared storage: it is not broadcast", err=True)
        served.prepare(directory, request.bundle, front_path(), broadcast=request.broadcast, results=request.results)
    model.carry_out(manager.submission(request))


def check(*, retrace: bool, no_trace: bool, ready: str | None) -> None:
    """Raise UsageError for options that exclude each other."""
    given = [name for name, value in (("--retrace", retrace), ("--no-trace", no_trace), ("--bundle", ready)) if value]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other")


def existing(path: str) -> tuple[str, list[str]]:
    """Return the absolute path of a bundle and its recorded command. Raises BundleError."""
    from sdee.packer.format.reader import open_bundle  # noqa: PLC0415

    with open_bundle(path) as bundle:
        return os.path.abspath(path), bundle.conf("arg")


def _request(words: Words, script: str, bundle: str, broadcast: str, results: str, *, shown: Sequence[str]) -> Request:
    return model.Request(script, bundle, (), tuple(shown), words.options, broadcast, results)


def left_by(bundle: str) -> tuple[str, ...]:
    """Return globs of what the job of a bundle made in temporary directories."""
    from sdee.base.paths import is_below_any  # noqa: PLC0415
    from sdee.packer import knowledge  # noqa: PLC0415
    from sdee.packer.format.reader import open_bundle  # noqa: PLC0415
    from sdee.packer.model import Verdict  # noqa: PLC0415

    with open_bundle(bundle) as opened:
        made = [path for path, item in opened.items.items() if item.verdict is Verdict.PRODUCED]
    return globs([p for p in made if is_below_any(p, knowledge.TEMPORARY_ROOTS) and p not in knowledge.TEMPORARY_ROOTS])


def collected(todo: Preparation) -> tuple[str, ...]:
    """Return globs of what the traced run left in temporary directories."""
    from sdee.cli import fresh  # noqa: PLC0415

    known = fresh.load(todo.directory).trace
    return globs(known.left) if known else ()


def globs(paths: Sequence[str]) -> tuple[str, ...]:
    """Return globs for files of which the numbers in the names may differ: a rank's, a process's."""
    escaped = (re.sub(r"([*?[\\])", r"\\\1", path) for path in paths)
    return tuple(dict.fromkeys(re.sub(r"\d+", "[0-9]*", path) for path in escaped))


def show_plan(lines: Sequence[str], submission: model.Submission) -> None:
    """Print what would be done, a line each, and the script."""
    for line in (*lines, f"write   {submission.script}", f"execute {shlex.join(submission.argv)}"):
        click.echo(safe(line))
    click.echo(f"\n{submission.text}", nl=False)
