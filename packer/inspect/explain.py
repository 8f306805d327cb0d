"""Why a path travels or does not: find what a user means by a path, and the chain from the command to it."""

from __future__ import annotations

import difflib
import os
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sdee.base.paths import is_below
from sdee.packer.inspect.entries import job_path
from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from sdee.packer.format.reader import Bundle
    from sdee.packer.model import Item, Reason

NEAR = 5  # offers for a path that is not known


@dataclass(frozen=True)
class Hop:
    """One step of a chain: `path` is there because of `reason`, which the step before asked for."""

    path: str
    reason: Reason


@dataclass(frozen=True)
class Explanation:
    """A path's item, the shortest chain from the command to it, and the reasons that are not in the chain."""

    item: Item
    chain: tuple[Hop, ...]
    others: tuple[Reason, ...]


@dataclass(frozen=True)
class Answer:
    """What is known of a path. Without an explanation one of the next four may be set, else `near` names others.

    `implied`: a directory above something that travels; `provided`, `unused`, `left_out`: the path of CONF's host,
    unused or left-out that it is or lies below.
    """

    explanations: tuple[Explanation, ...]
    implied: str = ""
    provided: str = ""
    unused: str = ""
    left_out: str = ""
    near: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether anything is known of the path."""
        return bool(self.explanations or self.implied or self.provided or self.unused or self.left_out)


def answer(bundle: Bundle, query: str, cwd: str) -> Answer:
    """Say of what a user means by `query`, in `cwd`, why it travels or does not. Raises BundleError."""
    found = tuple(explain(bundle, path) for path in candidates(bundle, query, cwd))
    if found:
        return Answer(found)
    path = job_path(bundle, query)
    implied = bundle.find(path)
    result = Answer(
        (),
        implied=implied.path if implied else "",
        provided=above(bundle, "host", path),
        unused=above(bundle, "unused", path),
        left_out=above(bundle, "left-out", path),
    )
    return result if result.known else Answer((), near=tuple(near(bundle, query)))


def explain(bundle: Bundle, path: str) -> Explanation:
    """Explain a path of `bundle.items`. Raises KeyError for another, BundleError for damaged metadata."""
    item = bundle.items[path]
    chain = _chain(bundle.items, path)
    return Explanation(item, chain, tuple(r for r in item.reasons if not chain or r is not chain[-1].reason))


def _chain(items: dict[str, Item], path: str) -> tuple[Hop, ...]:
    """Return the shortest chain of reasons that begins at the command; one that breaks off when there is none.

    An item's first reason is what asked for it. A rule that merely let it travel ("is code by its name") comes later
    and begins a chain only where nothing else does.
    """
    broken: tuple[Hop, ...] = ()
    for rules_begin in (False, True):
        waiting: deque[tuple[str, tuple[Hop, ...]]] = deque([(path, ())])
        seen = {path}
        while waiting:
            here, below = waiting.popleft()
            for number, reason in enumerate(items[here].reasons):
                chain = (Hop(here, reason), *below)
                if not reason.source and (rules_begin or number == 0):
                    return chain
                if reason.source in items and reason.source not in seen:
                    seen.add(reason.source)
                    waiting.append((reason.source, chain))
                elif reason.source and not broken:
                    broken = chain
    return broken


def candidates(bundle: Bundle, query: str, cwd: str) -> list[str]:
    """Return the known paths that `query` may mean, in this order of preference, the first that gives any.

    The path itself (and what its links lead to), relative to `cwd` or to the job's working directory; a glob over whole
    paths or names; a file's name or the end of its path; a part of a file's name. Of the last two, paths that did
    not exist are left out if others did. Raises BundleError for damaged metadata.
    """
    for base in (cwd, *bundle.conf("cwd")):
        path = os.path.normpath(os.path.join(base, query))
        path = path.replace("//", "/")
        entry = bundle.find(path)
        found = [p for p in (path, entry.path if entry else "") if p in bundle.items]
        if found:
            return list(dict.fromkeys(found))
    if any(char in query for char in "*?["):
        return sorted(p for p in bundle.items if fnmatchcase(p, query) or fnmatchcase(os.path.basename(p), query))
    found = [p for p in bundle.items if p.endswith("/" + query.removeprefix("./").lstrip("/"))]
    if not found and "/" not in query:
        found = [p for p in bundle.items if query in os.path.basename(p)]
    existed = [p for p in found if bundle.items[p].verdict is not Verdict.ABSENT]
    return sorted(existed or found)


def above(bundle: Bundle, key: str, path: str) -> str:
    """Return the path of the CONF `key` that `path` is or lies below, "" when there is none."""
    return next((listed for listed in bundle.conf(key) if is_below(path, listed)), "")


def near(bundle: Bundle, query: str) -> list[str]:
    """Return known paths whose names resemble the query's."""
    names: dict[str, str] = {}
    for path in sorted(bundle.items):
        names.setdefault(os.path.basename(path), path)
    close = difflib.get_close_matches(os.path.basename(query), names, n=NEAR, cutoff=0.6)
    return [names[name] for name in close]
