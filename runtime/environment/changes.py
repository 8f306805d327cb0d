"""What an environment has changed against the host: by package where dpkg knows, else by file."""

from __future__ import annotations

import filecmp
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.runtime.environment import merge
from sdee.runtime.environment.create import OWN_FILES, fingerprint, read_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.runtime.environment.store import Environment

STATUS = "/var/lib/dpkg/status"
INFO = "/var/lib/dpkg/info"
OWNER = "user.sdee.owner"
WORKSHOP = ".sdee-own"  # own.c: where copies are made
# Changed by every use of a package manager, and of no interest
NOISE = ("/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/", "/var/log/")


@dataclass(frozen=True)
class Change:
    """One path: `kind` is "added", "changed" or "removed"; `package` owns it, "" where none does."""

    path: str
    kind: str
    package: str = ""


@dataclass(frozen=True)
class PackageChange:
    """A package: `before` is the host's version, `after` the environment's; "" for not installed."""

    name: str
    before: str
    after: str


def is_whiteout(file: os.stat_result) -> bool:
    """Tell whether an entry of an upper layer says that the host's is removed (overlayfs: device 0/0)."""
    return stat.S_ISCHR(file.st_mode) and file.st_rdev == 0


def is_opaque(path: str) -> bool:
    """Tell whether a directory of an upper layer hides the host's content."""
    return attribute(path, "user.overlay.opaque") == b"y"


def attribute(path: str, name: str) -> bytes:
    """Return an extended attribute, b"" where there is none."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""


def _same(upper: str, host: str, ours: os.stat_result) -> bool:
    try:
        theirs = os.lstat(host)
        if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
            return False
        if stat.S_ISLNK(ours.st_mode):
            return os.readlink(upper) == os.readlink(host)
        if stat.S_ISREG(ours.st_mode) and not os.access(host, os.R_OK):
            return ours.st_size == 0  # the empty file in place of one that the user may not read
        if ours.st_mode != theirs.st_mode or owner_of(upper) != _ids(theirs):
            return False
        if not stat.S_ISREG(ours.st_mode):
            return True
        return ours.st_size == theirs.st_size and filecmp.cmp(upper, host, shallow=False)
    except OSError:
        return False


def owner_of(upper: str) -> tuple[int, int]:
    """Return the owner that the environment shows for a file of an upper layer."""
    recorded = attribute(upper, OWNER).split()
    return (int(recorded[0]), int(recorded[1])) if len(recorded) == 2 else (0, 0)


def _ids(file: os.stat_result) -> tuple[int, int]:
    return (0 if file.st_uid == os.geteuid() else file.st_uid, 0 if file.st_gid == os.getegid() else file.st_gid)


def layer_changes(host: str, upper: str) -> Iterator[Change]:
    """Yield what one layer changes, directories before what is in them."""
    yield from _directory(host, upper, host, covered=False)


def _directory(host: str, upper: str, shown: str, *, covered: bool) -> Iterator[Change]:
    try:
        entries = sorted(os.scandir(upper), key=lambda entry: entry.name)
    except OSError:
        return
    names = set()
    for entry in entries:
        names.add(entry.name)
        if entry.name == WORKSHOP:
            continue
        path, below = os.path.join(shown, entry.name), os.path.join(host, entry.name)
        there = not covered and os.path.lexists(below)
        file = entry.stat(follow_symlinks=False)
        if is_whiteout(file):
            if there:
                yield Change(path, "removed")
        elif entry.is_dir(follow_symlinks=False):
            is_directory = there and os.path.isdir(below) and not os.path.islink(below)
            if not is_directory:
                yield Change(path, "changed" if there else "added")
            hides = not is_directory or (is_opaque(entry.path) and os.access(below, os.R_OK | os.X_OK))
            yield from _directory(below, entry.path, path, covered=hides)
            if is_directory and hides:
                yield from (Change(os.path.join(path, name), "removed") for name in _gone(below, entry.path))
        elif not there:
            yield Change(path, "added")
        elif not _same(entry.path, below, file):
            yield Change(path, "changed")


def _gone(host: str, upper: str) -> list[str]:
    return sorted(set(os.listdir(host)) - set(os.listdir(upper)))


def file_changes(environment: Environment) -> list[Change]:
    """Return all changes but the files that sdee itself wrote and that are as written, with their packages."""
    own = _as_written(environment)
    found: list[Change] = []
    for step in environment.plan().layers:
        if step.kind == "overlay":  # what is the environment's own, /root and /var/tmp, differs by nature
            found += layer_changes(step.path, environment.path(step.argument))
    live = tuple(f"{step.path}/" for step in environment.plan().steps if step.kind in ("own", "bind", "live"))
    found = [change for change in found if change.path not in own and not change.path.startswith(live)]
    packages = owners(environment, {change.path for change in found})
    return [Change(change.path, change.kind, packages.get(change.path, "")) for change in found]


def _as_written(environment: Environment) -> set[str]:
    """Return the files that still are what `create` made of them."""
    result = {"/etc/debian_chroot"}  # follows the environment's name
    for line in read_host(environment.path("base", OWN_FILES)).splitlines():
        path, written = line.split("\t")
        if fingerprint(environment.upper(path) or "") == written:
            result.add(path)
    return result


def package_changes(environment: Environment) -> list[PackageChange]:
    """Return the packages of which the environment has others than the host has now."""
    own = environment.upper(STATUS)
    if own is None or not os.path.isfile(own):
        return []
    theirs, ours = merge.stanzas(read_host(STATUS)), merge.stanzas(read_host(own))
    found = []
    for key in sorted({*theirs, *ours}):
        before, after = (_version(all_[key]) if key in all_ else "" for all_ in (theirs, ours))
        if before != after:
            found.append(PackageChange(key.split(":")[0], before, after))
    return found


def _version(stanza: str) -> str:
    return merge.field(stanza, "Version") if merge.is_installed(stanza) else ""


def owners(environment: Environment, paths: set[str]) -> dict[str, str]:
    """Return the Debian package of each path that has one: of the environment's database, then of the host's."""
    found: dict[str, str] = {}
    upper = environment.upper(INFO)
    for directory in (INFO, upper):  # the second overrides the first
        if directory is None or not os.path.isdir(directory) or not paths:
            continue
        for name in os.listdir(directory):
            if name.endswith(".list"):
                package = name.removesuffix(".list").split(":")[0]
                for line in read_host(os.path.join(directory, name)).splitlines():
                    real = line if line in paths else _merged_usr(line)
                    if real in paths:
                        found[real] = package
    return found


def _merged_usr(path: str) -> str:
    """Return where a path of a package lies when /bin, /lib and /sbin are links into /usr."""
    top = path.split("/", 2)[1] if path.count("/") > 1 else ""
    return f"/usr{path}" if top in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") else path
