"""`sdee info`, `ls`, `why`, `cat`, `extract` as a user meets them."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bundles import CONF, LAUNCHER, assemble, closure_of, dir_entry, file_entry, frame, launcher
from sdee.packer.format.writer import write_bundle
from sdee.packer.model import Closure, Item, Reason, Verdict

if TYPE_CHECKING:
    from pathlib import Path

BINARY = bytes(range(256)) * 300
ODD_NAME = os.fsdecode(b"od\nd \xff\x1b[31m")


def sdee(*arguments: str, cwd: Path, check: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run a command line; its exit status must be `check`."""
    done = subprocess.run([sys.executable, "-m", "sdee", *arguments], cwd=cwd, capture_output=True, check=False)
    assert done.returncode == check, done.stderr.decode()
    return done


def out(*arguments: str, cwd: Path) -> str:
    return sdee(*arguments, cwd=cwd).stdout.decode()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with bundle.sdee, of a job with a program, a library reached through links, data and refusals."""
    tmp_path = tmp_path_factory.mktemp("inspect")
    tree = tmp_path / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "run").write_bytes(b"#!/bin/sh\necho\n")
    (tree / "run").chmod(0o755)
    (tree / "lib" / "libz.so.1.2.13").write_bytes(BINARY)
    (tree / "lib" / "libz.so.1").symlink_to("libz.so.1.2.13")
    (tree / "lib64").symlink_to("lib")
    (tree / ODD_NAME).write_bytes(b"odd")
    for name, time_ns in (("run", 1_700_000_000_123_456_789), ("lib/libz.so.1.2.13", 1_600_000_000_000_000_000)):
        os.utime(tree / name, ns=(0, time_ns))
    refused = (
        Item("/home/u/data/big.h5", Verdict.SHARED, (Reason("input data", "/opt/job/run"),), size=5_000_000_000),
        Item("/home/u/.netrc", Verdict.SECRET, (Reason("holds passwords", "/opt/job/run"),)),
        Item("/opt/job/plugin.so", Verdict.ABSENT, (Reason("was looked for", "/opt/job/lib/libz.so.1.2.13"),)),
    )
    closure = closure_of(tree, "/opt/job", *refused)
    items = dict(closure.items)
    reasons = {
        "/opt/job/run": (Reason("is the command"),),
        "/opt/job/lib/libz.so.1": (Reason("is needed", "/opt/job/run", "DT_NEEDED libz.so.1"),),
        "/opt/job/lib/libz.so.1.2.13": (
            Reason("part of the unit", "/nowhere"),
            Reason("is where a link leads", "/opt/job/lib/libz.so.1"),
        ),
    }
    for path, why in reasons.items():
        items[path] = replace(items[path], reasons=why, package="zlib1g 1.2.13" if "libz" in path else "")
    closure = replace(
        closure, items=items, conf=(*CONF, ("left-out", "/opt/job/large"), ("incomplete", "the tracer was killed"))
    )
    write_bundle(closure, launcher(tmp_path), str(tmp_path / "bundle.sdee"), level=1)
    return tmp_path


def test_why_says_what_was_left_out_of_software(here: Path) -> None:
    text = out("why", "/opt/job/large/part", cwd=here)
    assert "does not travel: the run did not use it" in text
    assert "--include /opt/job/large" in text
    sdee("why", "/opt/job/other/part", cwd=here, check=1)


def test_info_says_what_the_bundle_is_and_how_to_list_it_with_tar(here: Path) -> None:
    text = out("info", "--verify", cwd=here)
    for part in ("run input.dat", "everything verified", "the tracer was killed", "1 secret", "1 shared", "debian 12"):
        assert part in text
    (command,) = [line.strip() for line in text.splitlines() if "tail -c" in line]
    listed = subprocess.run(["sh", "-c", command], cwd=here, capture_output=True, text=True, check=True).stdout
    assert "opt/job/lib/libz.so.1\n" in listed


def test_info_in_json_has_everything(here: Path) -> None:
    facts = json.loads(out("info", "--json", cwd=here))
    assert facts["launcher"]["size"] == len(LAUNCHER)
    assert facts["size"] == (here / "bundle.sdee").stat().st_size
    assert facts["conf"]["env"] == ["GREETING=hello\nworld"]
    assert facts["summary"]["verdicts"] == {"bundle": 7, "shared": 1, "secret": 1, "absent": 1}
    assert facts["summary"]["shared"] == 5_000_000_000
    assert facts["verified"] is False


def test_check_reads_every_byte_and_says_so(here: Path) -> None:
    said = out("check", cwd=here)
    assert re.match(r"bundle\.sdee: \d+ files, [\d.]+ kB, every byte is as sdee wrote it\nidentity sha256:", said), said
    assert json.loads(out("check", "--json", cwd=here))["identity"] in out("info", cwd=here)


def test_check_finds_damage_that_opening_does_not(here: Path, tmp_path: Path) -> None:
    data = bytearray((here / "bundle.sdee").read_bytes())
    data[len(LAUNCHER) + 40] ^= 1
    (tmp_path / "bundle.sdee").write_bytes(data)
    sdee("info", cwd=tmp_path)
    failed = sdee("check", cwd=tmp_path, check=241)
    assert failed.stderr.startswith(b"sdee: error: 'bundle.sdee': damaged payload")


def test_ls_lists_paths_with_odd_names_escaped(here: Path) -> None:
    lines = out("ls", cwd=here).splitlines()
    assert lines[:2] == ["/opt", "/opt/job"]
    assert r"/opt/job/od\nd \377\033[31m" in lines
    below = ["/opt/job/lib", "/opt/job/lib/libz.so.1", "/opt/job/lib/libz.so.1.2.13"]
    assert out("ls", "bundle.sdee", "lib", cwd=here).splitlines() == below
    through_link = out("ls", "/opt/job/lib64/libz.so.1.2.13", "/opt/job/lib64", cwd=here)
    assert through_link.splitlines() == [below[2], "/opt/job/lib64"]


def test_ls_long_shows_what_ls_does(here: Path) -> None:
    text = out("ls", "-l", cwd=here)
    assert "-rwxr-xr-x           15 2023-11-1" in text
    assert "/opt/job/lib/libz.so.1 -> libz.so.1.2.13" in text
    assert "drwxr-xr-x" in text


def test_ls_in_json_keeps_bytes_that_are_not_utf_8(here: Path) -> None:
    entries = {entry["path"]: entry for entry in json.loads(out("ls", "--json", cwd=here))}
    assert "/opt/job/" + ODD_NAME in entries
    assert entries["/opt/job/run"]["mode"] == "0755"
    assert entries["/opt/job/run"]["mtime_ns"] == 1_700_000_000_123_456_789


@pytest.mark.parametrize("command", ["ls", "cat", "why", "extract"])
def test_a_path_that_is_not_there_gives_status_1(command: str, here: Path) -> None:
    failed = sdee(command, "bundle.sdee", "/opt/job/libz.so.2", cwd=here, check=1)
    assert b"libz.so.2: not in bundle.sdee" in failed.stderr
    assert failed.stdout == b""


def test_why_prints_the_chain_from_the_command(here: Path) -> None:
    assert out("why", "/opt/job/lib/libz.so.1.2.13", cwd=here).splitlines() == [
        "/opt/job/lib/libz.so.1.2.13: travels in the bundle, part of zlib1g 1.2.13",
        "  run input.dat",
        "  → /opt/job/run: is the command",
        "  → /opt/job/lib/libz.so.1: is needed (DT_NEEDED libz.so.1)",
        "  → /opt/job/lib/libz.so.1.2.13: is where a link leads",
        "  also: part of the unit, from /nowhere",
    ]


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("libz.so.1", ["/opt/job/lib/libz.so.1"]),
        ("lib/libz.so.1", ["/opt/job/lib/libz.so.1", "/opt/job/lib/libz.so.1.2.13"]),
        ("/opt/job/lib64/libz.so.1.2.13", ["/opt/job/lib/libz.so.1.2.13"]),
        ("*.so*", ["/opt/job/lib/libz.so.1", "/opt/job/lib/libz.so.1.2.13", "/opt/job/plugin.so"]),
        ("/opt/job/lib/*.13", ["/opt/job/lib/libz.so.1.2.13"]),
        ("big.h5", ["/home/u/data/big.h5"]),
        ("z.so.1.2", ["/opt/job/lib/libz.so.1.2.13"]),
    ],
)
def test_why_understands_what_a_user_calls_a_path(query: str, paths: list[str], here: Path) -> None:
    assert [e["path"] for e in json.loads(out("why", query, "--json", cwd=here))] == paths


@pytest.mark.parametrize(
    ("query", "said"),
    [(".netrc", "secret"), ("big.h5", "shared storage"), ("plugin.so", "did not exist"), ("run", "travels")],
)
def test_why_answers_for_every_verdict(query: str, said: str, here: Path) -> None:
    assert said in out("why", "-b", "bundle.sdee", query, cwd=here).splitlines()[0]


def test_why_says_what_the_node_provides_though_the_job_did_not_use_it(here: Path) -> None:
    assert "the node provides it" in out("why", "/run/munge/munge.socket.2", cwd=here)


def test_why_of_a_bundle_alone_asks_for_a_path(here: Path) -> None:
    assert b"PATH is missing" in sdee("why", "bundle.sdee", cwd=here, check=2).stderr


def test_why_offers_near_names(here: Path) -> None:
    assert b"near: /opt/job/lib/libz.so.1\n" in sdee("why", "libz.so.9", cwd=here, check=1).stderr


def test_cat_is_exact_to_the_byte_and_follows_links(here: Path) -> None:
    assert sdee("cat", "bundle.sdee", "/opt/job/lib64/libz.so.1", cwd=here).stdout == BINARY
    shown = json.loads(out("cat", "--json", "lib/libz.so.1", cwd=here))
    assert base64.b64decode(shown["base64"]) == BINARY


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/opt/job/lib", "is a directory"),
        ("/opt/job/lib64", "is a directory"),
        ("/home/u/data/big.h5", "stays on shared storage"),
        ("/home/u/.netrc", "may hold a secret"),
        ("/opt/job/plugin.so", "did not exist"),
        ("/nowhere", "not in bundle.sdee\n"),
    ],
)
def test_cat_says_why_there_is_nothing_to_print(path: str, said: str, here: Path) -> None:
    assert said in sdee("cat", path, cwd=here, check=1).stderr.decode()


def test_a_reader_that_goes_away_gives_no_noise(here: Path) -> None:
    command = f"{sys.executable} -m sdee cat /opt/job/lib/libz.so.1 | head -c 1 >/dev/null"
    done = subprocess.run(["bash", "-c", command], cwd=here, capture_output=True, check=False)
    assert done.stderr == b""


def test_extract_unpacks_all_or_parts(here: Path, tmp_path: Path) -> None:
    assert ": 3 files, " in out("extract", "bundle.sdee", "-C", f"{tmp_path}/all", cwd=here)
    program = os.stat(tmp_path / "all" / "opt" / "job" / "run")
    assert stat.S_IMODE(program.st_mode) == 0o755
    assert program.st_mtime_ns == 1_700_000_000_123_456_789
    said = json.loads(out("extract", "lib", "-C", f"{tmp_path}/part", "--json", cwd=here))
    assert said == {"directory": f"{tmp_path}/part", "files": 1, "size": len(BINARY)}
    assert sorted(os.listdir(tmp_path / "part" / "opt" / "job")) == ["lib"]
    assert sdee("extract", "-C", f"{tmp_path}/all", cwd=here, check=247).stderr.startswith(b"sdee: error: ")
    sdee("extract", "-C", f"{tmp_path}/all", "--force", cwd=here)


def test_extracting_a_damaged_bundle_leaves_nothing_of_it(here: Path, tmp_path: Path) -> None:
    data = bytearray((here / "bundle.sdee").read_bytes())
    data[len(LAUNCHER) + 40] ^= 1
    (tmp_path / "bundle.sdee").write_bytes(data)
    (tmp_path / "out" / "opt").mkdir(parents=True)
    (tmp_path / "out" / "opt" / "mine").write_text("mine")
    assert b"damaged" in sdee("extract", "-C", "out", cwd=tmp_path, check=241).stderr
    assert os.listdir(tmp_path / "out") == ["opt"]
    assert os.listdir(tmp_path / "out" / "opt") == ["mine"]


def test_extracting_a_hostile_bundle_writes_nothing(tmp_path: Path) -> None:
    entries = [dir_entry("/d"), file_entry("/d/../../escaped", b"content")]
    (tmp_path / "bundle.sdee").write_bytes(assemble(entries, [frame(b"content")]))
    failed = sdee("extract", "-C", "out/deeper", cwd=tmp_path, check=241)
    assert b"hostile entry" in failed.stderr
    assert os.listdir(tmp_path) == ["bundle.sdee"]


def test_reasons_in_a_bundle_cannot_steer_the_terminal(tmp_path: Path) -> None:
    item = Item("/x", Verdict.HOST, (Reason("\x1b]0;title\x07", "", "\x1b[2J"),))
    write_bundle(Closure({"/x": item}, CONF, ("run",), "/", {}), launcher(tmp_path), f"{tmp_path}/bundle.sdee", level=1)
    assert "\x1b" not in out("why", "/x", cwd=tmp_path)


@pytest.mark.parametrize("command", ["info", "ls", "extract"])
def test_no_bundle_is_a_clear_error(command: str, tmp_path: Path) -> None:
    failed = sdee(command, cwd=tmp_path, check=241)
    assert failed.stderr.startswith(b"sdee: error: 'bundle.sdee' cannot be opened: No such file")
    assert b"hint: `sdee bundle` makes" in failed.stderr


def test_a_full_disk_under_standard_output_is_said_and_is_no_bug(here: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "sdee", "ls"]
        done = subprocess.run(command, cwd=here, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 247
    assert done.stderr == "sdee: error: cannot write to standard output: No space left on device\n"
