"""Where a path lies, and what that means for it: the site as one trace shows it, and the rules that give verdicts."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sdee.base import facts
from sdee.base.paths import Tops, is_below, is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.host_libraries import never_travels
from sdee.packer.command_words import script_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.filesystem import FileSystem
    from sdee.tracer.tracefile.model import Trace


_NOT_DATA = Tops((*facts.system_directories("not-data"), *knowledge.HOST_ROOTS))
_HOST_ROOTS, _HOST_FILES = Tops(knowledge.HOST_ROOTS), Tops(knowledge.HOST_FILES)


def host_reason(path: str) -> str:
    """Return why the node provides `path`, "" when it does not."""
    if (top := _HOST_ROOTS.innermost(path)) and not is_below_any(path, knowledge.SOFTWARE_IN_RUN):
        return f"{top} is the node's own" if not path.startswith("/dev/shm/") else ""
    if _HOST_FILES.holds(path):
        return "says who and where the node is"
    if never_travels(path):
        return "belongs to a kernel module or fabric of the node"
    return ""


@dataclass
class Site:
    """The places that one trace names. `live`: directories that stay the node's own, real and writable.

    `network` holds the mount points of network file systems, longest first.
    """

    fs: FileSystem
    cwd: str
    home: str
    executed: frozenset[str]
    live: tuple[str, ...]
    network: tuple[str, ...]
    mounts: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()  # what the command line names and is no code: data, wherever it lies
    scripts: frozenset[str] = frozenset()  # what interpreters were given to run, whatever its name
    own: dict[str, str] = field(default_factory=dict)  # own directories of programs, and why they are (software.py)
    mixed: dict[str, str] = field(default_factory=dict)  # those in which the job writes as well
    _prefixes: dict[str, str] = field(default_factory=dict)
    _own: Tops = field(default_factory=lambda: Tops(()))
    _mixed: Tops = field(default_factory=lambda: Tops(()))

    def __post_init__(self) -> None:
        self._live, self._mounts, self._arguments = Tops(self.live), Tops(self.mounts), Tops(self.arguments)

    def know_own(self, own: dict[str, str], mixed: dict[str, str]) -> None:
        """Take the own directories of programs, and those in which the job writes as well."""
        self.own, self.mixed = own, mixed
        self._own, self._mixed = Tops(own.keys() - {"/"}), Tops(mixed.keys() - {"/"})

    def live_root(self, path: str) -> str:
        """Return the innermost live directory that `path` is in or is, "" when it is in none."""
        return self._live.innermost(path)

    def mount_point(self, path: str) -> str:
        """Return the mount point of the network file system that `path` is on, "" when it is on none."""
        # The longest mount point decides: a local disk may be mounted below a network one
        inner = self._mounts.innermost(path)
        return inner if inner in self.network else ""

    def own_mount(self, path: str) -> str:
        """Return the mount point of the FUSE file system that the user has mounted here and `path` is on, "" for none.

        It is below a live directory: what holds a whole home is the site's, and nodes have it.
        """
        inner = self._mounts.innermost(path)
        kind = self.mounts.get(inner, "")
        by_fuse = kind.split(".")[0] in ("fuse", "fuseblk")
        theirs = by_fuse and (kind == "fuse.sshfs" or kind not in knowledge.NETWORK_FILE_SYSTEMS)
        return inner if theirs and any(inner != live and is_below(inner, live) for live in self.live) else ""

    def ground(self, path: str) -> str:
        """Return the directory that a node's own files lie in beside the bundle's: live, or outside of the system.

        That is a live directory, or the outermost one above `path` (/scratch, /data, /sw); "" within the system, which
        is the bundle's, and the node's alone.
        """
        if root := self.live_root(path):
            return root
        return "" if _NOT_DATA.holds(path) else _top(path)

    def is_data(self, path: str) -> bool:
        """Return whether a file is a user's data: beside a node's own files, and neither code nor of some software."""
        return bool(self.ground(path)) and not self.code_reason(path)

    def software_prefix(self, path: str) -> str:
        """Return the nearest directory above `path` that holds installed software, "" when there is none.

        Only directories below a live one, or one outside of the system, are asked: a home with bin/ and lib/ is still
        a home.
        """
        root = self.ground(path)
        directory = os.path.dirname(path)
        if not root or not is_below(directory, root) or directory == root:
            return ""
        if directory not in self._prefixes:
            here = directory if self._is_prefix(directory) else self.software_prefix(directory)
            self._prefixes[directory] = here
        return self._prefixes[directory]

    def own_directory(self, path: str) -> str:
        """Return the own directory of a program that `path` is in and belongs to, "" when it is in none."""
        return self._nearest(path, self._own)

    def mixed_directory(self, path: str) -> str:
        """Return the own directory of a program in which the job writes as well that `path` is in, "" when in none."""
        return self._nearest(path, self._mixed)

    def _nearest(self, path: str, directories: Tops) -> str:
        if not directories or self._arguments.holds(path):
            return ""
        return directories.innermost(os.path.dirname(path))

    def kept_directory(self, path: str) -> str:
        """Return the directory of the home in which a program keeps what it needs and `path` lies, "" for none.

        That is ~/.NAME, ~/.config/NAME or ~/.local/share/NAME; not a cache, which a program makes again.
        """
        home = next((home for home in self.homes if is_below(path, home) and path != home), "")
        parts = path[len(home) + 1 :].split("/") if home else []
        if not parts or not parts[0].startswith(".") or parts[0] in knowledge.NOT_KEPT:
            return ""
        depth = next((len(top) + 1 for top in knowledge.KEPT_IN if tuple(parts[: len(top)]) == top), 1)
        top = "/".join(parts[:depth])
        return f"{home}/{top}" if len(parts) > depth and top not in knowledge.NOT_KEPT else ""

    def is_setting(self, path: str) -> bool:
        """Return whether a file is a program's settings: hidden, directly in the home or in ~/.config."""
        directory, name = os.path.split(path)
        hidden = directory in self.homes and name.startswith(".")
        return hidden or any(directory == f"{home}/.config" for home in self.homes)

    @cached_property
    def homes(self) -> tuple[str, ...]:
        """The home as it is named and without links; nothing where that is the root or a place for anybody."""
        return tuple(home for home in dict.fromkeys((self.home, self.fs.resolve(self.home).real)) if home in self.live)

    def is_software_directory(self, directory: str) -> bool:
        """Return whether a directory bears the marks of an installation, or is a program's own."""
        return directory in self.own or self._is_prefix(directory)

    def _is_prefix(self, directory: str) -> bool:
        if os.path.basename(directory) in knowledge.MODULE_DIRECTORIES:
            return True
        names = set(self.fs.names(directory))
        if any(marks <= names for marks in knowledge.PREFIX_MARKS):
            return True
        return any(name.endswith(".dist-info") for name in names)

    def code_reason(self, path: str) -> str:
        """Return why a file below a live directory is code and no data, "" when it is data."""
        if path in self.executed:
            return "was executed"
        if path in self.scripts:
            return "is an interpreter's script"
        name = os.path.basename(path)
        if os.path.splitext(name)[1].lower() in knowledge.CODE_SUFFIXES or knowledge.SHARED_OBJECT.search(name):
            return "is code by its name"
        if name.removeprefix("SYS_") in knowledge.LOCALE_CATEGORIES:
            return "is part of a locale"
        if "/.git/" in path:
            return ""
        if prefix := self.software_prefix(path):
            return f"belongs to the software in {prefix}"
        if directory := self.own_directory(path):
            return self.own[directory]
        head = self.fs.head(path)
        if head.startswith(b"#%Module"):
            return "is a modulefile"
        if head.startswith(b"\x7fELF"):
            return "is an ELF file"
        return "is a script" if re.match(rb"#![ \t]*/", head) else ""


def _top(path: str) -> str:
    return "/" + path.split("/")[1] if path.startswith("/") else ""  # a damaged trace may hold anything


def site_of(trace: Trace, fs: FileSystem) -> Site:
    """Return the site of a trace: all runs' working directories, homes and mounts."""
    mounts = {point.rstrip("/") or "/": kind for run in trace.runs for point, kind in run.host.mounts}
    network = sorted((m for m, kind in mounts.items() if kind in knowledge.NETWORK_FILE_SYSTEMS), key=len, reverse=True)
    wanted = [directory for run in trace.runs for directory in (run.cwd, run.home)] + list(knowledge.TEMPORARY_ROOTS)
    # named by a link (/home → /mnt/home) and by its real path, either may be used
    places = [p for d in wanted if d for p in (d, fs.resolve(d).real)]
    live = [p for p in dict.fromkeys(places) if may_be_live(p)]
    executed = {exe.path for exe in trace.execs} | {i for exe in trace.execs for i in exe.interpreters}
    scripts = frozenset(_scripts(trace, fs))
    return Site(
        fs,
        trace.runs[0].cwd,
        trace.runs[0].home,
        frozenset(executed | {fs.resolve(path).real for path in executed}),
        tuple(live),
        tuple(network),
        mounts,
        tuple(path for path in _arguments(trace, fs) if path not in scripts),
        scripts,
    )


def _scripts(trace: Trace, fs: FileSystem) -> Iterator[str]:
    """Yield the files that command lines name as an interpreter's script: `racket job`, `python3 run`."""
    for execution in trace.execs:
        word = script_of(list(execution.argv), execution.path)
        for cwd in dict.fromkeys(run.cwd for run in trace.runs) if word else ():
            path = os.path.normpath(os.path.join(cwd, word))
            if path in trace.accesses:  # else the interpreter was started in another directory
                yield from (path, fs.resolve(path).real)


def _arguments(trace: Trace, fs: FileSystem) -> Iterator[str]:
    """Yield the files and directories that the command lines name (also as `--option=PATH`) and that are no code."""
    for run in trace.runs:
        for word in run.command[1:]:
            for text in dict.fromkeys((word, word.partition("=")[2])):
                resolution = fs.resolve(os.path.normpath(os.path.join(run.cwd, text)))
                if text and resolution.status is not None and not is_code(resolution.real, fs):
                    yield resolution.real


def is_code(path: str, fs: FileSystem) -> bool:
    """Return whether a file is a program, a library or a module by its name or its first bytes."""
    name = os.path.basename(path)
    if os.path.splitext(name)[1].lower() in knowledge.CODE_SUFFIXES or knowledge.SHARED_OBJECT.search(name):
        return True
    return bool(re.match(rb"#![ \t]*/|\x7fELF", fs.head(path)))


def may_be_live(path: str) -> bool:
    """Return whether a directory may stay the node's own: not the root, nor the system's."""
    if path in ("/", "/home", "/var", "/mnt", "/nonexistent"):
        return False
    if is_below(path, "/dev/shm"):
        return True
    return not is_below_any(path, (*knowledge.SYSTEM_ROOTS, *knowledge.HOST_ROOTS))
