"""An environment in one file: a tar stream in a zstd frame, of what it changed, by the paths that it has inside.

    python -m sdee.runtime.environment.archive write|read DIRECTORY FILE

runs as root of the environment's ids (`sdee-env root`), which may read and make files of any mode and owner.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import sys
import tarfile
from typing import TYPE_CHECKING

import zstandard

from sdee.errors import BundleError, OutputError, SdeeError
from sdee.runtime.environment.layers import WORKSHOP
from sdee.runtime.environment.store import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
HEADER = "sdee-environment.json"
XATTR = "SCHILY.xattr."  # as GNU tar and libarchive write them
KEEPS = ("user.", "security.capability")


def _attributes(path: str) -> dict[str, str]:
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(KEEPS):
            value = os.getxattr(path, name, follow_symlinks=False)
            found[XATTR + name] = value.decode("utf-8", "surrogateescape")
    return found


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def _set_times(target: str, member: tarfile.TarInfo) -> None:
    """To the nanosecond: a float cannot hold it."""
    seconds, _, fraction = member.pax_headers.get("mtime", str(member.mtime)).partition(".")
    time = int(seconds) * 10**9 + int((fraction + "0" * 9)[:9])
    os.utime(target, ns=(time, time), follow_symlinks=False)


def _skeleton(layer: str) -> set[str]:
    """Return the directories that are skeleton; /usr/share and /var/tmp are, and in no list (create.py)."""
    with open(os.path.join(layer, "skeleton"), "rb") as file:
        return {"/share", "/tmp", *(os.fsdecode(name) for name in file.read().split(b"\0") if name)}


def _same_directory(host: str, upper: str) -> bool:
    """Tell whether a directory of the skeleton is as it was made; one with another owner than root travels anyway."""
    try:
        if "user.sdee.owner" in os.listxattr(upper):
            return False
        return stat.S_IMODE(os.stat(host).st_mode) == stat.S_IMODE(os.stat(upper).st_mode)
    except OSError:
        return False


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def contents(environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield (path inside, path here) of all that makes the environment, directories before what is in them."""
    for step in environment.plan().layers:
        upper = environment.path(step.argument)
        known = _skeleton(os.path.dirname(upper)) if step.kind == "overlay" else set()
        listed: list[tuple[str, str]] = []
        needed: set[str] = set()
        for directory, names, files in os.walk(upper):
            names[:] = sorted(name for name in names if name != WORKSHOP)
            below = directory[len(upper) :]
            plain = below in known and _same_directory(step.path + below, directory)
            if below and (not plain or files or any(os.path.islink(os.path.join(directory, name)) for name in names)):
                needed.update(_with_parents(below))
            listed.append((below, directory))
        for below, directory in listed:
            if not below or below in needed:
                if below:
                    yield step.path + below, directory
                for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
                    if not entry.is_dir(follow_symlinks=False):
                        yield step.path + below + "/" + entry.name, entry.path


def write(environment: Environment, target: str) -> None:
    """Write the archive to `target`, a new file."""
    header = {"format": FORMAT, "settings": vars(environment.settings()), "ids": bool(environment.plan().ranges)}
    with (
        open(target, "wb") as file,
        zstandard.ZstdCompressor(level=3, threads=-1).stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add_text(tar, HEADER, json.dumps(header))
        for name in sorted(os.listdir(environment.path("base"))):
            tar.add(environment.path("base", name), f"base/{name}")
        for path, here in contents(environment):
            member = tar.gettarinfo(here, "root" + path)
            if member is None:  # a socket: nothing without the process that made it
                continue
            member.pax_headers = {**_attributes(here), "mtime": _seconds(os.lstat(here).st_mtime_ns)}
            if member.isreg():
                with open(here, "rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def read_header(source: str) -> dict[str, object]:
    """Return what an archive says about itself. Raises BundleError when it is none."""
    try:
        with (
            open(source, "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            member = tar.next()
            content = tar.extractfile(member) if member is not None and member.name == HEADER else None
            header = json.loads(content.read(1 << 20)) if content else {}
    except (zstandard.ZstdError, tarfile.TarError, ValueError, EOFError) as error:
        raise BundleError(f"{source} is no exported environment: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BundleError(f"{source} is no exported environment, or one of a newer sdee")
    return header


def read(environment: Environment, source: str) -> None:
    """Put what the archive holds into the layers of an environment that has just been made."""
    with (
        open(source, "rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        directories: list[tuple[str, tarfile.TarInfo]] = []
        for member in tar:
            target = _target(environment, member.name)
            if target is None:
                continue
            _extract(environment, tar, member, target)
            if member.isdir():
                directories.append((target, member))
        for target, member in reversed(directories):
            _set_times(target, member)


def _target(environment: Environment, name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "." in parts:
        raise BundleError(f"the archive holds a path that leads out of it: {name!r}")
    if parts[0] == "base" and len(parts) == 2:
        return environment.path("base", parts[1])
    return environment.upper(name.removeprefix("root")) if parts[0] == "root" else None


def _real_parent(top: str, target: str) -> None:
    """Refuse a path through a link of the archive: it would lead out of the environment. Raises BundleError."""
    at = os.path.dirname(target)
    while len(at) > len(top):
        if os.path.islink(at):
            raise BundleError(f"the archive writes through its own link {at.removeprefix(top)!r}")
        if os.path.lexists(at) and not os.path.isdir(at):
            os.unlink(at)  # a file of the host that hides nothing: the archive has a directory there
        at = os.path.dirname(at)


def _extract(environment: Environment, tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    _real_parent(environment.directory, target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if member.isdir():
        if os.path.lexists(target) and (os.path.islink(target) or not os.path.isdir(target)):
            os.unlink(target)
        os.makedirs(target, exist_ok=True)
    else:
        if os.path.isdir(target) and not os.path.islink(target):
            _remove_skeleton(target)
        elif os.path.lexists(target):
            os.unlink(target)
        _make(environment, tar, member, target)
    if member.issym():
        return
    if os.getuid() == 0 and (member.uid, member.gid) != (0, 0):
        with contextlib.suppress(OSError):  # with one mapped id owners stand in the attribute below
            os.chown(target, member.uid, member.gid, follow_symlinks=False)
    for key, value in member.pax_headers.items():
        if key.startswith(XATTR):
            os.setxattr(
                target, key.removeprefix(XATTR), value.encode("utf-8", "surrogateescape"), follow_symlinks=False
            )
    if not member.ischr():
        os.chmod(target, member.mode)
        _set_times(target, member)


def _remove_skeleton(directory: str) -> None:
    """Remove a directory that the host has and the archive does not: it holds only skeleton, or nothing is removed."""
    for above, names, files in os.walk(directory, topdown=False):
        if files:
            raise OutputError(f"{directory} of the host is something else in the archive")
        for name in names:
            os.rmdir(os.path.join(above, name))
    os.rmdir(directory)


def _make(environment: Environment, tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    if member.issym():
        os.symlink(member.linkname, target)
    elif member.islnk():
        source = _target(environment, member.linkname)
        if source is None:
            raise BundleError(f"the archive links to {member.linkname!r}, which it has not")
        _real_parent(environment.directory, source)
        os.link(source, target, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(target)
    elif member.ischr() and (member.devmajor, member.devminor) == (0, 0):
        os.mknod(target, stat.S_IFCHR, 0)  # a whiteout: no privilege is needed since Linux 5.8
    elif member.isreg():
        content = tar.extractfile(member)
        with open(target, "xb") as file:
            while content is not None and (piece := content.read(1 << 20)):
                file.write(piece)
    else:
        raise BundleError(f"the archive holds a device: {member.name!r}")


def main(arguments: list[str]) -> int:
    """Write or read, and say in one line on standard error what failed."""
    action, directory, file = arguments
    environment = Environment(os.path.basename(directory), directory)
    try:
        (write if action == "write" else read)(environment, file)
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        return int(error.exit_code)
    except (OSError, tarfile.TarError, zstandard.ZstdError) as error:
        name = getattr(error, "filename", None) or file
        sys.stderr.write(f"sdee: error: {name}: {getattr(error, 'strerror', None) or error}\n")
        return int(OutputError.exit_code if action == "write" else BundleError.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
