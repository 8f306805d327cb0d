"""What an environment has changed against the host: by package where dpkg or rpm knows, else by file."""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdee.base import dpkg
from sdee.base.files import lines, text_of
from sdee.runtime.environment import rpm
from sdee.runtime.environment.configure import OWN_FILES, fingerprint
from sdee.runtime.environment.owners import Owners
from sdee.runtime.environment.upper_layer import WORKSHOP, attribute, is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.runtime.environment.store import Environment

# Changed by every use of a package manager, and of no interest
NOISE = (
    *("/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/", "/var/log/"),
    *("/var/lib/rpm/", "/usr/lib/sysimage/", "/var/lib/dnf/", "/var/lib/yum/", "/var/lib/zypp/"),
)

_MD5 = 32  # digits


@dataclass(frozen=True)
class Change:
    """One path: `kind` is "added", "changed" or "removed"; `package` owns it, "" where none does.

    `what` says of a changed one in what it differs from the host's, of "type", "content", "mode", "owner" and
    "capabilities". Times are not compared. `edited`: it is a configuration file of a package that has changed, too, and
    is not as the package brought it.
    """

    path: str
    kind: str
    package: str = ""
    what: tuple[str, ...] = ()
    edited: bool = False


@dataclass(frozen=True)
class PackageChange:
    """A package: `before` is the host's version, `after` the environment's; "" for not installed."""

    name: str
    before: str
    after: str
    architecture: str = ""
    manager: str = "dpkg"


@dataclass(frozen=True)
class Changes:
    """All that an environment has changed; `problem` says what could not be found out."""

    packages: list[PackageChange]
    files: list[Change]
    problem: str = ""


class _Layer:
    """Compares an upper layer with the host's directory that it covers."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    def top(self, host: str, upper: str) -> Iterator[Change]:
        """Yield the change of the layer's own directory."""
        ours, theirs = _status(upper), _status(host)
        if ours and theirs and (what := self._differences(upper, ours, host, theirs)):
            yield Change(host, "changed", what=what)

    def compare(
        self, host: str, upper: str, shown: str, *, covered: bool = False, hidden: bool = False
    ) -> Iterator[Change]:
        """Yield what one layer changes, directories before what is in them.

        `covered`: the host has nothing there, or no directory. `hidden`: its content does not show through (opaque).
        """
        try:
            entries = sorted(os.scandir(upper), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if entry.name != WORKSHOP:
                path, below = os.path.join(shown, entry.name), os.path.join(host, entry.name)
                yield from self._entry(entry, below, path, covered=covered, hidden=hidden)
        if hidden and not covered:
            gone = set(_names(host)) - {entry.name for entry in entries}
            yield from (Change(os.path.join(shown, name), "removed") for name in sorted(gone))

    def _entry(
        self, entry: os.DirEntry[str], below: str, path: str, *, covered: bool, hidden: bool
    ) -> Iterator[Change]:
        theirs = None if covered else _status(below)
        ours = _status(entry.path)
        if ours is None:  # removed while we look
            return
        if is_whiteout(ours):
            if theirs:
                yield Change(path, "removed")
            return
        if theirs is None:
            yield Change(path, "added")
        elif what := self._differences(entry.path, ours, below, theirs):
            yield Change(path, "changed", what=what)
        if stat.S_ISDIR(ours.st_mode):
            merged = theirs is not None and stat.S_ISDIR(theirs.st_mode)
            # the skeleton's directories for those of the host that the user may not read are opaque, too
            hides = hidden or (is_opaque(entry.path) and os.access(below, os.R_OK | os.X_OK))
            yield from self.compare(below, entry.path, path, covered=not merged, hidden=hides)

    def _differences(self, upper: str, ours: os.stat_result, host: str, theirs: os.stat_result) -> tuple[str, ...]:
        if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
            return ("type",)
        found = []
        if not _same_content(upper, ours, host, theirs):
            found.append("content")
        if not stat.S_ISLNK(ours.st_mode) and stat.S_IMODE(ours.st_mode) != stat.S_IMODE(theirs.st_mode):
            found.append("mode")
        owner = self._owners.of(upper, ours)
        if owner != _ids(theirs) and (self._owners.emulated or owner != (0, 0)):
            found.append("owner")
        if stat.S_ISREG(ours.st_mode) and _capabilities(upper) != _capabilities(host):
            found.append("capabilities")
        return tuple(found)


def _same_content(upper: str, ours: os.stat_result, host: str, theirs: os.stat_result) -> bool:
    try:
        if stat.S_ISLNK(ours.st_mode):
            return os.readlink(upper) == os.readlink(host)
        if not stat.S_ISREG(ours.st_mode):
            return True
        if not os.access(host, os.R_OK):
            return ours.st_size == 0  # the empty file in place of one that the user may not read
        if ours.st_size != theirs.st_size:
            return False
        if not os.access(upper, os.R_OK):
            return False  # mode 0 inside; a copy of the host's keeps its mode, and that can be read
        return filecmp.cmp(upper, host, shallow=False)
    except OSError:
        return False


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _capabilities(path: str) -> tuple[bytes, bytes]:
    """Return a file's capabilities without the namespace that they are for (struct vfs_ns_cap_data)."""
    value = attribute(path, "security.capability")
    return value[:1], value[4:20]


def _ids(file: os.stat_result) -> tuple[int, int]:
    return (0 if file.st_uid == os.geteuid() else file.st_uid, 0 if file.st_gid == os.getegid() else file.st_gid)


def find(environment: Environment) -> Changes:
    """Return what the environment has changed, files with their packages, but not what sdee wrote and is as written."""
    own = _as_written(environment)
    found: list[Change] = []
    layer = _Layer(Owners(environment))
    for step in environment.plan().layers:
        if step.kind == "overlay":  # what is the environment's own, /root and /var/tmp, differs by nature
            found += layer.top(step.path, environment.path(step.argument))
            found += layer.compare(step.path, environment.path(step.argument), step.path)
    # Mount points, and what lies below them
    other = [step.path for step in environment.plan().steps if step.kind in ("own", "bind", "live")]
    below = tuple(f"{path}/" for path in other)
    found = [
        change
        for change in found
        if change.path not in own and change.path not in other and not change.path.startswith(below)
    ]
    databases = rpm.both(environment)
    changed = [*_dpkg(environment), *_rpm(databases)]
    packages = _owners(environment, databases, {change.path for change in found}, {package.name for package in changed})
    packed = {**_conffiles(environment), **databases.own.configuration}
    names = {package.name for package in changed}
    files = []
    for change in found:
        package = packages.get(change.path, "")
        edited = package in names and change.kind != "removed" and _is_edited(environment, change.path, packed)
        files.append(replace(change, package=package, edited=edited))
    return Changes(changed, files, databases.problem)


def _is_edited(environment: Environment, path: str, packed: dict[str, str]) -> bool:
    """Tell whether a configuration file is another than its package has, by the digest in `packed`."""
    digest, own = packed.get(path), environment.own_file(path)
    if not digest or own is None:
        return False
    try:
        with open(own, "rb") as file:
            return hashlib.new("md5" if len(digest) == _MD5 else "sha256", file.read()).hexdigest() != digest
    except OSError:
        return False


def _conffiles(environment: Environment) -> dict[str, str]:
    """Return the configuration files of the environment's Debian packages with their MD5 as packed (dpkg-query(1))."""
    status = environment.own_file(dpkg.STATUS)
    return dict(re.findall(r"^ (/\S+) ([0-9a-f]{32})(?: obsolete)?$", text_of(status), re.MULTILINE)) if status else {}


def _as_written(environment: Environment) -> set[str]:
    """Return the files that still are what `create` made of them."""
    result = {"/etc/debian_chroot"}  # follows the environment's name
    for line in lines(text_of(environment.path("base", OWN_FILES))):
        path, _, written = line.partition("\t")
        if fingerprint(environment.upper(path) or "") == written:
            result.add(path)
    return result


def _dpkg(environment: Environment) -> list[PackageChange]:
    """Return the packages that dpkg has others of than on the host now."""
    own = environment.upper(dpkg.STATUS)
    if own is None or not os.path.isfile(own):
        return []
    theirs, ours = dpkg.stanzas(text_of(dpkg.STATUS)), dpkg.stanzas(text_of(own))
    found = []
    for key in sorted({*theirs, *ours}):
        before, after = (_version(all_[key]) if key in all_ else "" for all_ in (theirs, ours))
        if before != after:
            found.append(PackageChange(key.split(":")[0], before, after, key.split(":")[1]))
    return found


def _version(stanza: str) -> str:
    return dpkg.field(stanza, "Version") if dpkg.is_installed(stanza) else ""


def _rpm(databases: rpm.Both) -> list[PackageChange]:
    host, own = databases.host.versions, databases.own.versions
    if databases.host is databases.own:
        return []
    found = []
    for key in sorted({*host, *own}):
        before, after = (" ".join(sorted(versions.get(key, ()))) for versions in (host, own))
        if before != after:
            found.append(PackageChange(key[0], before, after, key[1], "rpm"))
    return found


def _owners(environment: Environment, databases: rpm.Both, paths: set[str], changed: set[str]) -> dict[str, str]:
    """Return the package of each path that one has: by the environment's databases, or else by the host's."""
    found: dict[str, str] = {}
    for directory, packages in ((dpkg.INFO, databases.host), (environment.upper(dpkg.INFO), databases.own)):
        for owned in (_listed(directory, paths, changed) if directory and paths else {}, packages.owners):
            for path, package in owned.items():
                real = path if path in paths else _merged_usr(path)
                if real in paths:
                    found[real] = package
    return found


def _listed(directory: str, paths: set[str], changed: set[str]) -> dict[str, str]:
    """Return the Debian package of each of the paths in the lists of a directory.

    Of what several have, directories mostly, one where all have changed: it is theirs as their files are; else "".
    """
    found: dict[str, set[str]] = {}
    # sets meet at once: to look at each of 300,000 lines takes 0.3 s
    real = {path[4:]: path for path in paths if path.startswith("/usr/") and _merged_usr(path[4:]) == path}
    real.update((path, path) for path in paths)
    for package, listed in dpkg.lists(directory, os.listdir(directory) if os.path.isdir(directory) else ()):
        for line in real.keys() & listed:
            found.setdefault(real[line], set()).add(package)
    return {path: min(names) if len(names) == 1 or names <= changed else "" for path, names in found.items()}


def _merged_usr(path: str) -> str:
    """Return where a path of a package lies when /bin, /lib and /sbin are links into /usr."""
    top = path.split("/", 2)[1] if path.count("/") > 1 else ""
    return f"/usr{path}" if top in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") else path
