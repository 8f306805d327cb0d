"""What a job expects of its node (CONF cpu, isa, kernel, host-*): the launcher compares before it starts the job."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer.closure.host_libraries import ASKED, NEVER, Family, families, site_family
from sdee.packer.elf.demands import LEVELS
from sdee.packer.elf.objects import Versions, read_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdee.packer.closure.verdicts import Builder
    from sdee.packer.elf.needs import Needs
    from sdee.tracer.tracefile.model import Trace


@dataclass(frozen=True)
class HostNeed:
    """A library that the node may have its own of: `by` needs it; `must`: a program does not start without it."""

    soname: str
    by: str
    must: bool
    versions: tuple[str, ...] = ()


def expectations(trace: Trace, builder: Builder, needs: Needs) -> Iterator[tuple[str, str]]:
    """Yield the CONF pairs by which the launcher sees whether a node will do, and finds its own libraries.

    Of the libraries nothing for a job that neither needs nor looked for one: most never do.
    """
    yield from _machine(trace, builder, needs)
    families_ = (*families(), *site_family(builder.options.host))
    asked = [path for path in trace.accesses if ".so" in path] + [soname for soname, _ in builder.host_needs]
    wanted = [family for family in families_ if any(family.has(path) for path in asked)]
    if not any(_MPI.match(soname) for soname, _ in builder.host_needs):  # libhwloc alone is no MPI
        wanted = [family for family in wanted if family.mode != ASKED]
    if not wanted:
        return
    directories = needs.library_directories()
    for directory in directories:
        yield "library-directory", directory
    for family in wanted:
        yield "host-family", " ".join((family.name, family.mode, *family.libraries, *family.paths))
    never = [family for family in wanted if family.mode == NEVER]
    for need in _needs(builder, wanted):
        must = need.must and any(family.has(need.soname) for family in never)
        yield "host-need", " ".join((need.soname, "must" if must else "may", _one_word(need.by), *need.versions))
    yield from _mpi_symbols(builder)
    used = {os.path.basename(p) for f in never for p, a in trace.accesses.items() if a.existed and f.has(p)}
    for name in sorted(used):
        yield "host-used", _one_word(name)
    for soname, versions in _provided(builder, directories):
        yield "provides", " ".join((soname, *versions))


def _machine(trace: Trace, builder: Builder, needs: Needs) -> Iterator[tuple[str, str]]:
    """Yield the CPU that the job was traced on, and what those objects demand that the run itself loaded.

    A library that a widening added may never be loaded; and ld.so chooses among glibc-hwcaps what the CPU can do.
    """
    level = trace.runs[0].host.cpu_level
    if level:
        yield "cpu", level
    used = [d.path for d in builder.travelling() if d.order is not None and "/glibc-hwcaps/" not in d.path]
    objects = [found for path in used if (found := needs.known(path)) is not None]
    isa = max(objects, key=lambda found: found.demands.level, default=None)
    if isa is not None and isa.demands.level:
        yield "isa", f"{LEVELS[isa.demands.level]} {_one_word(isa.path)}"
    newest = max(objects, key=lambda found: found.demands.kernel, default=None)
    if newest is not None and any(newest.demands.kernel):
        yield "kernel", f"{'.'.join(map(str, newest.demands.kernel))} {_one_word(newest.path)}"


def _one_word(path: str) -> str:
    return path.replace(" ", "?").replace("\n", "?")


def _needs(builder: Builder, wanted: list[Family]) -> Iterator[HostNeed]:
    parsed: dict[str, Versions] = {}
    for (soname, by), must in sorted(builder.host_needs.items()):
        if not any(family.has(soname) for family in wanted):
            continue
        if by not in parsed:
            parsed[by] = read_versions(by)
        yield HostNeed(soname, by, must, tuple(sorted(set(parsed[by].required.get(soname, ())))))


_MPI = re.compile(r"lib(?:mpi|mpich|mpicxx|mpifort)[^/]*\.so")  # what programs call, not what it calls itself


def _mpi_symbols(builder: Builder) -> Iterator[tuple[str, str]]:
    """Yield for each object of the job that calls MPI the symbols that it takes of each MPI library.

    By lief, of which reading symbol tables takes a quarter of pyelftools' time; libmpi has thousands.
    """
    by_name = {os.path.basename(path): draft for path, draft in builder.drafts.items() if draft.status}
    calls = [
        (soname, by)
        for soname, by in sorted(builder.host_needs)
        if _MPI.match(soname) and not _MPI.match(os.path.basename(by)) and soname in by_name
    ]
    if not calls:
        return
    import lief  # noqa: PLC0415 - a quarter of a second, and few jobs need it

    exported: dict[str, set[str]] = {}
    for soname, by in calls:
        if soname not in exported:
            library = lief.ELF.parse(builder.fs.resolve(by_name[soname].path).real)
            exported[soname] = {str(symbol.name) for symbol in library.exported_symbols} if library else set()
        binary = lief.ELF.parse(by)
        names = {str(symbol.name) for symbol in binary.imported_symbols} & exported[soname] if binary else set()
        if names:
            yield "host-symbols", " ".join((soname, _one_word(by), *sorted(names)))


# What a node's own library may need of the bundle: it runs over the bundle's libc, whichever is newer
_UNDER_ALL = (
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libgcc_s.so.1",
)


def _provided(builder: Builder, directories: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the symbol versions that the closure's own basic libraries define (DT_VERDEF)."""
    travelling = {draft.path for draft in builder.travelling()}
    for soname in _UNDER_ALL:
        places = (builder.fs.resolve(f"{directory}/{soname}").real for directory in directories)
        path = next((place for place in places if place in travelling), None)
        if path:
            yield soname, [name for name in read_versions(path).defined if name != soname]
