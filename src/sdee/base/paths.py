"""Questions to paths as text: absolute and normalised ones."""

from __future__ import annotations

import os
from functools import lru_cache


def is_below(path: str, top: str) -> bool:
    """Return whether `path` is `top` or lies below it; both absolute and normalised."""
    return path == top or path.startswith(top if top.endswith("/") else top + "/")


def ancestors(path: str) -> list[str]:
    """Return the directories above `path`, nearest first, without "/"."""
    found = []
    while (path := os.path.dirname(path)) != "/" and path:
        found.append(path)
    return found


def is_below_any(path: str, tops: tuple[str, ...]) -> bool:
    """Return whether `path` is one of `tops` or lies below one."""
    return path in tops or path.startswith(_prefixes(tops))


@lru_cache(maxsize=256)
def _prefixes(tops: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(top if top.endswith("/") else f"{top}/" for top in tops)


def is_in(path: str, directory: str) -> bool:
    """Tell whether `path` lies below `directory` and is not it: the other question."""
    return path.startswith(os.path.join(directory, "")) and path != directory
