"""Programs that another starts only elsewhere: an MPI launcher's daemons on a job's other nodes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sdee.packer import knowledge
from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOOLS_LIMIT = 100 << 20  # bytes


class Companions(Unit):
    """What lies beside a launcher, or in its PREFIX/libexec, and runs on other nodes than that of the trace."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each launcher's, once. Components that they load are the launcher's own: ProgramResources has them."""
        done: set[str] = set()
        for program in sorted(view.executed):
            directory, name = os.path.split(program)
            places = (directory, f"{os.path.dirname(directory)}/libexec")
            paths = (f"{place}/{other}" for place in places for other in knowledge.COMPANIONS.get(name, ()))
            found = tuple(path for path in paths if path not in done and view.fs.is_file(path))
            if found:
                done.update(found)
                yield Widening(f"what {name} starts on other nodes", program, found)


class Toolchains(Unit):
    """What a compiler or a build's driver starts when a command goes further than the traced one: assembler, linker."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each driver's, once: of those that ran and those that scripts name."""
        for program in dict.fromkeys((*view.programs(), *view.started)):
            name = os.path.basename(program)
            wanted = dict.fromkeys(w for p, words in knowledge.TOOLCHAINS.items() if p.fullmatch(name) for w in words)
            places = dict.fromkeys((os.path.dirname(program), *view.search))
            hits = (next((f"{d}/{w}" for d in places if view.fs.is_file(f"{d}/{w}")), "") for w in wanted)
            found = tuple(path for path in hits if path)
            if found:
                yield Widening(f"what {name} starts", program, found, limit=_TOOLS_LIMIT, with_libraries=True)
