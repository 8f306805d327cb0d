"""Frames of an older bundle that a new one takes over instead of compressing the same bytes again."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING, Any, final

import zstandard

from sdee.base.errors import BundleError
from sdee.base.files import open_regular
from sdee.packer.contents import Contents, identity
from sdee.packer.format.reader import open_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from sdee.packer.format.reader import Bundle

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TICK = 0.02  # s: the kernel's clock for files goes in steps of 1 to 10 ms


def made_by(level: int) -> dict[str, Any]:
    """Return what decides on the bytes of a frame beside its content."""
    return {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION)), "level": level}


def frames_meta(level: int, digests: Sequence[bytes]) -> dict[str, Any]:
    """Return META's `frames`: what made them, and the SHA-256 of what each holds."""
    return {**made_by(level), "sha256": [digest.hex() for digest in digests]}


@final
class OldFrames:
    """The frames of older bundles by the digest of what they hold; a context manager, to be used by many threads.

    A frame of these files counts only if it decodes to the very bytes that are wanted; those of the bundle that was
    written last count as they are while it is known to be unchanged, as any file is (packer/contents.py).
    """

    def __init__(self, level: int, contents: Contents | None = None) -> None:
        self._level = level
        self._contents = contents or Contents()
        self._own: dict[str, tuple[int, int]] = {}  # digest in hex → place, compressed size in the last bundle
        self._own_fd = -1
        self._bundles: list[Bundle] = []
        self._frames: dict[str, tuple[Bundle, int]] = {}  # digest in hex → bundle, number of the frame

    def __enter__(self) -> OldFrames:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the bundles."""
        for bundle in self._bundles:
            bundle.close()
        if self._own_fd >= 0:
            os.close(self._own_fd)

    def add_last(self, path: str) -> bool:
        """Add the frames of a bundle if it is the one that was written last, and unchanged; return whether it is."""
        last = self._contents.bundle
        try:
            if not made_by(self._level).items() <= last.items():
                return False
            fd = open_regular(path)
            if list(identity(os.fstat(fd))) != last["identity"]:
                os.close(fd)
                return False
            self._own_fd = fd
            self._own = {str(digest): (int(place), int(size)) for digest, place, size in last["frames"]}
        except (OSError, AttributeError, KeyError, TypeError, ValueError):
            return False
        return True

    def add(self, path: str) -> str:
        """Add a bundle's frames; return "" or why they are of no use. Raises BundleError: no bundle, or damaged."""
        bundle = open_bundle(path)
        self._bundles.append(bundle)
        meta = bundle.meta.get("frames")
        if meta is None:
            return "an older sdee made it"
        if not made_by(self._level).items() <= meta.items():
            return f"it was compressed otherwise: level {meta.get('level')}, zstd {meta.get('zstd')}"
        digests = meta.get("sha256")
        if digests is None or len(digests) != len(bundle.table.frames):
            raise BundleError(f"{path!a}: damaged section META: not a digest for each frame")
        for number, digest in enumerate(digests):
            self._frames.setdefault(digest, (bundle, number))
        return ""

    def find_made_of(self, made_of: str) -> tuple[bytes, bytes] | None:
        """Return a frame by what it was made of, and the SHA-256 of what it holds: files that nobody has read again."""
        known = self._contents.frames.get(made_of)
        if not isinstance(known, str) or not _DIGEST.fullmatch(known):
            return None
        if frame := self._of_last(known):
            return frame, bytes.fromhex(known)
        frame, content = self._checked(known)
        return (frame, bytes.fromhex(known)) if frame and hashlib.sha256(content).hexdigest() == known else None

    def find(self, digest: bytes, data: bytes) -> bytes | None:
        """Return the frame that holds `data`, whose SHA-256 is `digest`."""
        if frame := self._of_last(digest.hex()):
            return frame
        frame, content = self._checked(digest.hex())
        return frame if frame and content == data else None

    def _of_last(self, digest: str) -> bytes:
        place, size = self._own.get(digest, (0, 0))
        data = os.pread(self._own_fd, size, place) if size else b""
        return data if len(data) == size else b""

    def _checked(self, digest: str) -> tuple[bytes, bytes]:
        bundle, number = self._frames.get(digest, (None, 0))
        if bundle is None:
            return b"", b""
        try:
            return bundle.frame(number)
        except (BundleError, OSError):
            return b"", b""


def remember(contents: Contents, path: str, level: int, frames: Sequence[tuple[str, int, int]]) -> None:
    """Note where the frames of a bundle are that was just written, for add_last(). Raises OSError.

    `frames`: of each the SHA-256 of what it holds, its place, its size. A change in the same tick of the file system's
    clock would not show: that one is waited for. Where a tick is longer, or the file another node's too, its frames are
    decoded and compared the next time.
    """
    contents.bundle = {}
    status = os.stat(path)
    if contents.has_fine_clock(path, status):
        time.sleep(_TICK)
        contents.bundle = {**made_by(level), "identity": identity(status), "frames": frames}
