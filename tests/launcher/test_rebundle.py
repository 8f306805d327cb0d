"""A bundle made again: what did not change is taken over from the older one, and the bytes are as without it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bundles import assemble, closure_of, launcher, meta_frame, shrink_frames
from sdee.base.errors import BundleError
from sdee.packer.format import frames
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.reuse import OldFrames, frames_meta
from sdee.packer.format.writer import BundleSummary, write_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 64 << 10  # of a frame here, about


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_frames(monkeypatch, SIZE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """300 files that do not compress, 1 to 30 kB each, and one of 20 frames among them: about 6 MB."""
    top = tmp_path / "tree"
    top.mkdir()
    chance = random.Random(1)
    for number in range(300):
        (top / f"{number:03}.py").write_bytes(chance.randbytes(chance.randint(1000, 30_000)))
    (top / "150.so").write_bytes(chance.randbytes(20 * SIZE + 77))
    return top


def write(tree: Path, out: Path, *reuse: Path, level: int = 1) -> BundleSummary:
    program = launcher(tree.parent)
    return write_bundle(closure_of(tree), program, str(out), level=level, reuse=tuple(map(str, reuse)))


def digests(path: Path) -> list[str]:
    with open_bundle(str(path)) as bundle:
        found = bundle.meta["frames"]["sha256"]
        assert len(found) == len(bundle.table.frames)
        assert max(frame.size for frame in bundle.table.frames) <= frames.MOST + frames.STEP
        return list(found)


def new_frames(tree: Path, tmp_path: Path) -> tuple[int, int]:
    """Return how many frames a bundle of `tree` has that one made before does not have, and how many in all."""
    before = set(digests(tmp_path / "old.sdee"))
    write(tree, tmp_path / "new.sdee")
    after = digests(tmp_path / "new.sdee")
    return len(set(after) - before), len(after)


def test_a_file_that_grows_changes_the_frames_that_hold_it_and_a_few_after(tree: Path, tmp_path: Path) -> None:
    write(tree, tmp_path / "old.sdee")
    with (tree / "020.py").open("ab") as file:
        file.write(b"x" * 1000)
    fresh, number = new_frames(tree, tmp_path)
    assert number > 60
    assert 1 <= fresh <= 6


def test_a_file_that_comes_or_goes_does_so_too(tree: Path, tmp_path: Path) -> None:
    write(tree, tmp_path / "old.sdee")
    (tree / "019b.py").write_bytes(b"new" * 999)
    (tree / "200.py").unlink()
    fresh, _ = new_frames(tree, tmp_path)
    assert 1 <= fresh <= 13


def test_cuts_that_do_not_go_by_members_would_change_every_frame_after(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(self: frames.FrameWriter, _name: bytes, _length: int, _header: int) -> None:
        self._room = SIZE - self._filled

    monkeypatch.setattr(frames.FrameWriter, "begin", begin)
    write(tree, tmp_path / "old.sdee")
    with (tree / "020.py").open("ab") as file:
        file.write(b"x" * 1000)
    fresh, number = new_frames(tree, tmp_path)
    assert fresh > number * 3 / 4


def test_a_long_file_is_cut_from_its_own_beginning_whatever_is_before_it(tree: Path, tmp_path: Path) -> None:
    write(tree, tmp_path / "old.sdee")
    for path in tree.glob("*.py"):  # nothing but the long file stays as it is
        path.write_bytes(path.read_bytes()[::-1] + b"more")
    fresh, number = new_frames(tree, tmp_path)
    assert 18 <= number - fresh <= 20


def test_the_bundle_is_the_same_with_an_older_one_in_its_place_and_without(tree: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.sdee"
    first = write(tree, again)
    assert first.reused == 0
    same = write(tree, again)
    assert (same.reused, same.identity) == (same.frames, first.identity)
    (tree / "100.py").write_bytes(b"print(1)\n" * 1234)
    changed = write(tree, again)
    assert changed.frames - 6 <= changed.reused < changed.frames
    fresh = write(tree, tmp_path / "fresh.sdee")
    assert fresh.reused == 0
    assert again.read_bytes() == (tmp_path / "fresh.sdee").read_bytes()
    with open_bundle(str(again)) as bundle:
        bundle.verify()


def test_another_bundle_can_be_named_to_reuse(tree: Path, tmp_path: Path) -> None:
    write(tree, tmp_path / "v1.sdee")
    second = write(tree, tmp_path / "v2.sdee", tmp_path / "v1.sdee")
    assert second.reused == second.frames
    assert not second.useless


def damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what an older bundle may have become."""
    yield "nothing", b""
    yield "no bundle", b"#!/bin/sh\n" * 1000
    yield "cut off", data[: len(data) // 2]
    yield "a hole", data[:100_000] + bytes(500_000) + data[600_000:]
    for place in range(1000, len(data), 50_001):
        yield f"a flipped bit at {place}", data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def test_a_damaged_older_bundle_never_shows(tree: Path, tmp_path: Path) -> None:
    good, out = tmp_path / "good.sdee", tmp_path / "out.sdee"
    write(tree, good)
    for what, data in damaged(good.read_bytes()):
        out.write_bytes(data)
        write(tree, out)
        assert out.read_bytes() == good.read_bytes(), what


def hostile(path: Path, *, swap: bool = False, meta: object = None) -> bytes:
    """Return the bundle at `path` with other digests for its frames, or with another `frames` in META."""
    with open_bundle(str(path)) as bundle:
        found = bundle.meta
        raw = [bundle.frame(number)[0] for number in range(len(bundle.table.frames))]
        if swap:
            found["frames"]["sha256"].reverse()
        else:
            found["frames"] = meta
        frame = meta_frame(json.dumps(found).encode())
        sizes = [frame.size for frame in bundle.table.frames]
        return assemble(bundle.table.entries, raw, sizes=sizes, meta=frame)


def test_a_bundle_that_lies_about_its_frames_gives_none(tree: Path, tmp_path: Path) -> None:
    good, out = tmp_path / "good.sdee", tmp_path / "out.sdee"
    fresh = write(tree, good)
    out.write_bytes(hostile(good, swap=True))
    assert write(tree, out).reused <= 1  # the one in the middle has its own
    assert out.read_bytes() == good.read_bytes()
    right = frames_meta(1, [bytes(32)] * fresh.frames)
    lies: tuple[object, ...] = (
        None,
        [],
        {},
        "x",
        {**right, "sha256": None},
        {**right, "sha256": [[]] * fresh.frames},
        {**right, "zstd": 1},
    )
    for lie in lies:
        out.write_bytes(hostile(good, meta=lie))
        assert write(tree, out).reused == 0, lie
        assert out.read_bytes() == good.read_bytes()


def test_frames_of_another_level_or_another_zstd_are_not_taken_and_it_says_so(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tree, tmp_path / "v1.sdee", level=2)
    second = write(tree, tmp_path / "v2.sdee", tmp_path / "v1.sdee", level=1)
    assert second.reused == 0
    assert "level 2" in second.useless[0]
    with monkeypatch.context() as patch:
        patch.setattr("zstandard.ZSTD_VERSION", (1, 4, 0))
        assert write(tree, tmp_path / "v2.sdee", level=1).reused == 0
    (tmp_path / "old.sdee").write_bytes(hostile(tmp_path / "v1.sdee", meta=None))
    assert "older sdee" in write(tree, tmp_path / "v2.sdee", tmp_path / "old.sdee").useless[0]


def test_what_is_named_to_reuse_must_be_a_bundle(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "no.sdee").write_bytes(b"no bundle" * 100)
    for name in ("no.sdee", "missing.sdee"):
        with pytest.raises(BundleError):
            write(tree, tmp_path / "out.sdee", tmp_path / name)
    assert not [name for name in os.listdir(tmp_path) if name.startswith((".sdee", "out"))]


def test_many_threads_may_look_for_frames_at_once(tree: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.sdee"
    first = write(tree, old)
    again = write_bundle(
        closure_of(tree), launcher(tmp_path), str(tmp_path / "new.sdee"), level=1, threads=16, reuse=(str(old),)
    )
    assert (again.reused, again.identity) == (first.frames, first.identity)
    with OldFrames(1) as frames_:
        assert frames_.add(str(old)) == ""
        assert frames_.find(bytes(32), b"") is None


def test_the_command_says_what_it_reused(tmp_path: Path) -> None:
    def sdee(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "sdee", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout

    sdee("trace", "-q", "--", "/bin/true")
    assert "reused" not in sdee("bundle", "--minimal")
    first = Path(tmp_path / "bundle.sdee").read_bytes()
    assert "of the older bundle" in sdee("bundle", "--minimal")
    assert Path(tmp_path / "bundle.sdee").read_bytes() == first
    written = json.loads(sdee("bundle", "--minimal", "-o", "next.sdee", "--reuse", "bundle.sdee", "--json"))["bundle"]
    assert written["reused"] == written["frames"] > 0
    said = sdee("bundle", "--minimal", "--level", "3", "-o", "other.sdee", "--reuse", "bundle.sdee")
    assert "reused      nothing of 'bundle.sdee': it was compressed otherwise: level 7" in said
    sdee("bundle", "--minimal", "--reuse", "sdee.trace", status=241)
