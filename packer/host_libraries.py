"""Libraries of which the node's own are used (drivers' user halves, fabrics): one table, and what a job needs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from sdee.packer.elf.demands import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdee.packer.builder import Builder
    from sdee.packer.elf.needs import Needs
    from sdee.tracer.model import Trace

NEVER, PREFER, ASKED = "never", "prefer", "asked"


@dataclass(frozen=True)
class Family:
    """Libraries that are of one version together, by globs of their file names, and the node's paths that go with them.

    `mode` NEVER: they never travel, another version than the kernel module's does not work at all. PREFER: they travel,
    and a node that has its own, with the symbol versions that the job needs, uses these.
    """

    name: str
    mode: str
    libraries: tuple[str, ...]
    paths: tuple[str, ...] = ()

    def has(self, path: str) -> bool:
        """Return whether a file's name is one of the family's; a linker's stub never is."""
        name = os.path.basename(path)
        return "/stubs/" not in path and any(fnmatchcase(name, glob) for glob in self.libraries)


# One family a line: name, mode, file names and, with a slash in front, the node's paths that belong to them. ROCm,
# Level Zero, OpenCL drivers and verbs providers speak interfaces that the kernel keeps stable (amdgpu's and i915's
# ioctls, uverbs), so they travel for nodes that have none: libfabric and UCX do not start without libibverbs.
_TABLE = """
nvidia     never   libcuda.so* libcudadebugger.so* libnvidia-*.so* libnvcuvid.so* libnvoptix.so* libGLX_nvidia.so*
                   libEGL_nvidia.so* libGLESv*_nvidia.so* libvdpau_nvidia.so*   # must match nvidia.ko exactly
                   /etc/OpenCL/vendors/nvidia.icd /usr/share/glvnd/egl_vendor.d/10_nvidia.json
                   /etc/vulkan/icd.d/nvidia_icd.json /usr/share/vulkan/icd.d/nvidia_icd.json /usr/bin/nvidia-smi
slingshot  never   libcxi.so*                                  # HPE Slingshot: ioctls change with the module
xpmem      never   libxpmem.so*                                # cross-process memory: likewise
rocm       prefer  libhsa-runtime64.so* libhsakmt.so* libamdocl64.so* /etc/OpenCL/vendors/amdocl64.icd
level-zero prefer  libze_intel_gpu.so* libze_intel_vpu.so*
opencl     prefer  libigdrcl.so* /etc/OpenCL/vendors/intel.icd # the loader libOpenCL.so is like any other library
verbs      prefer  libibverbs.so* librdmacm.so* libmlx4.so* libmlx5.so* libefa.so* libmana.so* libhns.so*
                   /etc/libibverbs.d /usr/lib64/libibverbs /usr/lib/x86_64-linux-gnu/libibverbs
mpi        asked   libmpi.so* libmpi_*.so* libmpich*.so* libmpicxx.so* libmpifort*.so*   # what programs link with
                   libopen-rte.so* libopen-pal.so* libpmix.so* libprrte.so* libhwloc.so* libevent*.so* # and theirs
                   libucp.so* libucs.so* libuct.so* libucm.so* libfabric.so* libpsm2.so* libpmi.so* libpmi2.so*
                   /etc/openmpi /usr/share/openmpi /usr/lib/x86_64-linux-gnu/openmpi /usr/lib64/openmpi
                   /usr/share/pmix /usr/share/pmix2 /usr/lib/x86_64-linux-gnu/pmix2 /usr/lib64/pmix /etc/mpich
"""


@lru_cache
def families() -> tuple[Family, ...]:
    """Return the table."""
    found: list[list[str]] = []
    for line in _TABLE.splitlines():
        words = line.partition("#")[0].split()
        if words and not line.startswith(" "):
            found.append([])
        if words:
            found[-1] += words
    return tuple(_family(*words) for words in found)


def _family(name: str, mode: str, *rest: str) -> Family:
    paths = tuple(word for word in rest if word.startswith("/"))
    return Family(name, mode, tuple(word for word in rest if word not in paths), paths)


def never_travels(path: str) -> bool:
    """Return whether a file is a library that belongs to the node's kernel modules or fabric."""
    return any(family.mode == NEVER and family.has(path) for family in families())


@dataclass(frozen=True)
class HostNeed:
    """A library that the node may have its own of: `by` needs it; `must`: a program does not start without it."""

    soname: str
    by: str
    must: bool
    versions: tuple[str, ...] = ()


def _site_family(globs: tuple[str, ...]) -> tuple[Family, ...]:
    """Return what sdee.toml's `host` names beside the table: globs whose last part is a library's name."""
    named = tuple(glob.rpartition("/")[2].replace(" ", "?") for glob in globs if ".so" in glob.rpartition("/")[2])
    return (Family("site", NEVER, named),) if named else ()


def may_be_the_nodes(soname: str, globs: tuple[str, ...], *, unasked: bool = False) -> bool:
    """Return whether a node may have its own of a library: by the table, or by sdee.toml's `host` globs.

    `unasked`: without an option that says so.
    """
    chosen = (family for family in families() if not (unasked and family.mode == ASKED))
    return any(family.has(soname) for family in (*chosen, *_site_family(globs)))


def expectations(trace: Trace, builder: Builder, needs: Needs) -> Iterator[tuple[str, str]]:
    """Yield the CONF pairs by which the launcher sees whether a node will do, and finds its own libraries.

    Of the libraries nothing for a job that neither needs nor looked for one: most never do.
    """
    yield from _machine(trace, builder, needs)
    families_ = (*families(), *_site_family(builder.options.host))
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
    import lief  # noqa: PLC0415 - a quarter of a second, and few jobs need it

    parsed: dict[str, lief.ELF.Binary | None] = {}
    for (soname, by), must in sorted(builder.host_needs.items()):
        if not any(family.has(soname) for family in wanted):
            continue
        if by not in parsed:
            parsed[by] = lief.ELF.parse(by)
        yield HostNeed(soname, by, must, _required(parsed[by], soname))


def _required(binary: object, soname: str) -> tuple[str, ...]:
    """Return the symbol versions that an object wants of one library (DT_VERNEED), sorted."""
    requirements = getattr(binary, "symbols_version_requirement", ())
    return tuple(sorted({str(a.name) for r in requirements if r.name == soname for a in r.get_auxiliary_symbols()}))


_MPI = re.compile(r"lib(?:mpi|mpich|mpicxx|mpifort)[^/]*\.so")  # what programs call, not what it calls itself


def _mpi_symbols(builder: Builder) -> Iterator[tuple[str, str]]:
    """Yield for each object of the job that calls MPI the symbols that it takes of each MPI library."""
    import lief  # noqa: PLC0415

    exported: dict[str, set[str]] = {}
    by_name = {os.path.basename(path): draft for path, draft in builder.drafts.items() if draft.status}
    for soname, by in sorted(builder.host_needs):
        if not _MPI.match(soname) or _MPI.match(os.path.basename(by)) or soname not in by_name:
            continue
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
    import lief  # noqa: PLC0415

    travelling = {draft.path for draft in builder.travelling()}
    for soname in _UNDER_ALL:
        places = (builder.fs.resolve(f"{directory}/{soname}").real for directory in directories)
        path = next((place for place in places if place in travelling), None)
        binary = lief.ELF.parse(path) if path else None
        if binary is not None:
            names = [str(a.name) for d in binary.symbols_version_definition for a in list(d.auxiliary_symbols)[:1]]
            yield soname, [name for name in names if name != soname]
