"""What a unit type is: it looks at what a run used and names what makes sense only together with it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.filesystem import FileSystem
    from sdee.packer.packages import Packages
    from sdee.tracer.model import Exec

DEFAULT_LIMIT = 1 << 30  # bytes


@dataclass(frozen=True)
class Widening:
    """Paths that travel because `source`, which the run used, is part of the unit `name`.

    `paths` may be files, links and directories (each alone: list what is in them). A unit whose files are larger
    than `limit` bytes together is dropped, with a warning. `owned`: the paths are software, even among a user's data.
    """

    name: str
    source: str
    paths: tuple[str, ...]
    limit: int = DEFAULT_LIMIT
    owned: bool = True


@dataclass(frozen=True)
class View:
    """What a unit type may look at: the files that the run used and that travel, and the machine's files.

    `seen` are paths without links, in order of first access; `named` the same as the job named them. `search`: the
    absolute directories of PATH.
    """

    fs: FileSystem
    packages: Packages
    seen: tuple[str, ...]
    named: tuple[str, ...]
    executed: frozenset[str]
    execs: tuple[Exec, ...]
    search: tuple[str, ...]

    def tree(self, top: str, skip: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Return a directory and all below it, without directories named in `skip` unless the run used a file there."""
        found = self.fs.walk(top, skip)
        if skip:
            used = (p for p in self.seen if p.startswith(top + "/"))
            found += [p for p in used if skip & set(p[len(top) + 1 :].split("/")[:-1])]
        return (top, *found)

    def size(self, paths: tuple[str, ...]) -> int:
        """Return the size of the regular files among `paths`, in bytes."""
        return sum(status.st_size for p in paths if (status := self.fs.status(p)) and not os.path.isdir(p))


class Unit(ABC):
    """One type of unit. To add a type: a module with a sub-class here, and its name in UNITS (packer/units)."""

    def counts_as_seen(self, view: View) -> tuple[str, ...]:  # noqa: ARG002 - for those that override it
        """Return files that the run did not use, and of which other types shall take that they travel whole."""
        return ()

    @abstractmethod
    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the units of this type that the run used a part of, each once."""
