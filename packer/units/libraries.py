"""Libraries that are opened by name, dlopen(3) and ctypes: no dynamic section names them, and the run opened none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening, is_the_c_librarys
from sdee.packer.units.own_directories import named_libraries
from sdee.packer.units.python_code import opened_libraries

if TYPE_CHECKING:
    from collections.abc import Iterator

_EACH, _ALL = 16 << 20, 64 << 20  # bytes, with what each needs
_LDCONFIG = ("/sbin/ldconfig", "/sbin/ldconfig.real")  # ctypes.util.find_library asks it


class OpenedByName(Unit):
    """Those that executed programs, loaded libraries and the user's Python code name, and that are found here."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each while it is small; one widening that brings nothing says which are not."""
        left, large = _ALL, dict[str, int]()
        for name, source in _names(view).items():
            paths = _find(view, name)
            fits, not_fits, adds = view.costs.cheapest(paths, min(left, _EACH))
            left -= adds
            if fits and adds:
                extra = [path for path in _LDCONFIG if name.startswith("-l") and view.fs.is_file(path)]
                yield Widening("what is opened by name", source, (*fits, *extra))
            large.update({path: sum(view.costs.of(path).values()) for path in not_fits})
        if large:
            shown = ", ".join(f"{path} ({size // 10**6} MB)" for path, size in list(large.items())[:3])
            more = f" and {len(large) - 3} more" if len(large) > 3 else ""
            said = (
                f"libraries that programs may open by name are too large to travel: {shown}{more}; --include adds one"
            )
            yield Widening("", "", (), notice=said)


def _names(view: View) -> dict[str, str]:
    """Return the names, and who names each first."""
    found: dict[str, str] = {}
    for path in dict.fromkeys((*view.programs(), *(p for p in view.seen if ".so" in os.path.basename(p)))):
        if not is_the_c_librarys(path):
            for name in named_libraries(view.fs, path):
                found.setdefault(name, path)
    return {**found, **opened_libraries(view)}


def _find(view: View, name: str) -> list[str]:
    """Return where a library is: by its path, in the directories of those that were loaded, -lx as libx.so.1."""
    if "/" in name:
        return [name] if name.startswith("/") and view.fs.is_file(name) else []
    for directory in view.costs.directories:
        stem = f"lib{name[2:]}.so."
        names = [n for n in view.fs.names(directory) if n.startswith(stem)] if name.startswith("-l") else [name]
        if paths := [f"{directory}/{n}" for n in names if view.fs.is_file(f"{directory}/{n}")]:
            return paths  # of -lx all names: ld.so.cache has the soname, which may be any of them
    return []
