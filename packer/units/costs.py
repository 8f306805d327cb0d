"""What a file would add to a closure: its own bytes, and those of the libraries that it alone would bring.

A plugin of 20 KB may need a compiler of 150 MB. The search for libraries is a quick one, by the usual directories: what
travels in the end is decided as the loader decides (packer/elf).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdee.packer.filesystem import MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sdee.packer.elf.objects import ElfReader
    from sdee.packer.filesystem import FileSystem


@dataclass
class Costs:
    """Sizes in bytes of what does not travel yet. `directories`: where libraries lie, in order."""

    fs: FileSystem
    reader: ElfReader
    travels: Callable[[str], bool]
    directories: tuple[str, ...]
    _taken: set[str] = field(default_factory=set)
    _needs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, path: str) -> dict[str, int]:
        """Return the files that `path` would add, itself among them, with their sizes; links and directories cost 0."""
        found: dict[str, int] = {}
        todo = [self.fs.resolve(path).real]
        while todo:
            real = todo.pop()
            status = self.fs.status(real)
            new = status is not None and stat.S_ISREG(status.st_mode) and real not in self._taken
            if status is None or not new or real in found or self.travels(real):
                continue
            found[real] = status.st_size
            todo += self._libraries(real)
        return found

    def needs(self, path: str) -> list[str]:
        """Return the libraries that an ELF file needs, and what those need, whether or not they travel."""
        found: dict[str, None] = {}
        todo = [path]
        while todo:
            fresh = [p for p in self._libraries(todo.pop()) if p not in found]
            found.update(dict.fromkeys(fresh))
            todo += fresh
        return list(found)

    def take(self, files: Iterable[str]) -> None:
        """Count files as travelling from now on."""
        self._taken.update(files)

    def cheapest(self, paths: Iterable[str], limit: int) -> tuple[list[str], list[str], int]:
        """Take what adds least first, up to `limit` bytes; return what fits, what does not, the former's bytes.

        What adds nothing fits always.
        """
        costs = [(sum(self.of(path).values()), path) for path in dict.fromkeys(paths)]
        fitting: list[str] = []
        left: list[str] = []
        total = 0
        for _, path in sorted(costs):
            adds = self.of(path)
            if total + sum(adds.values()) <= limit:
                total += sum(adds.values())
                self.take(adds)
                fitting.append(path)
            else:
                left.append(path)
        return fitting, left, total

    def _libraries(self, real: str) -> tuple[str, ...]:
        if real not in self._needs:
            found = self.reader.read(real) if self.fs.head(real) == MAGIC else None
            wanted = found.needed if found else ()
            own = [d for text in ((found.runpath, found.rpath) if found else ()) if text for d in text.split(":")]
            origin = os.path.dirname(real)
            places = [d.replace("$ORIGIN", origin).replace("${ORIGIN}", origin) for d in own]
            hits = (self._search(name, (*places, *self.directories)) for name in wanted)
            self._needs[real] = tuple(filter(None, hits))
        return self._needs[real]

    def _search(self, name: str, places: tuple[str, ...]) -> str:
        if "/" in name:
            return self.fs.resolve(name).real if self.fs.is_file(name) else ""
        return next((self.fs.resolve(f"{d}/{name}").real for d in places if self.fs.is_file(f"{d}/{name}")), "")
