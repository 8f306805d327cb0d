"""Recognise sweeps: commands that differ only in numbers, also within the text of a script.

After three trial runs or a minute of them, further commands get none. What such a command needs besides comes from the
host, or was changed in the environment; all these changes then travel.
"""

from __future__ import annotations

import contextlib
import glob
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdee.base.errors import OutputError
from sdee.base.files import private_opener
from sdee.workflow import preparation, state, variants

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = "SDEE_REHEARSAL_LIMIT"  # seconds: of one run, which is ended then, and of the runs of a sweep together
DEFAULT_LIMIT = 60
TOOK = "took"  # a file beside the trace: the seconds that it took
RUNS = 3  # of a sweep; each keeps a trace and a bundle
_LOOKED_AT = 3  # traces of a sweep, the latest first: they were made of the same software


@dataclass(frozen=True)
class Choice:
    """Where the things of a command are, and the arguments that it was, or will be, run here with.

    `stands_in`: they are those of another command of the sweep; `own`: where this one's would be.
    """

    directory: str
    arguments: tuple[str, ...]
    own: str
    stands_in: bool = False


def choose(family: str, cwd: str, arguments: Sequence[str], words: Sequence[str], *, text: str = "") -> Choice:
    """Choose the directory of things for a command.

    `family`: where those of a command without numbers are; `words`, `text`: what of it may differ in a sweep.
    """
    directory = _directory(family, cwd, arguments, words, text)
    own = Choice(directory, tuple(arguments), directory)
    if own.directory == family or state.load(own.directory).trace is not None:
        return own
    others = (path for path in glob.glob(f"{glob.escape(family)}-*") if os.path.exists(os.path.join(path, TOOK)))
    spent = {directory: seconds_of(directory) for directory in others}
    if not spent or (len(spent) < RUNS and sum(spent.values()) < limit()):
        return own
    for directory in sorted(spent, key=_made, reverse=True)[:_LOOKED_AT]:
        known = state.load(directory)
        if known.trace is not None:
            tolerant = replace(known, trace=replace(known.trace, status=0))
            command, trace = known.trace.command, os.path.join(directory, "trace")
            if not state.stale_trace(tolerant, command, cwd, trace):
                return replace(own, directory=directory, arguments=tuple(command[1:]), stands_in=True)
    return own


def family(parent: str, name: str, cwd: str, key: Sequence[str], words: Sequence[str], *, text: str = "") -> str:
    """Return the directory of a sweep: `key` is what its commands have in common, besides words and text without
    numbers.
    """
    same = (
        *(variants.without_numbers(word, cwd) for word in words),
        *([variants.NUMBER.sub("#", text)] if text else []),
    )
    return preparation.directory_of(parent, name, cwd, *key, *same)


def _directory(family: str, cwd: str, arguments: Sequence[str], words: Sequence[str], text: str) -> str:
    if all(word == variants.without_numbers(word, cwd) for word in words) and not variants.NUMBER.search(text):
        return family
    return preparation.directory_of(os.path.dirname(family), os.path.basename(family), *arguments, text)


def limit() -> int:
    """Return the seconds that runs may take."""
    try:
        return int(os.environ.get(LIMIT, DEFAULT_LIMIT))
    except ValueError:
        return DEFAULT_LIMIT


def seconds_of(directory: str) -> float:
    """Return how long the run took of which the trace is there; 0 where it is not known."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(directory, TOOK), encoding="ascii") as file:
        return float(file.read())
    return 0


def note_seconds(directory: str, seconds: float) -> None:
    """Keep how long a run took. Raises OutputError."""
    path = os.path.join(directory, TOOK)
    try:
        with open(path, "w", encoding="ascii", opener=private_opener) as file:
            file.write(f"{seconds:.3f}\n")
    except OSError as error:
        raise OutputError(f"cannot write {path!a}: {error.strerror}") from error


def _made(directory: str) -> float:
    try:
        return os.path.getmtime(os.path.join(directory, TOOK))
    except OSError:
        return 0
