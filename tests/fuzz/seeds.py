"""Inputs to begin with: real bundles, tables, files and messages in the form that each harness (fuzz_NAME.c) takes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)
from bundle_maker import Maker

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = os.path.join(os.path.dirname(TESTS), "fixtures", "launcher", "corpus")
FOUND = os.path.join(TESTS, "fuzz", "found")
BASE = [("machine", "x86_64"), ("program", "/p"), ("arg", "p"), ("cwd", "/tmp"), ("umask", "022"), ("os", "debian 12")]
CONF = [
    *BASE,
    ("live", "/tmp"), ("live", "/home/u"), ("tree", "/opt/job"), ("tree", "/srv/x"), ("left-out", "/opt/job/big"),
    ("unused", "/opt/job/doc"), ("fallback", "/opt/job/data"), ("host", "/etc/passwd"), ("host", "/run/munge"),
    ("env", "A=b"), ("env", "PATH=/usr/bin"), ("live-env", "SLURM_*"), ("live-env", "*"), ("fixed-env", "LD_*"),
    ("rlimit", "stack 8388608 unlimited"), ("libc", "/lib/x86_64-linux-gnu/libc.so.6 00ff"),
    ("interpreter", "/lib64/ld-linux-x86-64.so.2"), ("absent", "/etc/ld.so.preload"), ("absent", "/usr/lib/x"),
    ("looked-for", "/home/u/x"), ("shared", "/data/in"), ("cpu", "x86-64-v3"), ("isa", "x86-64-v2 /p"),
    ("kernel", "3.2.0 /p"), ("library-directory", "/lib/x86_64-linux-gnu"),
    ("host-family", "z prefer libz.so.* /usr/share/z"), ("host-family", "c never libc.so.?"),
    ("host-family", "mpi asked libmpi*.so.*"), ("host-need", "libz.so.1 must /p ZLIB_1.2.9"),
    ("host-symbols", "libz.so.1 /p inflate deflate"), ("host-used", "libz.so.1.2.13"),
    ("provides", "libc.so.6 GLIBC_2.2.5 GLIBC_2.34"), ("incomplete", "a reason"), ("no-such-key", "x"),
]  # fmt: skip
MARK = (
    "sdee mount point: a job that runs has software of its bundle here. Safe to delete when no job runs; "
    "the next run removes it.\n"
)
MOUNTINFO = (
    "22 1 8:1 / /a rw - ext4 /dev/sda rw\n23 22 0:5 / /a\\040b rw shared:1 - tmpfs t rw\n24 22 0:6 / /x\\134y rw\n"
)
C = """int f(int a) { return a; }
int g(void); __attribute__((weak)) int g(void) { return f(1); }
int old(void) { return 2; } __asm__(".symver old, h@V1"); int new(void) { return 3; } __asm__(".symver new, h@@V2");
extern int inflateReset2(void *, int); int user(void *p) { return inflateReset2(p, 1); }
"""


def text(*words: str) -> bytes:
    """Return strings, each with its NUL."""
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def conf(pairs: list[tuple[str, str]]) -> bytes:
    """Return a CONF section."""
    return b"".join(text(*pair) for pair in pairs)


def makers() -> list[Maker]:
    """Return small bundles, one for each feature."""

    def new(**more: int) -> Maker:
        return Maker(conf=list(BASE), **more)  # type: ignore[arg-type]

    return [
        new(),
        new().add("/p", b"#!/bin/sh\n"),
        new().add("/a/b/c", b"x" * 700).add("/a-b", b"").directory("/z/y", 0o555).symlink("/l", "a/b"),
        new().add("/a", b"content").hardlink("/b", "/a"),
        new(frame_size=600).add("/a", bytes(range(256)) * 8).add("/b", b"tail" * 300),
    ]


def of_bundle() -> list[bytes]:
    """u32 size of the payload, payload, table; and whole bundles."""
    found = [open(os.path.join(CORPUS, name), "rb").read() for name in sorted(os.listdir(CORPUS))]  # noqa: SIM115
    return found + [maker.build() for maker in makers()]


def of_table() -> list[bytes]:
    """Sections of real tables."""
    inputs = []
    for maker in makers():
        data = maker.build()
        parts = {tag: data[slice(*maker.parts[tag])] for tag in ("STRS", "ENTR", "FRAM", "CONF")}
        sizes = struct.pack("<HHH", len(parts["STRS"]), len(parts["ENTR"]) // 48, len(parts["FRAM"]) // 16)
        inputs += [sizes + parts["STRS"] + parts["ENTR"] + parts["FRAM"] + tail for tail in (b"", parts["CONF"])]
    return inputs


def of_frames() -> list[bytes]:
    """Frames of several sizes, whole, damaged, and of zstd's own making."""

    def frame(size: int, where: int = 0, by: int = 0, claim: int = 0, flags: int = 0) -> bytes:
        return struct.pack("<HHBbB", size, where, by, claim, flags)

    body = bytes(range(256)) * 40
    raw = bytes.fromhex("28b52ffd2400010000 99e9d851".replace(" ", ""))
    return [
        b"\0\0" + frame(5) + b"hello",
        b"\2\2" + frame(3000) + frame(2000, flags=1) + frame(900, flags=3) + body,
        b"\0\0" + frame(500, 9, 1) + body,
        b"\0\0" + frame(500, 4, 0xFF, 1) + body,
        b"\0\1" + frame(100, flags=8) + frame(100, flags=16) + body,
        b"\0\0" + frame(len(raw), flags=32) + raw,
        b"\0\0" + frame(60000, flags=5) + b"ab" * 30000,
    ]


def of_lazy() -> list[bytes]:
    """Requests of FUSE as the kernel makes them, to frames of three sizes."""

    def request(opcode: int, node: int = 1, body: bytes = b"", unique: int = 7) -> bytes:
        head = struct.pack("<IIQQIIII", 40 + len(body), opcode, unique, node, 0, 0, 1, 0)
        return struct.pack("<H", len(head + body)) + head + body

    def read(node: int, offset: int, size: int, opcode: int = 15) -> bytes:
        return request(opcode, node, struct.pack("<QQIIQII", 0, offset, size, 0, 0, 0, 0))

    looked_for = (b"a", b"d", b"again", b"no", b"x/y")
    names = b"".join(request(1, node, name + b"\0") for node in (1, 4) for name in looked_for)
    init = request(26, 0, struct.pack("<IIII", 7, 38, 131072, 0xFFFFFFFF))
    listed = ((1, 0, 4096), (4, 0, 200), (4, 6, 4096), (4, 999, 4096), (2, 0, 9))
    lists = b"".join(read(*what, 44) for what in listed)
    whats = ((2, 0, 4096), (3, 0, 131072), (3, 60000, 131072), (5, 4999, 9), (4, 0, 9), (8, 9, 9))
    reads = b"".join(read(*what) for what in whats)
    opcodes = (3, 5, 14, 27, 17, 18, 29, 2, 36, 22)
    others = b"".join(request(opcode, node) for opcode in opcodes for node in (1, 2, 8, 99))
    return [
        bytes([which, 0, 0, 0]) + text
        for which in range(3)
        for text in (init + names + lists, reads + reads, others, init + reads + lists)
    ] + [b"\1\0\x80\1" + reads + reads, b"\2\0\x40\x80" + reads, b"\0\0\xf0\7" + reads]


def of_conf() -> list[bytes]:
    """All keys, with and without a closure."""
    closure = b"\xff" + text(
        "d/opt", "d/opt/job", "f/opt/job/data", "d/usr", "f/usr/x", "l/lib", "d/tmp", "f/tmp/x", "d/home"
    )
    more = CONF[len(BASE) :]
    return [conf(CONF), conf(CONF) + closure, conf(BASE), closure, *(conf([pair]) + closure for pair in more)]


def of_elf() -> list[bytes]:
    """Small libraries, a program, scripts."""
    inputs = [b"#!/bin/sh\necho\n", b"#! /usr/bin/env python3\r\n", b"#!", b"text\n", b""]
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/x.c", "w", encoding="ascii") as file:
            file.write(C)
        with open(f"{directory}/x.map", "w", encoding="ascii") as file:
            file.write("V1 { global: h; }; V2 { global: f; g; user; h; } V1;\n")
        common = ["-nostartfiles", "-Os", "-s", "-Wl,-z,noseparate-code", "-Wl,--build-id", f"{directory}/x.c", "-w"]
        for flags in (
            [
                "-shared",
                "-fPIC",
                f"-Wl,--version-script={directory}/x.map",
                "-Wl,-soname,x.so",
                "-Wl,--hash-style=gnu",
                "-lz",
            ],
            ["-shared", "-fPIC", f"-Wl,--version-script={directory}/x.map", "-lc"],
            ["-Wl,-e,f", "-Wl,--unresolved-symbols=ignore-all"],
        ):
            done = subprocess.run(["gcc", *common, *flags, "-o", f"{directory}/x"], capture_output=True, check=False)
            if done.returncode == 0:
                with open(f"{directory}/x", "rb") as file:
                    inputs.append(file.read())
    return inputs


def of_ldcache() -> list[bytes]:
    """A cache of two libraries, in the new format, and behind the old one."""
    strings = text("libz.so.1", "/lib/libz.so.1", "libc.so.6", "/lib/libc.so.6")
    offsets, count = (0, 10, 25, 35), 2
    begin = 48 + 24 * count
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", count, len(strings)) + bytes(20)
    lines = b"".join(
        struct.pack("<IIIIQ", 0x303, begin + offsets[2 * n], begin + offsets[2 * n + 1], 0, 0) for n in range(count)
    )
    new = head + lines + strings
    old = b"ld.so-1.7.0\0" + struct.pack("<I", 1) + bytes(12)
    return [new, old + bytes(-len(old) % 8) + new]


def of_node() -> list[bytes]:
    """Mountinfo, os-release, meminfo, cgroup, passwd, group."""
    return [
        text(
            MOUNTINFO, 'ID=debian\nVERSION_ID="12"\n', "MemTotal: 9 kB\nMemAvailable: 800 kB\n", "0::/user/a\n",
            "root:x:0:0:root:/root:/bin/sh\nu:x:1000:", "root:x:0:\n",
        ),
        text("", "ID='x'\n", "MemAvailable: 1 kB\n", "4:memory:/a/b\n0::/\n", "a:b", "\n\n"),
    ]  # fmt: skip


def of_mounts() -> list[bytes]:
    """A mark in a directory, as a file, with results beside it."""
    return [b"\0" + text("", MARK) + MOUNTINFO.encode(), b"\1" + text("", MARK), b"\0" + text("result", "x" + MARK)]


def of_join() -> list[bytes]:
    """A welcome, an answer, a plan of two steps and a directory."""

    def words(*values: str | None) -> bytes:
        return b"".join(b"\0\0\0\0" if v is None else struct.pack("<I", len(v) + 1) + text(v) for v in values)

    head = struct.pack("<qqqqIIQQ", 1, 2, 3, 4, 1, 0, 2, 1)
    operations = (
        struct.pack("<II", 7, 0o40755) + words(None, "/a", "/a/b", None) + struct.pack("<QQ", 1, 2)
        + struct.pack("<II", 8, 0o755) + words("/oldroot/a", "/a", None, "/a") + struct.pack("<QQ", 1, 2)
    )  # fmt: skip
    plan = head + operations + words("/closure/x", "/x") + struct.pack("<QQ", 5, 6)
    return [
        b"\0\2\1",
        b"\0\2\0",
        b"\0\2\1x",
        b"\0\1\1",
        b"\0\3\1",
        b"\1\0y",
        b"\1\2y",
        b"\1\0",
        b"\2" + plan,
        b"\2" + plan[:60],
    ]


def of_front() -> list[bytes]:
    """A call, one with sizes of its own, an answer, variables."""
    words = text("srun", "-n1", "job", "PATH=/bin", "HOME=/x", "A.B=c", "/tmp")
    for_call = struct.pack("<IIIII", 0x73646565, 3, 3, len(words), 0o22) + bytes(4) + struct.pack("<QQ", 9, 9) * 16
    return [
        b"\0\3\0" + for_call + words, b"\0\3\1" + for_call + words, b"\0\2\1" + for_call + words, b"\0\4\1" + for_call,
        b"\2" + struct.pack("<i", 256), b"\2\1",
        b"\3" + text("BASH_FUNC_f%%=() { :; }", "A=b", "SDEE_PASSED_0=x=y", "1=2"),
    ]  # fmt: skip


def of_holder() -> list[bytes]:
    """Terminals that come, send a listener or nothing, and go."""
    return [b"\0\1\1\1\2", b"\0\0\0\1\1\1\5\2\1\11\0\0\2\6\12", b"\0\1\0\1", b"\0\1\1\1\1\1\1\2", b"\0\2", b"\0\1\1\0"]


def of_environment() -> list[bytes]:
    """A plan and a list of owners."""
    plan = (
        "sdee-env 1\nrange\t100000\t65536\ndir\t/root\nlink\t/bin\tusr/bin\noverlay\t/usr\tlayers/usr\twork/usr\t\n"
        "overlay\t/etc\tlayers/a,b:c\\d\twork/etc\t/run/etc\nown\t/var\tlayers/var\nbind\t/home\nlive\t/scratch\ntmp\t/tmp\n"
        "tmpfs\t/run\tmode=0755\nproc\t/proc\nmqueue\t/dev/mqueue\nhide\t/x\nrange\t100000 65536 100000 65536\n"
    )
    return [b"\0" + plan.encode(), b"\0sdee-env 2\n", b"\1" + b"2049 17 1600000000 0 5\n0 9 -1 1000 1000\n0 9 -1 7 7\n"]


def of_waiting() -> list[bytes]:
    """Paths through links, by descriptors, to the standard ones."""
    status = "Name:\tx\nUid:\t0\t1\t2\t3\nGid:\t0\t0\t0\t0\nGroups:\t4 24 27 \n"
    paths = ["/a/b", "/l/../a/m", "a/../../x", "/dev/stdin", "/proc/self/fd/2", "/dev/fd/3/a", "/l", "a//f/", "", ".."]
    return [
        bytes([flags, 254]) + text(path, one, other, status)
        for path in paths
        for flags, one, other in ((3, "a", "/l"), (6, "/../../etc", "../.."), (0, "l", "/a/m"))
    ]


TARGETS: dict[str, Callable[[], list[bytes]]] = {
    "bundle": of_bundle, "table": of_table, "frames": of_frames, "conf": of_conf, "elf": of_elf, "ldcache": of_ldcache,
    "node": of_node, "mounts": of_mounts, "join": of_join, "lazy": of_lazy, "front": of_front, "holder": of_holder,
    "environment": of_environment, "waiting": of_waiting,
}  # fmt: skip


def write(target: str, directory: str) -> str:
    """Write a target's seeds, and what was found before, into a directory, and return it."""
    os.makedirs(directory, exist_ok=True)
    for number, data in enumerate(TARGETS[target]()):
        with open(os.path.join(directory, f"seed-{number:02d}"), "wb") as file:
            file.write(data)
    known = os.path.join(FOUND, target)
    for name in sorted(os.listdir(known)) if os.path.isdir(known) else ():
        with open(os.path.join(known, name), "rb") as old, open(os.path.join(directory, name), "wb") as new:
            new.write(old.read())
    return directory
