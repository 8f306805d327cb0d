"""Truncated, damaged and hostile bundles: a clear error with its code, and nothing written anywhere.

From the launcher as built and under the sanitizers.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from bundle_maker import Entry, Maker
from launcher_tools import PLAIN, REPO, ROOT, SOURCES, TESTER, as_user, built, mounts, open_directory, run, script
from sdee.base.errors import BundleError
from sdee.packer.format.reader import open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUNDLE, RESOURCES = 241, 243
TARGETS = ("sdee-launcher", "sdee-launcher-asan")
SECTIONS = ("STRS", "ENTR", "SHAS", "FRAM", "CONF", "META")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def small() -> Maker:
    """Return a bundle that would say "ran" in a closed root."""
    return script("echo ran")


def refused(path: str, *words: str, code: int = BUNDLE) -> None:
    """Assert that both launchers refuse a file in the same words, run nothing and leave nothing."""
    before, files = mounts(), set(os.listdir("/tmp"))
    for target in TARGETS:
        result = run([built(target), "--root", "closed", path], env={"ASAN_OPTIONS": "detect_leaks=0"})
        assert (result.returncode, result.stdout) == (code, ""), result.stderr
        assert result.stderr.startswith("sdee: error: "), result.stderr
        assert not [word for word in words if word not in result.stderr], result.stderr
    assert mounts() == before
    assert set(os.listdir("/tmp")) == files


def write(path: str, data: bytes) -> str:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o755)
    return path


def test_a_good_bundle_runs_under_the_sanitizers_too(work: str) -> None:
    bundle = small().write(f"{work}/b.sdee")
    for target in TARGETS:
        for root in ("merged", "closed"):
            result = run([built(target), "--root", root, bundle], env={"ASAN_OPTIONS": "detect_leaks=0"})
            assert (result.stdout, result.returncode) == ("ran\n", 0), result.stderr


def test_the_launcher_is_small_and_static() -> None:
    assert os.path.getsize(built("sdee-launcher")) < 450 << 10
    with open(built("sdee-launcher"), "rb") as file:
        kinds = {segment["p_type"] for segment in ELFFile(file).iter_segments()}
    assert "PT_LOAD" in kinds
    assert kinds.isdisjoint({"PT_INTERP", "PT_DYNAMIC"})


def test_each_kind_of_unusable_file_has_its_own_message(work: str) -> None:
    data = small().build()
    refused(f"{work}/missing", "cannot open", "No such file")
    refused(write(f"{work}/text", b"hello\n"), "is not a bundle\n  hint: make one with `sdee bundle`")
    refused(
        write(f"{work}/trace", b'{"t":"header","sdee":1}\n'), "hint: it is a trace: `sdee bundle` makes a bundle of it"
    )
    refused(write(f"{work}/empty", b""), "is not a bundle: it is empty")
    refused(work, "is not a bundle: it is a directory, not a regular file")
    refused(write(f"{work}/cut", data[:-200]), "truncated")
    newer = small()
    newer.version = 2
    refused(newer.write(f"{work}/newer"), "made by a newer sdee")


def test_truncated_at_every_boundary(work: str) -> None:
    maker = small()
    data = maker.build()
    edges = {edge for begin, end in maker.parts.values() for edge in (begin, begin + 1, end - 1, end)} - {0, len(data)}
    for edge in sorted(edges):
        refused(write(f"{work}/cut", data[:edge]))


@pytest.mark.parametrize("size", [1000, 100_000, 350_000])
def test_a_bundle_cut_within_the_launcher_is_called_truncated_by_both_readers(work: str, size: int) -> None:
    cut = write(f"{work}/cut", small().build()[:size])
    refused(cut, "truncated: it begins as a bundle")
    with pytest.raises(BundleError, match="truncated: it begins as a bundle"):
        open_bundle(cut)
    with open("/usr/bin/env", "rb") as file:
        refused(write(f"{work}/other", file.read()), "is not a bundle")


@pytest.mark.parametrize("edge", ["launcher", "payload", "table"])
def test_a_truncated_bundle_that_is_run_directly_says_so(work: str, edge: str) -> None:
    maker = small()
    data = maker.build()
    result = run([write(f"{work}/cut", data[: maker.parts[edge][1]])])
    assert result.returncode == BUNDLE
    assert "truncated" in result.stderr


@pytest.mark.parametrize("part", ["launcher", "payload", "footer", *SECTIONS])
def test_a_flipped_bit_in_every_section(work: str, part: str) -> None:
    maker = small()
    data = maker.build()
    begin, end = maker.parts[part]
    for at in {begin, (begin + end) // 2, end - 1}:
        broken = bytearray(data)
        broken[at] ^= 0x10
        refused(write(f"{work}/broken", bytes(broken)))


def test_every_byte_of_the_footer_counts(work: str) -> None:
    maker = Maker(conf=small().conf)
    data = maker.build()
    for at in range(len(data) - 128, len(data)):
        for bit in (0, 7):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            result = run([built("sdee-launcher"), write(f"{work}/broken", bytes(broken))])
            assert result.returncode == BUNDLE, (at, result.stderr)


def entry(
    path: str, mode: int = stat.S_IFREG | 0o644, content: bytes = b"x", **more: object
) -> Callable[[Maker], None]:
    return lambda maker: maker.entries.append(Entry(path, mode, content, **more))  # type: ignore[arg-type]


def link_as_parent(maker: Maker) -> None:
    maker.symlink("/opt-link", "/tmp")
    maker.entries.append(Entry("/opt-link/evil", stat.S_IFREG | 0o644, b"x"))


def file_as_parent(maker: Maker) -> None:
    maker.add("/file", "x")
    maker.entries.append(Entry("/file/evil", stat.S_IFREG | 0o644, b"x"))


def overlapping(maker: Maker) -> None:
    maker.add("/a", b"a" * 2000)
    maker.add("/b", b"b" * 2000)
    _, _, offsets = maker.payload()
    maker.entries[-1].offset = offsets[id(maker.entries[-2])] + 100


def unsorted(maker: Maker) -> None:
    maker.entries.reverse()
    maker.sort = False


def cycle(maker: Maker) -> None:
    maker.hardlink("/a", "/b").hardlink("/b", "/a")


def other_mode(maker: Maker) -> None:
    maker.add("/a", "content", 0o600).hardlink("/b", "/a")
    maker.entries[-1].mode = stat.S_IFREG | 0o777


def conf(key: str, value: str) -> Callable[[Maker], None]:
    return lambda maker: maker.conf.append((key, value))


def without(key: str) -> Callable[[Maker], None]:
    return lambda maker: maker.conf.__setitem__(slice(None), [pair for pair in maker.conf if pair[0] != key])


def section(name: str, value: object) -> Callable[[Maker], None]:
    return lambda maker: setattr(maker, name, value)


HOSTILE: dict[str, tuple[Callable[[Maker], object], str]] = {
    "relative path": (entry("evil"), "normalised"),
    "dot-dot": (entry("/usr/../../evil"), "normalised"),
    "dot": (entry("/./evil"), "normalised"),
    "empty component": (entry("//evil"), "normalised"),
    "trailing slash": (entry("/evil/"), "normalised"),
    "root itself": (entry("/", stat.S_IFDIR | 0o755, b""), "normalised"),
    "empty path": (entry(""), "normalised"),
    "long component": (entry("/" + "e" * 256), "normalised"),
    "long path": (entry("/e" * 2100), "normalised"),
    "there twice": (entry("/usr", stat.S_IFDIR | 0o755, b""), "twice"),
    "unsorted": (unsorted, "out of order"),
    "parent missing": (entry("/none/evil"), "parent"),
    "parent is a symbolic link": (link_as_parent, "parent"),
    "parent is a file": (file_as_parent, "parent"),
    "hard links in a cycle": (cycle, "hard link"),
    "hard link to nothing": (lambda m: m.hardlink("/a", "/nothing"), "hard link"),
    "hard link to a directory": (lambda m: m.directory("/opt").hardlink("/a", "/opt"), "hard link"),
    "hard link outside": (lambda m: m.hardlink("/a", "../etc/shadow"), "hard link"),
    "symbolic link to nothing": (entry("/a", stat.S_IFLNK | 0o777, b""), "link target"),
    "device": (entry("/dev-null", stat.S_IFCHR | 0o666, b""), "mode"),
    "set-user-ID": (entry("/su", stat.S_IFREG | 0o4755), "mode"),
    "set-group-ID": (entry("/sg", stat.S_IFREG | 0o2755), "mode"),
    "sticky file": (entry("/st", stat.S_IFREG | 0o1755), "mode"),
    "hard link with another mode": (other_mode, "hard link"),
    "empty frame": (section("frames", [(0, 0)]), "is empty"),
    "unknown flags": (entry("/a", flags=2), "flags"),
    "nanoseconds": (entry("/a", nsec=10**9), "flags"),
    "size of a directory": (entry("/a", stat.S_IFDIR | 0o755, b"", size=7), "size"),
    "size beyond the stream": (entry("/a", size=1 << 40), "outside the payload"),
    "size that overflows": (entry("/a", size=(1 << 64) - 1, offset=512), "outside the payload"),
    "offset beyond the stream": (entry("/a", offset=1 << 60), "outside the payload"),
    "overlapping contents": (overlapping, "overlaps"),
    "frame of 16 EiB": (section("frames", [(10, (1 << 64) - 1)]), "frame 0 claims"),
    "frame beyond the payload": (section("frames", [(1 << 63, 10)]), "beyond the payload"),
    "no frames": (section("frames", []), "add up"),
    "strings without end": (section("strings", b"\0abc"), "STRS"),
    "no strings": (section("strings", b""), "STRS"),
    "sections out of order": (section("tags", ("ENTR", "STRS", "SHAS", "FRAM", "CONF", "META")), "out of place"),
    "live is not normalised": (conf("live", "/tmp/../etc"), "normalised"),
    "host is relative": (conf("host", "etc/shadow"), "normalised"),
    "tree is not normalised": (conf("tree", "/a//b"), "normalised"),
    "variable without name": (conf("env", "novalue"), "env"),
    "no program": (without("program"), "no program"),
    "no arguments": (without("arg"), "no arg"),
    "no umask": (without("umask"), "no umask"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_are_refused(work: str, name: str) -> None:
    spoil, words = HOSTILE[name]
    maker = small()
    spoil(maker)
    refused(maker.write(f"{work}/hostile"), words)


def test_a_frame_that_holds_less_or_more_than_it_says(work: str) -> None:
    maker = small()
    _, frames, _ = maker.payload()
    for change in (-1, 1, 1 << 20):
        maker.frames = [*frames[:-1], (frames[-1][0], frames[-1][1] + change)]
        if change > 0 or frames[-1][1] > 1024:
            refused(maker.write(f"{work}/hostile"), "frame")


def test_a_frame_without_checksum_is_refused(work: str) -> None:
    maker = small()
    data = bytearray(maker.build())
    begin = maker.parts["payload"][0]
    assert data[begin + 4] & 4, "zstd's frame header descriptor has the checksum flag"
    data[begin + 4] &= ~4
    refused(write(f"{work}/hostile", bytes(data)), "frame 0")


@pytest.mark.parametrize("version", [5, 6, 7])
def test_a_frame_of_an_old_zstd_format_is_refused_also_behind_a_good_one(work: str, version: int) -> None:
    """Their decoders are not linked in: reaching one would be a crash."""
    old = struct.pack("<I", 0xFD2FB520 + version) + bytes(60)
    for put in (lambda good: good + old, lambda good: old + good, lambda good: old[: len(good)]):

        class Hostile(Maker):
            def payload(self) -> tuple[bytes, list[tuple[int, int]], dict[int, int]]:
                packed, frames, offsets = super().payload()
                changed = put(packed)  # noqa: B023 - used at once
                return changed, [(len(changed), frames[0][1])], offsets

        maker = script("true")
        hostile = Hostile(maker.launcher, maker.entries, maker.conf, 64 << 20)
        hostile.frame_size = 16 << 20
        result = run([hostile.write(f"{work}/b.sdee")], ROOT="closed")
        assert result.returncode == 241, result.stderr
        assert "frame 0 has no valid head" in result.stderr


def test_links_out_of_the_root_lead_nothing_out(work: str) -> None:
    """Mount points that the launcher makes must not be made through a hostile link into the node."""
    victim = f"{work}/victim"
    os.mkdir(victim, 0o777)
    os.chmod(victim, 0o777)
    for target in (victim, f"/oldroot{victim}", f"../../oldroot{victim}", f"../..{victim}"):
        maker = small()
        maker.entries = [e for e in maker.entries if not e.path.startswith("/etc")]
        maker.symlink("/etc", target).symlink("/var", target).symlink("/srv-out", target)
        maker.conf += [
            ("host", "/etc/hosts"),
            ("host", "/etc/resolv.conf"),
            ("live", "/var/lib"),
            ("live", "/usr/local"),
            ("tree", "/etc/x"),
        ]
        bundle = maker.write(f"{work}/hostile")
        for target_name in TARGETS:
            for root in ("merged", "closed"):
                command = [
                    *as_user(TESTER if os.getuid() == 0 else os.getuid()),
                    built(target_name),
                    "--root",
                    root,
                    bundle,
                ]
                subprocess.run(
                    command,
                    env=PLAIN | {"ASAN_OPTIONS": "detect_leaks=0"},
                    capture_output=True,
                    check=False,
                    timeout=60,
                )
                assert os.listdir(victim) == []


def test_the_corpus_passes_the_sanitizers(work: str) -> None:
    """Each input of the fuzzer's corpus as a bundle: a status from the table, no sanitizer's report."""
    corpus = os.path.join(REPO, "fixtures", "launcher", "corpus")
    names = sorted(os.listdir(corpus))
    assert names
    for name in names:
        with open(os.path.join(corpus, name), "rb") as file:
            data = file.read()
        maker = Maker(b"x")  # a byte stands for its launcher
        whole = frame_up(maker, data) if len(data) >= 4 else data
        result = run(
            [built("sdee-launcher-asan"), "--dry-run", write(f"{work}/input", whole)],
            env={"ASAN_OPTIONS": "detect_leaks=0"},
        )
        assert result.returncode in (0, BUNDLE, 244), (name, result.stderr)
        assert "Sanitizer" not in result.stderr


def frame_up(maker: Maker, data: bytes) -> bytes:
    """As fuzz_bundle.c: u32 size of the payload, payload, table → a bundle with a footer that fits."""
    size = min(struct.unpack("<I", data[:4])[0], len(data) - 4)
    payload, table = data[4 : 4 + size], data[4 + size :]
    maker.payload = lambda: (payload, [], {})  # type: ignore[method-assign]
    maker.table = lambda *_: table  # type: ignore[method-assign]
    return maker.build()


def test_the_makefile_builds_without_musl(work: str) -> None:
    command = ["make", "-s", "-B", "-C", SOURCES, "MUSL=", f"OUTPUT={work}/launcher", f"{work}/launcher"]
    subprocess.run(command, check=True, capture_output=True)
    bundle = small().write(f"{work}/b.sdee")
    result = subprocess.run(
        ["sdee exec", "--root", "closed", bundle],
        executable=f"{work}/launcher",
        env=PLAIN,
        capture_output=True,
        check=False,
    )
    assert result.stdout == b"ran\n", result.stderr


def test_a_pipe_is_no_bundle_and_nobody_waits_for_it(work: str) -> None:
    os.mkfifo(f"{work}/pipe")
    result = run([built("sdee-launcher"), f"{work}/pipe"])
    assert (result.returncode, result.stdout) == (BUNDLE, "")
    assert "pipe is not a bundle: it is a FIFO, not a regular file" in result.stderr


FORGED = "\x1b[2J\x1b]0;title\x07\rsdee: error: forged\nsdee: all is well\x7f \u009b31m \udc9b Zürich 東京"


def test_what_a_bundle_says_reaches_no_terminal_and_begins_no_line(work: str) -> None:
    """Texts of a hostile bundle in errors, warnings, the plan, the list of lost files and the diagnosis."""
    hostile = FORGED.replace("/", "")
    text = f"mkdir -p /opt/x; cat '/opt/{hostile}' 2>/dev/null; echo x >'/opt/x/{hostile}'; exit 3"
    maker = script(text, programs=("mkdir", "cat"), incomplete=hostile, shared=f"/nowhere/{hostile}", os=hostile)
    bundle = maker.add(f"/opt/x/{hostile}2", "x").symlink(f"/opt/x/{hostile}3", hostile).write(f"{work}/b.sdee")
    lost = script("true", cwd=f"/nowhere/{hostile}", live=["/nowhere"]).write(f"{work}/c.sdee")
    damaged = script("true", machine=hostile).write(f"{work}/d.sdee")
    said = [
        run([bundle], ROOT="closed", DEBUG="1", DIAGNOSE="1").stderr,
        run([bundle], ROOT="auto", DRY_RUN="1").stdout,
        run([lost]).stderr,
        run([damaged]).stderr,
        run([bundle, "--x"], COMMAND=hostile, ROOT="closed").stderr,
        run([built("sdee-launcher"), f"{work}/{hostile}"]).stderr,
    ]
    for number, one in enumerate(said):
        assert r"\x1b[2J" in one, (number, one)
        shown = one.encode(errors="surrogateescape")
        assert not re.search(
            rb"[\0-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|(?<![\xc2-\xf4])[\x80-\x9f](?![\x80-\xbf])\x20", shown
        ), (number, one)
        assert not [line for line in one.splitlines() if line.startswith("sdee: all is well")], number
    whole = "".join(said)
    assert r"\x1b[2J\x1b]0;title\x07" in whole
    assert "Zürich 東京" in whole
    assert r"\xc2\x9b31m \x9b" in whole


def test_a_lack_of_descriptors_is_told_as_that(work: str) -> None:
    bundle = small().write(f"{work}/b.sdee")
    for limit in range(3, 9):
        result = run(["prlimit", f"--nofile={limit}:{limit}", bundle], ROOT="closed")
        assert "/proc is not mounted" not in result.stderr
        assert (limit > 4) or (result.returncode == RESOURCES and "raise `ulimit -n`" in result.stderr), result.stderr


@pytest.mark.skipif(not ROOT, reason="puts another /proc/meminfo in place")
def test_memory_for_decoding_is_counted(work: str) -> None:
    maker = small().add("/opt/large", os.urandom(6 << 20))
    bundle = maker.write(f"{work}/b.sdee")
    closure = sum(1024 + -(-len(entry.content) // 4096) * 4096 for entry in maker.entries)
    ended = {}
    for more in (1 << 20, 16 << 20):
        with open(f"{work}/meminfo", "w", encoding="ascii") as file:
            file.write(f"MemAvailable: {(closure + more) // 1024} kB\n")
        command = f"mount --bind {work}/meminfo /proc/meminfo && exec {bundle}"
        ended[more >> 20] = run(["unshare", "-m", "sh", "-c", command], ROOT="closed")
    assert (ended[1].returncode, "needs" in ended[1].stderr) == (RESOURCES, True), ended[1].stderr
    assert (ended[16].returncode, ended[16].stdout) == (0, "ran\n"), ended[16].stderr


@pytest.mark.skipif(not ROOT, reason="puts another /proc/meminfo in place")
def test_where_memory_is_short_fewer_threads_unpack(work: str) -> None:
    """Asked when the launcher is in its own memory file system, where /proc must lead to the node's."""
    maker = small()
    for number in range(8):
        maker.add(f"/opt/large/{number}", os.urandom(6 << 20))
    bundle = maker.write(f"{work}/b.sdee")
    closure = sum(1024 + -(-len(entry.content) // 4096) * 4096 for entry in maker.entries)
    threads = {}
    for more in (6 << 20, 512 << 20):
        with open(f"{work}/meminfo", "w", encoding="ascii") as file:
            file.write(f"MemAvailable: {(closure + more) // 1024} kB\n")
        traced = f"strace -f -qq -e trace=clone,clone3 -o {work}/calls {bundle}"
        command = f"mount --bind {work}/meminfo /proc/meminfo && exec {traced}"
        assert run(["unshare", "-m", "sh", "-c", command], ROOT="closed", THREADS="4").stdout == "ran\n"
        with open(f"{work}/calls", encoding="utf-8") as file:
            threads[more >> 20] = sum("CLONE_THREAD" in line and "unfinished" not in line for line in file)
    assert threads == {6: 0, 512: 3}
