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

from sdee.base.paths import ancestors, is_below, is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.places import is_code
from sdee.packer.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.closure.places import Site
    from sdee.packer.closure.verdicts import Builder
    from sdee.packer.filesystem import FileSystem
    from sdee.tracer.tracefile.model import Exec, Trace

_CHANGED = frozenset(("write", "create", "rename", "remove"))
_USED = frozenset(("read", "exec"))
_ABSOLUTE = re.compile(rb"(?<![\w./$}-])/[\w.+@%:~-]+(?:/[\w.+@%:~-]+)+")
_VARIABLE = re.compile(rb"\$(?:::)?env\((\w+)\)")
_TEXT_LIMIT = 64 << 10  # bytes


def own_directories(trace: Trace, fs: FileSystem, site: Site) -> tuple[dict[str, str], dict[str, str]]:
    """Return the own directories of the programs and scripts that ran, each with the program.

    The second are those in which the job writes as well: they hold data too, and are not the bundle's as a whole.
    Below the working directory, where programs and data lie side by side, a directory counts that holds nothing but
    code, or that is a Python package.
    """
    # what the job makes again in every run (caches of compiled code) says nothing
    changed = [a.path for a in trace.accesses.values() if a.ops & _CHANGED and not is_cache(a.path)]
    written = {os.path.dirname(path) for path in changed} | {site.kept_directory(path) for path in changed}
    read = {a.path for a in trace.accesses.values() if a.existed and "read" in a.ops}
    found: dict[str, str] = {}
    for program in dict.fromkeys(p for e in trace.execs for p in (e.path, *_script(e, site.cwd, read, fs))):
        for path in dict.fromkeys((program, fs.resolve(program).real)):
            found.setdefault(os.path.dirname(path), f"lies in the directory of {program}")
    for path in sorted(read):
        kept = site.kept_directory(path)
        if kept and fs.is_file(path):
            found.setdefault(kept, f"is what a program keeps in {kept}")
    whole = {directory: why for directory, why in found.items() if _may_be_whole(directory, fs, site)}
    own = {directory: why for directory, why in whole.items() if directory not in written}
    return own, {directory: why for directory, why in whole.items() if directory in written}


def _script(execution: Exec, cwd: str, read: set[str], fs: FileSystem) -> Iterator[str]:
    """Yield the script that an interpreter was given: the first word that names a file that was read, if it is code."""
    for word in execution.argv[1:]:
        path = os.path.normpath(os.path.join(cwd, word))
        if path in read:
            if is_code(path, fs):
                yield path
            return


def searched_directories(trace: Trace, fs: FileSystem, site: Site) -> dict[str, str]:
    """Return the directories in which an interpreter or loader looked for code, each with what named it.

    They may be missing: what is installed there later does not count either. Directories of programs and libraries
    (PATH, LD_LIBRARY_PATH) are looked through by every job, and count by what was used of them.
    """
    touched = _with_ancestors({a.path for a in trace.accesses.values()})
    used = _with_ancestors({os.path.dirname(a.real) for a in trace.accesses.values() if a.existed and a.ops & _USED})
    found: dict[str, str] = {}
    for run in trace.runs:
        for name, separator in knowledge.SEARCH_VARIABLES.items():
            for word in run.env.get(name, "").split(separator):
                path = os.path.normpath(word.partition("?")[0]) if word.startswith("/") else ""
                real = fs.resolve(path).real if path else ""
                counts = real in used if name in knowledge.SEARCHED_BY_ALL else path in touched
                if path and counts and _may_be_whole(real, fs, site, searched=True):
                    found.setdefault(real, f"${name}")
    for access in trace.accesses.values():
        match = knowledge.SEARCHED.match(access.path)
        if match and match["top"] not in found and _may_be_whole(match["top"], fs, site, searched=True):
            found[match["top"]] = access.path
    return found


def _with_ancestors(paths: set[str]) -> set[str]:
    return paths | {
        above for directory in set(map(os.path.dirname, paths)) for above in (directory, *ancestors(directory))
    }


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


def named_by_modulefiles(trace: Trace, builder: Builder) -> dict[str, Reason]:
    """Return the installations that travelling modulefiles name: for `module load` of another version.

    By absolute paths, or behind a variable of the environment, `$env(NAME)` (modulefile(4)).
    """
    found: dict[str, Reason] = {}
    run = trace.runs[0]
    values = {name.encode(): os.fsencode(value) for name, value in {**run.env, "HOME": run.home}.items()}
    for draft in builder.travelling():
        if builder.site.ground(draft.path) and builder.fs.head(draft.path).startswith(b"#%Module"):
            text = builder.fs.read(draft.path, _TEXT_LIMIT)
            text = _VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)
            for name in _ABSOLUTE.findall(text):
                path = os.path.normpath(os.fsdecode(name))
                for directory in (path, *ancestors(path)):
                    software = builder.site.is_software_directory(directory)
                    if software and _may_be_whole(directory, builder.fs, builder.site, searched=True):
                        found.setdefault(directory, Reason("is named by the modulefile", draft.path))
    return found


def software_directories(trace: Trace, builder: Builder) -> dict[str, Reason]:
    """Return every directory that is software, with the reason, whether in another one or not."""
    site, fs = builder.site, builder.fs
    found = {
        path: Reason("is searched for code", source) for path, source in searched_directories(trace, fs, site).items()
    }
    known: set[str] = set()
    for draft in builder.travelling():
        directory = os.path.dirname(draft.path)
        is_file = draft.status is not None and stat.S_ISREG(draft.status.st_mode)
        if not is_file or draft.order is None or not site.ground(draft.path):
            continue
        if (
            knowledge.SHARED_OBJECT.search(draft.path)
            and _may_be_whole(directory, fs, site)
            and _holds_only_code(directory, fs)
        ):
            found.setdefault(directory, Reason("holds a library that was loaded", draft.path))
        if directory in known:
            continue
        known.add(directory)
        for above in ancestors(draft.path):
            if site.is_software_directory(above) and _may_be_whole(above, fs, site, searched=True):
                found.setdefault(above, Reason("holds the software that is used by way of", draft.path))
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


def is_cache(path: str) -> bool:
    """Return whether a file is a module that Python compiled: it makes it again."""
    return "/__pycache__" in path or path.endswith(".pyc")
