"""sbatch inside of a private environment: the script's bundle, and those of the scripts that it submits itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import click

from sdee.base.errors import InputError, SdeeError, UsageError
from sdee.base.files import write_script
from sdee.base.text import safe
from sdee.cli import prepare, served
from sdee.cli.inside import front, refused, rehearse, submissions, sweep
from sdee.runtime.jobs import passed
from sdee.runtime.jobs.slurm import inside, resubmit
from sdee.runtime.jobs.slurm.manager import Slurm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdee.runtime.jobs.model import Words


def sbatch(arguments: Sequence[str]) -> NoReturn:
    """Submit a batch script that runs the given one in a bundle."""
    words = inside.split("sbatch", arguments)
    given = inside.names("sbatch", words.options)
    if given.keys() & inside.ASKING or ("wrap" in given and words.command):  # which sbatch refuses
        front.become("sbatch", arguments)
    path = _script(words, os.getcwd())
    stdin = "" if words.command or "wrap" in given else sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    job = inside.batch(words, _read(path) if path else "", stdin)
    if not job.text.startswith("#!") or "\r\n" in job.text:
        _refused(job)
    asked = partial(refused.end_if_refused, "sbatch", words.options, words.command, stdin)
    written = _Chain().prepared(_Submission(job, os.getcwd(), path), asked)
    front.set_environment(passed.hidden(os.environ))
    front.become("sbatch", [*job.options, written, *job.arguments])


@dataclass(frozen=True)
class _Submission:
    """A batch job: `here`, where sbatch is called; `path` of its script, "" where it is no file.

    `various`: it is submitted several times, with other arguments.
    """

    job: inside.Batch
    here: str
    path: str
    various: bool = False


@dataclass
class _Chain:
    """A job and those that it submits. `known`: scripts, by where they are found, and what is submitted for them."""

    known: dict[str, str] = field(default_factory=dict)

    def prepared(self, submission: _Submission, before: Callable[[], None]) -> str:
        """Return the batch script that runs the submission's own in a bundle, made with all that it needs.

        `before`: called when the script is to run here. Raises SdeeError.
        """
        job, here = submission.job, submission.here
        options = (*Slurm().options_in(job.text), *job.options)
        cwd, given_input = Slurm().place(options)
        directory = os.path.abspath(os.path.join(here, cwd))
        family = sweep.family(rehearse.place(), job.name, directory, (), job.words, text=job.text)
        chosen = sweep.choose(family, directory, job.arguments, job.words, text=job.text)
        kept, known = chosen.directory, os.path.join(chosen.directory, job.name)
        is_its_own = not chosen.stands_in or _read(known) == job.text
        script = known if is_its_own else os.path.join(chosen.own, job.name)
        with prepare.locked(os.path.dirname(script)):
            served.write_once(script, job.text)
        rehearsal = rehearse.Rehearsal(
            "sbatch",
            (known, *chosen.arguments),
            job.name,
            kept,
            directory,
            rehearse.readable(os.path.join(here, given_input) if given_input else ""),
            Slurm().rehearsal_variables(job.name, options) | {"SLURM_SUBMIT_DIR": here},
            interactive=submission.various,
            stands_in=chosen.stands_in,
        )
        bundle = rehearse.ready(rehearsal, rehearse.fronts(), before)
        words = rehearse.serve(kept, bundle)
        with prepare.locked(kept):  # others of a sweep write there, too
            path = prepare.script_in(kept)
            write_script(path, inside.batch_program(job, script, bundle, words))
        self.known |= {found: path for found in (script, submission.path) if found}
        self._prepare_what_it_submits(chosen, job.name)
        write_script(os.path.join(words[-1], "sbatch"), resubmit.program(self.known, Slurm().table, bundle, words))
        return path

    def _prepare_what_it_submits(self, chosen: sweep.Choice, name: str) -> None:
        for submission in _submitted(chosen):
            if submission.path in self.known:
                continue
            try:
                self.prepared(submission, lambda: None)
            except SdeeError as error:
                shown = safe(f"{submission.job.name}, which {name} submits, will run on the node itself")
                click.echo(f"sdee: sbatch: {shown}: {error}", err=True)


def _submitted(chosen: sweep.Choice) -> list[_Submission]:
    """Return what the run here has submitted, each script once. Of another job's run not what that made itself."""
    found: dict[str, _Submission] = {}
    for here, arguments, texts in submissions.read(chosen.directory):
        try:
            words = inside.split("sbatch", arguments)
        except UsageError:  # sbatch will say so, in the job
            continue
        if not words.command or inside.names("sbatch", words.options).keys() & {*inside.ASKING, "wrap"}:
            continue
        path, text = _script(words, here), texts[len(arguments) - len(words.command)]
        if chosen.stands_in and not os.path.isfile(path):
            continue
        with contextlib.suppress(InputError):  # the run made it, and it is gone
            text = _read(path)
        job = inside.batch(words, text, "")
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


def _refused(job: inside.Batch) -> NoReturn:
    """Let sbatch say what is wrong with a script."""
    command = ["sbatch", *job.options]
    done = subprocess.run(
        command, executable=front.FRONT, input=job.text, text=True, check=False, errors="surrogateescape"
    )
    if done.returncode == 0:
        raise UsageError("the script does not begin with #!, or has DOS line breaks")
    sys.exit(done.returncode)
