"""Helpers of the bundle tests: closures of a directory's files, bundles put together by hand."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import zstandard

from sdee.packer.format import frames as frames_module
from sdee.packer.format import rules
from sdee.packer.format.table import SKIPPABLE_HEADER, Entry, Footer, Frame, Table, pack_table
from sdee.packer.model import Closure, Item, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

CONF = (
    ("machine", "x86_64"),
    ("program", "/opt/job/run"),
    ("arg", "run"),
    ("arg", "input.dat"),
    ("cwd", "/opt/job"),
    ("umask", "0022"),
    ("env", "GREETING=hello\nworld"),
    ("rlimit", "stack 8388608 unlimited"),
    ("os", "debian 12"),
    ("host", "/run/munge"),
)
LAUNCHER = b"\x7fELF SDEE launcher of a bundle: a stand-in for it\n"


def closure_of(tree: Path, prefix: str = "/opt/job", *extra: Item) -> Closure:
    """Return a closure in which everything below `tree` travels, as if it lay below `prefix`."""
    items = {item.path: item for item in extra}
    names = sorted(os.path.join(top, name) for top, dirs, files in os.walk(tree) for name in dirs + files)
    for order, origin in enumerate([str(tree), *names]):
        status = os.lstat(origin)
        path = prefix + origin[len(str(tree)) :]
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}.get(
            stat.S_IFMT(status.st_mode), "fifo"
        )
        items[path] = Item(
            path,
            Verdict.BUNDLE,
            (Reason("in the test's tree"),),
            kind=kind,
            target=os.readlink(origin) if kind == "link" else "",
            origin=origin,
            size=status.st_size if kind == "file" else 0,
            mtime_ns=status.st_mtime_ns,
            mode=status.st_mode,
            order=order,
        )
    return Closure(items, CONF, ("run", "input.dat"), "/opt/job", {"os": "debian 12"})


def launcher(tmp_path: Path) -> str:
    """Return the path of a small file to use as launcher."""
    path = tmp_path / "launcher"
    path.write_bytes(LAUNCHER)
    return str(path)


def shrink_frames(patch: pytest.MonkeyPatch, size: int) -> None:
    """Let frames hold about `size` bytes of stream, and longer members be cut at multiples of it."""
    for name, value in (("LEAST", size // 4), ("USUAL", size), ("MOST", 2 * size), ("STEP", size)):
        patch.setattr(frames_module, name, value)


def meta_frame(text: bytes = b'{"items":[],"summary":{}}') -> bytes:
    """Return a META section."""
    return zstandard.ZstdCompressor(write_content_size=True).compress(text)


def frame(content: bytes) -> bytes:
    """Return a payload frame."""
    return zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(content)


def file_entry(path: str, content: bytes, offset: int = 0, **changes: object) -> Entry:
    """Return the entry of a regular file."""
    fields: dict[str, object] = {"size": len(content), "offset": offset, "sha256": hashlib.sha256(content).digest()}
    return Entry(path, stat.S_IFREG | 0o644, **{**fields, **changes})  # type: ignore[arg-type]


def dir_entry(path: str) -> Entry:
    """Return the entry of a directory."""
    return Entry(path, stat.S_IFDIR | 0o755)


def assemble(
    entries: Sequence[Entry],
    frames: Sequence[bytes] = (),
    *,
    sizes: Sequence[int] | None = None,
    conf: tuple[tuple[str, str], ...] = CONF,
    meta: bytes | None = None,
    table: bytes | None = None,
) -> bytes:
    """Return a whole bundle of these parts, with digests that are right: only what the parts say can be wrong."""
    if sizes is None:
        sizes = [zstandard.frame_content_size(data) for data in frames]
    listed = tuple(Frame(len(data), size) for data, size in zip(frames, sizes, strict=True))
    if table is None:
        table = pack_table(Table(tuple(entries), listed, conf, meta if meta is not None else meta_frame()))
    payload = b"".join(frames)
    digests = hashlib.sha256(table).digest(), hashlib.sha256(LAUNCHER).digest()
    footer = Footer(len(LAUNCHER), len(payload), len(table), *digests)
    return LAUNCHER + payload + SKIPPABLE_HEADER.pack(rules.MAGIC_TABLE, len(table)) + table + footer.pack()
