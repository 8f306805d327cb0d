"""What a job manager is to sdee, and a submission as a value."""

from __future__ import annotations

import os
import re
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NoReturn

from sdee.base.errors import CommandNotExecutableError
from sdee.base.files import write_script
from sdee.base.process import become

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BROADCAST",
    "JobManager",
    "Request",
    "Submission",
    "Words",
    "Wrapping",
    "carry_out",
    "replace",
    "write_script",
]

BROADCAST = ("auto", "always", "never")
IN_ENVIRONMENT = "SDEE_ENVIRONMENT"
_REAL = {"SDEE_REAL": "1"}  # in a private environment: all is in the bundle already (sdee-front)


@dataclass(frozen=True)
class Words:
    """A command line of `sdee submit`, split: sdee's own options, the job manager's as they were typed, the command."""

    own: tuple[str, ...]
    options: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """A job to submit. Paths are absolute.

    `script`: where the batch script will be kept; `bundle`: what runs; `command`: the command line to run in it, empty
    for the recorded one; `shown`: that command line, for people; `options`: the job manager's, as typed; `broadcast`:
    one of BROADCAST; `results`: the directory for what the job writes on the nodes, or ""; `collect`: globs of files
    that it leaves in the nodes' own directories (/tmp), to be moved there too; `served`: words before the bundle where
    the command itself starts the processes, as mpirun does (src/sdee/workflow/serving.py).
    """

    script: str
    bundle: str
    command: tuple[str, ...]
    shown: tuple[str, ...]
    options: tuple[str, ...]
    broadcast: str = "auto"
    results: str = ""
    collect: tuple[str, ...] = ()
    served: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """What will be done: write `text` to `script`, executable, and become `argv`."""

    script: str
    text: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Wrapping:
    """A batch script to rewrite: its name (for a job name), its text, and what Request says of the bundle.

    `programs`: names of programs that run in the bundle besides the job manager's own launcher; `decisive`: globs of
    the variables that a bundle keeps as recorded, unless the script changes them; the others: as in Request.
    """

    name: str
    text: str
    bundle: str
    programs: tuple[str, ...] = ()
    decisive: tuple[str, ...] = ()
    collect: tuple[str, ...] = ()
    broadcast: str = "auto"
    results: str = ""
    served: tuple[str, ...] = ()


def printed_by(call: Sequence[str]) -> str | None:
    """Return what a job manager's command prints; None where it fails, or takes longer than a user would wait."""
    both = subprocess.STDOUT  # srun --mpi=list writes to one or the other, by its version
    try:
        done = subprocess.run(
            call, stdout=subprocess.PIPE, stderr=both, text=True, errors="surrogateescape", check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class JobManager(ABC):
    """One job manager. Every method but `lacks` is a function of its arguments and of the submit program's options."""

    title: ClassVar[str]
    submit: ClassVar[str]  # the program that takes a job
    answer: ClassVar[str]  # a line that it prints then, as a regular expression whose group is the job's id
    directive: ClassVar[str]  # how a script's lines begin that hold its options
    launchers: ClassVar[tuple[str, ...]]  # programs that start the processes of a step
    remote: ClassVar[str] = ""  # with what MPI's launchers start their daemons on other nodes, where sdee serves that
    rehearsed: ClassVar[str] = ""  # a word in the command line of each step that a rehearsal runs, in its trace
    crowded: ClassVar[Mapping[str, str]] = {}  # variables with which these start any number of ranks on one machine

    @abstractmethod
    def lacks(self) -> str:
        """Return what is missing on this machine to submit, "" when nothing is."""

    def lacks_for_mpi(self, options: Sequence[str]) -> str:  # noqa: ARG002
        """Return why ranks of an MPI program would not find each other with these options, "" when nothing is known."""
        return ""

    @abstractmethod
    def waiting_scripts(self) -> list[str] | None:
        """Return the paths of this user's scripts that wait or run; None where the manager does not answer."""

    @abstractmethod
    def split(self, arguments: Sequence[str], own: Mapping[str, bool]) -> Words:
        """Tell sdee's own options (`own`: name → takes a value) from the job manager's, and these from the command.

        Raises UsageError for an option without its value, and for one that sdee cannot serve.
        """

    @abstractmethod
    def options_in(self, text: str) -> tuple[str, ...]:
        """Return the options in the lines of a batch script, as far as they can be read."""

    @abstractmethod
    def place(self, options: Sequence[str]) -> tuple[str, str]:
        """Return working directory and standard input that the options ask for, "" for those that they do not name."""

    @abstractmethod
    def seconds(self, options: Sequence[str], in_script: Sequence[str] = ()) -> float | None:
        """Return how long the job may run, by the options that were typed and those of its script; None: not said."""

    def grace(self) -> float:
        """Return the seconds from SIGTERM to SIGKILL when the time of a job is over; 0: SIGKILL at once."""
        return 0

    @abstractmethod
    def submission(self, request: Request) -> Submission:
        """Return how the job is submitted. The script can be submitted by hand with `self.submit`."""

    def job_in(self, printed: str) -> str:
        """Return the job's id from what the submit program printed, "" where it does not say (--quiet)."""
        found = re.search(self.answer, printed, re.MULTILINE)
        return found[1] if found else ""

    @abstractmethod
    def wrap(self, wrapping: Wrapping) -> str:
        """Return the batch script with a preamble after its options, by which its steps run in the bundle."""

    @abstractmethod
    def rehearsal(self, wrapping: Wrapping) -> str:
        """Return shell text by which a script can be run here, without the job manager: each step as one process.

        The script reads it before its first command (scripts.reading).
        """


@dataclass(frozen=True)
class Batch:
    """A batch script and how it was given: the manager's options as typed, the script's text, name and arguments.

    `words`: what of it may differ from job to job of a sweep.
    """

    options: tuple[str, ...]
    name: str
    text: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A call of one of the manager's commands, understood as far as an environment has to.

    `asks`: nothing is started by it, or the manager will refuse it; `several`: its programs are several; `inline`: the
    script is an option's value; `interactive`: what will be typed nobody knows; `cwd`, `stdin`: "" where not named.
    """

    words: Words
    asks: bool = False
    several: bool = False
    inline: bool = False
    interactive: bool = False
    cwd: str = ""
    stdin: str = ""


class RefusedError(Exception):
    """The job manager refuses a job. `text`: what its command says, "" when it has said so; `status`: how it ends."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class Inside(ABC):
    """What a manager's own commands mean inside of a private environment, where their jobs run in bundles."""

    step: ClassVar[str]  # the command that starts the processes of a step
    batch: ClassVar[str]  # the one that submits a script
    allocation: ClassVar[str]  # the one that gives a shell with an allocation
    variables: ClassVar[str]  # how the names of an allocation's variables begin
    rehearsed: ClassVar[str]  # as of JobManager

    @abstractmethod
    def call(self, program: str, arguments: Sequence[str]) -> Call:
        """Understand a call of step, batch or allocation. Raises UsageError for an option without its value."""

    @abstractmethod
    def job(self, words: Words, found: str, stdin: str) -> Batch:
        """Return what `batch` is to submit. `found`: the script's text where it is a file; `stdin`: else."""

    @abstractmethod
    def place(self, job: Batch) -> tuple[str, str]:
        """Return working directory and standard input that a script and its options ask for, "" for none."""

    @abstractmethod
    def rehearsal_variables(self, job: Batch | None) -> dict[str, str]:
        """Return variables of a job of one task; None: of an interactive one."""

    @abstractmethod
    def check(self, program: str, words: Words, stdin: str, front: str) -> None:
        """Ask the manager whether it will take a call; nothing is submitted. `front`: what replaces its command.

        Raises RefusedError.
        """

    @abstractmethod
    def step_program(
        self, bundle: str, decisive: Sequence[str], served: Sequence[str], *, broadcast: str = "auto", results: str = ""
    ) -> str:
        """Return the program that replaces `step` outside of a bundle: each task runs in the bundle.

        `served`: words that become the bundle, and serve it (sdee-front); `decisive`: globs of variables that decide on
        software; `broadcast`, `results`: as of Request.
        """

    @abstractmethod
    def rehearsal_program(self, front: str, record: str) -> str:
        """Return the program that replaces all three in a command that is traced: `NAME ARGUMENTS`.

        `front`: sdee-front, as it is found there; `record`: the file to which each call of `batch` is added.
        """

    @abstractmethod
    def batch_program(self, job: Batch, script: str, bundle: str, served: Sequence[str]) -> str:
        """Return the batch script that runs `job`'s own in a bundle, perhaps another command's."""

    @abstractmethod
    def resubmit_program(self, known: Mapping[str, str], bundle: str, served: Sequence[str]) -> str:
        """Return the program that replaces `batch` outside of a bundle.

        `known`: scripts, by where they are found, and what is submitted in their place.
        """


def carry_out(submission: Submission) -> NoReturn:
    """Write the script and become the job manager's command: what it prints and returns is the caller's (execve(2)).

    Raises OutputError, CommandNotExecutableError.
    """
    write_script(submission.script, submission.text)
    become_command(submission)


def become_command(submission: Submission) -> NoReturn:
    """Become the job manager's command, of which the script is there. Raises CommandNotExecutableError."""
    os.environ.update(_REAL if IN_ENVIRONMENT in os.environ else {})
    try:
        become(submission.argv[0], submission.argv)
    except OSError as error:
        raise _not_executable(submission, error) from error


def run_command(submission: Submission) -> subprocess.CompletedProcess[str]:
    """Run the job manager's command, of which the script is there. Raises CommandNotExecutableError."""
    env = os.environ | (_REAL if IN_ENVIRONMENT in os.environ else {})
    try:
        return subprocess.run(
            submission.argv, env=env, capture_output=True, text=True, errors="surrogateescape", check=False
        )
    except OSError as error:
        raise _not_executable(submission, error) from error


def _not_executable(submission: Submission, error: OSError) -> CommandNotExecutableError:
    return CommandNotExecutableError(f"cannot execute {submission.argv[0]}: {error.strerror}")
