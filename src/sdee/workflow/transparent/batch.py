"""A batch job (sbatch) from inside of a private environment: its bundle, and those of the scripts that it submits."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from sdee.base.errors import InputError, SdeeError, UsageError
from sdee.base.files import write_script
from sdee.base.text import safe
from sdee.runtime.environment import real_commands
from sdee.runtime.jobs import passed
from sdee.runtime.jobs.model import RefusedError
from sdee.workflow import preparation, serving
from sdee.workflow.transparent import rehearsal, submissions, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdee.runtime.jobs.model import Batch, Inside, Words
    from sdee.workflow.transparent.context import Context


def submit(arguments: Sequence[str], context: Context) -> NoReturn:
    """Submit a batch script that runs the given one in a bundle."""
    inside = context.inside
    call = inside.call(inside.batch, arguments)
    words = call.words
    if call.asks:
        real_commands.become(inside.batch, arguments)
    path = _script(words, os.getcwd())
    stdin = "" if words.command or call.inline else sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    job = inside.job(words, _read(path) if path else "", stdin)
    if not job.text.startswith("#!") or "\r\n" in job.text:
        _refused(job, inside)
    asked = partial(inside.check, inside.batch, words, stdin, real_commands.FRONT)
    written = _Chain(context).prepared(_Submission(job, os.getcwd(), path), asked)
    real_commands.set_environment(passed.hidden(os.environ))
    real_commands.become(inside.batch, [*job.options, written, *job.arguments])


@dataclass(frozen=True)
class _Submission:
    """A batch job: `here`, where sbatch is called; `path` of its script, "" where it is no file.

    `various`: it is submitted several times, with other arguments.
    """

    job: Batch
    here: str
    path: str
    various: bool = False


@dataclass
class _Chain:
    """A job and those that it submits. `known`: scripts, by where they are found, and what is submitted for them."""

    context: Context
    known: dict[str, str] = field(default_factory=dict)

    def prepared(self, submission: _Submission, before: Callable[[], None]) -> str:
        """Return the batch script that runs the submission's own in a bundle, made with all that it needs.

        `before`: called before a trial run. Raises SdeeError.
        """
        job, here, inside = submission.job, submission.here, self.context.inside
        cwd, given_input = inside.place(job)
        directory = os.path.abspath(os.path.join(here, cwd))
        family = sweep.family(rehearsal.place(self.context.say), job.name, directory, (), job.words, text=job.text)
        chosen = sweep.choose(family, directory, job.arguments, job.words, text=job.text)
        kept, known = chosen.directory, os.path.join(chosen.directory, job.name)
        is_its_own = not chosen.stands_in or _read(known) == job.text
        script = known if is_its_own else os.path.join(chosen.own, job.name)
        with preparation.locked(os.path.dirname(script)):
            serving.write_once(script, job.text)
        todo = rehearsal.Rehearsal(
            inside.batch,
            (known, *chosen.arguments),
            job.name,
            kept,
            directory,
            rehearsal.readable(os.path.join(here, given_input) if given_input else ""),
            inside.rehearsal_variables(job) | {f"{inside.variables}SUBMIT_DIR": here},
            interactive=submission.various,
            stands_in=chosen.stands_in,
        )
        bundle = rehearsal.ready(todo, rehearsal.fronts(), before, self.context)
        words = rehearsal.serve(kept, bundle, inside)
        with preparation.locked(kept):  # others of a sweep write there, too
            path = preparation.script_in(kept)
            write_script(path, inside.batch_program(job, script, bundle, words))
        self.known |= {found: path for found in (script, submission.path) if found}
        self._prepare_what_it_submits(chosen, job.name)
        write_script(os.path.join(words[-1], inside.batch), inside.resubmit_program(self.known, bundle, words))
        return path

    def _prepare_what_it_submits(self, chosen: sweep.Choice, name: str) -> None:
        for submission in _submitted(chosen, self.context.inside):
            if submission.path in self.known:
                continue
            try:
                self.prepared(submission, lambda: None)
            except SdeeError as error:
                shown = safe(f"{submission.job.name}, which {name} submits, will run on the node itself")
                self.context.say(f"{self.context.inside.batch}: {shown}: {error}")


def _submitted(chosen: sweep.Choice, inside: Inside) -> list[_Submission]:
    """Return what the run here has submitted, each script once. Of another job's run not what that made itself."""
    found: dict[str, _Submission] = {}
    for here, arguments, texts in submissions.read(chosen.directory):
        try:
            call = inside.call(inside.batch, arguments)
        except UsageError:  # sbatch will say so, in the job
            continue
        words = call.words
        if not words.command or call.asks or call.inline:
            continue
        path, text = _script(words, here), texts[len(arguments) - len(words.command)]
        if chosen.stands_in and not os.path.isfile(path):
            continue
        with contextlib.suppress(InputError):  # the run made it, and it is gone
            text = _read(path)
        job = inside.job(words, text, "")
        first = found.get(path)
        if first is not None and first.job.arguments != job.arguments:
            found[path] = _Submission(first.job, first.here, path, various=True)
        elif first is None and job.text.startswith("#!"):
            found[path] = _Submission(job, here, path)
    return list(found.values())


def _script(words: Words, here: str) -> str:
    """Return the path of a script that is given as a file, "" where there is none."""
    if not words.command:
        return ""
    name = words.command[0]
    path = os.path.join(here, name)
    return path if os.path.isfile(path) or "/" in name else shutil.which(name, os.R_OK) or path


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:  # a CR is the script's
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read the batch script {os.path.relpath(path)!a}: {error.strerror}") from error


def _refused(job: Batch, inside: Inside) -> NoReturn:
    """Let sbatch say what is wrong with a script. Raises RefusedError."""
    command = [inside.batch, *job.options]
    done = subprocess.run(
        command, executable=real_commands.FRONT, input=job.text, text=True, check=False, errors="surrogateescape"
    )
    if done.returncode == 0:
        raise UsageError("the script does not begin with #!, or has DOS line breaks")
    raise RefusedError("", done.returncode)
