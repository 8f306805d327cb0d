"""Writer and reader agree with docs/bundle-format.md, with tar, and with a hostile world."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles import CONF, closure_of, launcher, shrink_frames
from sdee.base.errors import InputError, InternalError, OutputError
from sdee.packer.format import content, frames
from sdee.packer.format.extract import extract, select
from sdee.packer.format.layout import lay_out
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.writer import BundleSummary, write_bundle
from sdee.packer.model import Closure, Item, Reason, Verdict

BINARY_NAME = os.fsdecode(b"\xff\xfe not utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with every kind of thing that a bundle carries."""
    top = tmp_path / "tree"
    (top / "sub" / "empty dir").mkdir(parents=True)
    (top / "run").write_bytes(b"#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "empty").write_bytes(b"")
    (top / "new\nline").write_bytes(b"x")
    (top / BINARY_NAME).write_bytes(b"y" * 1000)
    (top / "sub" / ("n" * 255)).write_bytes(b"long name")
    (top / "large").write_bytes(os.urandom(1000) * 9000)  # 9 MB: several frames
    (top / "twin").write_bytes(b"the same")
    shutil.copy2(top / "twin", top / "sub" / "twin")
    os.link(top / "large", top / "sub" / "large")
    (top / "link").symlink_to("sub/twin")
    (top / "sub" / "dangling").symlink_to("/nowhere/at/all")
    os.utime(top / "run", ns=(0, 1_234_567_890_123_456_789))
    os.utime(top / "empty", ns=(0, -1_500_000_000))
    os.utime(top / "sub", ns=(0, 1_600_000_000_000_000_001))
    os.utime(top / "link", ns=(0, 1_500_000_000_000_000_007), follow_symlinks=False)
    return top


def write(tree: Path, tmp_path: Path, name: str = "b.sdee", threads: int = 0) -> tuple[str, BundleSummary]:
    out = str(tmp_path / name)
    return out, write_bundle(closure_of(tree), launcher(tmp_path), out, level=1, threads=threads)


def listing(top: Path) -> list[tuple[object, ...]]:
    """Every path below `top` with type, mode, time, size, link text, number of links."""
    found: list[tuple[object, ...]] = []
    for path in sorted(os.path.join(d, n) for d, dirs, files in os.walk(top) for n in dirs + files):
        s = os.lstat(path)
        is_dir = stat.S_ISDIR(s.st_mode)
        text = os.readlink(path) if stat.S_ISLNK(s.st_mode) else ""
        data = Path(path).read_bytes() if stat.S_ISREG(s.st_mode) else b""
        found.append((path[len(str(top)) :], s.st_mode, s.st_mtime_ns, 0 if is_dir else s.st_nlink, text, data))
    return found


def test_extracting_gives_back_every_file_mode_time_and_link(tree: Path, tmp_path: Path) -> None:
    path, summary = write(tree, tmp_path)
    with open_bundle(path) as bundle:
        bundle.verify()
        extract(bundle, select(bundle, []), str(tmp_path / "out"))
        assert bundle.identity == summary.identity
    before, after = listing(tree), listing(tmp_path / "out" / "opt" / "job")
    # the twins were two files and become one: they are equal in all that stat shows but the number of links
    assert [row[:3] + row[4:] for row in before] == [row[:3] + row[4:] for row in after]
    twins = [row for row in after if str(row[0]).endswith("twin")]
    assert [row[3] for row in twins] == [2, 2]
    assert summary.hard_links == 2
    assert summary.duplicates == 9_000_000 + len("the same")


def test_the_file_after_the_launcher_is_a_tar_stream_that_gnu_tar_unpacks_alike(tree: Path, tmp_path: Path) -> None:
    path, summary = write(tree, tmp_path)
    unpacked = tmp_path / "tar"
    unpacked.mkdir()
    command = f"tail -c +{summary.launcher + 1} '{path}' | zstd -dc | tar xp --delay-directory-restore -C '{unpacked}'"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open_bundle(path) as bundle:
        extract(bundle, select(bundle, []), str(tmp_path / "out"))
    assert listing(unpacked) == listing(tmp_path / "out")


def test_the_payload_alone_is_a_zstd_stream(tree: Path, tmp_path: Path) -> None:
    path, summary = write(tree, tmp_path)
    data = Path(path).read_bytes()
    payload = data[summary.launcher : summary.launcher + summary.payload]
    done = subprocess.run(["zstd", "-dc"], input=payload, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar, open_bundle(path) as bundle:
        assert sorted(f"/{m.name}" for m in tar) == sorted(bundle.entries)
        sizes = [frame.size for frame in bundle.table.frames]
        assert len(sizes) > 2
        assert max(sizes) <= frames.MOST + frames.STEP


names = st.binary(min_size=1, max_size=255).filter(lambda n: n not in (b".", b"..") and not set(n) & {0, ord("/")})
contents = st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(lambda n: b"\0ab" * (n // 3) + b"z"))


@st.composite
def closures(draw: st.DrawFn) -> list[tuple[bytes, str, bytes, int, int]]:
    """Return paths with kind, content or target, mode and time; parents may be missing, or be links."""
    made: dict[bytes, tuple[str, bytes, int, int]] = {}
    for _ in range(draw(st.integers(1, 12))):
        tops = [path for path, row in made.items() if row[0] == "dir"]
        path = draw(st.sampled_from([b"", b"/deep/er", *tops])) + b"/" + draw(names)
        kind = draw(st.sampled_from(["file", "file", "dir", "link"]))
        text = draw(contents if kind == "file" else names)
        made.setdefault(path, (kind, text, draw(st.integers(0, 0o777)), draw(st.integers(-(2**40), 2**60))))
    return [(path, *row) for path, row in made.items()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(closures(), st.sampled_from([512, 5000, 1 << 20]), st.sampled_from([100, 1 << 20]), st.integers(1, 3))
def test_any_closure_comes_back_as_it_was(rows, frame_size, small, threads) -> None:  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        shrink_frames(patch, frame_size)
        patch.setattr(content, "SMALL", small)
        items = {}
        for number, (raw, kind, text, mode, mtime_ns) in enumerate(rows):
            origin = os.path.join(scratch, str(number))
            if kind == "file":
                Path(origin).write_bytes(text)
            path, target = os.fsdecode(raw), os.fsdecode(text) if kind == "link" else ""
            items[path] = Item(
                path, Verdict.BUNDLE, (Reason("drawn"),), kind, target, origin, len(text), mtime_ns, mode, number
            )
        out = os.path.join(scratch, "b.sdee")
        closure = Closure(items, CONF, ("run",), "/", {})
        write_bundle(closure, launcher(Path(scratch)), out, level=1, threads=threads)
        with open_bundle(out) as bundle:
            bundle.verify()
            for raw, kind, text, mode, mtime_ns in rows:
                entry = bundle.entries[os.fsdecode(raw)]
                assert entry.mtime_ns == mtime_ns
                if kind == "file":
                    assert stat.S_IMODE(entry.mode) == mode
                    assert b"".join(bundle.read_file(entry.path)) == text
                elif kind == "link":
                    assert entry.link == os.fsdecode(text)
            assert {os.fsdecode(path) for path, *_ in rows} <= set(bundle.items)
            stream = b"".join(data for _, data in bundle._decode(range(len(bundle.table.frames))))
        with tarfile.open(fileobj=io.BytesIO(stream), errors="surrogateescape") as tar:
            assert {"/" + member.name for member in tar} == set(bundle.entries)


def test_the_same_closure_gives_the_same_bytes_anywhere_at_any_time(tree: Path, tmp_path: Path) -> None:
    first, _ = write(tree, tmp_path, threads=1)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    os.utime(copy / "link", ns=(0, os.lstat(tree / "link").st_mtime_ns), follow_symlinks=False)
    second, _ = write(copy, tmp_path, "c.sdee", threads=4)
    assert Path(first).read_bytes() == Path(second).read_bytes()
    (copy / "run").write_bytes(b"#!/bin/sh \n")
    third, _ = write(copy, tmp_path, "d.sdee")
    assert Path(first).read_bytes() != Path(third).read_bytes()


def test_a_path_through_a_link_of_the_closure_is_put_where_the_link_leads(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"found")
    reasons = (Reason("test"),)
    items = [
        Item("/lib", Verdict.BUNDLE, reasons, "link", "usr/lib"),
        Item("/usr/lib/x/y", Verdict.BUNDLE, reasons, "link", "../z"),
        Item("/lib/x/y/f", Verdict.BUNDLE, reasons, "file", origin=str(tmp_path / "f"), mode=0o644),
    ]
    closure = Closure({item.path: item for item in items}, CONF, ("run",), "/", {})
    write_bundle(closure, launcher(tmp_path), str(tmp_path / "b.sdee"), level=1)
    with open_bundle(str(tmp_path / "b.sdee")) as bundle:
        assert set(bundle.entries) == {
            "/lib",
            "/usr",
            "/usr/lib",
            "/usr/lib/x",
            "/usr/lib/x/y",
            "/usr/lib/z",
            "/usr/lib/z/f",
        }
        assert b"".join(bundle.read_file("/lib/x/y/f")) == b"found"


def link(path: str, target: str) -> Item:
    return Item(path, Verdict.BUNDLE, (), "link", target)


@pytest.mark.parametrize(
    "items",
    [
        [link("/a", "b"), link("/b", "a"), Item("/a/f", Verdict.BUNDLE, (), "dir")],
        [Item("relative", Verdict.BUNDLE, (), "dir")],
        [Item("/a/../b", Verdict.BUNDLE, (), "dir")],
        [Item("/f", Verdict.BUNDLE, (), "file", origin="/etc/passwd"), Item("/f/g", Verdict.BUNDLE, (), "dir")],
    ],
    ids=["links go round", "relative", "dot dot", "below a file"],
)  # fmt: skip
def test_an_impossible_closure_is_our_bug_and_leaves_nothing(items: list[Item], tmp_path: Path) -> None:
    closure = Closure({item.path: item for item in items}, CONF, ("run",), "/", {})
    program = launcher(tmp_path)
    with pytest.raises(InternalError):
        write_bundle(closure, program, str(tmp_path / "b.sdee"), level=1)
    assert os.listdir(tmp_path) == ["launcher"]


def test_special_files_and_special_bits_are_left_out_with_a_warning(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "run").chmod(0o6755)
    path, summary = write(tree, tmp_path)
    with open_bundle(path) as bundle:
        assert "/opt/job/fifo" not in bundle.entries
        assert stat.S_IMODE(bundle.entries["/opt/job/run"].mode) == 0o755
    assert any("fifo" in warning for warning in summary.warnings)
    assert any("set-user-ID" in warning for warning in summary.warnings)


def test_unreadable_files_are_all_named_and_an_older_bundle_stays(tree: Path, tmp_path: Path) -> None:
    path, _ = write(tree, tmp_path)
    before = Path(path).read_bytes()
    closure = closure_of(tree)
    for name in ("run", "empty"):
        (tree / name).unlink()
    with pytest.raises(InputError) as raised:
        write_bundle(closure, launcher(tmp_path), path, level=1)
    assert len(raised.value.tried) == 2
    assert "/run'" in raised.value.tried[1] or "/run'" in raised.value.tried[0]
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("name", ["large", "twin"])
def test_a_file_that_changes_while_it_is_read_is_named(
    tree: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed = content.survey

    def survey_then_shrink(nodes, contents):  # type: ignore[no-untyped-def]
        sources = surveyed(nodes, contents)
        os.truncate(tree / name, 3)
        return sources

    monkeypatch.setattr(content, "survey", survey_then_shrink)
    with pytest.raises(InputError, match=f"{name}.* changed while it was read"):
        write(tree, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["launcher", "tree"]


def test_a_file_replaced_by_one_of_its_length_during_the_read_is_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = content.read_into

    def read_and_touch(fd: int, view: memoryview, path: str) -> int:
        if path.endswith("/large"):
            os.utime(path, ns=(0, 1))
        return read(fd, view, path)

    monkeypatch.setattr(content, "read_into", read_and_touch)
    with pytest.raises(InputError, match=r"large.* changed while it was read"):
        write(tree, tmp_path)


def test_a_directory_is_not_overwritten(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "b.sdee").mkdir()
    with pytest.raises(OutputError):
        write(tree, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["b.sdee", "launcher", "tree"]


def run_writer(tree: Path, tmp_path: Path, prologue: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Write a bundle in a process of its own; it prints each progress report, and the error."""
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})
        from pathlib import Path
        from bundles import closure_of, launcher
        from sdee.base.errors import SdeeError
        from sdee.packer.format.writer import write_bundle
        closure, program = closure_of(Path({str(tree)!r})), launcher(Path({str(tree.parent)!r}))
        {prologue}
        try:
            write_bundle(closure, program, {str(tmp_path)!r} + "/out/b.sdee", level=1, progress=report)
        except SdeeError as error:
            print(error.render())
            sys.exit(error.exit_code)
    """)
    return subprocess.Popen(
        [*wrapper, sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_a_file_size_limit_is_a_clear_error_and_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tree / "noise").write_bytes(os.urandom(3 << 20))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); report = None"
    process = run_writer(tree, tmp_path, limit)
    said, _ = process.communicate()
    assert process.returncode == OutputError.exit_code, said
    assert "cannot be written: File too large" in said
    assert os.listdir(tmp_path / "out") == []


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tree / "noise").write_bytes(os.urandom(3 << 20))
    mount = f'mount -t tmpfs -o size=1m none "{tmp_path}/out" && "$@"; code=$?; ls -A "{tmp_path}/out"; exit $code'
    wrapper = ("unshare", "-rm", "sh", "-c", mount, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here to mount a small tmpfs in")
    process = run_writer(tree, tmp_path, "report = None", wrapper)
    said, _ = process.communicate()
    assert process.returncode == OutputError.exit_code, said
    reason, hint = said.splitlines()  # and no name listed after them
    assert reason.endswith("cannot be written: No space left on device")
    assert "-o FILE" in hint


def test_ctrl_c_leaves_the_older_bundle_and_nothing_else(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.sdee").write_bytes(b"older")
    pause = "import time; report = lambda done, total: (print(done, flush=True), time.sleep(0.2))"
    process = run_writer(tree, tmp_path, pause)
    assert process.stdout
    assert process.stdout.readline()
    assert len(os.listdir(tmp_path / "out")) == 2  # the temporary file is there while it writes
    process.send_signal(2)
    process.communicate()
    assert process.returncode == -2
    assert os.listdir(tmp_path / "out") == ["b.sdee"]
    assert (tmp_path / "out" / "b.sdee").read_bytes() == b"older"


def test_extracting_a_hard_link_alone_gives_its_content(tree: Path, tmp_path: Path) -> None:
    path, _ = write(tree, tmp_path)
    with open_bundle(path) as bundle:
        (alone,) = [e.path for e in bundle.entries.values() if e.hard_link and e.path.endswith("twin")]
        extract(bundle, select(bundle, [alone]), str(tmp_path / "out"))
    assert Path(f"{tmp_path}/out{alone}").read_bytes() == b"the same"
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "out")) == 1


def test_metadata_keeps_names_that_are_not_utf_8(tree: Path, tmp_path: Path) -> None:
    path, _ = write(tree, tmp_path)
    with open_bundle(path) as bundle:
        text = json.dumps(bundle.meta)
        assert "/opt/job/" + BINARY_NAME in bundle.items
        assert text.isascii()


def test_a_path_that_no_launcher_takes_is_said_before_a_bundle_is_written(tmp_path: Path) -> None:
    """4,031 bytes are as many as a bundle's paths may have; the kernel takes 64 more."""
    for more, words in ((4031, ""), (4032, "longer than 4031 bytes")):
        path = "/opt" + ("/" + "d" * 200) * 19
        path += "/" + "x" * (more - len(path) - 1)
        item = Item(path, Verdict.BUNDLE, (Reason("for the test"),), kind="dir", mode=stat.S_IFDIR | 0o755)
        if not words:
            assert path in {node.path for node in lay_out(replace(closure_of(tmp_path), items={path: item})).fixed}
            continue
        with pytest.raises(InputError, match=words):
            lay_out(replace(closure_of(tmp_path), items={path: item}))
