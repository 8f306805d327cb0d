"""Read what a script submitted in its trial run: the program that replaced sbatch recorded it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from sdee.base.errors import UsageError

if TYPE_CHECKING:
    from sdee.runtime.jobs.model import Inside

NAME = "submitted"  # a file beside the trace


def read(directory: str) -> list[tuple[str, list[str], list[str]]]:
    """Return the calls: where, sbatch's arguments, and what the files of these names held."""
    words: list[str] = []
    path = os.path.join(directory, NAME)
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        words = file.read().split("\0")
    found = []
    while len(words) > 1 and words[0].isdigit() and len(words) > (end := 2 + 2 * int(words[0])):  # else it is cut off
        found.append((words[1], words[2:end:2], words[3:end:2]))
        words = words[end:]
    return found


def are_made(directory: str, inside: Inside) -> bool:
    """Tell whether it submitted what it made itself: by --wrap, on standard input, a script that the run left not.

    In the job it makes others.
    """
    for here, arguments, _ in read(directory):
        try:
            call = inside.call(inside.batch, arguments)
        except UsageError:
            continue
        command = call.words.command
        if not call.asks and not (command and os.path.isfile(os.path.join(here, command[0]))):
            return True
    return False
