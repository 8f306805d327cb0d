"""An environment in one file: what an archive is called inside, and what its header says."""

from __future__ import annotations

import io
import json
import struct
import tarfile

import zstandard

from sdee.base.errors import BundleError

FORMAT = 2
HEADER = "sdee-environment.json"
END = "sdee-environment.end"
XATTR = "SCHILY.xattr."  # as GNU tar and libarchive write them
CAPABILITY = "security.capability"
_HEADER_ROOM = 1 << 20  # bytes that hold the first member


def read_header(source: str) -> dict[str, object]:
    """Return what an archive says about itself. Raises BundleError when it is none, OSError when it cannot be read."""
    try:
        with open(source, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            start = io.BytesIO(_read_all(stream, _HEADER_ROOM))
        with tarfile.open(fileobj=start, mode="r|") as tar:
            member = tar.next()
            content = tar.extractfile(member) if member is not None and member.name == HEADER else None
            header = json.loads(content.read()) if content else {}
    except (zstandard.ZstdError, tarfile.TarError, ValueError, EOFError, struct.error, RecursionError) as error:
        raise BundleError(f"{source} is not an exported environment: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise BundleError(f"{source} is not an exported environment")
    if header["format"] != FORMAT:
        newer = "newer" if header["format"] > FORMAT else "older"
        raise BundleError(f"{source} was exported by a {newer} sdee (format {header['format']}, not {FORMAT})")
    settings = header.get("settings")
    good = isinstance(settings, dict) and all(isinstance(settings.get(key), str) for key in ("name", "system"))
    binds = settings.get("binds", []) if isinstance(settings, dict) else None
    if not good or not isinstance(binds, list) or not all(isinstance(path, str) for path in binds):
        raise BundleError(f"{source}: its settings are damaged")
    return header


def _read_all(stream: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    return found
