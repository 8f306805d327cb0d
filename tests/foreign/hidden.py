"""A layer that hides from this machine's own root what was installed beyond a minimal system: overlayfs whiteouts.

A whiteout is a character device 0:0 (kernel: Documentation/filesystems/overlayfs.rst). Mounted as the upper of two
lower layers over /usr and the like, it gives a node with this very system and none of the packages that jobs need
(node.py, LAYER).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat

LAYER = "over-this-machine"  # name of the layer in the directory of a root, as node.py knows it
KEPT_IN_LOCAL = ("bin", "etc", "games", "include", "lib", "man", "sbin", "share", "src")


def installed(status: str) -> set[str]:
    """Return the names of the packages in a dpkg status file."""
    with open(status, encoding="utf-8") as file:
        return set(re.findall(r"^Package: (\S+)\nStatus: \S+ \S+ installed$", file.read(), re.MULTILINE))


def stamp() -> str:
    """Return what changes when packages come or go on this machine."""
    with open("/var/lib/dpkg/status", "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def build(directory: str, minimal: str) -> None:
    """Make the layer in `directory`, which is empty. `minimal`: a root with the packages that stay."""
    keep = installed(f"{minimal}/var/lib/dpkg/status") & installed("/var/lib/dpkg/status")
    kept, gone = _listed(keep), _listed(installed("/var/lib/dpkg/status") - keep)
    kept_directories = {parent for path in kept for parent in _parents(path)}
    hidden = {_topmost(path, kept_directories) for path in gone - kept}
    hidden |= {f"/usr/local/{part}/{name}" for part in KEPT_IN_LOCAL for name in _names(f"/usr/local/{part}")}
    hidden |= {f"/usr/local/{name}" for name in _names("/usr/local") if name not in KEPT_IN_LOCAL}
    hidden |= {f"/opt/{name}" for name in _names("/opt")}
    hidden = {path for path in hidden if not path.startswith("/var/")}  # the layer itself may lie there
    layer = os.path.join(directory, LAYER)
    os.makedirs(os.path.join(directory, "root"))
    os.mkdir(layer, 0o755)
    for path in sorted(hidden):
        if path.count("/") > 1 and os.path.lexists(path):
            _directory(layer, os.path.dirname(path))
            os.mknod(layer + path, stat.S_IFCHR, os.makedev(0, 0))


def _names(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


def _listed(packages: set[str]) -> set[str]:
    """Return the files and links, no directories, that belong to packages, without links in their directories."""
    found: set[str] = set()
    for name in os.listdir("/var/lib/dpkg/info"):
        if name.endswith(".list") and name[:-5].split(":")[0] in packages:
            with open(f"/var/lib/dpkg/info/{name}", encoding="utf-8", errors="surrogateescape") as file:
                found.update(file.read().splitlines())
    real: dict[str, str] = {}
    paths = set()
    for path in found:
        parent, _, name = path.rpartition("/")
        if parent not in real:
            real[parent] = os.path.realpath(parent or "/").rstrip("/")
        full = f"{real[parent]}/{name}"
        if os.path.lexists(full) and (os.path.islink(full) or not os.path.isdir(full)):
            paths.add(full)
    return paths


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) or "/" for n in range(1, len(parts))]


def _topmost(path: str, kept_directories: set[str]) -> str:
    """Return the outermost directory above `path` that nothing kept lies in, or `path`."""
    return next((parent for parent in _parents(path) if parent not in kept_directories), path)


def _directory(layer: str, path: str) -> None:
    """Make a directory of the layer, and those above, as they are on this machine: overlayfs shows the upper's mode."""
    if not os.path.isdir(layer + path):
        _directory(layer, os.path.dirname(path))
        os.mkdir(layer + path, stat.S_IMODE(os.stat(path).st_mode))
