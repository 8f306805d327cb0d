"""Whole distribution packages of what the run executed, and of the data that it used: hmmsearch, then hmmstat.

With another input or sub-command users take another program, plugin or table of the same package first of all. What
promises most goes first: the more files of a package the run used, for each byte that the rest adds.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.paths import is_below_any
from sdee.packer import knowledge
from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE_PACKAGE = "the package "


@dataclass(frozen=True)
class _Candidate:
    """A package: what of it the run used first, how much it used, which files are left, and what they would add."""

    name: str
    source: str
    executed: bool
    used: int
    paths: tuple[str, ...]
    adds: int  # bytes

    @property
    def rank(self) -> tuple[bool, float, str]:
        """Return what sorts the best first: programs before data, then the gain a byte."""
        return not self.executed, -self.used / max(self.adds, 1), self.name


class ProgramPackages(Unit):
    """To be the last of the units: what they brought costs nothing here.

    A system's essential packages (coreutils) are left out: their programs have nothing to do with each other, and
    scripts name those that they run.
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield packages while they fit into the view's limit; of one that does not, its programs if those fit."""
        left = view.package_limit
        too_large: list[_Candidate] = []
        for candidate in sorted(self._candidates(view), key=lambda c: c.rank):
            adds = _adds(view, candidate.paths)  # what the packages before brought does not count again
            paths, cost = candidate.paths, sum(adds.values())
            if cost > left and candidate.executed:
                paths = tuple(p for p in candidate.paths if _is_sibling(view, p))
                adds = _adds(view, paths)
                cost = sum(adds.values())
            if cost > left or len(paths) < len(candidate.paths):
                too_large.append(candidate)
            if cost <= left and paths:
                left -= cost
                view.costs.take(adds)
                yield Widening(WHOLE_PACKAGE + candidate.name, candidate.source, paths)
        if too_large:
            yield self._said(view, too_large)

    @staticmethod
    def _said(view: View, too_large: list[_Candidate]) -> Widening:
        """Return a widening that brings nothing and whose name is in the warning."""
        shown = ", ".join(f"{c.name.partition(' ')[0]} ({c.adds // 10**6} MB)" for c in too_large[:5])
        more = f" and {len(too_large) - 5} more" if len(too_large) > 5 else ""
        said = (
            f"whole packages add at most {view.package_limit // 10**6} MB (package-limit in sdee.toml); the bundle has "
            f"only small programs, and what the job used, of {shown}{more}"
        )
        return Widening("", too_large[0].source, (), notice=said)

    @staticmethod
    def _candidates(view: View) -> Iterator[_Candidate]:
        programs = frozenset(view.programs())
        data = [p for p in view.seen if p in programs or _is_data(view, p)]
        used: dict[str, list[str]] = defaultdict(list)
        for path, package in view.packages.owners(data).items():
            used[package].append(path)
        essential = view.packages.essential
        for package, paths in sorted(used.items()):
            if package.partition(" ")[0] in essential:
                continue
            executed = [p for p in paths if p in programs]
            members = tuple(p for p in view.packages.files(package) if _is_wanted(view, p))
            adds = sum(_adds(view, members).values())
            if members:
                source = min(executed or paths)
                yield _Candidate(package, source, bool(executed), len(paths), members, adds)


def _adds(view: View, paths: tuple[str, ...]) -> dict[str, int]:
    return {file: size for path in paths for file, size in view.costs.of(path).items()}


def _is_data(view: View, path: str) -> bool:
    """Return whether a file says that the job may need more of its package: no library, and no other unit's affair."""
    return not (knowledge.SHARED_OBJECT.search(path) or path in view.claimed or path.startswith("/etc/"))


def _is_wanted(view: View, path: str) -> bool:
    """Return whether a program could have a use for a file of its package."""
    if is_below_any(path, knowledge.FOR_PEOPLE) or path.endswith(knowledge.NOT_RUN_FILES):
        return False
    status = view.fs.status(path)
    parts = path.split("/")
    skipped = not knowledge.NOT_RUN.isdisjoint(parts[:-1]) or is_below_any(path, knowledge.FOR_THE_SYSTEM)
    return status is not None and not stat.S_ISDIR(status.st_mode) and not skipped and not view.costs.travels(path)


def _is_sibling(view: View, path: str) -> bool:
    """Return whether a file is a program in a directory of PATH, or a shared object that is no linked library."""
    status = view.fs.resolve(path).status
    program = os.path.basename(os.path.dirname(path)) in ("bin", "sbin")
    return (program and status is not None and bool(status.st_mode & 0o111)) or path.endswith(".so")
