"""Let software directories travel whole: add what the run did not use while it fits; the rest is the node's."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.paths import ancestors, is_below, is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.software import is_cache, named_by_modulefiles, software_directories
from sdee.packer.closure.verdicts import Draft
from sdee.packer.model import Reason, Verdict

if TYPE_CHECKING:
    from sdee.packer.closure.verdicts import Builder
    from sdee.tracer.tracefile.model import Trace

_HISTORIES = frozenset((".git", ".hg", ".svn", "CVS"))  # what a version control system keeps for itself
_NOT_RUN = frozenset(("include", "man", "doc", "gtk-doc", "info"))
_LEFT_OUT_LIMIT = 2000  # paths of one software directory
_ENTRIES_LIMIT = 20_000  # that the run did not use, of all software directories


@dataclass
class _Budget:
    """How much of what the run did not use may still travel."""

    limit: int  # bytes
    left: int  # bytes
    entries: int = _ENTRIES_LIMIT


def freeze(trace: Trace, builder: Builder, limit: int) -> None:
    """Let each software directory travel as a whole, up to `limit` bytes in all of what the run did not use.

    With 0 only what the run used travels, and nothing else shows there.
    """
    budget = _Budget(limit, limit)
    _freeze_all(builder, software_directories(trace, builder), budget)
    _freeze_all(builder, named_by_modulefiles(trace, builder) if limit else {}, budget)


def _freeze_all(builder: Builder, tops: dict[str, Reason], budget: _Budget) -> None:
    """Take the outermost of the directories: those that more than libraries were used of first, then the small ones."""
    outermost: list[str] = []
    for top in sorted(tops, key=lambda path: (path.count("/"), path)):
        if not is_below_any(top, (*builder.trees, *outermost)):
            outermost.append(top)
    carriers = []
    for top in outermost:
        status = builder.fs.status(top)
        if status is None:
            _freeze_missing(builder, top, tops[top])
        elif stat.S_ISDIR(status.st_mode):
            builder.need(top, tops[top], unit=True)
            builder.trees[top] = tops[top]
            carriers.append(_Carrier(builder, top, budget))
    for carrier in sorted(carriers, key=lambda c: c.rank):
        carrier.carry()


def _freeze_missing(builder: Builder, top: str, reason: Reason) -> None:
    """Let a directory that would have been searched travel empty: what a node has of that name stays out of sight."""
    known = builder.drafts.get(top)
    if known is not None and known.verdict is not Verdict.ABSENT:
        return  # the job makes it
    draft = builder.note(top, Verdict.ABSENT, reason)
    draft.verdict, draft.mode = Verdict.BUNDLE, stat.S_IFDIR | 0o755
    draft.explain(Reason("was not there and stays empty", reason.source))
    builder.trees[top] = reason


class _Carrier:
    """Takes what a software directory holds into the closure: small parts first, whole directories while they fit."""

    def __init__(self, builder: Builder, top: str, budget: _Budget) -> None:
        self._builder = builder
        self._fs = builder.fs
        self._top = top
        self._reason = Reason("belongs to", top, "the software there")
        self._budget = budget
        self._refused = 0
        below = [d for d in builder.drafts.values() if is_below(d.path, top)]
        used = {d.path for d in below if d.verdict is Verdict.BUNDLE and d.order is not None and d.path != top}
        self._used_in = {above for path in used for above in ancestors(path)}
        self._stays = {d.path for d in below if self._is_the_nodes(d)}
        self._data = [d for d in below if d.verdict is Verdict.SHARED and d.status and stat.S_ISREG(d.status.st_mode)]
        self._left_out: set[str] = set()
        self._made_in = {os.path.dirname(d.path) for d in below if d.verdict is Verdict.PRODUCED}
        libraries = all(knowledge.SHARED_OBJECT.search(path) for path in used)
        # one of which nothing, or nothing but libraries was used needs no more for another input, as a rule
        self._most = knowledge.PROBE_LIMIT if libraries else budget.limit
        self.rank = (libraries, self._extra(top), top)

    @property
    def _left(self) -> int:
        return min(self._budget.left, self._most)

    def _take(self, size: int) -> None:
        self._budget.left -= size
        self._budget.entries -= 1
        self._most -= size

    def carry(self) -> None:
        """Let the directory's parts travel while they fit."""
        for draft in self._data:
            self._file(draft.path, draft.status.st_size if draft.status else 0)
        if self._budget.limit:
            self._directory(self._top)
        self._left_out |= self._stays
        if (
            len(self._left_out) > _LEFT_OUT_LIMIT
        ):  # each is a mount: the node's directory with the bundle's files over it
            del self._builder.trees[self._top]
            return
        self._builder.left_out |= self._left_out
        if self._budget.limit and self._refused > self._budget.limit // 8:
            self._builder.warnings.append(
                f"the bundle lacks {self._refused // 10**6} MB of the software in {self._top!a} that the run did not "
                f"use; --include {self._top!a}, or a higher software-limit in sdee.toml, packs them"
            )

    def _is_the_nodes(self, draft: Draft) -> bool:
        """Tell whether the job must see the node's own at a path that does not travel: data, secrets, results."""
        if draft.verdict is Verdict.PRODUCED:
            return not is_cache(draft.path) and self._builder.fs.status(draft.path) is not None
        is_directory = draft.status is not None and stat.S_ISDIR(draft.status.st_mode)
        return draft.verdict in (Verdict.SECRET, Verdict.HOST) and not is_directory

    def _directory(self, directory: str) -> None:
        files, below = [], []
        for name in self._fs.names(directory):
            path = f"{directory}/{name}"
            status = self._fs.status(path)
            if status is None or path in self._stays:
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append(path)
            elif stat.S_ISLNK(status.st_mode):
                self._link(path)
            elif stat.S_ISREG(status.st_mode):
                files.append((status.st_size, path))
        for size, path in sorted(files):
            self._file(path, size)
        sizes = sorted((self._extra(path), path) for path in below if os.path.basename(path) not in _HISTORIES)
        for size, path in sizes:
            self._below(path, size)

    def _below(self, path: str, size: int) -> None:
        if path not in self._used_in and self._has_no_use(path):
            self._builder.unused.add(path)
            return
        if path not in self._used_in and (path in self._made_in or size > self._left):
            self._refused += size
            self._left_out.add(path)
            return
        self._builder.need(path, self._reason, unit=True)
        self._directory(path)

    def _file(self, path: str, size: int) -> None:
        builder = self._builder
        known = builder.drafts.get(path)
        if known is not None and known.verdict is not Verdict.SHARED:
            return
        if known is not None:  # taken for data: what a program reads from its own directory is the program's
            if size <= knowledge.KEPT_LIMIT and not is_below_any(path, builder.site.arguments):
                known = builder.need(path, self._reason, unit=True)
            if known.verdict is not Verdict.BUNDLE:
                self._left_out.add(path)
            return
        if size > self._left or self._budget.entries <= 0 or not self._fs.readable(path):
            self._refused += size
            self._left_out.add(path)
            return
        self._take(size)
        draft = builder.need(path, self._reason, unit=True)
        if draft.path == path and draft.order is None and draft.verdict is Verdict.SECRET:
            del builder.drafts[path]  # nobody used it: it needs no mention, and it does not travel
            self._left_out.add(path)

    def _link(self, path: str) -> None:
        """Let a link travel as it is, with the file that it leads to, but not with a directory that it leads to."""
        known = self._builder.drafts.get(path)
        status = self._fs.resolve(path).status
        if known is None and status and stat.S_ISREG(status.st_mode) and status.st_size <= self._left:
            self._take(status.st_size)
            self._builder.need(path, self._reason, unit=True)
            known = self._builder.drafts.get(path)
        if known is None:
            target = self._fs.target(path)
            known = Draft(
                path, Verdict.BUNDLE, [self._reason], self._fs.status(path), target, mode=stat.S_IFLNK | 0o777
            )
            self._builder.drafts[path] = known
        if known.verdict is Verdict.SHARED and known.target:
            known.verdict = Verdict.BUNDLE

    def _extra(self, directory: str) -> int:
        """Return the size in bytes of what a directory holds and does not travel yet; approximate above the limit."""
        total, entries, todo = 0, 0, [directory]
        while todo and total <= self._left:
            here = todo.pop()
            for name in self._fs.names(here):
                path = f"{here}/{name}"
                status = self._fs.status(path)
                entries += 1
                if entries > self._budget.entries:
                    return self._left + 1
                if status is not None and stat.S_ISDIR(status.st_mode):
                    todo.append(path)
                elif status is not None and path not in self._builder.drafts:
                    total += status.st_size
        return total

    @staticmethod
    def _has_no_use(path: str) -> bool:
        """Return whether no running program reads a directory: documentation, headers, tests of a Python package."""
        name = os.path.basename(path)
        tests = name == "tests" and any(f"/{mark}/" in path for mark in knowledge.MODULE_DIRECTORIES)
        return tests or name in _NOT_RUN
