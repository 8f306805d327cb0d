"""Submitting a command: its trace, its bundle, the script that runs it, and what serves it on the nodes."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from sdee.base.errors import CommandFailedError, UsageError
from sdee.base.files import open_regular
from sdee.base.paths import is_below_any
from sdee.base.secrets.tokens import BLANK, redact
from sdee.base.text import safe
from sdee.packer import knowledge
from sdee.packer.format.reader import open_bundle
from sdee.packer.model import Verdict
from sdee.runtime.jobs import model, registry
from sdee.runtime.programs import front_path
from sdee.workflow import preparation, serving, state, variants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdee.runtime.jobs.model import JobManager, Request, Words
    from sdee.workflow.preparation import Preparation


_HEAD = 64 << 10  # characters of a script in which options are looked for


@dataclass(frozen=True)
class Wanted:
    """Options of `sdee submit` and `sdee wrap` besides the command and the job manager's options.

    `ready`: a bundle to run in, "" to make one; `results`: as of model.Request, absolute; `parent`: the directory
    below which things are kept, "" for the usual one.
    """

    retrace: bool = False
    no_trace: bool = False
    ready: str = ""
    broadcast: str = "auto"
    results: str = ""
    parent: str = ""

    def check(self) -> None:
        """Raise UsageError for options that exclude each other."""
        options = (("--retrace", self.retrace), ("--no-trace", self.no_trace), ("--bundle", self.ready))
        given = [name for name, value in options if value]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} exclude each other")
        if self.broadcast not in model.BROADCAST:
            raise UsageError(f"broadcast cannot be {self.broadcast!r}", hint=f"one of: {', '.join(model.BROADCAST)}")


@dataclass(frozen=True)
class Plan:
    """What would be done: a line for each file, the submission; `note`: what is not known yet."""

    lines: tuple[str, ...]
    submission: model.Submission
    note: str = ""
    bundle: str = ""
    trace: str | None = None

    def facts(self, manager: JobManager) -> dict[str, Any]:
        """Return it as --json prints it: as Submitted, without what only comes of it, and what would be written."""
        keys = ("script", "argv")
        known = {key: getattr(self.submission, key) for key in keys}
        made = {"bundle": self.bundle, "trace": self.trace, "text": self.submission.text, "todo": self.lines}
        return {"job": None, "manager": manager.title, **known, **made}


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted. `job`: its id, None where the job manager's command did not print it (--quiet).

    `manager`: the job manager's name; `script`, `bundle`, `trace`: absolute paths, `trace` None where a bundle was
    given; `argv`: the command that took the job; `output`: what that printed; `status`: its exit status, which is the
    job's where it waited for that (--wait, -sync y).
    """

    job: str | None
    manager: str
    script: str
    bundle: str
    trace: str | None
    argv: tuple[str, ...]
    output: str
    status: int = 0


@dataclass(frozen=True)
class _Job:
    """A command to submit, and where its things are."""

    words: Words
    manager: JobManager
    wanted: Wanted
    directory: str
    cwd: str = ""
    stdin: str = ""

    def prepared(self, say: Callable[[str], None]) -> Preparation:
        """Return what has to be made."""
        return preparation.plan(
            self.directory,
            self.words.command,
            self.cwd,
            self.stdin,
            say=say,
            retrace=self.wanted.retrace,
            no_trace=self.wanted.no_trace,
            manager=self.manager,
            seconds=self.manager.seconds(self.words.options),
        )

    def request(self, script: str, bundle: str, shown: Sequence[str]) -> Request:
        """Return a request that runs what the bundle records."""
        wanted = self.wanted
        return model.Request(script, bundle, (), tuple(shown), self.words.options, wanted.broadcast, wanted.results)


def plan(words: Words, manager: JobManager, wanted: Wanted, say: Callable[[str], None]) -> Plan:
    """Return what submit() would do; nothing is changed. Raises SdeeError."""
    wanted.check()
    if wanted.ready:
        job, request = _of_bundle(words, manager, wanted, say)
        return Plan((f"keep    {request.bundle}",), manager.submission(request), bundle=request.bundle)
    job = _of_command(words, manager, wanted, say)
    todo = job.prepared(say)
    request = job.request(preparation.script_in(job.directory), todo.bundle, words.command)
    collect = collected(todo) if wanted.results and not todo.trace_why else ()
    request = model.replace(request, command=_not_recorded(words, todo), collect=collect)
    request = by_launcher(request, job.directory, manager, made=not todo.bundle_why)
    later = "once the job is traced, sdee knows what it leaves in the nodes' /tmp, and brings that back, too"
    note = later if wanted.results and todo.trace_why else ""
    return Plan(tuple(todo.lines()), manager.submission(request), note, request.bundle, todo.trace)


def submit(words: Words, manager: JobManager, wanted: Wanted, say: Callable[[str], None]) -> NoReturn:
    """Make what has to be made and become the job manager's command. Raises SdeeError."""
    model.become_command(_made(words, manager, wanted, say)[0])


def hand_over(
    options: Sequence[str], command: Sequence[str], manager: str, wanted: Wanted, *, say: Callable[[str], None]
) -> Submitted:
    """Make what has to be made, run the job manager's command and return what it said; registry.choose() has `manager`.

    Raises SdeeError; CommandFailedError with the command's status where that refuses the job.
    """
    chosen = registry.choose(manager)
    return hand_over_words(chosen.split([*options, "--", *command], {}), chosen, wanted, say)


def hand_over_words(words: Words, manager: JobManager, wanted: Wanted, say: Callable[[str], None]) -> Submitted:
    """Do the same with words that are split already."""
    submission, bundle, trace = _made(words, manager, wanted, say)
    done = model.run_command(submission)
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    job, said = manager.job_in(done.stdout), done.stderr.splitlines()
    if status and not job:
        why = f": {'; '.join(said)}" if said else ""
        raise CommandFailedError(f"{manager.submit} ended with status {status}{why}", status=status)
    for line in said:
        say(safe(line))
    return Submitted(job or None, manager.title, submission.script, bundle, trace, submission.argv, done.stdout, status)


def _made(
    words: Words, manager: JobManager, wanted: Wanted, say: Callable[[str], None]
) -> tuple[model.Submission, str, str | None]:
    """Make what has to be made, the script included; return the submission, the bundle, and the trace if it is ours."""
    wanted.check()
    if wanted.ready:
        job, request = _of_bundle(words, manager, wanted, say)
        with preparation.locked(job.directory):
            return _written(request, job.directory, manager, say), request.bundle, None
    job = _of_command(words, manager, wanted, say)
    with preparation.locked(job.directory):
        todo = job.prepared(say)
        variants.say_of(todo.command, words.command, say)
        manager.submission(job.request("", todo.bundle, words.command))  # wrong options: before the command is run here
        bundle = preparation.carry_out(todo, say)
        request = job.request(preparation.script_in(job.directory), bundle, words.command)
        collect = collected(todo) if wanted.results else ()
        request = model.replace(request, command=_not_recorded(words, todo), collect=collect)
        request = by_launcher(request, job.directory, manager)
        return _written(request, job.directory, manager, say), bundle, todo.trace


def _say_of_mpi(request: Request, manager: JobManager, say: Callable[[str], None]) -> None:
    """Warn when ranks that the manager starts would not find each other: each would say so, or compute all alone."""
    with open_bundle(request.bundle) as bundle:
        uses_mpi = bool(bundle.conf("host-symbols"))
    why = manager.lacks_for_mpi(request.options) if uses_mpi and not request.served else ""
    if why:
        say(f"warning: {safe(request.shown[0])} uses MPI. {safe(why)}")


def _of_bundle(
    words: Words, manager: JobManager, wanted: Wanted, say: Callable[[str], None]
) -> tuple[_Job, model.Request]:
    kept = wanted.parent or preparation.own_directory(say)
    bundle, recorded = existing(wanted.ready)
    job = _Job(words, manager, wanted, preparation.directory_of(kept, os.path.basename(wanted.ready), bundle))
    command = () if list(words.command) == recorded else words.command
    if not command and any(BLANK in word for word in recorded):
        hint = f"give the whole command: sdee submit --bundle {wanted.ready} -- COMMAND"
        raise UsageError("sdee did not record a secret of this bundle's command", hint=hint)
    request = job.request(preparation.script_in(job.directory), bundle, words.command or recorded)
    request = model.replace(request, command=command, collect=left_by(bundle) if wanted.results else ())
    return job, by_launcher(request, job.directory, manager)


def _of_command(words: Words, manager: JobManager, wanted: Wanted, say: Callable[[str], None]) -> _Job:
    kept = wanted.parent or preparation.own_directory(say)
    if not words.command:
        raise UsageError("there is no command to submit", hint="sdee submit [OPTIONS] -- COMMAND; --help says more")
    _check_for_options(words.command[0], manager, say)
    cwd, stdin = (os.path.abspath(path) if path else "" for path in manager.place(words.options))
    cwd = cwd or os.getcwd()
    name = os.path.basename(words.command[0])
    directory = preparation.directory_of(kept, name, cwd, *variants.key(redact(words.command), cwd))
    return _Job(words, manager, wanted, directory, cwd, stdin)


def _check_for_options(path: str, manager: JobManager, say: Callable[[str], None]) -> None:
    """Say that options in a command's own lines do not count. Raises UsageError for a script that is no command."""
    try:
        with open(open_regular(path), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            text = file.read(_HEAD)
    except OSError:
        return  # looked for in PATH
    if not text.startswith("#!") or not manager.options_in(text):
        return
    hint = f"sdee wrap --submit {safe(shlex.quote(path))} reads them"
    if not os.access(path, os.X_OK):
        raise UsageError(f"{path!a} is a batch script, not a command", hint=hint)
    say(f"warning: {safe(path)} has {manager.directive} lines, which sdee submit ignores: {hint}")


def _not_recorded(words: Words, todo: Preparation) -> tuple[str, ...]:
    """Return the command where the bundle records another, or it has a secret, of which a bundle records none."""
    return () if redact(todo.command) == list(words.command) else words.command


def by_launcher(request: Request, directory: str, manager: JobManager, *, made: bool = True) -> Request:
    """Return a request with what serves its bundle, where its command starts the processes itself, as mpirun does.

    `made`: the bundle is there already, and tells.
    """
    if not manager.remote or not (serving.is_needed(request.bundle) if made else serving.may_be_needed(request.shown)):
        return request
    return model.replace(request, served=serving.words(directory, request.bundle))


def _written(request: Request, directory: str, manager: JobManager, say: Callable[[str], None]) -> model.Submission:
    """Write the script, and what serves the bundle; return how it is submitted."""
    _say_of_mpi(request, manager, say)
    if request.served:
        said = f"{safe(request.shown[0])} starts the processes, so it runs once, on the job's first node"
        say(f"{said}; what it starts on other nodes runs in the bundle, too")
        if request.broadcast == "always":
            say("warning: sdee does not broadcast this bundle: the nodes read it from shared storage")
        serve(directory, request.bundle, manager, broadcast=request.broadcast, results=request.results)
    submission = manager.submission(request)
    model.write_script(submission.script, submission.text)
    return submission


def serve(directory: str, bundle: str, manager: JobManager, *, broadcast: str, results: str) -> None:
    """Make what serves a bundle whose command starts processes by the manager's `remote`. Raises OutputError."""
    inside = registry.standing_for(manager.remote)
    serving.prepare(directory, bundle, front_path(), inside, broadcast=broadcast, results=results)


def existing(path: str) -> tuple[str, list[str]]:
    """Return the absolute path of a bundle and its recorded command. Raises BundleError."""
    with open_bundle(path) as bundle:
        return os.path.abspath(path), bundle.conf("arg")


def left_by(bundle: str) -> tuple[str, ...]:
    """Return globs of what the job of a bundle made in temporary directories."""
    with open_bundle(bundle) as opened:
        made = [path for path, item in opened.items.items() if item.verdict is Verdict.PRODUCED]
    return globs([p for p in made if is_below_any(p, knowledge.TEMPORARY_ROOTS) and p not in knowledge.TEMPORARY_ROOTS])


def collected(todo: Preparation) -> tuple[str, ...]:
    """Return globs of what the traced run left in temporary directories."""
    known = state.load(todo.directory).trace
    return globs(known.left) if known else ()


def globs(paths: Sequence[str]) -> tuple[str, ...]:
    """Return globs for files of which the numbers in the names may differ: a rank's, a process's."""
    escaped = (re.sub(r"([*?[\\])", r"\\\1", path) for path in paths)
    return tuple(dict.fromkeys(re.sub(r"\d+", "[0-9]*", path) for path in escaped))
