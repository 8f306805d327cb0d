"""What is installed in a site-packages directory: who owns which file, who requires whom, who imports whom."""

from __future__ import annotations

import csv
import os
import re
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packaging.requirements import Requirement

    from sdee.packer.filesystem import FileSystem
    from sdee.packer.units.base import View

IMPORT = re.compile(
    rb"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+([A-Za-z_]\w*)(?:\.[\w.]*)?[ \t]+import\b)", re.MULTILINE
)
_NOT_READ = re.compile(r"/(tests?|testing|conftest\.py$|setup\.py$|docs?|examples?|benchmarks?)(/|$)|/conftest\.py$")
_SOURCE_LIMIT = 1 << 20  # bytes: larger ones are tables


@dataclass
class SiteIndex:
    """One site-packages: which distribution owns which file, by RECORD; read once."""

    fs: FileSystem
    site: str
    owners: dict[str, list[str]] = field(default_factory=dict)  # path → *.dist-info or *.egg-info directories
    files: dict[str, list[str]] = field(default_factory=dict)  # the other way round
    tops: dict[str, list[str]] = field(default_factory=dict)  # top-level name → info without a RECORD
    named: dict[str, list[str]] = field(default_factory=dict)  # name of a project, normalised (PEP 503) → info

    def __post_init__(self) -> None:
        for name in self.fs.names(self.site):
            info = f"{self.site}/{name}"
            if name.endswith((".dist-info", ".egg-info")):
                self.named.setdefault(_normalised(_project(name)), []).append(info)
            if name.endswith(".dist-info"):
                self._record(info, f"{info}/RECORD", self.site, as_csv=True)
            elif name.endswith(".egg-info"):
                self._record(info, f"{info}/installed-files.txt", info, as_csv=False)

    def _record(self, info: str, record: str, base: str, *, as_csv: bool) -> None:
        lines = os.fsdecode(self.fs.read(record)).splitlines()
        names = [row[0] for row in csv.reader(lines) if row] if as_csv else lines
        paths = [os.path.normpath(os.path.join(base, name)) for name in names]
        if not paths:
            project = _project(os.path.basename(info))
            stated = os.fsdecode(self.fs.read(f"{info}/top_level.txt")).split()
            for top in {project, project.lower(), *stated}:
                self.tops.setdefault(top, []).append(info)
        self.files[info] = paths
        for path in paths:
            self.owners.setdefault(path, []).append(info)


def _normalised(name: str) -> str:
    # packaging takes 25 ms of processor time to import, and jobs without Python packages do not need it
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    return canonicalize_name(name)


def _project(info: str) -> str:
    return re.split(r"[-.](?=\d|egg-info|dist-info)", info)[0]


def source_of(path: str) -> str:
    """Return the .py of a compiled module, any other path as it is."""
    directory, name = os.path.split(path)
    if os.path.basename(directory) == "__pycache__" and name.endswith(".pyc"):
        return f"{os.path.dirname(directory)}/{name.split('.')[0]}.py"
    return path


def required_names(fs: FileSystem, info: str) -> Iterator[str]:
    """Yield the normalised names of what a distribution requires without extras, where its markers hold.

    From METADATA (core metadata, Requires-Dist) or requires.txt (setuptools: sections are extras or `:marker`).
    """
    metadata = os.fsdecode(fs.read(f"{info}/METADATA")).partition("\n\n")[0]
    lines = [line.partition(":")[2] for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    section = ""
    for line in os.fsdecode(fs.read(f"{info}/requires.txt")).splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        elif line.strip() and (not section or section.startswith(":")):
            lines.append(f"{line}; {section[1:]}" if section else line)
    version = re.search(r"/python(\d+\.\d+)/", info)
    environment = {"extra": "", **({"python_version": version[1]} if version else {})}
    requirements = (_requirement(line) for line in lines)
    yield from (_normalised(r.name) for r in requirements if r and (not r.marker or r.marker.evaluate(environment)))


def _requirement(line: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - as in _normalised()

    try:
        return Requirement(line)
    except InvalidRequirement:  # written before PEP 508, or by hand
        return None


def imported_names(view: View, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each top-level name that Python source imports anywhere, in functions too, and the first that does."""
    known: set[str] = set(sys.stdlib_module_names)
    for path in paths:
        if not path.endswith(".py") or _NOT_READ.search(path):
            continue
        for name in view.fs.fact(path, "imports", partial(_top_levels, view, path)) or ():
            if isinstance(name, str) and name not in known:
                known.add(name)
                yield name, path


def _top_levels(view: View, path: str) -> list[object] | None:
    """Return the top-level names that code imports, each once; None of a file that cannot be read, or is empty."""
    if not (code := view.fs.read(path, _SOURCE_LIMIT)):
        return None
    words = (w for several, one in IMPORT.findall(code) for w in (several.split(b",") if several else [one]))
    return list(dict.fromkeys(first[0].decode() for w in words if (first := w.partition(b".")[0].split())))
