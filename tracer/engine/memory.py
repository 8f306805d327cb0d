"""Reading a stopped tracee's memory (process_vm_readv(2), and /proc/TID/mem where that is refused)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

from sdee.base.libc import LIBC

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 4096  # the smallest page of any ABI here: a string is read up to its end first, then on
PATH_MAX = 4096  # limits.h; the kernel answers ENAMETOOLONG beyond
_IOV_MAX = 1024  # limits.h, UIO_MAXIOV


class _Iovec(ctypes.Structure):
    """struct iovec (uio.h). Both are void pointers and sizes: 64-bit tracers only."""

    _fields_ = (("base", ctypes.c_uint64), ("length", ctypes.c_uint64))


_readv = LIBC.process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)

# One stop is handled at a time, so one set of buffers serves all: nothing is allocated in the common case
_page = ctypes.create_string_buffer(PAGE + 1)
_local = _Iovec(ctypes.addressof(_page), PAGE)
_remote = _Iovec(0, 0)
_local_at, _remote_at = ctypes.addressof(_local), ctypes.addressof(_remote)


def _fallback(tid: int, address: int, size: int) -> bytes:
    """Read `size` bytes by /proc/TID/mem, for kernels without CONFIG_CROSS_MEMORY_ATTACH and filters against it."""
    number = ctypes.get_errno()
    if number not in (errno.EPERM, errno.ENOSYS):
        raise OSError(number, os.strerror(number))
    descriptor = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, size, address)
    except OSError as error:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) if error.errno == errno.EIO else error from None
    finally:
        os.close(descriptor)


def read(tid: int, address: int, size: int) -> bytes:
    """Return up to `size` bytes at `address`: fewer only where the tracee's mapping ends.

    Raises OSError: EFAULT (nothing mapped there), ESRCH (the tracee has gone), EPERM.
    """
    buffer = ctypes.create_string_buffer(size)
    local = _Iovec(ctypes.addressof(buffer), size)
    pieces: list[int] = []
    at, left = address, size
    while left > 0 and len(pieces) < _IOV_MAX:  # one iovec a page: a missing page then cuts the rest off cleanly
        piece = min(left, PAGE - at % PAGE)
        pieces += [at, piece]
        at, left = at + piece, left - piece
    remote = ctypes.create_string_buffer(struct.pack(f"{len(pieces)}Q", *pieces))
    got = _readv(tid, ctypes.addressof(local), 1, ctypes.addressof(remote), len(pieces) // 2, 0)
    if got < 0:
        return _fallback(tid, address, size)
    return buffer.raw[:got]


def read_cstring(tid: int, address: int) -> bytes:
    """Return the NUL-terminated string at `address`, without its NUL, at most PATH_MAX bytes of it.

    Raises OSError as read() does.
    """
    size = PAGE - (address & PAGE - 1)
    _remote.base = address
    _remote.length = size
    got = _readv(tid, _local_at, 1, _remote_at, 1, 0)
    if got == size:
        _page[size] = b"\0"
        text = _page.value
        if len(text) < size:
            return text
    elif got >= 0:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    else:
        text = _fallback(tid, address, size)
        if b"\0" in text:
            return text[: text.index(b"\0")]
    return (text + read(tid, address + size, PATH_MAX - size)).split(b"\0", 1)[0] if size < PATH_MAX else text


def read_pointers(tid: int, address: int, width: int, limit: int) -> list[int]:
    """Return the pointers of `width` bytes (4 or 8) at `address` up to the NULL that ends them, at most `limit`."""
    pointers: list[int] = []
    while address and len(pointers) < limit:
        chunk = read(tid, address, PAGE - address % PAGE if address % width == 0 else width)
        chunk = chunk[: len(chunk) // width * width]
        if not chunk:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        values = struct.unpack(f"<{len(chunk) // width}{'Q' if width == 8 else 'I'}", chunk)
        if 0 in values:
            return pointers + list(values[: values.index(0)])
        pointers += values
        address += len(chunk)
    return pointers[:limit]


def read_starts(tid: int, addresses: Sequence[int], size: int) -> list[bytes]:
    """Return up to `size` (≤ PAGE) bytes at each address, fewer before a page's end, by one system call per 1024."""
    starts: list[bytes] = []
    for first in range(0, len(addresses), _IOV_MAX):
        chunk = addresses[first : first + _IOV_MAX]
        lengths = [min(size, PAGE - (address & PAGE - 1)) for address in chunk]
        numbers = [number for pair in zip(chunk, lengths, strict=True) for number in pair]
        remote = ctypes.create_string_buffer(struct.pack(f"{len(numbers)}Q", *numbers))
        buffer = ctypes.create_string_buffer(sum(lengths))
        local = _Iovec(ctypes.addressof(buffer), len(buffer))
        got = _readv(tid, ctypes.addressof(local), 1, ctypes.addressof(remote), len(chunk), 0)
        if got != len(buffer):  # a bad pointer among them, or no permission: one by one
            starts += [read(tid, address, length) for address, length in zip(chunk, lengths, strict=True)]
            continue
        data, at = buffer.raw, 0
        for length in lengths:
            starts.append(data[at : at + length])
            at += length
    return starts


def read_strings(tid: int, addresses: Sequence[int]) -> list[bytes]:
    """Return the NUL-terminated strings at `addresses`, of any length up to the kernel's 128 KiB (MAX_ARG_STRLEN)."""
    return [
        start[: start.index(b"\0")] if b"\0" in start else _long_string(tid, address)
        for address, start in zip(addresses, read_starts(tid, addresses, 128), strict=True)
    ]


def _long_string(tid: int, address: int) -> bytes:
    text = b""
    while len(text) < 32 * PAGE:
        chunk = read(tid, address + len(text), PAGE - (address + len(text)) % PAGE)
        head, nul, _ = chunk.partition(b"\0")
        text += head
        if nul or not chunk:
            break
    return text
