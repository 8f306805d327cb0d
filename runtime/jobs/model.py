"""What a job manager is to sdee, and a submission as a value."""

from __future__ import annotations

import os
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
    the command itself starts the processes, as mpirun does (src/sdee/cli/served.py).
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


class JobManager(ABC):
    """One job manager. Every method but `lacks` is a function of its arguments and of the submit program's options."""

    title: ClassVar[str]
    submit: ClassVar[str]  # the program that takes a job
    directive: ClassVar[str]  # how a script's lines begin that hold its options
    launchers: ClassVar[tuple[str, ...]]  # programs that start the processes of a step
    remote: ClassVar[str] = ""  # with what MPI's launchers start their daemons on other nodes, where sdee serves that
    crowded: ClassVar[Mapping[str, str]] = {}  # variables with which these start any number of ranks on one machine

    @abstractmethod
    def lacks(self) -> str:
        """Return what is missing on this machine to submit, "" when nothing is."""

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
    def submission(self, request: Request) -> Submission:
        """Return how the job is submitted. The script can be submitted by hand with `self.submit`."""

    @abstractmethod
    def wrap(self, wrapping: Wrapping) -> str:
        """Return the batch script with a preamble after its options, by which its steps run in the bundle."""

    @abstractmethod
    def rehearsal(self, wrapping: Wrapping) -> str:
        """Return the script as it can be run here, without the job manager, to be traced: each step as one process."""


def carry_out(submission: Submission) -> NoReturn:
    """Write the script and become the job manager's command: what it prints and returns is the caller's (execve(2)).

    Raises OutputError, CommandNotExecutableError.
    """
    write_script(submission.script, submission.text)
    if "SDEE_ENVIRONMENT" in os.environ:  # in a private environment: all is in the bundle already (sdee-front)
        os.environ["SDEE_REAL"] = "1"
    try:
        become(submission.argv[0], submission.argv)
    except OSError as error:
        raise CommandNotExecutableError(f"cannot execute {submission.argv[0]}: {error.strerror}") from error
