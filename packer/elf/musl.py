"""musl's search for libraries: load_library in musl's ldso/dynlink.c (1.2.3). It differs from glibc's throughout.

LD_LIBRARY_PATH comes first; DT_RUNPATH and DT_RPATH mean the same, the former winning, and both are inherited; there
is no cache but one file of directories, /etc/ld-musl-ARCH.path below the loader's prefix.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer.elf.search import Context, Loaded, Search, Trial, absolute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.packer.elf.objects import ElfReader
    from sdee.packer.filesystem import FileSystem

# Names that are libc itself, whatever file has them
_RESERVED = re.compile(r"lib(c|pthread|rt|m|dl|util|xnet)\.")
_LOADER = re.compile(r"ld-musl-(.+)\.so\.1$")
_DEFAULT = "/lib:/usr/local/lib:/usr/lib"


def is_musl(interpreter: str) -> bool:
    """Return whether a program interpreter is musl's loader, by its name."""
    return _LOADER.search(interpreter) is not None


@dataclass
class MuslRules:
    """The rules of one musl loader; `interpreter` is its path as PT_INTERP has it."""

    fs: FileSystem
    reader: ElfReader
    interpreter: str

    def origin(self, name: str, *, is_program: bool) -> str:
        """Return $ORIGIN, as in fixup_rpath: a program's real directory, a library's as it was named."""
        return os.path.dirname(self.fs.resolve(name).real if is_program else name)

    def search(self, name: str, by: Loaded, context: Context) -> Search:
        """Look for `name`: LD_LIBRARY_PATH, the paths of the chain of what needed it, the system's path file."""
        if "/" not in name and _RESERVED.match(name):
            return Search(name, by.name, self.interpreter, "is musl's libc, the loader itself")
        trial = Trial(self.fs, self.reader, by.object)
        places = [("", "named by its path")] if "/" in name else self._places(by, context)
        for directory, how in places:
            path = absolute(os.path.join(directory, name), context.cwd)
            if trial.accepts(path):
                return Search(name, by.name, path, how, tuple(trial.considered))
        return Search(name, by.name, None, considered=tuple(trial.considered))

    def path_file(self) -> str:
        """Return the file of directories: musl takes the prefix from the loader's own path."""
        match = _LOADER.search(self.interpreter)
        prefix = os.path.dirname(os.path.dirname(self.interpreter)).rstrip("/")
        return f"{prefix}/etc/ld-musl-{match.group(1) if match else ''}.path"

    def _places(self, by: Loaded, context: Context) -> Iterator[tuple[str, str]]:
        yield from ((d, "LD_LIBRARY_PATH") for d in _split(context.libpath or ""))
        for link in by.chain():
            written = link.object.rpath if link.object.runpath is None else link.object.runpath
            for directory in _split((written or "").replace("${ORIGIN}", "$ORIGIN")):
                yield directory.replace("$ORIGIN", link.origin), f"RPATH of {link.name}"
        file = self.path_file()
        text = os.fsdecode(self.fs.read(file)) or _DEFAULT
        how = f"listed in {file}" if self.fs.is_file(file) else "in a default directory"
        yield from ((d, how) for d in _split(text))


def _split(text: str) -> list[str]:
    return [d for d in re.split("[:\n]", text) if d]
