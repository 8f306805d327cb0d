"""Run a command that will be a batch job here once, under trace, as the batch job would run.

What it writes is real: ARCHITECTURE.md says why. So its files are named after it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from sdee.base.errors import InputError, NodeError
from sdee.base.paths import is_in
from sdee.base.text import count_text, safe
from sdee.packer import knowledge
from sdee.tracer.tracefile.reader import read_traces
from sdee.workflow.tracing import Wanted, record, replaced, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdee.tracer.limit import Limit
    from sdee.tracer.tracefile.model import Trace
    from sdee.workflow.tracing import Recorded

_NAMED = 3  # files that are named


def run(
    command: Sequence[str],
    output: str,
    *,
    cwd: str,
    stdin: str,
    variables: Mapping[str, str],
    limit: Limit | None,
    name: str,
    say: Callable[[str], None],
) -> tuple[Recorded, Trace]:
    """Run a command here under trace, as in a batch job: what it prints goes to standard error.

    `stdin`: the file that it reads, "" for none; `variables`: besides the environment; `limit`: when it is ended;
    `name`: of the command for people.
    Raises OutputError, NodeError, InputError.
    """
    with _as_in_a_batch_job(cwd, stdin):
        recorded = record(command, Wanted(output, variables=variables, limit=limit), say=say)
    for sentence in summary(recorded, name):
        say(sentence)
    if recorded.error:
        raise recorded.error
    trace = read_traces([output])
    if written := _written(trace, (os.path.dirname(output),)):
        say(f"files that the run here wrote, which the job will find: {written}")
    if recorded.ended and limit:
        why = f"the run here was ended after {duration(limit.seconds)}, the job's time limit"
        hint = "--retrace with a longer limit, or trace smaller input"
        say(f"{why}: what it used until then serves\n  hint: {hint}")
    return recorded, trace


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    whole = int(seconds)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "min"), (whole % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def _written(trace: Trace, ours: tuple[str, ...]) -> str:
    """Name the files that a run has left, "" for none. `ours`: directories in which it is sdee that writes."""
    run_ = trace.runs[-1]
    paths = [r.path for r in run_.results if r.kind == "file" and not knowledge.BY_THE_WAY.search(r.path)]
    paths = sorted(path for path in paths if not any(is_in(path, top) for top in ours))
    shown = [os.path.relpath(p, run_.cwd) if is_in(p, run_.cwd) else p for p in paths[:_NAMED]]
    more = f" and {count_text(len(paths) - _NAMED, 'more file')}" if len(paths) > _NAMED else ""
    return ", ".join(map(safe, shown)) + more


@contextlib.contextmanager
def _as_in_a_batch_job(cwd: str, stdin: str) -> Iterator[None]:
    """Let standard input be empty or the named file, standard output standard error, the directory the job's."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise NodeError(f"cannot enter the job's directory {cwd!a}: {error.strerror}") from error
        try:
            given = os.open(stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"cannot read the job's input {stdin!a}: {error.strerror}") from error
        with replaced({0: given, 1: 2}):
            os.close(given)
            yield
    finally:
        os.fchdir(here)
        os.close(here)
