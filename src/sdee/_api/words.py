"""Convert what callers give as lists of words and as paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

StrPath: TypeAlias = "str | os.PathLike[str]"
Words: TypeAlias = "Sequence[StrPath]"


def words_of(words: Iterable[StrPath], what: str) -> tuple[str, ...]:
    """Return words as str. Raises TypeError for a string, which is also a sequence (of letters)."""
    if isinstance(words, str | bytes):
        raise TypeError(
            f"{what} must be a list of words, not {words!r}: shlex.split() makes one from a shell command line"
        )
    return tuple(os.fspath(word) for word in words)


def one_or_more(paths: StrPath | Iterable[StrPath]) -> tuple[str, ...]:
    """Return paths as str, where one alone may be given."""
    return (os.fspath(paths),) if isinstance(paths, str | os.PathLike) else words_of(paths, "paths")


def quiet(*_: object) -> None:
    """Ignore a message that nobody asked for."""
