"""Patterns in names of files that sdee takes: those of Slurm's (srun(1), "FILENAME PATTERN"), and a few of our own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdee.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MEANINGS = {
    "t": "rank",
    "N": "node",
    "j": "job",
    "A": "job of the array",
    "a": "array task",
    "p": "process id",
}


def expand(name: str, values: Mapping[str, str], literal: Callable[[str], str] = str) -> str:
    """Return a name with each pattern as its value (by its letter), all between by `literal`; `%%` is a `%`.

    Raises UsageError for a pattern that is not in `values`.
    """
    pieces = []
    for piece in re.split(r"(%.?)", name, flags=re.DOTALL):
        if piece == "%%":
            pieces.append("%")
        elif piece.startswith("%"):
            if piece[1:] not in values:
                raise UsageError(f"unknown pattern {piece} in {name!a}", hint=known(values))
            pieces.append(values[piece[1:]])
        elif piece:
            pieces.append(literal(piece))
    return "".join(pieces)


def known(letters: Mapping[str, str]) -> str:
    """Say what patterns mean, of those letters that have one."""
    said = [f"%{letter} {meaning}" for letter, meaning in MEANINGS.items() if letter in letters]
    return ", ".join([*said, "%% for %"])
