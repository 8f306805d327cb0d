"""What makes a bundle large: its files by package, module and directory, and the option that leaves each group out."""

from __future__ import annotations

import re
import stat
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from glob import escape
from itertools import takewhile
from typing import TYPE_CHECKING

from sdee.packer import knowledge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.packer.format.reader import Bundle

_DEPTH = 3  # components of a directory's name: /usr/lib/jvm, /opt/app/1.2
_LEAST_DEPTH = 2  # of a glob that is advised: not /usr
# What stands beside a module of that name: numpy.libs, numpy-1.26.4.dist-info, six.py, _cffi_backend.cpython-311-….so
_BESIDE = re.compile(r"(\.libs|-[^/-]*(-[^/]*)?\.(dist|egg)-info|\.py|\.[^/]*\.so|\.pth)$")


@dataclass(frozen=True)
class Group:
    """Files that belong together. `kind`: "package", "module" or "directory"; `size` in bytes, unpacked.

    `glob`: what --exclude takes to leave these out and nothing else, "" where no single glob does.
    """

    kind: str
    name: str
    files: int
    size: int
    glob: str


def group_of(path: str, package: str) -> tuple[str, str]:
    """Return kind and name of the group of a file. `package`: the distribution's package that owns it, or ""."""
    if package:
        return "package", package
    parts = path.split("/")
    at = next((n for n, part in enumerate(parts) if part in knowledge.MODULE_DIRECTORIES), len(parts))
    if at + 1 < len(parts):
        scope = parts[at + 1] + "/" if parts[at + 1].startswith("@") and at + 2 < len(parts) else ""  # npm's
        name = scope + (parts[at + 2] if scope else parts[at + 1])
        return "module", "/".join([*parts[: at + 1], _BESIDE.sub("", name) or name])
    return "directory", "/".join(parts[:-1][: _DEPTH + 1]) or "/"


def groups(bundle: Bundle) -> list[Group]:
    """Return all groups of a bundle's files, the largest first."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for entry in bundle.table.entries:
        if stat.S_ISREG(entry.mode):
            item = bundle.items.get(entry.path)
            size = 0 if entry.hard_link else entry.size
            found[group_of(entry.path, item.package if item else "")][entry.path] = size
    every = sorted(path for files in found.values() for path in files)
    made = [
        Group(kind, name, len(files), sum(files.values()), _glob(sorted(files), every))
        for (kind, name), files in found.items()
    ]
    return sorted(made, key=lambda group: (-group.size, group.name))


def _glob(own: Sequence[str], every: Sequence[str]) -> str:
    """Return a glob that matches `own` and no other of `every`, "" where there is none that is simple. Both sorted."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(own[0], own[-1], strict=False)))
    beginning = own[0][:shared]  # of all, since they are sorted; os.path.commonpath() ends at a slash
    directory = beginning[: beginning.rfind("/")]
    if directory.count("/") < _LEAST_DEPTH:
        return ""
    if len(own) == 1:
        return escape(own[0])
    for prefix, glob in ((f"{directory}/", escape(directory)), (beginning, f"{escape(beginning)}*")):
        if len(_beginning_with(prefix, every)) == len(own):
            return glob
    return ""


def _beginning_with(prefix: str, paths: Sequence[str]) -> range:
    return range(bisect_left(paths, prefix), bisect_left(paths, prefix + chr(0x10FFFF)))
