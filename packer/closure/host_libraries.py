"""Libraries of which the node's own are used (drivers' user halves, fabrics): one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

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
        return _is_named(path, _pattern((self,)))


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


@lru_cache
def _pattern(chosen: tuple[Family, ...]) -> re.Pattern[str]:
    names = [name for family in chosen for name in family.libraries]
    return re.compile("|".join(map(translate, names)) or r"(?!)")


def _is_named(path: str, names: re.Pattern[str]) -> bool:
    return names.match(path, path.rfind("/") + 1) is not None and "/stubs/" not in path


@lru_cache
def _never() -> re.Pattern[str]:
    return _pattern(tuple(family for family in families() if family.mode == NEVER))


def never_travels(path: str) -> bool:
    """Return whether a file is a library that belongs to the node's kernel modules or fabric."""
    return _is_named(path, _never())


def site_family(globs: tuple[str, ...]) -> tuple[Family, ...]:
    """Return what sdee.toml's `host` names beside the table: globs whose last part is a library's name."""
    named = tuple(glob.rpartition("/")[2].replace(" ", "?") for glob in globs if ".so" in glob.rpartition("/")[2])
    return (Family("site", NEVER, named),) if named else ()


def may_be_the_nodes(soname: str, globs: tuple[str, ...], *, unasked: bool = False) -> bool:
    """Return whether a node may have its own of a library: by the table, or by sdee.toml's `host` globs.

    `unasked`: without an option that says so.
    """
    return _is_named(soname, _may_be(globs, unasked=unasked))


@lru_cache
def _may_be(globs: tuple[str, ...], *, unasked: bool) -> re.Pattern[str]:
    chosen = (family for family in families() if not (unasked and family.mode == ASKED))
    return _pattern((*chosen, *site_family(globs)))
