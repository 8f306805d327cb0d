"""Software directories: the directories beside a node's own files that a job takes code from.

One thing is all or nothing: such a directory travels as a whole, and nothing of the node's shows in it (CONF tree).
What is too large to travel unasked, and what the job writes there, stays the node's own (CONF left-out). Data
directories, the working directory itself, the home itself and /tmp are never software.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from sdee.packer import tables
from sdee.packer.builder import Draft
from sdee.packer.filesystem import ancestors, is_below, is_below_any
from sdee.packer.model import Reason, Verdict
from sdee.packer.places import is_code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.builder import Builder
    from sdee.packer.filesystem import FileSystem
    from sdee.packer.places import Site
    from sdee.tracer.model import Exec, Trace

_CHANGED = frozenset(("write", "create", "rename", "remove"))
_USED = frozenset(("read", "exec"))
_NOT_SOFTWARE = frozenset((".git", ".hg", ".svn", "CVS"))  # what a version control system keeps for itself
_ABSOLUTE = re.compile(rb"(?<![\w./$}-])/[\w.+@%:~-]+(?:/[\w.+@%:~-]+)+")
_VARIABLE = re.compile(rb"\$(?:::)?env\((\w+)\)")
_TEXT_LIMIT = 64 << 10  # bytes
_ENTRIES_LIMIT = 20_000  # of one software directory, beside what the run used


def own_directories(trace: Trace, fs: FileSystem, site: Site) -> tuple[dict[str, str], dict[str, str]]:
    """Return the own directories of the programs and scripts that ran, each with the program.

    The second are those in which the job writes as well: they hold data too, and are not the bundle's as a whole.
    Below the working directory, where programs and data lie side by side, a directory counts that holds nothing but
    code, or that is a Python package.
    """
    # what the job makes anew in every run (caches of compiled code) says nothing
    changed = [a.path for a in trace.accesses.values() if a.ops & _CHANGED and not _is_cache(a.path)]
    written = {os.path.dirname(path) for path in changed} | {site.kept_directory(path) for path in changed}
    read = {a.path for a in trace.accesses.values() if a.existed and "read" in a.ops}
    found: dict[str, str] = {}
    for program in dict.fromkeys(p for e in trace.execs for p in (e.path, *_script(e, site.cwd, read, fs))):
        for path in dict.fromkeys((program, fs.resolve(program).real)):
            found.setdefault(os.path.dirname(path), f"lies in the own directory of {program}")
    for path in sorted(read):
        kept = site.kept_directory(path)
        if kept and fs.is_file(path):
            found.setdefault(kept, f"is what a program keeps in {kept}")
    whole = {directory: why for directory, why in found.items() if _may_be_whole(directory, fs, site)}
    own = {directory: why for directory, why in whole.items() if directory not in written}
    return own, {directory: why for directory, why in whole.items() if directory in written}


def _script(execution: Exec, cwd: str, read: set[str], fs: FileSystem) -> Iterator[str]:
    """Yield the script that an interpreter was given: the first word that names a file of code that was read."""
    for word in execution.argv[1:]:
        path = os.path.normpath(os.path.join(cwd, word))
        if path in read and is_code(path, fs):
            yield path
            return


def searched_directories(trace: Trace, fs: FileSystem, site: Site) -> dict[str, str]:
    """Return the directories in which an interpreter or loader looked for code, each with what named it.

    They may be missing: what is installed there later does not count either. Directories of programs and libraries
    (PATH, LD_LIBRARY_PATH) are looked through by every job, and count by what was used of them.
    """
    touched = {above for a in trace.accesses.values() for above in (a.path, *ancestors(a.path))}
    used = {above for a in trace.accesses.values() if a.existed and a.ops & _USED for above in ancestors(a.real)}
    found: dict[str, str] = {}
    for run in trace.runs:
        for name, separator in tables.SEARCH_VARIABLES.items():
            for word in run.env.get(name, "").split(separator):
                path = os.path.normpath(word.partition("?")[0]) if word.startswith("/") else ""
                real = fs.resolve(path).real if path else ""
                counts = real in used if name in tables.SEARCHED_BY_ALL else path in touched
                if path and counts and _may_be_whole(real, fs, site, searched=True):
                    found.setdefault(real, f"${name}")
    for access in trace.accesses.values():
        match = tables.SEARCHED.match(access.path)
        if match and match["top"] not in found and _may_be_whole(match["top"], fs, site, searched=True):
            found[match["top"]] = access.path
    return found


def _may_be_whole(directory: str, fs: FileSystem, site: Site, *, searched: bool = False) -> bool:
    """Return whether a directory that code was taken from is software and no place where data lies too."""
    root = site.ground(directory)
    if not root or directory == root or any(is_below(live, directory) for live in site.live):
        return False
    if is_below_any(directory, site.arguments):
        return False
    if searched or not is_below_any(directory, (site.cwd, fs.resolve(site.cwd).real)):
        return True
    return fs.is_file(f"{directory}/__init__.py") or _holds_only_code(directory, fs)


def _holds_only_code(directory: str, fs: FileSystem) -> bool:
    paths = [f"{directory}/{name}" for name in fs.names(directory)]
    return all(is_code(path, fs) or not fs.is_file(path) for path in paths)


def freeze(trace: Trace, builder: Builder, limit: int) -> None:
    """Let each software directory travel as a whole, up to `limit` bytes of what the run did not use.

    With 0 only what the run used travels, and nothing else shows there.
    """
    _freeze_all(builder, _candidates(trace, builder), limit)
    _freeze_all(builder, _named_by_modulefiles(trace, builder) if limit else {}, limit)


def _freeze_all(builder: Builder, tops: dict[str, Reason], limit: int) -> None:
    for top in sorted(tops, key=lambda path: (path.count("/"), path)):
        if is_below_any(top, tuple(builder.trees)):
            continue
        status = builder.fs.status(top)
        if status is None:
            _freeze_missing(builder, top, tops[top])
        elif stat.S_ISDIR(status.st_mode):
            builder.need(top, tops[top], unit=True)
            builder.trees[top] = tops[top]
            _Carrier(builder, top, limit).carry()


def _named_by_modulefiles(trace: Trace, builder: Builder) -> dict[str, Reason]:
    """Return the installations that travelling modulefiles name: for `module load` of another version.

    By absolute paths, or behind a variable of the environment, `$env(NAME)` (modulefile(4)).
    """
    found: dict[str, Reason] = {}
    run = trace.runs[0]
    values = {name.encode(): os.fsencode(value) for name, value in {**run.env, "HOME": run.home}.items()}
    for draft in builder.travelling():
        if builder.fs.head(draft.path).startswith(b"#%Module"):
            text = builder.fs.read(draft.path, _TEXT_LIMIT)
            text = _VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)
            for name in _ABSOLUTE.findall(text):
                path = os.path.normpath(os.fsdecode(name))
                for directory in (path, *ancestors(path)):
                    software = builder.site.is_software_directory(directory)
                    if software and _may_be_whole(directory, builder.fs, builder.site, searched=True):
                        found.setdefault(directory, Reason("is named by the modulefile", draft.path))
    return found


def _candidates(trace: Trace, builder: Builder) -> dict[str, Reason]:
    """Return every directory that is software, with the reason, whether in another one or not."""
    site, fs = builder.site, builder.fs
    found = {
        path: Reason("is searched for code", source) for path, source in searched_directories(trace, fs, site).items()
    }
    for draft in builder.travelling():
        is_file = draft.status is not None and stat.S_ISREG(draft.status.st_mode)
        if not is_file or draft.order is None or not site.ground(draft.path):
            continue
        for directory in ancestors(draft.path):
            if site.is_software_directory(directory) and _may_be_whole(directory, fs, site, searched=True):
                found.setdefault(directory, Reason("holds the software that is used by way of", draft.path))
        directory = os.path.dirname(draft.path)
        if (
            tables.SHARED_OBJECT.search(draft.path)
            and _may_be_whole(directory, fs, site)
            and _holds_only_code(directory, fs)
        ):
            found.setdefault(directory, Reason("holds a library that was loaded", draft.path))
        top = _package(fs, draft.path)
        if top and _may_be_whole(top, fs, site):
            found.setdefault(top, Reason("is the package of", draft.path))
    return found


def _package(fs: FileSystem, path: str) -> str:
    """Return the outermost Python package that a module is in, "" when it is in none."""
    top, directory = "", os.path.dirname(path)
    if os.path.basename(directory) == "__pycache__":
        directory = os.path.dirname(directory)
    while fs.is_file(f"{directory}/__init__.py"):
        top, directory = directory, os.path.dirname(directory)
    return top


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

    def __init__(self, builder: Builder, top: str, limit: int) -> None:
        self._builder = builder
        self._fs = builder.fs
        self._top = top
        self._reason = Reason("belongs to", top, "the software there")
        self._limit = limit
        self._left = limit if _is_used(builder, top) else min(limit, tables.PROBE_LIMIT)
        self._entries = _ENTRIES_LIMIT
        self._refused = 0
        below = [d for d in builder.drafts.values() if is_below(d.path, top)]
        self._used = {d.path for d in below if d.verdict is Verdict.BUNDLE and d.order is not None}
        self._used_in = {above for path in self._used for above in ancestors(path)}
        self._stays = {d.path for d in below if self._is_the_nodes(d)}
        self._made_in = {os.path.dirname(d.path) for d in below if d.verdict is Verdict.PRODUCED}

    def carry(self) -> None:
        self._directory(self._top)
        self._builder.left_out |= self._stays
        if self._limit and self._refused > self._limit // 4:
            self._builder.warnings.append(
                f"of the software in {self._top!a} {self._refused >> 20} MB that the run did not use do not travel: "
                f"a node without them lacks them; --include {self._top!a}, or software-limit in sdee.toml, carries them"
            )

    def _is_the_nodes(self, draft: Draft) -> bool:
        """Return whether a path of the run that does not travel must be seen all the same: data, secrets, results."""
        if draft.verdict is Verdict.PRODUCED:
            return not _is_cache(draft.path) and self._builder.fs.status(draft.path) is not None
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
        sizes = sorted((self._extra(path), path) for path in below if os.path.basename(path) not in _NOT_SOFTWARE)
        for size, path in sizes:
            self._below(path, size)

    def _below(self, path: str, size: int) -> None:
        if path not in self._used_in and (path in self._made_in or size > self._left or self._is_for_tests(path)):
            self._refused += size
            self._builder.left_out.add(path)
            return
        self._builder.need(path, self._reason, unit=True)
        self._directory(path)

    def _file(self, path: str, size: int) -> None:
        builder = self._builder
        known = builder.drafts.get(path)
        if known is not None and known.verdict is not Verdict.SHARED:
            return
        if known is not None:  # taken for data: what a program reads from its own directory is the program's
            if size <= tables.KEPT_LIMIT and not is_below_any(path, builder.site.arguments):
                known = builder.need(path, self._reason, unit=True)
            if known.verdict is not Verdict.BUNDLE:
                builder.left_out.add(path)
            return
        if size > self._left or self._entries <= 0 or not self._fs.readable(path):
            self._refused += size
            builder.left_out.add(path)
            return
        self._left -= size
        self._entries -= 1
        draft = builder.need(path, self._reason, unit=True)
        if draft.path == path and draft.order is None and draft.verdict is Verdict.SECRET:
            del builder.drafts[path]  # nobody used it: no need to speak of it, and no way to travel
            builder.left_out.add(path)

    def _link(self, path: str) -> None:
        """Let a link travel as it is, with the file that it leads to: a directory it leads to is another's affair."""
        known = self._builder.drafts.get(path)
        status = self._fs.resolve(path).status
        if known is None and status and stat.S_ISREG(status.st_mode) and status.st_size <= self._left:
            self._left -= status.st_size
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
        """Return the size in bytes of what a directory holds and does not travel yet; of what is too much: about."""
        total, entries, todo = 0, 0, [directory]
        while todo and total <= self._left:
            here = todo.pop()
            for name in self._fs.names(here):
                path = f"{here}/{name}"
                status = self._fs.status(path)
                entries += 1
                if entries > self._entries:
                    return self._left + 1
                if status is not None and stat.S_ISDIR(status.st_mode):
                    todo.append(path)
                elif status is not None and path not in self._builder.drafts:
                    total += status.st_size
        return total

    @staticmethod
    def _is_for_tests(path: str) -> bool:
        """Return whether a directory holds the tests of an installed Python package: no other code needs them."""
        return os.path.basename(path) == "tests" and any(f"/{mark}/" in path for mark in tables.MODULE_DIRECTORIES)


def _is_used(builder: Builder, top: str) -> bool:
    return any(d.order is not None and is_below(d.path, top) and d.path != top for d in builder.travelling())


def _is_cache(path: str) -> bool:
    return "/__pycache__" in path or path.endswith(".pyc")
