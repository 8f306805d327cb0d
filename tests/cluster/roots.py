"""The job manager of the cluster's nodes: this machine's Slurm with its own C library, as a layer over any root.

Debian's Slurm differs from release to release and the versions do not talk to each other (22.05's controller refuses
24.11's daemon; 20.11's daemon cannot take 22.05's input and output). So each node has the same one, from this machine's
packages, in /opt/slurm, started by its own program interpreter. What a node's jobs see is the node's own system, except
that Slurm's commands are there, and its plugins and PMIx, which lie where they were compiled to lie.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess

from foreign.roots import CACHE, CannotBuildError, cached

RECIPE = "1"
LIBRARIES = f"/usr/lib/{os.uname().machine}-linux-gnu"
PLUGINS, PMIX = f"{LIBRARIES}/slurm-wlm", f"{LIBRARIES}/pmix2"
LOADER = "ld-linux-x86-64.so.2"
DAEMONS = ("munged", "slurmd", "slurmstepd")
COMMANDS = ("munge", "unmunge", "srun", "sbatch", "salloc", "sbcast", "scancel", "scontrol", "sinfo", "squeue", "sattach")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "libpmix2", "libpmix-dev", "iproute2")
WRAPPER = "#!/bin/sh\nexec /opt/slurm/lib/{loader} --library-path /opt/slurm/lib /opt/slurm/bin/{name} \"$@\"\n"


def check_packages() -> None:
    """Raise CannotBuildError when this machine has not what the cluster is made of."""
    lacking = [name for name in ("slurmctld", "slurmd", "srun", "munged", "ip") if shutil.which(name) is None]
    lacking += [] if os.path.exists(f"{PMIX}/lib/libpmix.so") else ["libpmix.so"]
    if lacking:
        raise CannotBuildError(
            f"a cluster needs {', '.join(lacking)}: .ci/install-packages .ci/packages.txt, or as root:"
            f" apt-get install {' '.join(PACKAGES)}"
        )


def slurm_layer() -> str:
    """Return the path of the layer, made first if the cache lacks it or the packages have changed.

    Raises CannotBuildError when this machine lacks what is needed.
    """
    check_packages()
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES, "libc6", "slurm-wlm-basic-plugins"]
    versions = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    with cached("slurm-layer", f"{RECIPE}\n{versions}") as building:
        if building:
            _build(building)
    return os.path.join(CACHE, "slurm-layer")


def _build(layer: str) -> None:
    libraries, programs = f"{layer}/opt/slurm/lib", f"{layer}/opt/slurm/bin"
    for directory in (libraries, programs, f"{layer}/etc/slurm", f"{layer}{PLUGINS}"):
        os.makedirs(directory)
    open(f"{layer}/etc/hosts", "w", encoding="ascii").close()  # a mount point, which minimal roots lack
    shutil.copytree(PMIX, f"{layer}{PMIX}", symlinks=True, ignore=shutil.ignore_patterns("*.a"))
    origins = []
    for plugin in glob.glob(f"{PLUGINS}/*.so"):
        shutil.copy(plugin, f"{layer}{PLUGINS}")
        origins.append(plugin)
    for where, names in (("usr/sbin", DAEMONS), ("usr/bin", COMMANDS)):
        os.makedirs(f"{layer}/{where}")
        for name in names:
            origins.append(_program(name))
            shutil.copy(origins[-1], f"{programs}/{name}")
            wrapper = f"{layer}/{where}/{name}"
            with open(wrapper, "w", encoding="ascii") as file:
                file.write(WRAPPER.format(loader=LOADER, name=name))
            os.chmod(wrapper, 0o755)
    for library in _needed([*origins, f"{PMIX}/lib/libpmix.so", *glob.glob(f"{PMIX}/lib/pmix/*.so")]):
        shutil.copy(library, libraries)
    shutil.copy(f"/lib64/{LOADER}", libraries)


def _program(name: str) -> str:
    """Return where a program is, its links resolved: Debian's alternatives choose between Slurm's variants."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin")
    if path is None:
        raise CannotBuildError(f"{name} is not installed")
    return os.path.realpath(path)


def _needed(objects: list[str]) -> set[str]:
    """Return the libraries that ldd(1) finds for `objects`, without Slurm's own plugins."""
    done = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"})
    return {path for path in re.findall(r" => (/\S+) \(", done.stdout) if not path.startswith(PLUGINS)} | _private()


def _private() -> set[str]:
    """Return libslurmfull, which the programs find by their RUNPATH: --library-path comes before it, so it is safe."""
    return set(glob.glob(f"{PLUGINS}/libslurmfull.so"))
