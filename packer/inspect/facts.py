"""What a bundle is, as a value: `sdee info`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sdee.packer.format import rules
from sdee.packer.inspect.changes import changes

if TYPE_CHECKING:
    from sdee.packer.format.reader import Bundle


def facts_of(bundle: Bundle, *, verified: bool) -> dict[str, Any]:
    """Return the facts. `verified`: whether every byte was checked; sizes in bytes. Raises BundleError, OSError."""
    footer, frames = bundle.footer, bundle.table.frames
    conf: dict[str, list[str]] = {}
    for key, value in bundle.table.conf:
        conf.setdefault(key, []).append(value)
    return {
        "bundle": bundle.path,
        "format": rules.VERSION,
        "identity": bundle.identity,
        "size": footer.file_size,
        "written": os.stat(bundle.path).st_mtime,
        "launcher": {"size": footer.launcher_size, "sha256": footer.launcher_digest.hex()},
        "payload": {
            "size": footer.payload_size,
            "frames": len(frames),
            "decompressed": sum(frame.size for frame in frames),
        },
        "table": footer.table_size,
        "command": bundle.meta.get("command"),
        "cwd": bundle.meta.get("cwd"),
        "host": bundle.meta.get("host"),
        "summary": bundle.meta["summary"],
        "conf": conf,
        "incomplete": conf.get("incomplete", []),
        "warnings": bundle.meta.get("warnings", []),
        "verified": verified,
        "changed": [c.path for c in changes(bundle, below=conf["cwd"][0]) if c.what == "modified"],
    }
