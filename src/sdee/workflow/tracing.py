"""Tracing a command before it is submitted, and what to say about any trace."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from sdee.base.errors import InputError, NodeError, OutputError, SdeeError
from sdee.base.text import count_text, safe
from sdee.tracer import session
from sdee.tracer.engine import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class CommandFailedError(SdeeError):
    """A command that runs here first has failed: the exit status is its own, `status`."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = status


def trace(
    command: Sequence[str],
    output: str,
    *,
    cwd: str,
    stdin: str,
    variables: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
    """Run a command here under trace, as in a batch job: what it prints goes to standard error. Return its status.

    `stdin`: the file that it reads, "" for none; `variables`: besides the environment. Raises OutputError, NodeError,
    InputError.
    """
    with _as_in_a_batch_job(cwd, stdin):
        plan = session.plan(command, output, append=False)
        plan = plan._replace(environment={**variables, **plan.environment})
        result = session.run(plan, choose.choose("auto"), say)
    for sentence in summary(plan, result):
        say(sentence)
    if result.write_error:
        raise OutputError(f"cannot write the trace {output!a}: {result.write_error.strerror}")
    return result.status


@contextlib.contextmanager
def _as_in_a_batch_job(cwd: str, stdin: str) -> Iterator[None]:
    """Let standard input be empty or the named file, standard output standard error, the directory the job's."""
    sys.stdout.flush()
    saved = [os.dup(0), os.dup(1)]
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise NodeError(f"cannot enter the job's directory {cwd!a}: {error.strerror}") from error
        try:
            given = os.open(stdin or os.devnull, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"cannot read the job's input {stdin!a}: {error.strerror}") from error
        os.dup2(given, 0)
        os.close(given)
        os.dup2(2, 1)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        for number, descriptor in enumerate(saved):
            os.dup2(descriptor, number)
            os.close(descriptor)


def summary(plan: session.Plan, result: session.Result) -> list[str]:
    """Return what was recorded, in one sentence, and further ones of what the user should know."""
    try:
        name, place = os.path.relpath(result.output or plan.output), os.path.relpath(plan.output)
    except FileNotFoundError:  # the job removed the directory that it was started in
        name = place = plan.output
    name, place = (plan.output, plan.output) if place.startswith("..") else (name, place)
    parts = [count_text(result.paths, "path"), count_text(result.processes, "process"), f"{result.seconds:.1f} s"]
    if result.dropped:
        more = f" and {len(result.dropped) - 3} more" if len(result.dropped) > 3 else ""
        parts.append(f"left out as secrets: {', '.join(map(safe, result.dropped[:3]))}{more}")
    said = [f"traced {os.path.basename(plan.command[0])}: {', '.join(parts)} → {name}"]
    said += _unlike_a_good_run(plan, result, place)
    if result.blanked:
        said.append(
            "what looks like a secret in the command line was not recorded: give all arguments again to the bundle"
        )
    for why, count in result.incomplete.items():
        said.append(f"the trace may be incomplete: {why}" + (f" ({count} times)" if count > 1 else ""))
    if result.incomplete:
        said.append("what may be missing can be added when bundling: sdee bundle --include GLOB")
    return said


def _unlike_a_good_run(plan: session.Plan, result: session.Result, place: str) -> list[str]:
    """Return what to say of a command that failed: the trace lacks what it would have used later."""
    if not result.status:
        return []
    number = result.signal or (result.status - 128 if result.status > 128 else 0)
    named = f"a signal ended the command ({_signal_name(number)})"
    ended = named if number else f"the command failed with status {result.status}"
    said = [f"warning: {ended}: the trace holds what it used until then"]
    if result.output != plan.output:
        said.append(f"{place} is still the trace of the run before")
    return said


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
