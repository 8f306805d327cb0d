"""An environment in one file: a tar stream in a zstd frame, of what it changed, by the paths that it has inside.

The first member is the header, the last one says that the archive is whole; owner and group of all others are as shown
inside.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import zstandard

from sdee.runtime.environment import owners, rpm
from sdee.runtime.environment.archive.header import CAPABILITY, END, FORMAT, HEADER, XATTR
from sdee.runtime.environment.upper_layer import OPAQUE, OWNER, WORKSHOP, is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.runtime.environment.store import Environment

_BLOCK = 512


def _is_kept(name: str) -> bool:
    """Owners stand in the members themselves; of overlayfs' own attributes only one is no note about this machine."""
    return name in (CAPABILITY, OPAQUE) or (name.startswith("user.") and not name.startswith(("user.overlay.", OWNER)))


def _attributes(path: str) -> dict[str, str]:
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if _is_kept(name):
            value = os.getxattr(path, name, follow_symlinks=False)
            found[XATTR + name] = value.decode("utf-8", "surrogateescape")
    return found


def _seconds(nanoseconds: int) -> str:
    """To the nanosecond: a float cannot hold it."""
    sign, nanoseconds = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f"{sign}{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def _skeleton(layer: str) -> set[str]:
    """Return the directories that are skeleton; /usr/share and /var/tmp are, and in no list (create.py)."""
    with open(os.path.join(layer, "skeleton"), "rb") as file:
        return {"", "/share", "/tmp", *(os.fsdecode(name) for name in file.read().split(b"\0") if name)}


def _same_directory(host: str, upper: str) -> bool:
    """Tell whether a directory of the skeleton is as it was made; one with another owner than root travels anyway."""
    try:
        if OWNER in os.listxattr(upper) or (is_opaque(upper) and os.access(host, os.R_OK | os.X_OK)):
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
    tops = {step.path for step in environment.plan().layers}
    for step in environment.plan().layers:
        upper = environment.path(step.argument)
        known = _skeleton(os.path.dirname(upper)) if step.kind == "overlay" else set()
        listed: list[tuple[str, str]] = []
        needed: set[str] = set()
        for directory, names, files in os.walk(upper):
            below = directory[len(upper) :]
            shown = {name: f"{step.path}{below}/{name}" for name in names}
            names[:] = sorted(name for name in names if name != WORKSHOP and shown[name] not in tops)
            plain = below in known and _same_directory(step.path + below, directory)
            if not plain or files or any(os.path.islink(os.path.join(directory, name)) for name in names):
                needed.update(_with_parents(below))
                if not below:
                    needed.add("")
            listed.append((below, directory))
        for below, directory in listed:
            if below in needed:
                yield step.path + below, directory
            if not below or below in needed:
                for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
                    if not entry.is_dir(follow_symlinks=False):
                        yield step.path + below + "/" + entry.name, entry.path


def write(environment: Environment, target: str) -> None:
    """Write the archive to `target`, a new file."""
    header = {
        "format": FORMAT,
        "settings": vars(environment.settings()),
        "ids": bool(environment.plan().ranges),
        "rpm": rpm.fingerprint(environment) if rpm.own_databases(environment) else "",
    }
    shown = owners.Owners(environment)
    count = 0
    with (
        open(target, "wb") as file,
        zstandard.ZstdCompressor(level=3, threads=-1, write_checksum=True).stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add_text(tar, HEADER, json.dumps(header))
        for name in sorted(os.listdir(environment.path("base"))):
            tar.add(environment.path("base", name), f"base/{name}")
        for path, here in contents(environment):
            count += _add(tar, shown, path, here)
        _add_text(tar, END, f"{count}\n")


def _add(tar: tarfile.TarFile, shown: owners.Owners, path: str, here: str) -> bool:
    member = tar.gettarinfo(here, "root" + path)
    if member is None:  # a socket: nothing without the process that made it
        return False
    file = os.lstat(here)
    member.uid, member.gid = (0, 0) if is_whiteout(file) else shown.of(here, file)
    member.uname = member.gname = ""
    member.pax_headers = {**_attributes(here), "mtime": _seconds(file.st_mtime_ns)}
    if not member.isreg():
        tar.addfile(member)
        return True
    with open(here, "rb") as content:
        if file.st_blocks * _BLOCK < file.st_size:
            _add_sparse(tar, member, content)
        else:
            tar.addfile(member, content)
    return True


def _add_sparse(tar: tarfile.TarFile, member: tarfile.TarInfo, content: io.BufferedReader) -> None:
    """Add a file with holes as GNU tar's format 1.0 has it ("Storing Sparse Files"): a map, then the pieces."""
    pieces = list(_pieces(content.fileno(), member.size))
    numbers = [len(pieces), *(number for piece in pieces for number in piece)]
    head = "".join(f"{number}\n" for number in numbers).encode("ascii")
    head += b"\0" * (-len(head) % _BLOCK)
    member.pax_headers = {
        **member.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(member.size),
    }
    member.size = len(head) + sum(size for _, size in pieces)
    tar.addfile(member, _Joined(head, content, pieces))


def _pieces(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of a file's data (lseek(2), SEEK_DATA); at its end one of no length, as GNU tar does."""
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole to the end
            break
        end = min(os.lseek(fd, at, os.SEEK_HOLE), size)
        yield at, end - at
        at = end
    yield size, 0


class _Joined(io.RawIOBase):
    """Reads `head`, then the pieces of a file one after the other."""

    def __init__(self, head: bytes, content: io.BufferedReader, pieces: list[tuple[int, int]]) -> None:
        self._parts = self._generate(head, content, pieces)
        self._rest = b""

    @staticmethod
    def _generate(head: bytes, content: io.BufferedReader, pieces: list[tuple[int, int]]) -> Iterator[bytes]:
        yield head
        for offset, size in pieces:
            content.seek(offset)
            left = size
            while left:
                data = content.read(min(left, 1 << 20))
                if not data:
                    raise OSError("it became shorter while it was read")
                left -= len(data)
                yield data

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, less at the end."""
        found = [self._rest]
        got = len(self._rest)
        while size < 0 or got < size:
            data = next(self._parts, b"")
            if not data:
                break
            found.append(data)
            got += len(data)
        whole = b"".join(found)
        cut = len(whole) if size < 0 else size
        self._rest = whole[cut:]
        return whole[:cut]


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
