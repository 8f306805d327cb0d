"""What a unit type is: it looks at what a run used and names what makes sense only together with it."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdee.packer import knowledge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.filesystem import FileSystem
    from sdee.packer.packages import Packages
    from sdee.packer.units.costs import Costs
    from sdee.tracer.tracefile.model import Exec

DEFAULT_LIMIT = 8 << 30  # bytes
_FIRST_LINE = re.compile(rb"#![ \t]*(/[^\s\0]+)(?:[ \t]+([^\s\0-][^\s\0]*))?")


@dataclass(frozen=True)
class Widening:
    """Paths that travel because `source`, which the run used, is part of the unit `name`.

    `paths` may be files, links and directories (each alone: list what is in them). Of a unit whose files are larger
    than `limit` bytes together the smallest travel, with a warning; of one that is `whole` or not at all, none.
    `owned`: the paths are software, even among a user's data. `with_libraries`: what its files need counts, too.
    `notice`: what to tell the user.
    """

    name: str
    source: str
    paths: tuple[str, ...]
    limit: int = DEFAULT_LIMIT
    owned: bool = True
    whole: bool = False
    with_libraries: bool = False
    notice: str = ""


@dataclass(frozen=True)
class View:
    """What a unit type may look at: the files that the run used and that travel, and the machine's files.

    `seen` are paths without links, in order of first access; `named` the same as the job named them; `listed` the
    directories that it listed, `asked` all that it asked about; `env` its variables, `cwd` where it began. `costs` says
    what a file would add to what travels when it is asked; `claimed`: what units have brought until then;
    `package_limit`: how many bytes whole packages may add; `started`: programs that scripts name, without links;
    `code_named`: files of the user's code that they name, and the script.
    """

    fs: FileSystem
    packages: Packages
    seen: tuple[str, ...]
    named: tuple[str, ...]
    executed: frozenset[str]
    execs: tuple[Exec, ...]
    costs: Costs
    claimed: set[str] = field(default_factory=set)
    package_limit: int = 0
    cwd: str = "/"
    listed: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    code_named: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    def paths_of(self, variable: str) -> tuple[str, ...]:
        """Return the absolute directories of a variable such as PATH."""
        return tuple(d for d in self.env.get(variable, "").split(":") if d.startswith("/"))

    @property
    def search(self) -> tuple[str, ...]:
        """Return the absolute directories of PATH."""
        return self.paths_of("PATH")

    def programs(self) -> tuple[str, ...]:
        """Return the executed files that travel, without links, in order; interpreters of `#!` lines, but no loader."""
        every = (path for execution in self.execs for path in (execution.path, *execution.interpreters))
        reals = dict.fromkeys(self.fs.resolve(path).real for path in every)
        seen = frozenset(self.seen)
        return tuple(p for p in reals if p in seen and not is_the_c_librarys(p))

    def tree(self, top: str, skip: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Return a directory and all below it, without directories named in `skip` unless the run used a file there."""
        found = self.fs.walk(top, skip)
        if skip:
            used = (p for p in self.seen if p.startswith(top + "/"))
            found += [p for p in used if skip & set(p[len(top) + 1 :].split("/")[:-1])]
        return (top, *found)

    def size(self, paths: tuple[str, ...]) -> int:
        """Return the size of the regular files among `paths`, in bytes."""
        found = (self.fs.status(p) for p in paths)
        return sum(status.st_size for status in found if status and stat.S_ISREG(status.st_mode))


def first_line(view: View, path: str) -> tuple[str, ...]:
    """Return interpreter and argument of a script's first line (execve(2)), () where it names none; no options."""
    match = _FIRST_LINE.match(view.fs.head(path))
    return tuple(os.fsdecode(word) for word in match.groups() if word) if match else ()


def interpreters_of(view: View, path: str) -> tuple[str, ...]:
    """Return the programs that a script's first line starts: of `env NAME` both, if they are there."""
    words = first_line(view, path)
    if len(words) > 1 and os.path.basename(words[0]) == "env":
        words = (words[0], next((p for d in view.search if view.fs.is_file(p := f"{d}/{words[1]}")), ""))
    else:
        words = words[:1]
    return tuple(word for word in words if word and view.fs.is_file(word))


def is_the_c_librarys(path: str) -> bool:
    """Return whether a file is glibc's: its directories are units of their own (locales, gconv, zones)."""
    return knowledge.GLIBC_FAMILY.match(os.path.basename(path)) is not None


def fitting(view: View, widening: Widening) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which paths of a widening travel, and which are left out, by its limit."""
    if widening.with_libraries:
        fits, left, _ = view.costs.cheapest(widening.paths, widening.limit)
        return tuple(fits), tuple(left)
    if view.size(widening.paths) <= widening.limit:
        return widening.paths, ()
    if widening.whole:
        return (), widening.paths
    total = 0
    kept: list[str] = []
    sizes = sorted((view.size((path,)), at) for at, path in enumerate(widening.paths))
    for size, at in sizes:
        total += size
        if total > widening.limit:
            break
        kept.append(widening.paths[at])
    taken = frozenset(kept)
    return tuple(kept), tuple(p for p in widening.paths if p not in taken)


class Unit(ABC):
    """One type of unit. To add a type: a module with a sub-class here, and its name in UNITS (packer/units)."""

    def counts_as_seen(self, view: View) -> tuple[str, ...]:  # noqa: ARG002 - for those that override it
        """Return files that the run did not use, and of which other types shall take that they travel whole."""
        return ()

    def may_start(self, view: View) -> tuple[str, ...]:  # noqa: ARG002
        """Return programs that the run did not start and another may, without links."""
        return ()

    @abstractmethod
    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the units of this type that the run used a part of, each once."""
