"""Headers of tar members (pax, POSIX.1-2001), the same bytes as tarfile's.

Those of most members are made from one that tarfile made: its own way takes 60 µs a member, this one 8.
"""

from __future__ import annotations

import os
import stat
import tarfile
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdee.packer.format.layout import Node

_BILLION = 1_000_000_000
_NAME, _MODE, _SIZE, _MTIME, _SUM, _LINK = (0, 100), (100, 108), (124, 136), (136, 148), (148, 156), (157, 257)
_MOST_NAME = 100  # bytes in a header; longer ones are pax records, too
_MOST_OCTAL = 8**11  # likewise sizes, and times


def header(node: Node, kind: bytes, *, size: int = 0, link: str = "") -> bytes:
    """Return the header of a member, with what pax adds before it."""
    seconds, rest = divmod(node.mtime_ns, _BILLION)
    path = node.path[1:] + "/" * (kind == tarfile.DIRTYPE)
    usual = size < _MOST_OCTAL and 0 <= seconds < _MOST_OCTAL and path.isascii() and link.isascii()
    if not usual:
        return _by_tarfile(node, kind, size, link)
    records = []
    if rest:
        records.append(_record("mtime", _decimal(node.mtime_ns)))
    for key, text in (("path", path), ("linkpath", link)):
        if len(text) > _MOST_NAME:
            records.append(_record(key, text))
    pax = b"".join(records)
    made = _filled(kind, path, mode=stat.S_IMODE(node.mode), size=size, seconds=seconds, link=link)
    if not pax:
        return made
    padding = bytes(-len(pax) % tarfile.BLOCKSIZE)
    return b"".join((_filled(tarfile.XHDTYPE, "././@PaxHeader", size=len(pax)), pax, padding, made))


def _filled(kind: bytes, name: str, *, mode: int = 0, size: int, seconds: int = 0, link: str = "") -> bytes:
    block = bytearray(_template(kind))
    for (start, end), text in ((_NAME, name), (_LINK, link)):
        block[start:end] = text[:_MOST_NAME].encode("ascii").ljust(end - start, b"\0")
    for (start, end), number in ((_MODE, mode), (_SIZE, size), (_MTIME, seconds)):
        block[start:end] = b"%0*o\0" % (end - start - 1, number)
    start, end = _SUM
    block[start:end] = b" " * (end - start)  # as which it counts
    block[start:end] = b"%06o\0 " % sum(block)
    return bytes(block)


@cache
def _template(kind: bytes) -> bytes:
    """Return a header with what all members of a kind have: no owner, POSIX's magic."""
    info = tarfile.TarInfo("x")
    info.type = kind
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _record(key: str, text: str) -> bytes:
    """Return a pax record, whose length counts its own digits."""
    length = len(key) + len(text) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return f"{total} {key}={text}\n".encode("ascii")


def _by_tarfile(node: Node, kind: bytes, size: int, link: str) -> bytes:
    info = tarfile.TarInfo(_tar_text(node.path[1:]))
    info.type = kind
    info.mode = stat.S_IMODE(node.mode)
    info.size = size
    info.linkname = _tar_text(link)
    info.mtime = node.mtime_ns // _BILLION
    if node.mtime_ns % _BILLION:
        info.pax_headers = {"mtime": _decimal(node.mtime_ns)}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _tar_text(path: str) -> str:
    """Return a path as tarfile takes it: the locale's encoding must not show in the bytes."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def _decimal(nanoseconds: int) -> str:
    """Return a time as pax writes it: seconds with nine decimal places, a sign in front if before 1970."""
    seconds, rest = divmod(abs(nanoseconds), _BILLION)
    return f"{'-' * (nanoseconds < 0)}{seconds}.{rest:09d}"
