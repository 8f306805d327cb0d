"""Addresses of Unix sockets that a job binds or connects to (unix(7)), read from its memory."""

from __future__ import annotations

import struct

from sdee.tracer.engine import memory

_AF_UNIX = 1
_ADDRESS_SIZE = 110  # bytes of struct sockaddr_un
_BIND, _CONNECT = 2, 3  # of socketcall(2): linux/net.h


def unix_address(tid: int, address: int, length: int) -> bytes:
    """Return a Unix socket's name, an abstract one with its first NUL; b"" for an unnamed one or another family.

    Raises OSError when the memory of thread `tid` cannot be read.
    """
    data = memory.read(tid, address, min(length & 0xFFFFFFFF, _ADDRESS_SIZE))
    if len(data) < 3 or struct.unpack_from("=H", data)[0] != _AF_UNIX:
        return b""
    return data[2:] if data[2] == 0 else data[2:].split(b"\0")[0]


def socketcall(tid: int, number: int, arguments: int) -> tuple[int, int, bool] | None:
    """Read how i386 binds or connects: address, length, whether it connects; None for other calls (linux/net.h).

    Raises OSError when the memory of thread `tid` cannot be read.
    """
    if number not in (_BIND, _CONNECT):
        return None
    _, address, length = struct.unpack("=III", memory.read(tid, arguments, 12))
    return address, length, number == _CONNECT
