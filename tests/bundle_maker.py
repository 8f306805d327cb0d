"""A writer of bundles from docs/bundle-format.md alone, independent of sdee.packer and able to write hostile ones.

`Maker` collects entries; every part of the file can be replaced before `write()`. It checks nothing, on purpose.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tarfile
from dataclasses import dataclass, field

import zstandard

FRAME = 2 << 20


@dataclass
class Entry:
    """One line of ENTR. `offset` None: where the content really is."""

    path: str
    mode: int
    content: bytes = b""
    link: str = ""
    hard: bool = False
    mtime_ns: int = 1_600_000_000_123_456_789
    size: int | None = None
    offset: int | None = None
    flags: int | None = None
    nsec: int | None = None


@dataclass
class Maker:
    """Collects a bundle. `conf` are CONF pairs; `launcher` the bytes in front."""

    launcher: bytes = b""
    entries: list[Entry] = field(default_factory=list)
    conf: list[tuple[str, str]] = field(default_factory=list)
    frame_size: int = FRAME
    sort: bool = True
    frames: list[tuple[int, int]] | None = None  # replaces FRAM
    strings: bytes | None = None  # replaces STRS
    version: int = 1
    tags: tuple[str, ...] = ("STRS", "ENTR", "SHAS", "FRAM", "CONF", "META")
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)  # name → begin, end in the file, after write()

    def add(self, path: str, content: bytes | str = b"", mode: int = 0o644, **more: int | str | bool | None) -> Maker:
        """Add a regular file and the directories above it that are still missing."""
        self.parents(path)
        data = content.encode() if isinstance(content, str) else content
        self.entries.append(Entry(path, stat.S_IFREG | mode, data, **more))  # type: ignore[arg-type]
        return self

    def directory(self, path: str, mode: int = 0o755) -> Maker:
        """Add a directory and those above it."""
        if path in ("", "/") or any(e.path == path for e in self.entries):
            return self
        self.parents(path)
        self.entries.append(Entry(path, stat.S_IFDIR | mode))
        return self

    def parents(self, path: str) -> None:
        """Add the directories above a path."""
        parent = os.path.dirname(path)
        if parent not in ("", "/") and not any(e.path == parent for e in self.entries):
            self.directory(parent)

    def symlink(self, path: str, target: str) -> Maker:
        """Add a symbolic link."""
        self.parents(path)
        self.entries.append(Entry(path, stat.S_IFLNK | 0o777, link=target))
        return self

    def hardlink(self, path: str, target: str) -> Maker:
        """Add a hard link with its target's attributes, as far as the target is known."""
        self.parents(path)
        files = (e for e in self.entries if e.path == target and stat.S_ISREG(e.mode))
        like = next(files, Entry(target, stat.S_IFREG | 0o644))
        self.entries.append(Entry(path, like.mode, like.content, link=target, hard=True, mtime_ns=like.mtime_ns))
        return self

    def host_file(self, path: str, at: str | None = None) -> Maker:
        """Add a file of this machine, with its mode and mtime, and the symbolic links on the way to it."""
        real = os.path.realpath(path)
        if real != path and at is None:
            here = ""
            for part in path.strip("/").split("/"):
                here = f"{here}/{part}"
                if os.path.islink(here):
                    if not any(e.path == here for e in self.entries):
                        self.symlink(here, os.readlink(here))
                    return self.host_file(os.path.join(os.path.dirname(here), os.readlink(here)) + path[len(here) :])
        if at is None:
            path = os.path.normpath(path)
        if any(e.path == (at or path) for e in self.entries):
            return self
        status = os.stat(path)
        with open(path, "rb") as file:
            return self.add(at or path, file.read(), status.st_mode & 0o777, mtime_ns=status.st_mtime_ns)

    def payload(self) -> tuple[bytes, list[tuple[int, int]], dict[int, int]]:
        """Return the zstd frames, FRAM's pairs and the content offset of each entry (by its id)."""
        stream = io.BytesIO()
        offsets: dict[int, int] = {}
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for entry in self.entries:
                info = tarfile.TarInfo(entry.path.lstrip("/") or ".")
                info.mode = stat.S_IMODE(entry.mode)
                info.mtime = entry.mtime_ns / 1e9
                if stat.S_ISDIR(entry.mode):
                    info.type = tarfile.DIRTYPE
                elif stat.S_ISLNK(entry.mode):
                    info.type, info.linkname = tarfile.SYMTYPE, entry.link
                elif entry.hard:
                    info.type, info.linkname = tarfile.LNKTYPE, entry.link.lstrip("/")
                else:
                    info.size = len(entry.content)
                tar.addfile(info, io.BytesIO(entry.content))
                if entry.content and not entry.hard:
                    offsets[id(entry)] = stream.tell() - (len(entry.content) + 511) // 512 * 512
        plain = stream.getvalue()
        compress = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True).compress
        pieces = [plain[at : at + self.frame_size] for at in range(0, len(plain), self.frame_size)]
        packed = [compress(piece) for piece in pieces]
        return b"".join(packed), [(len(c), len(p)) for c, p in zip(packed, pieces, strict=True)], offsets

    def table(self, frames: list[tuple[int, int]], offsets: dict[int, int]) -> bytes:
        """Return the table of contents."""
        order = sorted(self.entries, key=lambda e: os.fsencode(e.path)) if self.sort else self.entries
        pool = bytearray(b"\0")
        lines, digests = bytearray(), bytearray()
        for entry in order:
            at = len(pool)
            pool += os.fsencode(entry.path) + b"\0"
            link = len(pool) if entry.link else 0
            pool += os.fsencode(entry.link) + b"\0" if entry.link else b""
            own = b"" if entry.hard else entry.content
            size = len(own) if entry.size is None else entry.size
            offset = offsets.get(id(entry), 0) if entry.offset is None else entry.offset
            flags = int(entry.hard) if entry.flags is None else entry.flags
            nsec = entry.mtime_ns % 10**9 if entry.nsec is None else entry.nsec
            lines += struct.pack(
                "<IIQQqIIII", at, link, size, offset, entry.mtime_ns // 10**9, nsec, entry.mode, flags, 0
            )
            digests += hashlib.sha256(entry.content).digest() if stat.S_ISREG(entry.mode) else bytes(32)
        conf = b"".join(os.fsencode(text) + b"\0" for pair in self.conf for text in pair)
        fram = b"".join(struct.pack("<QQ", *pair) for pair in (frames if self.frames is None else self.frames))
        meta = zstandard.compress(b"{}")
        sections = [
            bytes(pool) if self.strings is None else self.strings,
            bytes(lines),
            bytes(digests),
            fram,
            conf,
            meta,
        ]
        head = bytearray(b"SDEETOC1" + struct.pack("<II", len(sections), 0))
        body = bytearray()
        begin = len(head) + 24 * len(sections)
        for tag, section in zip(self.tags, sections, strict=True):
            body += bytes(-len(body) % 8)
            head += struct.pack("<4sIQQ", tag.encode(), 0, begin + len(body), len(section))
            self.parts[tag] = (begin + len(body), begin + len(body) + len(section))
            body += section
        return bytes(head + body)

    def build(self) -> bytes:
        """Return the whole bundle; `parts` says afterwards where everything is."""
        payload, frames, offsets = self.payload()
        table = self.table(frames, offsets)
        start, at = len(self.launcher), len(self.launcher) + len(payload) + 8
        whole = at + len(table) + 128
        footer = struct.pack(
            "<II8sIIQQQQQ", 0x184D2A5D, 120, b"SDEEBNDL", self.version, 0, start, len(payload), at, len(table), whole
        )
        footer += hashlib.sha256(table).digest() + hashlib.sha256(self.launcher).digest()
        self.parts = {name: (at + a, at + b) for name, (a, b) in self.parts.items()}
        self.parts |= {
            "launcher": (0, start),
            "payload": (start, at - 8),
            "table": (at, whole - 128),
            "footer": (whole - 128, whole),
        }
        return self.launcher + payload + struct.pack("<II", 0x184D2A50, len(table)) + table + footer

    def write(self, path: str) -> str:
        """Write the bundle, executable, and return its path."""
        with open(path, "wb") as file:
            file.write(self.build())
        os.chmod(path, 0o755)
        return path


def os_release() -> str:
    """Return what CONF's `os` says of this machine."""
    values = {}
    with open("/etc/os-release", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.strip().partition("=")
            values[key] = value.strip('"')
    return f"{values.get('ID', '')} {values.get('VERSION_ID', '')}"


def needed(program: str) -> list[str]:
    """Return the shared libraries and the interpreter of a program, by ldd(1): enough for tests."""
    import subprocess

    output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    words = [word for line in output.splitlines() for word in line.split() if word.startswith("/")]
    return sorted(set(words))


def job(launcher: str, command: list[str], cwd: str | list[str] = "/tmp", **conf: str | list[str]) -> Maker:
    """Return a maker for a command of this machine with its libraries and the usual CONF."""
    with open(launcher, "rb") as file:
        maker = Maker(file.read())
    program = command[0]
    for path in [program, *needed(program)]:
        maker.host_file(path)
    base: dict[str, str | list[str]] = {
        "machine": os.uname().machine,
        "program": program,
        "arg": command,
        "cwd": cwd,
        "umask": "022",
        "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C"],
        "live-env": ["HOME", "USER", "SLURM_*", "TMPDIR"],
        "os": os_release(),
        "live": ["/tmp"],
    }
    base |= {key.replace("_", "-"): value for key, value in conf.items()}
    for key, value in base.items():
        maker.conf += [(key, text) for text in ([value] if isinstance(value, str) else value)]
    return maker
