"""Put what an archive holds into the layers of an environment. The archive may be anybody's, and damaged."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import tarfile
from typing import TYPE_CHECKING

import zstandard

from sdee.base.errors import BundleError, OutputError
from sdee.runtime.environment import owners
from sdee.runtime.environment.archive.header import CAPABILITY, END, HEADER, XATTR
from sdee.runtime.environment.configure import OWN_FILES
from sdee.runtime.environment.stamp import KEPT
from sdee.runtime.environment.upper_layer import OPAQUE, OWNER, WORKSHOP

if TYPE_CHECKING:
    from sdee.runtime.environment.store import Environment

# What tarfile and zstandard raise on damaged input
DAMAGED = (tarfile.TarError, zstandard.ZstdError, ValueError, EOFError, OverflowError, struct.error, AttributeError)
_BASE = {OWN_FILES, *(path.strip("/").replace("/", "-") for path in KEPT)}
_BASE_SIZE = 256 << 20  # bytes
_PADDING = 1 << 20  # bytes after the end that tar writers fill a last record with
_TIME = re.compile(r"(-?)([0-9]{1,11})(?:\.([0-9]{1,20}))?")


def read(environment: Environment, source: str) -> list[str]:
    """Extract an archive into a new environment; return what to tell the user. Raises BundleError."""
    reader = _Reader(environment)
    with open(source, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            reader.all(tar)
        rest = 0
        while piece := stream.read(1 << 16):  # to its end, where the checksum is
            rest += len(piece)
            if rest > _PADDING:
                raise BundleError(f"{source} is damaged: data follows its end")
    if reader.end is None:
        raise BundleError(f"{source} is damaged: its end is missing", hint="copy it again: the copy may be incomplete")
    if reader.end != reader.count:
        raise BundleError(f"{source} is damaged: it holds {reader.count} files, but should hold {reader.end}")
    reader.finish()
    left_out = {path for path in reader.left_out if path.rpartition("/")[0] not in reader.left_out}
    # a line each, which reaches the terminal
    shown = (path if path.isprintable() else ascii(path) for path in sorted(left_out))
    return [f"left out, because the host provides it: {path}" for path in shown]


class _Reader:
    """Extracts member by member."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._made: set[str] = set()  # names of members, and of all directories above them
        self._members: set[str] = set()
        self._directories: list[tuple[str, tarfile.TarInfo]] = []
        self._owned: dict[str, tuple[int, int]] = {}  # links, pipes: what can have no attribute
        self.left_out: set[str] = set()
        self.count = 0
        self.end: int | None = None

    def all(self, tar: tarfile.TarFile) -> None:
        for member in tar:
            if self.end is not None:
                raise BundleError(f"data follows the end of the archive: {member.name!r}")
            if member.name == HEADER:
                continue
            if member.name == END:
                self.end = _number(tar, member)
                continue
            target = self._target(member)
            if not member.name.startswith("base/"):
                self.count += 1
            if target is None:
                self.left_out.add(member.name.removeprefix("root"))
                continue
            self._extract(tar, member, target)

    def finish(self) -> None:
        """Set what later members would have changed: directories' times; and the owners of links and pipes."""
        for target, member in reversed(self._directories):
            _set_times(target, member)
        if self._owned:
            owners.write(self._environment, [], self._owned)

    def _target(self, member: tarfile.TarInfo) -> str | None:
        name = member.name
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or WORKSHOP in parts:
            raise BundleError(f"the archive holds a path that leads out of it: {name!r}")
        if name in self._members:
            raise BundleError(f"the archive holds {name!r} twice")
        self._members.add(name)
        if parts[0] == "base" and len(parts) == 2:
            if parts[1] not in _BASE or not member.isreg() or member.size > _BASE_SIZE:
                raise BundleError(f"the archive holds {name!r}, which does not belong to an environment")
            return self._environment.path("base", parts[1])
        if parts[0] != "root" or len(parts) == 1:
            raise BundleError(f"the archive holds {name!r}, which does not belong to an environment")
        return self._upper(name, is_directory=member.isdir())

    def _upper(self, name: str, *, is_directory: bool) -> str | None:
        """Return where a member belongs; None for what is not the environment's own on this machine."""
        path = name.removeprefix("root")
        step = self._environment.plan().layer_of(path)
        if step is not None and step.path == path and not is_directory:
            raise BundleError(f"the archive has a file in place of the directory {path}")
        return self._environment.upper(path)

    def _claim(self, name: str, target: str, *, is_directory: bool) -> None:
        """Make room at `target` and above. Raises BundleError where the archive itself is in the way."""
        top = self._environment.directory
        at, above = os.path.dirname(target), name.rpartition("/")[0]
        while len(at) > len(top):
            if os.path.islink(at) or (above in self._members and not os.path.isdir(at)):
                raise BundleError(f"the archive writes through its own file or link {above.removeprefix('root')!r}")
            if os.path.lexists(at) and not os.path.isdir(at):
                os.unlink(at)  # an empty file for one of the host that the user may not read
            self._made.add(above)
            at, above = os.path.dirname(at), above.rpartition("/")[0]
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            return
        if os.path.isdir(target) and not os.path.islink(target):
            if not is_directory:
                if name in self._made:
                    raise BundleError(f"the archive has {name!r} as a directory and as a file")
                _empty_skeleton(target)
                os.rmdir(target)
        else:
            os.unlink(target)

    def _extract(self, tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
        self._claim(member.name, target, is_directory=member.isdir())
        if member.isdir():
            if member.pax_headers.get(XATTR + OPAQUE) and os.path.isdir(target) and member.name not in self._made:
                _empty_skeleton(target)  # nothing of the host's shows there
            os.makedirs(target, exist_ok=True)
            self._directories.append((target, member))
        else:
            self._make(tar, member, target)
        if member.islnk() or (member.ischr() and not member.isdir()):
            return  # it is the other name's file; a whiteout has nothing of its own
        self._own(member, target)
        if member.issym():
            _set_times(target, member)
            return
        for key, value in member.pax_headers.items():
            if key.startswith(XATTR):
                _set_attribute(target, key.removeprefix(XATTR), value, is_directory=member.isdir())
        os.chmod(target, member.mode & 0o7777)
        _set_times(target, member)

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
        if member.issym():
            os.symlink(member.linkname, target)
        elif member.islnk():
            self._link(member, target)
        elif member.isfifo():
            os.mkfifo(target)
        elif member.ischr() and (member.devmajor, member.devminor) == (0, 0):
            os.mknod(target, stat.S_IFCHR, 0)  # a whiteout: no privilege is needed since Linux 5.8
        elif member.isreg():
            _write(tar, member, target)
        else:
            raise BundleError(f"the archive holds a device: {member.name!r}")

    def _link(self, member: tarfile.TarInfo, target: str) -> None:
        first = member.linkname
        source = self._upper(first, is_directory=False) if first in self._members else None
        if source is None or not stat.S_ISREG(os.lstat(source).st_mode):
            raise BundleError(f"the archive links {member.name!r} to {first!r}, which is not a file of it")
        os.link(source, target, follow_symlinks=False)

    def _own(self, member: tarfile.TarInfo, target: str) -> None:
        owner = (member.uid, member.gid)
        if member.name.startswith("base/") or owner == (0, 0):
            return
        if not all(0 <= number < 2**32 - 1 for number in owner):
            raise BundleError(f"{member.name!r} in the archive belongs to ids that this environment lacks: {owner}")
        if self._environment.plan().ranges is not None:
            os.chown(target, *owner, follow_symlinks=False)
        elif member.isreg() or member.isdir():
            os.setxattr(target, OWNER, f"{owner[0]} {owner[1]}".encode())
        else:
            self._owned[target] = owner


def _number(tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    content = tar.extractfile(member)
    return int(content.read(20)) if content else -1


def _set_times(target: str, member: tarfile.TarInfo) -> None:
    """To the nanosecond: a float cannot hold it."""
    match = _TIME.fullmatch(member.pax_headers.get("mtime", str(member.mtime)))
    if match is None:
        raise BundleError(f"{member.name!r} in the archive has no time: {member.mtime!r}")
    time = int(match[2]) * 10**9 + int(((match[3] or "") + "0" * 9)[:9])
    time = -time if match[1] else time
    os.utime(target, ns=(time, time), follow_symlinks=False)


def _set_attribute(target: str, name: str, value: str, *, is_directory: bool) -> None:
    """Only what an archive of ours has: others say something to overlayfs or to the kernel's security modules."""
    plain = name.startswith("user.") and not name.startswith(("user.overlay.", "user.sdee."))
    if not plain and name != CAPABILITY and (name != OPAQUE or value != "y" or not is_directory):
        raise BundleError(f"the archive holds an attribute that environments do not have: {name!r}")
    try:
        os.setxattr(target, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise BundleError(f"the archive holds an attribute that the kernel refuses: {name!r}") from error
        raise


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    """Write a file's content, its holes as holes."""
    content = tar.extractfile(member)
    if not isinstance(content, io.BufferedReader) or member.size < 0:
        raise BundleError(f"the archive has no content for {member.name!r}")
    # An empty map is of a file that is one hole. typeshed: an int
    pieces: list[tuple[int, int]] = [(0, member.size)] if member.sparse is None else member.sparse  # type: ignore[assignment]
    _check_room(member, pieces, os.path.dirname(target))
    raw = content.raw  # the buffer above it asks the stream whether it can seek
    with open(target, "xb") as file:
        for offset, size in pieces:
            raw.seek(offset)
            file.seek(offset)
            left = size
            while left:
                piece = raw.read(min(left, 1 << 20))
                if not piece:
                    raise BundleError(f"the archive is damaged: {member.name!r} ends too early")
                file.write(piece)
                left -= len(piece)
        file.truncate(member.size)


def _check_room(member: tarfile.TarInfo, pieces: list[tuple[int, int]], directory: str) -> None:
    """Refuse a file that cannot be written before any of it is: a few bytes of an archive may unpack to any size."""
    end = 0
    for offset, size in pieces:
        if size < 0 or offset < end or offset + size > member.size:
            raise BundleError(f"the archive is damaged: {member.name!r} has an invalid map of holes")
        end = offset + size
    size = sum(size for _, size in pieces)
    room = os.statvfs(directory)
    if size > room.f_bavail * room.f_frsize:
        raise OutputError(f"no space left for {member.name!r} of the archive, {size} bytes")


def _empty_skeleton(directory: str) -> None:
    """Empty a directory of a new environment, which holds only skeleton, or nothing is removed."""
    for above, names, files in os.walk(directory, topdown=False):
        for name in files:
            path = os.path.join(above, name)
            if os.lstat(path).st_size:
                raise OutputError(f"{directory} is a directory on the host, but not in the archive")
            os.unlink(path)  # an empty file for one of the host that the user may not read
        for name in names:
            os.rmdir(os.path.join(above, name))
