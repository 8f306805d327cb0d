"""Rewrite a batch script so that what it starts with the job manager's launcher runs in a bundle."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.errors import InputError, SdeeError, UsageError
from sdee.base.files import open_regular, write_script
from sdee.base.secrets.tokens import redact
from sdee.base.text import safe
from sdee.packer import knowledge
from sdee.packer.filesystem import FileSystem
from sdee.packer.packages import Packages
from sdee.runtime.jobs import model, scripts
from sdee.tracer.tracefile.reader import read_traces
from sdee.workflow import preparation, serving, state, variants
from sdee.workflow.failed_steps import failed
from sdee.workflow.submitting import Plan, Wanted, collected, existing, left_by, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sdee.runtime.jobs.model import JobManager, Words
    from sdee.workflow.preparation import Preparation

_ASKED = "SDEE_REHEARSAL="  # of rehearsed_step.sh, where srun itself is asked for its version
# Words that start the next one past the shell, where a function of that name is not seen
_PAST_THE_SHELL = re.compile(r"\b(exec|command|env|timeout|nohup|nice|setsid|xargs|stdbuf|taskset|numactl)\b")


@dataclass(frozen=True)
class _Script:
    """A batch script to rewrite, and its run here: the directory, and what to make."""

    words: Words
    manager: JobManager
    wanted: Wanted
    directory: str
    wrapping: model.Wrapping
    say: Callable[[str], None]

    @property
    def _rehearsal(self) -> str:
        return os.path.join(self.directory, "rehearsal.sh")

    def _texts(self) -> dict[str, str]:
        """Return the files of the run here, by path: the script, and what it reads first."""
        first = os.path.join(self.directory, "rehearsal-steps.sh")
        script = scripts.reading(self.wrapping.text, first)
        return {first: self.manager.rehearsal(self.wrapping), self._rehearsal: script}

    def _is_kept(self) -> bool:
        try:
            return all(_read(path) == text for path, text in self._texts().items())
        except InputError:
            return False

    def _outdated(self) -> str:
        """Return why the trace that is kept cannot serve, "" if it can: a failed step shows too little."""
        if not self._is_kept():
            return "the script has changed"
        kept = state.load(self.directory).trace
        if kept and kept.command[1:] != redact(self.words.command[1:]):
            with contextlib.suppress(SdeeError):  # whoever reads the trace next says so
                if failed(read_traces([os.path.join(self.directory, "trace")]), self.manager.rehearsed):
                    return "with the arguments that were traced, a step failed"
        return ""

    def plan(self) -> Preparation:
        """Return what wrap() must make; change nothing."""
        written, typed = self.manager.options_in(self.wrapping.text), self.words.options
        cwd, stdin = (os.path.abspath(path) if path else "" for path in self.manager.place((*written, *typed)))
        return preparation.plan(
            self.directory,
            (self._rehearsal, *self.words.command[1:]),
            cwd or os.getcwd(),
            stdin,
            say=self.say,
            retrace=self.wanted.retrace,
            no_trace=self.wanted.no_trace,
            changed=self._outdated(),
            manager=self.manager,
            seconds=self.manager.seconds(typed, written),
            shown=(self.wrapping.name, *self.words.command[1:]),
        )

    def write(self) -> None:
        """Keep the script that is traced; it is left alone when it is the same, so that its trace holds."""
        if not self._is_kept():
            for path, text in self._texts().items():
                write_script(path, text)

    def with_launchers(self, wrapping: model.Wrapping, started: _Started) -> model.Wrapping:
        """Let MPI's launchers run in the bundle, without being named by --program. Raises UsageError."""
        found = tuple(name for name in started.launchers if name not in wrapping.programs)
        _check_lines(wrapping.text, found, wrapping.name, self.say)
        return model.replace(wrapping, programs=(*wrapping.programs, *found))

    def served(self, wrapping: model.Wrapping, *, made: bool = True) -> model.Wrapping:
        """Add what serves the bundle, where one of its programs starts processes on other nodes.

        `made`: the bundle is there, and tells.
        """
        if not self.manager.remote:
            return wrapping
        may = (serving.may_be_needed((program,)) for program in wrapping.programs)
        needed = serving.is_needed(wrapping.bundle) if made else any(may)
        words = serving.words(self.directory, wrapping.bundle)
        return model.replace(wrapping, served=words) if needed else wrapping

    def submission(self, text: str) -> model.Submission:
        """Return how the new script is submitted."""
        path = preparation.script_in(self.directory)
        argv = (self.manager.submit, *self.words.options, path, *self.words.command[1:])
        return model.Submission(path, text, argv)


def plan(
    words: Words,
    manager: JobManager,
    wanted: Wanted,
    programs: tuple[str, ...],
    say: Callable[[str], None],
    *,
    submitting: bool,
) -> Plan:
    """Return what wrap() would do; change nothing. Raises SdeeError."""
    script = _asked(words, manager, wanted, programs, say, submitting=submitting)
    wrapping = script.wrapping
    todo = None if wanted.ready else script.plan()
    if todo and not todo.trace_why:
        wrapping = script.with_launchers(wrapping, _started(todo.trace, manager))
    bundle = todo.bundle if todo else existing(wanted.ready)[0]
    made = not (todo and todo.bundle_why)
    wrapping = script.served(model.replace(wrapping, bundle=bundle), made=made)
    lines = todo.lines() if todo else [f"keep    {bundle}"]
    return Plan(tuple(lines), script.submission(manager.wrap(wrapping)))


def wrap(
    words: Words,
    manager: JobManager,
    wanted: Wanted,
    programs: tuple[str, ...],
    say: Callable[[str], None],
    *,
    submitting: bool,
) -> str:
    """Make what has to be made and return the new script, or submit it: become the job manager's command.

    `programs`: names of programs that run in the bundle besides the launcher's steps. Raises SdeeError.
    """
    script = _asked(words, manager, wanted, programs, say, submitting=submitting)
    wrapping = script.wrapping
    with preparation.locked(script.directory):
        if wanted.ready:
            bundle = existing(wanted.ready)[0]
            collect = left_by(bundle) if wanted.results else ()
        else:
            todo = script.plan()
            name = script.wrapping.name
            variants.say_of((name, *todo.command[1:]), (name, *words.command[1:]), say)
            script.write()
            bundle = preparation.carry_out(todo, say)
            collect = collected(todo) if wanted.results else ()
            started = _started(todo.trace, manager)
            wrapping = script.with_launchers(wrapping, started)
            _say_what_is_left(started, wrapping, manager, say)
        wrapping = script.served(model.replace(wrapping, bundle=bundle, collect=collect))
        new = manager.wrap(wrapping)
        if wrapping.served:
            serve(script.directory, bundle, manager, broadcast=wanted.broadcast, results=wrapping.results)
        if submitting:
            model.carry_out(script.submission(new))
        return new


def _asked(
    words: Words,
    manager: JobManager,
    wanted: Wanted,
    programs: tuple[str, ...],
    say: Callable[[str], None],
    *,
    submitting: bool,
) -> _Script:
    """Return the script and the plan for it, still without a bundle.

    Raises UsageError and InputError for what is wrong, before the script is run here.
    """
    wanted.check()
    if not words.command:
        raise UsageError("there is no script to rewrite", hint="sdee wrap SCRIPT [ARGUMENTS]")
    if words.options and not submitting:
        piped = f"sdee wrap {shlex.quote(words.command[0])} | {manager.submit} {shlex.join(words.options)}"
        hint = f"--submit, or: {safe(piped)}"
        raise UsageError(f"{words.options[0]} works only when sdee submits the script", hint=hint)
    text = _read(words.command[0])
    path = os.path.abspath(words.command[0])
    _check_lines(text, (*manager.launchers, *programs), path, say)
    _check_programs(text, programs, path)
    wrapping = model.Wrapping(
        os.path.basename(path),
        text,
        bundle="",
        programs=programs,
        decisive=knowledge.FIXED_ENVIRONMENT,
        broadcast=wanted.broadcast,
        results=wanted.results,
    )
    manager.wrap(wrapping)
    kept = wanted.parent or preparation.own_directory(say)
    same = variants.key(words.command[1:], os.getcwd())
    directory = preparation.directory_of(kept, os.path.basename(path), path, *same)
    return _Script(words, manager, wanted, directory, wrapping, say)


def _read(path: str) -> str:
    try:
        with open(open_regular(path, passed=True), encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read the script {path!a}: {error.strerror}") from error


def _commands(text: str) -> list[tuple[int, str]]:
    """Return number and text of the lines that are not comments."""
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


def _check_lines(text: str, launchers: Sequence[str], script: str, say: Callable[[str], None]) -> None:
    """Raise UsageError for a line that starts a launcher and so bypasses the shell's function."""
    scripts.shell_of(text, os.path.basename(script))
    for launcher in launchers:
        for number, line in _commands(text):
            if _is_past_the_shell(line, launcher):
                raise UsageError(
                    f"line {number} of {os.path.basename(script)!a} starts {launcher} past the shell: {line.strip()!a}",
                    hint=f"write `{launcher} …` alone: as the first word of a command it runs in the bundle",
                )
            if launcher == "srun" and "--multi-prog" in line:
                say(f"warning: line {number}: programs of --multi-prog run on the node itself")


@dataclass(frozen=True)
class _Started:
    """What a rehearsed script started: how many steps; other programs, name → path; which of them are MPI's launchers.

    `by_path`: those of which the script names the directory, too; `failed`: the first step that failed, and its status.
    """

    steps: int
    others: dict[str, str]
    launchers: tuple[str, ...]
    by_path: frozenset[str]
    failed: tuple[str, int] | None


def _say_what_is_left(
    started: _Started, wrapping: model.Wrapping, manager: JobManager, say: Callable[[str], None]
) -> None:
    """Say which programs of the script run on the node itself. Raises UsageError when none runs in the bundle."""
    others = {name: path for name, path in started.others.items() if name not in wrapping.programs}
    if not started.steps and not wrapping.programs and manager.launchers:
        hint = (
            f"name the program to run in the bundle: sdee wrap --program {next(iter(others), 'NAME')} {wrapping.name}"
        )
        raise UsageError(f"{wrapping.name!a} started nothing with {manager.launchers[0]} in the traced run", hint=hint)
    if started.failed:
        what = "{} ended with status {} in the traced run: the bundle may lack what it needs after that"
        say(f"warning: {safe(what.format(*started.failed))}")
    common = _of_every_system(others.values())
    if missing := [name for name, path in others.items() if path not in common]:
        said = ", ".join(f"{safe(name)}{_lines_with(wrapping.text, name, manager.launchers)}" for name in missing)
        hint = _how_to_bring(missing, started.by_path, wrapping.name, manager)
        say(f"warning: NOT in the bundle, each node must have them: {said}\n  hint: {hint}")
    if usual := [name for name, path in others.items() if path in common]:
        say(f"these run as the node's own tools: {', '.join(map(safe, usual))}")


def _how_to_bring(names: Sequence[str], by_path: Collection[str], script: str, manager: JobManager) -> str:
    """Return the hint how to run programs of a script in the bundle. A shell's function has no path."""
    named = [f"--program {safe(shlex.quote(name))}" for name in names if name not in by_path]
    hints = [f"sdee wrap {' '.join(named)} {safe(shlex.quote(script))} runs them in the bundle"] if named else []
    if paths := [safe(name) for name in names if name in by_path]:
        how = f"with {manager.launchers[0]}" if manager.launchers else "without the directory, and name it by --program"
        hints.append(f"start {', '.join(paths)} {how} in the script")
    return "; ".join(hints)


def _of_every_system(paths: Iterable[str]) -> set[str]:
    """Return the programs among `paths` that every system has: of coreutils and the like."""
    packages = Packages(FileSystem())
    real = {path: {path, os.path.realpath(path)} for path in paths}
    owners = packages.owners([name for names in real.values() for name in names])
    return {p for p, names in real.items() if any(owners.get(n, "").partition(" ")[0] in packages.base for n in names)}


def _lines_with(text: str, name: str, launchers: Sequence[str]) -> str:
    """Return in which lines of a script a program stands that no launcher starts; "" for none."""
    by_launcher = re.compile("|".join(rf"\b{re.escape(launcher)}\s" for launcher in launchers) or "(?!)")

    def is_started(command: str) -> bool:
        match = _word(name).search(command)
        return bool(match and not by_launcher.search(command, 0, match.start()))

    found = [str(n) for n, line in _commands(text) if any(map(is_started, re.split("[|;&]", line)))]
    return f" (line{'s' * (len(found) > 1)} {', '.join(found)})" if found else ""


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])")


def _check_programs(text: str, programs: Sequence[str], script: str) -> None:
    """Raise UsageError for a program that no command of a script names."""
    commands = [line for _, line in _commands(text)]
    for name in programs:
        if any(_word(name).search(line) for line in commands):
            continue
        near = difflib.get_close_matches(name, {word for line in commands for word in re.findall(r"[\w.+-]+", line)}, 1)
        hint = f"did you mean {near[0]!a}?" if near else "--program takes a name as the script has it"
        raise UsageError(f"no command of {os.path.basename(script)!a} names the program {name!a}", hint=hint)


def _started(path: str, manager: JobManager) -> _Started:
    """Return what a rehearsed script started itself, by its trace."""
    trace = read_traces([path])
    parents = {process.pid: process.ppid for process in trace.processes}
    first: dict[int, str] = {}
    paths: dict[int, str] = {}
    steps, asked, launching = set(), set(), {}
    for execution in trace.execs:
        paths.setdefault(execution.pid, execution.path)
        first.setdefault(execution.pid, execution.argv[0] if execution.argv else execution.path)
        if manager.rehearsed and manager.rehearsed in execution.argv:
            steps.add(execution.pid)
        elif _ASKED in execution.argv:
            asked.add(execution.pid)
        if os.path.basename(os.path.realpath(execution.path)) in knowledge.COMPANIONS:
            launching[execution.pid] = os.path.basename(execution.argv[0] if execution.argv else execution.path)
    shell = trace.execs[0].pid if trace.execs else 0
    others: dict[str, str] = {}
    by_path: set[str] = set()
    launchers = [launching[shell]] if shell in launching else []  # `exec mpirun`
    for pid, called in first.items():
        name = os.path.basename(called)
        above = parents.get(pid, 0)
        while above in parents and above not in first:  # a subshell
            above = parents[above]
        if pid != shell and above == shell and pid not in steps | asked:
            others.setdefault(name, paths[pid])
            by_path.update({name} if "/" in called else ())
            launchers += [name] if pid in launching else []
    seen = failed(trace, manager.rehearsed)
    return _Started(len(steps), others, tuple(dict.fromkeys(launchers)), frozenset(by_path), seen)
