"""Whatever is in a file that calls itself a bundle, the reader says what is wrong and writes nothing outside."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from bundles import (
    CONF,
    LAUNCHER,
    assemble,
    closure_of,
    dir_entry,
    file_entry,
    frame,
    launcher,
    meta_frame,
    shrink_frames,
)
from sdee.base.errors import BundleError, OutputError, SdeeError
from sdee.packer.format.extract import extract, select
from sdee.packer.format.reader import Bundle, open_bundle
from sdee.packer.format.table import Entry
from sdee.packer.format.writer import write_bundle

if TYPE_CHECKING:
    from pathlib import Path


def opened(data: bytes, tmp_path: Path) -> Bundle:
    path = tmp_path / "hand.sdee"
    path.write_bytes(data)
    return open_bundle(str(path))


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of about 2 kB with all kinds of entries and two frames."""
    tmp_path = tmp_path_factory.mktemp("small")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"some words, some words, and others\n" * 20)
    (tree / "b").symlink_to("a")
    shutil.copy2(tree / "a", tree / "c")
    with pytest.MonkeyPatch.context() as patch:
        shrink_frames(patch, 3000)
        write_bundle(closure_of(tree), launcher(tmp_path), str(tmp_path / "b.sdee"), level=1)
    return tmp_path / "b.sdee"


def check(path: Path) -> bytes:
    """Check everything; return the whole tar stream."""
    with open_bundle(str(path)) as bundle:
        bundle.verify()
        return b"".join(data for _, data in bundle._decode(range(len(bundle.table.frames))))


def test_a_flipped_bit_in_any_byte_is_found_unless_zstd_decodes_the_same_content(
    small_bundle: Path, tmp_path: Path
) -> None:
    content_ = check(small_bundle)
    good = small_bundle.read_bytes()
    damaged = tmp_path / "damaged.sdee"
    unnoticed = []
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << (place % 8)
        damaged.write_bytes(data)
        try:
            # inside a compressed block some bits do not matter to a decoder: what it decodes is intact
            assert check(damaged) == content_
            unnoticed.append(place)
        except BundleError:
            continue
    with open_bundle(str(small_bundle)) as bundle:
        payload = range(bundle.footer.launcher_size, bundle.footer.launcher_size + bundle.footer.payload_size)
    assert all(place in payload for place in unnoticed)
    assert len(unnoticed) < len(payload) / 20


def test_every_bit_of_frame_headers_and_footer_counts(small_bundle: Path, tmp_path: Path) -> None:
    good = small_bundle.read_bytes()
    damaged = tmp_path / "damaged.sdee"
    places = [*range(len(LAUNCHER), len(LAUNCHER) + 10), *range(len(good) - 128, len(good))]
    for place, bit in itertools.product(places, range(8)):
        data = bytearray(good)
        data[place] ^= 1 << bit
        damaged.write_bytes(data)
        with pytest.raises(BundleError):
            check(damaged)


def test_truncation_at_every_boundary_is_found_and_said(small_bundle: Path, tmp_path: Path) -> None:
    good = small_bundle.read_bytes()
    with open_bundle(str(small_bundle)) as bundle:
        footer = bundle.footer
        ends = [footer.launcher_size, *bundle._places[1:], footer.table_offset]
    sections = [struct.unpack_from("<QQ", good, footer.table_offset + 16 + 24 * n + 8) for n in range(6)]
    ends += [footer.table_offset + offset + part * size for offset, size in sections for part in (0, 1)]
    ends += [len(good) - 128, len(good) - 1]
    for end in {point + step for point in ends for step in (-1, 0, 1)} - {len(good)}:
        path = tmp_path / "cut.sdee"
        path.write_bytes(good[:end])
        with pytest.raises(BundleError, match="truncated"):
            check(path)
    for start in (1, footer.launcher_size, footer.table_offset):
        path.write_bytes(good[start:])
        with pytest.raises(BundleError, match="truncated"):
            check(path)


@pytest.mark.parametrize("data", [b"", b"x", b"text\n" * 100, b"\x7fELF" + bytes(1000)])
def test_what_is_no_bundle_is_called_so(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        opened(data, tmp_path)


def test_a_newer_format_is_called_so(small_bundle: Path, tmp_path: Path) -> None:
    data = bytearray(small_bundle.read_bytes())
    data[-128 + 16] = 2
    with pytest.raises(BundleError, match="newer"):
        opened(bytes(data), tmp_path)


GOOD = [dir_entry("/d"), file_entry("/d/f", b"content", 0)]


def test_a_bundle_put_together_by_hand_is_read(tmp_path: Path) -> None:
    with opened(assemble(GOOD, [frame(b"content")]), tmp_path) as bundle:
        bundle.verify()
        assert b"".join(bundle.read_file("/d/f")) == b"content"


HOSTILE_ENTRIES = {
    "relative path": [file_entry("d", b"")],
    "dot dot": [dir_entry("/d"), file_entry("/d/../../etc/x", b"")],
    "dot": [dir_entry("/."), file_entry("/./x", b"")],
    "doubled slash": [dir_entry("/d"), file_entry("/d//x", b"")],
    "trailing slash": [dir_entry("/d/")],
    "the root": [dir_entry("/")],
    "empty path": [file_entry("", b"")],
    "long name": [file_entry("/" + "n" * 256, b"")],
    "twice": [dir_entry("/d"), dir_entry("/d")],
    "out of order": [dir_entry("/e"), dir_entry("/d")],
    "no parent": [file_entry("/d/x", b"")],
    "parent is a link": [Entry("/d", stat.S_IFLNK | 0o777, link="/etc"), file_entry("/d/passwd", b"")],
    "parent is a file": [file_entry("/d", b""), file_entry("/d/x", b"")],
    "device": [Entry("/d", stat.S_IFBLK | 0o666)],
    "set-user-ID": [Entry("/d", stat.S_IFREG | 0o4755)],
    "set-group-ID directory": [Entry("/d", stat.S_IFDIR | 0o2755)],
    "link without target": [Entry("/l", stat.S_IFLNK | 0o777)],
    "file with target": [file_entry("/f", b"", link="/etc/passwd")],
    "hard link to nothing": [file_entry("/f", b"", link="/etc/passwd", hard_link=True)],
    "hard link to itself": [file_entry("/f", b"", link="/f", hard_link=True)],
    "hard link to a link": [
        file_entry("/a", b"", link="/l", hard_link=True),
        Entry("/l", stat.S_IFLNK | 0o777, link="/etc/passwd"),
    ],
    "hard link to a directory": [dir_entry("/d"), file_entry("/f", b"", link="/d", hard_link=True)],
    "hard links in a circle": [
        file_entry("/a", b"", link="/b", hard_link=True),
        file_entry("/b", b"", link="/a", hard_link=True),
    ],
    "hard link with other mode": [
        file_entry("/a", b""),
        replace(file_entry("/b", b"", link="/a", hard_link=True), mode=stat.S_IFREG | 0o777),
    ],
    "hard link with content": [file_entry("/a", b"12"), file_entry("/b", b"12", 2, link="/a", hard_link=True)],
    "directory with content": [replace(dir_entry("/d"), size=3)],
    "beyond the payload": [file_entry("/f", b"1", 7)],
    "huge": [file_entry("/f", b"", size=1 << 63)],
    "offset without content": [file_entry("/f", b"", 3)],
    "overlap": [file_entry("/a", b"1234", 0), file_entry("/b", b"4567", 3)],
    "impossible time": [file_entry("/f", b"", mtime_ns=-1)],
}


@pytest.mark.parametrize("case", HOSTILE_ENTRIES)
def test_hostile_entries_are_refused(case: str, tmp_path: Path) -> None:
    data = assemble(HOSTILE_ENTRIES[case], [frame(b"content")])
    if case == "impossible time":  # nanoseconds 999999999 are fine, the next are not
        opened(data, tmp_path).close()
        table = bytearray(data[data.index(b"SDEETOC1") : -128])
        place = table.index(struct.pack("<I", 999_999_999))
        table[place : place + 4] = struct.pack("<I", 1_000_000_000)
        data = assemble([], [frame(b"content")], table=bytes(table))
    with pytest.raises(BundleError, match="hostile entry"):
        opened(data, tmp_path)


def test_hostile_frames_are_refused(tmp_path: Path) -> None:
    good = frame(b"content")
    bomb = frame(bytes(64 << 20))
    with pytest.raises(BundleError, match="FRAM"):
        opened(assemble([], [bomb]), tmp_path)
    wrong = {
        "smaller than announced": assemble([], [good], sizes=[100]),
        "a bomb": assemble([], [bomb], sizes=[7]),
        "without checksum": assemble([], [zstandard.ZstdCompressor().compress(b"content")]),
        "bytes after it": assemble([], [good + b"xx"], sizes=[7]),
        "two in one": assemble([], [good + good], sizes=[7]),
        "not zstd": assemble([], [b"x" * 50], sizes=[7]),
    }
    for data in wrong.values():
        with opened(data, tmp_path) as bundle, pytest.raises(BundleError, match="payload"):
            bundle.verify()


def test_content_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    for content_, entry in (
        (b"content", file_entry("/f", b"CONTENT")),
        (b"x", replace(file_entry("/f", b""), sha256=bytes(32))),
    ):
        with opened(assemble([entry], [frame(content_)]), tmp_path) as bundle:
            with pytest.raises(BundleError, match="SHA-256"):
                bundle.verify()
            with pytest.raises(BundleError, match="SHA-256"):
                extract(bundle, select(bundle, []), str(tmp_path / "out"))
        if entry.size:
            assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    "meta",
    [b"", b"{", b"[]", b'{"summary": 3}', b'{"summary": {}, "items": [{}]}', b'{"summary": {}, "items": 3}',
     b'{"summary": {}, "items": [{"path": 3, "verdict": "bundle", "reasons": []}]}',
     b'{"summary": {}, "items": [{"path": "/x", "verdict": "?", "reasons": []}]}', b"[" * 100_000],
)  # fmt: skip
def test_hostile_metadata_is_refused(meta: bytes, tmp_path: Path) -> None:
    with opened(assemble([], meta=meta_frame(meta)), tmp_path) as bundle, pytest.raises(BundleError, match="META"):
        bundle.verify()


def test_metadata_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    raw = struct.pack("<IBQ", 0xFD2FB528, 0xE0, 1 << 40) + bytes(20)
    with opened(assemble([], meta=raw), tmp_path) as bundle, pytest.raises(BundleError, match="META"):
        bundle.verify()


@pytest.mark.parametrize(
    "change",
    [
        {"program": "relative"},
        {"umask": "9"},
        {"machine": None},
        {"cwd": None},
        {"arg": None},
        {"os": None},
        {"env": "x"},
    ],
    ids=str,
)
def test_impossible_conf_is_refused(change: dict[str, str | None], tmp_path: Path) -> None:
    (key, value), *_ = change.items()
    conf = tuple(pair for pair in CONF if pair[0] != key) + (((key, value),) if value else ())
    with pytest.raises(BundleError, match="CONF"):
        opened(assemble([], conf=conf), tmp_path)
    opened(assemble([], conf=(*CONF, ("a key from the future", "x"))), tmp_path).close()


def test_links_of_a_bundle_that_go_round_or_out_end_nowhere(tmp_path: Path) -> None:
    entries = [
        Entry("/a", stat.S_IFLNK | 0o777, link="b"),
        Entry("/b", stat.S_IFLNK | 0o777, link="a"),
        Entry("/out", stat.S_IFLNK | 0o777, link="../../../../etc/passwd"),
    ]
    with opened(assemble(entries), tmp_path) as bundle:
        assert bundle.find("/a") is None
        assert bundle.find("/out") is None
        with pytest.raises(BundleError):
            list(bundle.read_file("/out"))


def test_extraction_follows_no_link_that_was_planted(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "out"
    target.mkdir()
    (target / "d").symlink_to(outside)
    with opened(assemble(GOOD, [frame(b"content")]), tmp_path) as bundle:
        for force in (False, True):
            with pytest.raises(OutputError):
                extract(bundle, select(bundle, []), str(target), force=force)
    assert os.listdir(outside) == []


def test_extraction_replaces_files_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "d").mkdir(parents=True)
    (target / "d" / "f").write_bytes(b"mine")
    os.link(target / "d" / "f", tmp_path / "other name")
    with opened(assemble(GOOD, [frame(b"content")]), tmp_path) as bundle:
        with pytest.raises(OutputError, match="there already"):
            extract(bundle, select(bundle, []), str(target))
        assert (target / "d" / "f").read_bytes() == b"mine"
        extract(bundle, select(bundle, []), str(target), force=True)
    assert (target / "d" / "f").read_bytes() == b"content"
    assert (tmp_path / "other name").read_bytes() == b"mine"  # replaced, not written through


def test_extraction_says_when_there_is_no_space(tmp_path: Path) -> None:
    entries = [file_entry("/f", b"", size=(16 << 20) * 20_000)]
    table_only = assemble(entries, [frame(b"x")] * 20_000, sizes=[16 << 20] * 20_000)
    with opened(table_only, tmp_path) as bundle, pytest.raises(OutputError, match="bytes free"):
        extract(bundle, select(bundle, []), str(tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == []


def test_every_error_is_one_that_the_command_line_knows(tmp_path: Path) -> None:
    with pytest.raises(SdeeError):
        open_bundle(str(tmp_path / "nothing there"))
    with pytest.raises(SdeeError):
        open_bundle(str(tmp_path))
