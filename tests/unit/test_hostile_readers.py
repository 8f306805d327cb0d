"""Bundles' metadata and traces that anybody may have written: refused in bounded time and memory, shown harmlessly."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundles import assemble, meta_frame
from sdee.base import typed
from sdee.base.errors import BundleError, InputError, OutputError, TraceError
from sdee.base.secrets.tokens import redact
from sdee.base.text import safe
from sdee.packer.closure.build import build_closure
from sdee.packer.closure.options import ClosureOptions
from sdee.packer.elf.glibc import read_facts
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.writer import write_bundle
from sdee.runtime.environment.archive import read
from sdee.runtime.programs import launcher_path
from sdee.tracer.tracefile.reader import read_traces
from test_tracefile import END, access
from test_tracefile import HEADER as BARE_HEADER

if TYPE_CHECKING:
    from pathlib import Path

HEADER = {**BARE_HEADER, "host": {**BARE_HEADER["host"], "machine": os.uname().machine}}
ITEM = {"path": "/x", "verdict": "bundle", "reasons": [{"why": "was read", "from": "", "detail": ""}]}
META: dict[str, Any] = {
    "sdee": 1, "command": ["job"], "cwd": "/w", "status": 0, "host": {"hostname": "n"}, "incomplete": [],
    "warnings": ["w"], "summary": {"files": 1, "verdicts": {"bundle": 1}}, "items": [ITEM],
    "frames": {"zstd": "1.5", "level": 3, "sha256": []},
}  # fmt: skip
RECORDS: list[dict[str, Any]] = [
    {"t": "process", "pid": 1, "ppid": 0},
    {"t": "exec", "pid": 1, "path": "/bin/job", "argv": ["job"], "interpreters": [], "libpath": None, "setid": False},
    access("/bin/job", "exec"),
    {**access("/w/in", "read"), "hops": [["/w/in", "other"]], "size": 1, "mtime_ns": 2},
    {"t": "socket", "path": "@x", "pid": 1},
    {"t": "saved", "path": "/w/in", "copy": "0", "size": 1, "mtime_ns": 1, "mode": 0o100644},
    {"t": "exit", "pid": 1, "status": 0},
    {"t": "incomplete", "why": "because", "detail": "of that"},
    END,
]
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 10**30, 1.5, "x", "/", "\ud800", "\udc80", "a\0b", "\033[2Jx\nsdee: forged", [], [[]], [None], {},
    {"": None}, {"": ""}, {"a=b": "c"}, {"A b": [1, 2]}, {"a": []}, "/a/../../etc", "../x", float("nan"),
)  # fmt: skip


def bundle_with(tmp_path: Path, meta: bytes) -> str:
    path = tmp_path / "hand.sdee"
    path.write_bytes(assemble([], meta=meta_frame(meta)))
    return str(path)


def trace_with(tmp_path: Path, *records: dict[str, Any]) -> str:
    path = tmp_path / "hand.trace"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def places(value: Any) -> list[tuple[Any, ...]]:
    """Return the way to each value in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(key, *rest) for key, inner in pairs for rest in [(), *places(inner)]]


def changed(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with another value at a place."""
    copy = json.loads(json.dumps(value))
    at = copy
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = new
    return copy


def look(path: str, *commands: list[str], cwd: Path) -> str:
    """Return what commands print; none of them ends as by a bug, none sends a sequence to the terminal."""
    said = ""
    for words in commands:
        command = [sys.executable, "-m", "sdee", *words, path]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
        said += done.stdout + done.stderr
        assert done.returncode != 240, (words, done.stderr)
    assert "\033" not in said
    assert not any(line.startswith("sdee: forged") for line in said.splitlines())
    return said


@pytest.mark.parametrize("new", HOSTILE, ids=lambda value: ascii(value)[:20])
def test_metadata_with_any_value_changed_is_read_or_refused(tmp_path: Path, new: Any) -> None:
    for way in places(META):
        text = json.dumps(changed(META, way, new)).encode()
        with open_bundle(bundle_with(tmp_path, text)) as bundle:
            try:
                items = bundle.items
                assert all(isinstance(reason.why, str) for item in items.values() for reason in item.reasons)
                assert isinstance(bundle.meta.get("warnings"), list)
            except BundleError as error:
                assert "META" in error.message  # noqa: PT017


def test_what_a_bundle_says_of_itself_moves_no_cursor_and_forges_no_line(tmp_path: Path) -> None:
    bad = "\033[2Jx\nsdee: forged \udcff"
    meta = {**META, "command": [bad], "host": {"hostname": bad, "os_name": bad}, "warnings": [bad], "incomplete": [bad]}
    meta["summary"] = {"verdicts": {bad: 3}}
    meta["items"] = [{**ITEM, "path": f"/{bad}", "package": bad, "reasons": [{"why": bad, "from": "", "detail": bad}]}]
    path = bundle_with(tmp_path, json.dumps(meta).encode())
    said = look(
        path, ["info"], ["info", "--json"], ["ls"], ["why", "-b", path], ["diff", path], ["cat", path], cwd=tmp_path
    )
    assert "forged" in said
    said = look(f"/{bad}", ["why", "-b", path], ["bundle", "-n"], ["info"], ["ls", path], ["diff", path], cwd=tmp_path)
    assert "forged" in said


def test_a_string_that_stands_for_no_bytes_is_refused_where_it_is_read_and_shown_where_it_is_not() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        typed.text("\ud800")
    typed.text("\udc80")
    assert safe("\ud800\udc80\033") == "\\ud800\\200\\033"
    shown = InputError("a\nb\033", hint="c\033", tried=("d\n",)).render()
    assert shown == "sdee: error: a\\nb\\x1b\n  tried: d\\n\n  hint: c\\x1b"


LIMITED = """import resource, sys, time
from sdee.base.errors import BundleError
from sdee.packer.format.reader import open_bundle
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.monotonic()
try:
    open_bundle(sys.argv[1]).items
except BundleError as error:
    print("META" in error.message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, time.monotonic() - start)
"""


@pytest.mark.parametrize(
    "unit", ["[],", '"a",', '{"a":1},', '{"path":"/","verdict":"bundle","reasons":[]},', "1,", "[", " "]
)
def test_a_small_bundle_takes_no_gigabytes(tmp_path: Path, unit: str) -> None:
    size = (400 << 20) // len(unit)
    for number in (size, size // 30):
        body = unit * number
        text = f'{{"summary":{{}},"items":[{body}0]}}'.encode()
        path = bundle_with(tmp_path, text)
        assert os.path.getsize(path) < 1 << 20
        done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        refused, figures = done.stdout.splitlines()
        megabytes, seconds = map(float, figures.split())
        assert refused == "True"
        assert megabytes < 700, f"{megabytes} MB"
        assert seconds < 20


def test_a_closure_of_many_files_is_still_read(tmp_path: Path) -> None:
    """Paths of one shape compress well: that is no attack."""
    items = [  # what the ratio is measured on
        {"path": f"/scratch/me/project/data/part-{n:06d}.dat", "verdict": "shared", "size": 4096,
         "reasons": [{"why": "is input data", "from": "/usr/bin/python3.11", "detail": "/scratch"}]}
        for n in range(100_000)
    ]  # fmt: skip
    with open_bundle(bundle_with(tmp_path, json.dumps({**META, "items": items}).encode())) as bundle:
        assert len(bundle.items) == 100_000


def test_a_fifo_is_no_bundle_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bundle.sdee")
    os.mkfifo(tmp_path / "pipe")
    for words in (["info"], ["ls"], ["verify"], ["why", "x"], ["ls", "pipe"], ["bundle", "--reuse", "pipe", "pipe2"]):
        done = subprocess.run(
            [sys.executable, "-m", "sdee", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode in (241, 245), done.stderr


@pytest.mark.parametrize("number", range(len(RECORDS) + 1))
def test_a_trace_with_any_value_changed_is_read_or_refused(tmp_path: Path, number: int) -> None:
    records = [HEADER, *RECORDS]
    for way in places(records[number]):
        if way == ("t",):
            continue
        for new in HOSTILE:
            lines = [*records[:number], changed(records[number], way, new), *records[number + 1 :]]
            try:
                closure = build_closure(read_traces([trace_with(tmp_path, *lines)]), ClosureOptions(with_data=True))
            except TraceError as error:
                assert "\033" not in error.render()  # noqa: PT017
                continue
            except InputError:
                continue
            write_bundle(closure, launcher_path(), str(tmp_path / "b.sdee"), level=1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values, number=st.integers(0, len(RECORDS)))
def test_no_record_of_a_trace_ends_in_a_bug(tmp_path: Path, value: Any, number: int) -> None:
    lines = [HEADER, *RECORDS]
    for record in (value, {**lines[number], **value} if isinstance(value, dict) else value):
        path = trace_with(tmp_path, *lines[:number], record, *lines[number:])
        try:
            read_traces([path])
        except TraceError:
            continue


def test_a_copy_beside_a_trace_is_one_of_that_directory(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("mine")
    saved = {"t": "saved", "path": "/w/in", "size": 4, "mtime_ns": 1, "mode": 0o100644}
    directory = tmp_path / "hand.trace.saved"
    directory.mkdir()
    (directory / "0").write_text("copy")
    for name in ("../private", f"{tmp_path}/private", "0/../../private", "..", "", "x", "٣", "0\n"):
        with pytest.raises(TraceError, match="copy: is not the name of a copy"):
            read_traces([trace_with(tmp_path, HEADER, {**saved, "copy": name}, END)])
    path = trace_with(tmp_path, HEADER, {**saved, "copy": "0"}, END)
    assert read_traces([path]).saved["/w/in"].copy == f"{directory}/0"
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    found = read_traces([path]).saved["/w/in"]
    assert (found.copy, found.why) == (None, f"{directory} does not belong to the trace's owner")


@pytest.mark.alone
@pytest.mark.parametrize("unit", ["_", "a_", "-a", "--", "A_", "pass", "_pass", ".", "=", "x=", " ", "export a_"])
def test_no_command_line_takes_long_to_be_looked_through(unit: str) -> None:
    text = unit * (64_000 // len(unit))
    for argv in (
        ["job", text],
        ["job", f"--{text}=x"],
        ["sh", "-c", f"a {text[:-10]}"],
        ["sh", "-c", f"a {text[:60_000]} --b x"],
    ):
        start = time.monotonic()
        redact(argv)
        assert time.monotonic() - start < 3


def sparse(realsize: int, holes: str, data: bytes = b"") -> tuple[tarfile.TarFile, tarfile.TarInfo]:
    """Return an archive with one file with holes, as GNU tar's format 1.0 has it, and its member."""
    head = holes.encode().ljust(512, b"\0")
    info = tarfile.TarInfo("x")
    names = {"major": "1", "minor": "0", "name": "root/opt/a", "realsize": str(realsize)}
    info.pax_headers = {f"GNU.sparse.{name}": value for name, value in names.items()}
    info.size = len(head) + len(data)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        made.addfile(info, io.BytesIO(head + data))
    file.seek(0)
    tar = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115
    return tar, next(iter(tar))


def test_a_file_of_an_archive_that_is_one_hole_takes_no_room(tmp_path: Path) -> None:
    size = 1 << 42
    tar, member = sparse(size, "0\n")
    assert not member.sparse
    assert member.size == size
    read._write(tar, member, str(tmp_path / "hole"))
    found = (tmp_path / "hole").stat()
    assert (found.st_size, found.st_blocks) == (size, 0)
    tar, member = sparse(100, "1\n10\n4\n", b"data")
    read._write(tar, member, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == bytes(10) + b"data" + bytes(86)


def test_a_file_of_an_archive_that_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    size = 1 << 50
    for holes, why in (
        (f"1\n0\n{size}\n", "no space left"),
        ("2\n50\n10\n0\n10\n", "map of holes"),
        ("1\n0\n-1\n", "map of holes"),
        (f"1\n{size}\n10\n", "map of holes"),
    ):
        tar, member = sparse(size, holes, b"0" * 20)
        with pytest.raises((OutputError, BundleError), match=why):
            read._write(tar, member, str(tmp_path / "file"))
        assert not (tmp_path / "file").exists()


@pytest.mark.alone
@pytest.mark.parametrize("unit", [b"/lib", b"/", b"/lib/\0x", b"lib/", b"/lib\0", b"/ld.so.cache"])
def test_no_loader_takes_long_to_be_looked_through(unit: bytes) -> None:
    start = time.monotonic()
    read_facts(unit * ((4 << 20) // len(unit)), 64)
    assert time.monotonic() - start < 5
