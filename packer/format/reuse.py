"""Frames of an older bundle that a new one takes over instead of compressing the same bytes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import zstandard

from sdee.base.errors import BundleError
from sdee.packer.format.reader import open_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from sdee.packer.format.reader import Bundle


def made_by(level: int) -> dict[str, Any]:
    """Return what decides on the bytes of a frame beside its content."""
    return {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION)), "level": level}


def frames_meta(level: int, digests: Sequence[bytes]) -> dict[str, Any]:
    """Return META's `frames`: what made them, and the SHA-256 of what each holds."""
    return {**made_by(level), "sha256": [digest.hex() for digest in digests]}


@final
class OldFrames:
    """The frames of older bundles by the digest of what they hold; a context manager, to be used by many threads.

    Nothing of these files is trusted: a frame counts only if it decodes to the very bytes that are wanted.
    """

    def __init__(self, level: int) -> None:
        self._level = level
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

    def find(self, digest: bytes, data: bytes) -> bytes | None:
        """Return the frame that holds `data`, whose SHA-256 is `digest`."""
        bundle, number = self._frames.get(digest.hex(), (None, 0))
        if bundle is None or bundle.table.frames[number].size != len(data):
            return None
        try:
            frame, content = bundle.frame(number)
        except (BundleError, OSError):
            return None
        return frame if content == data else None
