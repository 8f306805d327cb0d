"""`sdee wrap`: rewrite a batch script so that what it starts with srun runs in a bundle."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from sdee.cli import output as show
from sdee.cli import prepare, served
from sdee.cli.steps import failed
from sdee.cli.submit import (
    MANAGER,
    WORDS,
    PassingCommand,
    check,
    collected,
    existing,
    left_by,
    shared_options,
    show_plan,
)
from sdee.errors import InputError, UsageError
from sdee.files import open_regular
from sdee.runtime.environment import front
from sdee.runtime.jobs import model, scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.cli.prepare import Preparation
    from sdee.runtime.jobs.model import JobManager, Words

# Words that start the next one past the shell, where a function of that name is not seen
_PAST_THE_SHELL = re.compile(r"\b(exec|command|env|timeout|nohup|nice|setsid|xargs|stdbuf|taskset|numactl)\b")


@click.command(cls=PassingCommand, options_metavar="[OPTIONS] [SBATCH OPTIONS]")
@shared_options
@click.option(
    "--program",
    "programs",
    multiple=True,
    metavar="NAME",
    help="Run this program of the script in the bundle too, on the script's own node. May be repeated.",
)
@click.option("--submit", "submitting", is_flag=True, help="Submit the new script instead of printing it.")
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
    submitting: bool,
) -> None:
    """Rewrite the batch script SCRIPT so that what it starts with srun runs in a bundle, and print it.

    Runs the script here once under trace, each srun as one process, unless there is a trace and nothing has changed;
    bundles it; and puts a few functions between the script's options and its commands. The commands stay as they are:
    `srun` is then such a function, and so is `mpirun` where the script calls it. All other commands run on the node
    itself, as ever; which those are is said.

    \b
      sdee wrap job.sh | sbatch
      sdee wrap --submit -N4 job.sh input.dat
      sdee wrap --program python3 job.sh > new.sh
    """  # noqa: D301 - click wants the backspace character itself
    words: Words = ctx.meta[WORDS]
    chosen: JobManager = ctx.meta[MANAGER]
    check(retrace=retrace, no_trace=no_trace, ready=ready)
    script, wrapping = _request(words, chosen, programs, broadcast, results, submitting=submitting)
    kept = parent or prepare.own_directory()
    directory = prepare.directory_of(kept, os.path.basename(script), script, *words.command[1:])
    again = _Again(directory, chosen, wrapping, words, retrace=retrace, no_trace=no_trace)
    if dry_run:
        todo = None if ready else again.plan()
        if todo and not todo.trace_why:
            wrapping = _with_launchers(wrapping, _started(todo.trace))
        bundle = todo.bundle if todo else existing(ready or "")[0]
        made = not (todo and todo.bundle_why)
        wrapping = _served(model.replace(wrapping, bundle=bundle), directory, chosen, made=made)
        script, new = prepare.script_in(directory), chosen.wrap(wrapping)
        argv = (chosen.submit, *words.options, script, *words.command[1:])
        show_plan(todo.lines() if todo else [f"keep    {bundle}"], model.Submission(script, new, argv))
        return
    with prepare.locked(directory):
        if ready:
            bundle = existing(ready)[0]
            collect = left_by(bundle) if results else ()
        else:
            todo = again.plan()
            again.write()
            bundle = prepare.carry_out(todo)
            collect = collected(todo) if results else ()
            started = _started(todo.trace)
            wrapping = _with_launchers(wrapping, started)
            _say_what_is_left(started, wrapping, chosen)
        wrapping = _served(model.replace(wrapping, bundle=bundle, collect=collect), directory, chosen)
        new = chosen.wrap(wrapping)
        if wrapping.served:
            served.prepare(directory, bundle, front(), broadcast=broadcast, results=wrapping.results)
        if not submitting:
            click.echo(new, nl=False)
            return
        kept = prepare.script_in(directory)
        model.carry_out(model.Submission(kept, new, (chosen.submit, *words.options, kept, *words.command[1:])))


def _request(
    words: Words, chosen: JobManager, programs: tuple[str, ...], broadcast: str, results: str, *, submitting: bool
) -> tuple[str, model.Wrapping]:
    """Return the script's path and what is to become of it, still without a bundle.

    Raises UsageError and InputError for what is wrong, before the script is run here.
    """
    from sdee.packer import tables  # noqa: PLC0415

    if not words.command:
        raise UsageError("there is no script to rewrite", hint="sdee wrap SCRIPT [ARGUMENTS]")
    if words.options and not submitting:
        hint = f"--submit, or: sdee wrap {words.command[0]} | {chosen.submit} {words.options[0]}"
        raise UsageError(f"{words.options[0]} is of use only when the script is submitted", hint=hint)
    text = _read(words.command[0])
    script = os.path.abspath(words.command[0])
    _check_lines(text, (*chosen.launchers, *programs), script)
    wrapping = model.Wrapping(
        os.path.basename(script),
        text,
        bundle="",
        programs=programs,
        decisive=tables.FIXED_ENVIRONMENT,
        broadcast=broadcast,
        results=os.path.abspath(results) if results else "",
    )
    chosen.wrap(wrapping)
    return script, wrapping


@dataclass(frozen=True)
class _Again:
    """The rehearsal of a script: where it is kept, and what has to be made of it."""

    directory: str
    manager: JobManager
    wrapping: model.Wrapping
    words: Words
    retrace: bool
    no_trace: bool

    @property
    def path(self) -> str:
        return os.path.join(self.directory, "rehearsal.sh")

    def is_kept(self) -> bool:
        try:
            return _read(self.path) == self.manager.rehearsal(self.wrapping)
        except InputError:
            return False

    def plan(self) -> Preparation:
        """Return what has to be made; nothing is changed."""
        options = (*self.manager.options_in(self.wrapping.text), *self.words.options)
        cwd, stdin = (os.path.abspath(path) if path else "" for path in self.manager.place(options))
        command = (self.path, *self.words.command[1:])
        return prepare.plan(
            self.directory,
            command,
            cwd or os.getcwd(),
            stdin,
            retrace=self.retrace,
            no_trace=self.no_trace,
            changed="" if self.is_kept() else "the script has changed",
            manager=self.manager,
        )

    def write(self) -> None:
        """Keep the script that is traced; it is left alone when it is the same, so that its trace holds."""
        if not self.is_kept():
            model.write_script(self.path, self.manager.rehearsal(self.wrapping))


def _read(path: str) -> str:
    try:
        with open(open_regular(path, passed=True), encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read the script {path!a}: {error.strerror}") from error


def _commands(text: str) -> list[tuple[int, str]]:
    """Return number and text of the lines that are no comments."""
    return [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip() and line.lstrip()[0] != "#"]


def _is_past_the_shell(line: str, launcher: str) -> bool:
    """Tell whether a line starts a launcher past the shell. By commands: one pattern takes minutes for a long line."""
    name = rf"{re.escape(launcher)}\b(?![.-])"
    if re.search(rf"[/\\]{name}", line):
        return True
    named = re.compile(rf"\s{name}")
    for command in re.split("[|;&#]", line):
        before = _PAST_THE_SHELL.search(command)
        if before and named.search(command, before.end()):
            return True
    return False


def _check_lines(text: str, launchers: Sequence[str], script: str) -> None:
    """Raise UsageError for a line that starts a launcher so that the shell's function is passed by."""
    scripts.shell_of(text, os.path.basename(script))
    for launcher in launchers:
        for number, line in _commands(text):
            if _is_past_the_shell(line, launcher):
                raise UsageError(
                    f"line {number} of {os.path.basename(script)!a} starts {launcher} past the shell: {line.strip()!a}",
                    hint=f"write `{launcher} …` alone: as the first word of a command it runs in the bundle",
                )
            if launcher == "srun" and "--multi-prog" in line:
                click.echo(f"sdee: warning: line {number}: programs of --multi-prog run on the node itself", err=True)


@dataclass(frozen=True)
class _Started:
    """What a rehearsed script started: how many steps; other programs, by name; which of them are MPI's launchers.

    `failed`: the first step that failed, and its status.
    """

    steps: int
    others: tuple[str, ...]
    launchers: tuple[str, ...]
    failed: tuple[str, int] | None


def _with_launchers(wrapping: model.Wrapping, started: _Started) -> model.Wrapping:
    """Let MPI's launchers run in the bundle, without being named by --program. Raises UsageError."""
    found = tuple(name for name in started.launchers if name not in wrapping.programs)
    _check_lines(wrapping.text, found, wrapping.name)
    return model.replace(wrapping, programs=(*wrapping.programs, *found))


def _served(wrapping: model.Wrapping, directory: str, manager: JobManager, *, made: bool = True) -> model.Wrapping:
    """Add what serves the bundle, where one of its programs starts processes on other nodes. `made`: the bundle is."""
    if not manager.remote:
        return wrapping
    needed = served.is_needed(wrapping.bundle) if made else any(served.may_be_needed((p,)) for p in wrapping.programs)
    return model.replace(wrapping, served=served.words(directory, wrapping.bundle)) if needed else wrapping


def _say_what_is_left(started: _Started, wrapping: model.Wrapping, manager: JobManager) -> None:
    """Say which programs of the script run on the node itself. Raises UsageError when none runs in the bundle."""
    others = started.others
    if not started.steps and not wrapping.programs and manager.launchers:
        hint = (
            f"name what shall run in the bundle: sdee wrap --program {others[0] if others else 'NAME'} {wrapping.name}"
        )
        raise UsageError(f"{wrapping.name!a} started nothing with {manager.launchers[0]} when it was traced", hint=hint)
    if started.failed:
        what = "{} ended with status {} in the traced run: what it would have come to may not be in the bundle"
        click.echo(f"sdee: warning: {show.safe(what.format(*started.failed))}", err=True)
    left = [name for name in others if name not in wrapping.programs]
    if left:
        said = ", ".join(f"{show.safe(name)}{_lines_with(wrapping.text, name)}" for name in left)
        click.echo(f"sdee: these run on the node itself, as ever: {said}", err=True)


def _lines_with(text: str, name: str) -> str:
    found = [str(n) for n, line in _commands(text) if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", line)]
    return f" (line {', '.join(found)})" if found else ""


def _started(path: str) -> _Started:
    """Return what a rehearsed script started itself, by its trace."""
    from sdee.packer import tables  # noqa: PLC0415 - not needed for --help
    from sdee.runtime.jobs.slurm_shell import REHEARSED  # noqa: PLC0415
    from sdee.tracer.tracefile import read_traces  # noqa: PLC0415

    trace = read_traces([path])
    parents = {process.pid: process.ppid for process in trace.processes}
    first: dict[int, str] = {}
    steps, launching = set(), {}
    for execution in trace.execs:
        first.setdefault(execution.pid, os.path.basename(execution.argv[0] if execution.argv else execution.path))
        if REHEARSED in execution.argv:
            steps.add(execution.pid)
        if os.path.basename(os.path.realpath(execution.path)) in tables.COMPANIONS:
            launching[execution.pid] = os.path.basename(execution.argv[0] if execution.argv else execution.path)
    shell = trace.execs[0].pid if trace.execs else 0
    names, launchers = [], [launching[shell]] if shell in launching else []  # `exec mpirun`
    for pid, name in first.items():
        above = parents.get(pid, 0)
        while above in parents and above not in first:  # a subshell
            above = parents[above]
        if pid != shell and above == shell and pid not in steps:
            names.append(name)
            launchers += [name] if pid in launching else []
    return _Started(len(steps), tuple(dict.fromkeys(names)), tuple(dict.fromkeys(launchers)), failed(trace))
