"""What is known of files from one bundling to the next: what did not change is not read, what did always is."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bundles import closure_of, launcher, shrink_frames
from sdee.packer import contents
from sdee.packer.contents import Contents, cache_of, identity
from sdee.packer.elf.objects import ElfReader
from sdee.packer.filesystem import FileSystem
from sdee.packer.format import content
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.reuse import OldFrames
from sdee.packer.format.writer import BundleSummary, write_bundle
from sdee.packer.units.own_directories import path_texts

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 64 << 10  # of a frame here, about


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_frames(monkeypatch, SIZE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """40 small files, and one of 20 frames: all changed long enough ago."""
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(40):
        (top / f"{number:03}.py").write_bytes(os.urandom(10_000 + number))
    (top / "020.so").write_bytes(os.urandom(20 * SIZE + 77))
    return top


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a change for old after 20 ms: these file systems' clock goes in steps of at most 10."""
    monkeypatch.setattr(contents, "_TICK", 20 * 10**6)


def bundle(tree: Path, name: str = "b.sdee", *, cache: bool = True) -> tuple[BundleSummary, bytes]:
    """Bundle a tree, with its cache beside it; return what was said, and the bundle's bytes."""
    time.sleep(0.03)
    known = Contents(str(tree.parent / "cache.contents") if cache else "")
    out = tree.parent / name
    summary = write_bundle(closure_of(tree), launcher(tree.parent), str(out), level=1, contents=known)
    known.save()
    return summary, out.read_bytes()


def from_scratch(tree: Path) -> bytes:
    """Return the bytes of a bundle for which every file is read."""
    return bundle(tree, "scratch.sdee", cache=False)[1]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of the files that are opened for a bundle."""
    found: list[str] = []
    opened = content.open_source

    def note(source: content.Source) -> int:
        found.append(os.path.basename(source.node.origin))
        return opened(source)

    monkeypatch.setattr(content, "open_source", note)
    return found


@pytest.mark.usefixtures("settled")
def test_what_did_not_change_is_not_read_and_the_bytes_are_the_same(tree: Path, read: list[str]) -> None:
    first, before = bundle(tree)
    assert len(set(read)) == 41
    read.clear()
    again, after = bundle(tree)
    assert read == []
    assert (again.reused, again.identity, after) == (first.frames, first.identity, before)
    assert after == from_scratch(tree)


@pytest.mark.usefixtures("settled")
def test_a_change_is_read_and_what_lies_in_its_frame(tree: Path, read: list[str]) -> None:
    bundle(tree)
    (tree / "007.py").write_bytes(b"changed")
    read.clear()
    again, after = bundle(tree)
    assert "007.py" in read
    assert len(set(read)) < 20
    assert again.reused > again.frames // 2
    assert after == from_scratch(tree)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", ["007.py", "020.so"])
def test_a_change_with_size_and_mtime_set_back_is_seen(tree: Path, name: str) -> None:
    _, before = bundle(tree)
    path = tree / name
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"#!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    _, after = bundle(tree)
    assert after != before
    assert after == from_scratch(tree)


@pytest.mark.usefixtures("settled")
def test_another_file_under_the_same_name_is_seen(tree: Path) -> None:
    bundle(tree)
    status = (tree / "007.py").stat()
    (tree / "new").write_bytes(os.urandom(status.st_size))
    os.utime(tree / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(tree / "new", tree / "007.py")
    _, after = bundle(tree)
    assert after == from_scratch(tree)


def test_what_changed_shortly_before_is_read_again(tree: Path, read: list[str]) -> None:
    bundle(tree)
    read.clear()
    bundle(tree)
    assert len(set(read)) == 41  # all were made within the last two seconds
    time.sleep(2.1)
    bundle(tree)
    read.clear()
    bundle(tree)
    assert read == []


@pytest.mark.usefixtures("settled")
def test_files_whose_ctime_no_kernel_keeps_are_read_again(
    tree: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("fuse.sshfs", "cifs", "vfat", ""):
        monkeypatch.setattr(Contents, "_kind", lambda _self, _path, kind=kind: kind)
        bundle(tree)
        read.clear()
        assert bundle(tree)[1] == from_scratch(tree)
        assert len(set(read)) == 41


@pytest.mark.usefixtures("settled")
def test_files_of_a_server_count_when_they_are_old_and_opening_them_says_so(
    tree: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Contents, "_kind", lambda _self, _path: "nfs4")
    bundle(tree)
    read.clear()
    bundle(tree)
    assert len(set(read)) == 41  # changed within ten minutes
    monkeypatch.setattr(contents, "_TICK_OF_SERVERS", 0)
    bundle(tree)
    read.clear()
    bundle(tree)
    assert read == []
    stale = {path: path.stat() for path in tree.iterdir()}
    (tree / "007.py").write_bytes(b"changed by another node")
    known = Contents(str(tree.parent / "cache.contents"))
    said = {path.name: known.of(str(path), status).digest for path, status in stale.items()}
    assert said.pop("007.py") == b""  # though stat(2) said, as a client that has not heard of it, that it is the same
    assert all(said.values())


@pytest.mark.usefixtures("settled")
def test_an_older_bundle_that_somebody_changed_is_not_believed(tree: Path) -> None:
    bundle(tree)
    out = tree.parent / "b.sdee"
    data = bytearray(out.read_bytes())
    with open_bundle(str(out)) as opened:
        place = opened.footer.launcher_size
        sizes = [frame.compressed for frame in opened.table.frames]
    for size in sizes:
        data[place + size // 2] ^= 1
        place += size
    status = out.stat()
    out.write_bytes(data)
    os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
    again, after = bundle(tree)
    assert again.reused == 0
    assert after == from_scratch(tree)


@pytest.mark.usefixtures("settled")
def test_frames_of_a_bundle_that_was_copied_are_decoded_and_compared(tree: Path, read: list[str]) -> None:
    first, before = bundle(tree)
    out = tree.parent / "b.sdee"
    out.write_bytes(before)  # another ctime
    read.clear()
    again, after = bundle(tree)
    assert (again.reused, after) == (first.frames, before)
    assert read == []


def cached(tree: Path) -> Path:
    return tree.parent / "cache.contents"


def _with_body(path: Path, body: bytes) -> None:
    path.write_bytes(contents._header(body) + body)


def _replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


BAD: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a bit": lambda path: path.write_bytes(path.read_bytes()[:-5] + b"\0" + path.read_bytes()[-4:]),
    "another version": lambda path: path.write_bytes(path.read_bytes().replace(b"sdee 1 ", b"sdee 2 ", 1)),
    "other rules": lambda path: path.write_bytes(b"sdee 1 0" + path.read_bytes()[8:]),
    "readable by others": lambda path: path.chmod(0o644),
    "a link": lambda path: os.symlink(path.rename(f"{path}.real"), path),
    "a FIFO": lambda path: _replaced(path, os.mkfifo),
    "a directory": lambda path: _replaced(path, os.mkdir),
    "no object": lambda path: _with_body(path, b"[]"),
    "deep": lambda path: _with_body(path, b"[" * 100_000),
    "no list": lambda path: _with_body(path, b'{"files": 1}'),
    "no entries": lambda path: _with_body(path, b'{"files": [1, "x", [], [[1]]], "frames": [], "bundle": 0}'),
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_cache_counts_as_none(tree: Path, read: list[str], kind: str) -> None:
    _, before = bundle(tree)
    (tree.parent / "b.sdee").unlink()
    BAD[kind](cached(tree))
    read.clear()
    _, after = bundle(tree)
    assert after == before
    assert len(set(read)) == 41


@pytest.mark.usefixtures("settled")
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_another_users_cache_counts_as_none(tree: Path, read: list[str]) -> None:
    bundle(tree)
    os.chown(cached(tree), 65534, 65534)
    (tree.parent / "b.sdee").unlink()
    read.clear()
    bundle(tree)
    assert len(set(read)) == 41


NONSENSE: tuple[Any, ...] = (7, "x", [], [1], {}, [["x"]], ["x"] * 14, None, [None] * 4)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_nonsense_in_a_cache_of_ones_own_raises_nothing(tree: Path, tmp_path: Path, nonsense: Any) -> None:
    """The user's own file may hold anything: whoever can write it could change the files, too."""
    _, before = bundle(tree)
    _, _, body = cached(tree).read_bytes().partition(b"\n")
    said = json.loads(body)
    said["frames"] = dict.fromkeys(said["frames"], nonsense)
    said["bundle"]["frames"] = nonsense
    _with_body(cached(tree), json.dumps(said).encode())
    assert bundle(tree)[1] == before
    names = ["secret0", "secret1", "elf", "imports", "python", "constants /usr"]
    elf = Path("/usr/bin/true").resolve()
    entry = [list(identity(elf.stat())), "", "\x7fELF", dict.fromkeys(names, nonsense)]
    cache = tmp_path / "of-elf.contents"
    cache.touch(0o600)
    _with_body(cache, json.dumps({"files": [entry]}).encode())
    fs = FileSystem(contents=Contents(str(cache)))
    assert fs.head(str(elf)) == b"\x7fELF"
    found = ElfReader(fs).read(str(elf))
    assert found is None or found.needed == ElfReader(FileSystem()).read(str(elf)).needed  # type: ignore[union-attr]
    path_texts(fs, str(elf))


def _save(path: str, number: int) -> None:
    known = Contents(path)
    known.frames = {str(n): "x" * 64 for n in range(number * 100)}
    for _ in range(20):
        known.save()


def test_writers_at_once_leave_one_of_theirs_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.contents"
    writers = [multiprocessing.Process(target=_save, args=(str(path), number)) for number in range(1, 5)]
    for writer in writers:
        writer.start()
    sizes = set()
    while any(writer.is_alive() for writer in writers):
        sizes.add(len(Contents(str(path)).frames))
    for writer in writers:
        writer.join()
    assert sizes <= {0, 100, 200, 300, 400}
    assert len(Contents(str(path)).frames) in (100, 200, 300, 400)
    assert os.listdir(tmp_path) == ["c.contents"]
    assert path.stat().st_mode & 0o777 == 0o600


def saved(trace: str) -> str:
    """Save a cache for a trace; return its path, "" where that did not become one that counts."""
    path = cache_of(trace)
    known = Contents(path)
    known.frames = {"a": "b"}
    known.save()
    return path if path and Contents(path).frames else ""


def test_a_directory_of_caches_counts_when_it_is_the_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "made"))
    Contents(cache_of("t.trace"))
    assert os.listdir(tmp_path) == []  # reading makes nothing
    top = os.path.dirname(saved("t.trace"))
    assert top == f"{tmp_path}/made/sdee"
    assert os.stat(top).st_mode & 0o777 == 0o700
    os.chmod(top, 0o755)
    assert saved("t.trace") == ""
    (tmp_path / "linked").mkdir()
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "linked" / "sdee").symlink_to(tmp_path / "real")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "linked"))
    assert saved("t.trace") == ""
    assert os.listdir(tmp_path / "real") == []
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_of("t.trace")[:1] in ("", "/")  # not below whatever directory this is
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert saved("t.trace") == ""  # no home is made
    (tmp_path / "home").mkdir()
    assert os.path.dirname(saved("t.trace")) == f"{tmp_path}/home/.cache/sdee"


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root's")
def test_root_makes_no_cache_in_a_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert saved("t.trace") == ""
    assert os.listdir(tmp_path) == []


def test_caches_that_are_old_or_too_many_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        path = tmp_path / f"{number}.contents"
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - number * 86_400 * 20, time.time() - number * 86_400 * 20))
    (tmp_path / "other").write_bytes(bytes(1000))
    monkeypatch.setattr(contents, "MAX_SIZES", 3500)
    os.utime(tmp_path / "2.contents", (0, 0))
    Contents(str(tmp_path / "mine.contents")).save()
    assert sorted(os.listdir(tmp_path)) == ["0.contents", "1.contents", "3.contents", "mine.contents", "other"]


def test_the_last_bundle_is_known_by_its_identity_alone(tree: Path) -> None:
    known = Contents()
    known.bundle = {"identity": "nonsense", "level": 1}
    with OldFrames(1, known) as old:
        assert not old.add_last(str(tree / "020.so"))
        assert not old.add_last(str(tree / "missing"))


def test_the_command_reads_again_what_it_is_told_to(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def sdee(*arguments: str) -> None:
        command = [sys.executable, "-m", "sdee", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def digest(name: str) -> str:
        return hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    sdee("trace", "-q", "--", "/bin/true")
    sdee("bundle", "-q", "--no-cache", "-o", "no.sdee")
    sdee("bundle", "-q", "--dry-run")
    assert not (tmp_path / "cache").exists()
    sdee("bundle", "-q", "-o", "one.sdee")
    (cache,) = (tmp_path / "cache" / "sdee").iterdir()
    sdee("bundle", "-q", "-o", "two.sdee")
    assert digest("no.sdee") == digest("one.sdee") == digest("two.sdee")
    command = [sys.executable, "-m", "sdee", "clean", "--yes"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"{cache.parent}  (what sdee bundle found in files)" in said
    assert not cache.parent.exists()
    sdee("bundle", "-q", "-o", "two.sdee")
    assert cache.exists()
