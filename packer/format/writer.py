"""Write a closure as a bundle: launcher, tar stream in zstd frames, table, footer (docs/bundle-format.md)."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import zstandard

from sdee.base import trust
from sdee.base.errors import BundleError, InternalError, OutputError
from sdee.packer.contents import Contents
from sdee.packer.format import content, rules
from sdee.packer.format.frames import FrameWriter
from sdee.packer.format.headers import header
from sdee.packer.format.layout import Layout, Node, lay_out
from sdee.packer.format.results import result_meta
from sdee.packer.format.reuse import OldFrames, frames_meta, remember
from sdee.packer.format.table import SKIPPABLE_HEADER, Entry, Footer, Table, pack_table, parse_table
from sdee.packer.format.threads import usable_cores
from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.packer.format.content import Source
    from sdee.packer.model import Closure, Item

    Progress = Callable[[int, int], None]

META_LEVEL = 9


@dataclass(frozen=True)
class BundleSummary:
    """What was written: sizes in bytes, numbers of entries. `content` has duplicates once, `duplicates` the rest.

    `reused` of the `frames` were taken from older bundles; `useless` says of which bundles none could be, and why.
    `private`: how many files others may not read, because of which the bundle is the user's alone.
    """

    path: str
    identity: str
    size: int
    launcher: int
    payload: int
    table: int
    frames: int
    reused: int
    files: int
    directories: int
    links: int
    hard_links: int
    content: int
    duplicates: int
    warnings: tuple[str, ...]
    useless: tuple[str, ...] = ()
    private: int = 0


@dataclass(frozen=True)
class _Job:
    closure: Closure
    layout: Layout
    sources: list[Source]
    launcher: str
    level: int
    threads: int
    progress: Progress | None
    old: OldFrames
    contents: Contents


def write_bundle(
    closure: Closure,
    launcher: str,
    out: str,
    *,
    level: int,
    threads: int = 0,
    progress: Progress | None = None,
    reuse: tuple[str, ...] = (),
    contents: Contents | None = None,
) -> BundleSummary:
    """Write `closure` to the file `out`; an older file there is replaced in one step.

    Its mode is 0755 less the umask, or 0700 where it holds a file that others may not read.

    `launcher` is the path of the executable to begin with; `level` zstd's; `threads` 0 means one for each usable core;
    `progress` is called with bytes done and bytes in all. The same closure over the same files gives the same bytes.
    Frames are taken from the older file, and from the bundles `reuse`, where these hold the same (reuse.py). What
    `contents` knows of files is not read again, and what is found is added to it.

    Raises InputError (a file cannot be read, or changes meanwhile), OutputError, InternalError (an impossible closure),
    BundleError (one of `reuse` is no bundle).
    On any error nothing is left behind and an older `out` is untouched.
    """
    layout = lay_out(closure)
    contents = contents or Contents()
    sources = content.survey(layout.files, contents)
    capable = content.with_capabilities(layout.files)
    warnings = (*layout.warnings, *(f"{path!a}: its file capabilities do not travel" for path in capable))
    if os.path.islink(out) and (why := trust.foreign(os.lstat(out))):
        raise OutputError(f"{out!a} is a link that is not yours: {why}", hint="name another file with -o")
    target = os.path.realpath(out)
    if os.path.lexists(target) and not os.path.isfile(target):
        raise OutputError(f"{out!a} is there already and is not a regular file", hint="name another file with -o")
    with OldFrames(level, contents) as old:
        if os.path.exists(target) and not old.add_last(target):
            with suppress(BundleError):  # whatever it is, it will be replaced
                old.add(target)
        useless = tuple(f"{path!a}: {why}" for path in reuse if (why := old.add(path)))
        job = _Job(closure, layout, sources, launcher, level, threads or usable_cores(), progress, old, contents)
        summary = _replace(target, out, job)
    return BundleSummary(out, **summary, warnings=warnings, useless=useless)


def _replace(target: str, out: str, job: _Job) -> dict[str, Any]:
    """Write a file beside `target` and give it that name; `out` is what the user called it."""
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=".sdee-", suffix=".tmp", dir=os.path.dirname(target))
        with os.fdopen(fd, "wb") as file:
            summary, stream = _write(file, job)
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(file.fileno(), 0o700 if summary["private"] else 0o755 & ~umask)
        os.rename(temporary, target)
        temporary = ""
        job.contents.frames = stream.made_of
        with suppress(OSError):
            remember(job.contents, target, job.level, stream.places(summary["launcher"]))
    except OSError as error:
        _discard(temporary)
        hint = "choose another place with -o FILE"
        raise OutputError(f"{out!a} cannot be written: {error.strerror}", hint=hint) from error
    except BaseException:  # Ctrl-C, SIGTERM as SystemExit
        _discard(temporary)
        raise
    return summary


def _discard(temporary: str) -> None:
    if temporary:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _write(file: IO[bytes], job: _Job) -> tuple[dict[str, Any], FrameWriter]:
    launcher_size, launcher_digest = _copy_launcher(job.launcher, file)
    with (
        FrameWriter(file, job.level, job.threads, job.old) as stream,
        ThreadPoolExecutor(job.threads, "load") as loaders,
    ):
        tar = _TarStream(stream, sum(s.size for s in job.sources), job.progress)
        try:
            for node in job.layout.fixed:
                tar.add_fixed(node)
            for loaded in content.load_in_order(job.sources, loaders):
                tar.add_file(loaded)
            stream.write(bytes(2 * tarfile.BLOCKSIZE))
            frames = stream.finish()
        except BaseException:
            loaders.shutdown(wait=True, cancel_futures=True)
            raise
    entries = tuple(sorted(tar.entries, key=lambda e: os.fsencode(e.path)))
    counts = _count(entries)
    meta = _meta(job.closure, counts) | {"frames": frames_meta(job.level, stream.digests)}
    data = pack_table(Table(entries, frames, job.closure.conf, _meta_frame(meta)))
    payload = sum(frame.compressed for frame in frames)
    footer = Footer(launcher_size, payload, len(data), hashlib.sha256(data).digest(), launcher_digest)
    try:
        parse_table(data, footer)
    except BundleError as error:  # never leave on disk what no reader takes
        raise InternalError(f"the closure makes no valid bundle: {error.message}") from error
    file.write(SKIPPABLE_HEADER.pack(rules.MAGIC_TABLE, len(data)))
    file.write(data)
    file.write(footer.pack())
    sizes = {"size": footer.file_size, "launcher": launcher_size, "payload": payload, "table": len(data)}
    reuse = {"frames": len(frames), "reused": stream.reused, "private": sum(not s.public for s in job.sources)}
    return {"identity": footer.table_digest.hex(), **sizes, **reuse, **counts}, stream


def _copy_launcher(launcher: str, file: IO[bytes]) -> tuple[int, bytes]:
    try:
        with open(launcher, "rb") as program:
            data = program.read()
    except OSError as error:
        raise InternalError(f"the launcher {launcher!a} cannot be read: {error.strerror}") from error
    if not data:
        raise InternalError(f"the launcher {launcher!a} is empty")
    file.write(data)
    return len(data), hashlib.sha256(data).digest()


class _TarStream:
    """Puts members into the stream and keeps an entry for each."""

    def __init__(self, stream: FrameWriter, total: int, progress: Progress | None) -> None:
        self.entries: list[Entry] = []
        self._stream = stream
        self._total = total
        self._done = 0
        self._progress = progress
        self._first: dict[tuple[object, ...], Entry] = {}  # by inode, and by content
        self._lengths: set[tuple[int, ...]] = set()

    def add_fixed(self, node: Node) -> None:
        """Add a directory or a symbolic link."""
        kind = tarfile.DIRTYPE if stat.S_ISDIR(node.mode) else tarfile.SYMTYPE
        self._begin(node, header(node, kind, link=node.target))
        self.entries.append(Entry(node.path, node.mode, node.mtime_ns, link=node.target))

    def add_file(self, loaded: content.Loaded) -> None:
        """Add a regular file, as a hard link if its like was there before."""
        source = loaded.source
        node = source.node
        attributes = (node.mode, node.mtime_ns)
        inode = (*attributes, source.device, source.inode)
        length = (*attributes, source.size)
        entry = self._first.get(inode)
        digest = loaded.digest
        # A file too large to hold is hashed before it is written only if another has its length: else it is read once
        if not entry and (digest or length in self._lengths):
            digest = digest or self._hash(source)
            entry = self._first.get((*length, digest))
        if entry:
            source.known.digest = entry.sha256
            self._begin(node, header(node, tarfile.LNKTYPE, link=entry.path[1:]))
            again = Entry(node.path, node.mode, node.mtime_ns, link=entry.path, hard_link=True, sha256=entry.sha256)
            self.entries.append(again)
            self._advance(source.size)
            return
        padding = -source.size % tarfile.BLOCKSIZE
        self._begin(node, header(node, tarfile.REGTYPE, size=source.size), source.size + padding)
        offset = self._stream.offset if source.size else 0
        if loaded.data is not None:
            self._stream.write_file(loaded.data, source.mark)
            self._advance(source.size)
        elif source.known.digest:
            self._stream.refer(source)
            self._advance(source.size)
        else:
            digest = self._copy(source, digest)
        source.known.digest = digest
        self._stream.write(bytes(padding))
        entry = Entry(node.path, node.mode, node.mtime_ns, source.size, offset, sha256=digest)
        self.entries.append(entry)
        self._first[inode] = self._first[(*length, digest)] = entry
        self._lengths.add(length)

    def _begin(self, node: Node, head: bytes, content: int = 0) -> None:
        """Begin a member; `content` bytes follow."""
        self._stream.begin(os.fsencode(node.path), len(head) + content, len(head))
        self._stream.write(head)

    def _copy(self, source: Source, expected: bytes) -> bytes:
        """Copy a large file into the stream; return its SHA-256."""
        digest = hashlib.sha256()
        path = source.node.origin
        fd = content.open_source(source)
        try:
            left = source.size
            while left:
                done = source.size - left
                view = self._stream.fill(lambda view: content.read_into(fd, view, path), left, source.mark, done)
                digest.update(view)
                left -= len(view)
                self._advance(len(view))
            source.check(os.fstat(fd))
        finally:
            os.close(fd)
        if expected and digest.digest() != expected:
            raise content.changed(path)
        return digest.digest()

    @staticmethod
    def _hash(source: Source) -> bytes:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(content.SMALL))
        fd = content.open_source(source)
        try:
            left = source.size
            while left:
                size = content.read_into(fd, buffer[:left], source.node.origin)
                digest.update(buffer[:size])
                left -= size
        finally:
            os.close(fd)
        return digest.digest()

    def _advance(self, size: int) -> None:
        self._done += size
        if self._progress:
            self._progress(self._done, self._total)


def _count(entries: tuple[Entry, ...]) -> dict[str, int]:
    sizes = {entry.path: entry.size for entry in entries}
    hard = [entry for entry in entries if entry.hard_link]
    kinds = Counter(entry.kind for entry in entries)
    return {
        "files": kinds[stat.S_IFREG],
        "directories": kinds[stat.S_IFDIR],
        "links": kinds[stat.S_IFLNK],
        "hard_links": len(hard),
        "content": sum(sizes.values()),
        "duplicates": sum(sizes[entry.link] for entry in hard),
    }


def _meta_frame(meta: dict[str, Any]) -> bytes:
    text = json.dumps(meta, sort_keys=True, separators=(",", ":")).encode("ascii")
    return zstandard.ZstdCompressor(level=META_LEVEL, write_checksum=True, write_content_size=True).compress(text)


def _meta(closure: Closure, counts: dict[str, int]) -> dict[str, Any]:
    verdicts = Counter(item.verdict.value for item in closure.items.values())
    shared = sum(item.size for item in closure.items.values() if item.verdict is Verdict.SHARED)
    return {
        "sdee": 1,
        "command": closure.command,
        "cwd": closure.cwd,
        "status": closure.status,
        "home": closure.home,
        "results": [result_meta(result) for result in closure.results],
        "stdout": result_meta(closure.stdout) if closure.stdout else None,
        "host": closure.host,
        "summary": {**counts, "shared": shared, "verdicts": dict(verdicts)},
        "incomplete": closure.incomplete,
        "warnings": (*closure.notices, *closure.warnings),
        "items": [_meta_item(closure.items[path]) for path in sorted(closure.items)],
    }


def _meta_item(item: Item) -> dict[str, Any]:
    reasons = [{"why": r.why, "from": r.source, "detail": r.detail} for r in item.reasons]
    meta: dict[str, Any] = {"path": item.path, "verdict": item.verdict.value, "reasons": reasons}
    if item.package:
        meta["package"] = item.package
    if item.verdict is Verdict.SHARED:
        meta["size"] = item.size
    return meta
