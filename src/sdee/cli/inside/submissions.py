"""What a script submitted when it ran here: by the record that the program in sbatch's place has made."""

from __future__ import annotations

import contextlib
import os

from sdee.base.errors import UsageError
from sdee.runtime.jobs.slurm import inside

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


def are_made(directory: str) -> bool:
    """Tell whether it submitted what it made itself: by --wrap, on standard input, a script that the run left not.

    In the job it makes others.
    """
    for here, arguments, _ in read(directory):
        try:
            words = inside.split("sbatch", arguments)
        except UsageError:
            continue
        asks = inside.names("sbatch", words.options).keys() & inside.ASKING
        if not asks and not (words.command and os.path.isfile(os.path.join(here, words.command[0]))):
            return True
    return False
