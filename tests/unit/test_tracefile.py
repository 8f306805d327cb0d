"""Trace files: what is written is read again, cut and damaged ones are told apart."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdee.base.errors import OutputError, TraceError, UsageError
from sdee.packer.format.table import is_normal
from sdee.tracer import host
from sdee.tracer.records import Records
from sdee.tracer.resolve import Resolved
from sdee.tracer.saved import Saver
from sdee.tracer.tracefile.model import FORMAT
from sdee.tracer.tracefile.reader import read_traces
from sdee.tracer.tracefile.writer import Writer, expand_name

if TYPE_CHECKING:
    from pathlib import Path

HEADER: dict[str, Any] = {
    "t": "header",
    "sdee": FORMAT,
    "version": "0",
    "engine": "unotify",
    "command": ["job", "arg"],
    "program": "/bin/job",
    "cwd": "/w",
    "env": {"A": "1"},
    "env_dropped": ["TOKEN"],
    "umask": 18,
    "rlimits": {"nofile": [1024, -1]},
    "uid": 1,
    "gid": 2,
    "home": "/h",
    "host": {"os": {"ID": "debian", "VERSION_ID": "12"}, "libc": {"path": "/lib/libc"}, "mounts": [["/", "ext4"]]},
}
END = {"t": "end", "status": 3, "calls": 1, "seconds": 0.5}


def access(path: str, op: str, *, exists: bool = True, **more: Any) -> dict[str, Any]:
    kind = "file" if exists else None
    return {
        "t": "path",
        "path": path,
        "ops": [op],
        "pid": 1,
        "exists": exists,
        "kind": kind,
        "hops": [],
        "real": path,
        **more,
    }


def write(path: Path, *lines: dict[str, Any], tail: str = "") -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    return str(path)


def test_a_segment_becomes_a_run_with_everything_in_it(tmp_path: Path) -> None:
    name = write(
        tmp_path / "t",
        HEADER,
        {"t": "process", "pid": 1, "ppid": 0},
        {
            "t": "exec",
            "pid": 1,
            "path": "/bin/job",
            "argv": ["job"],
            "interpreters": ["/ld.so"],
            "libpath": "/x",
            "setid": False,
        },
        access("/etc/a", "read", hops=[["/etc", "etc2"]]),
        access("/etc/a", "probe"),
        {"t": "socket", "path": "@bus", "pid": 1},
        {"t": "saved", "path": "/w/out", "copy": "0", "size": 5, "mtime_ns": 7, "mode": 33188},
        {"t": "exit", "pid": 1, "status": 3},
        {"t": "something new"},
        END,
    )
    trace = read_traces([name])
    assert trace.runs[0].status == 3
    assert trace.runs[0].host.os_id == "debian"
    assert trace.runs[0].rlimits == {"nofile": (1024, -1)}
    assert trace.processes[0].status == 3
    assert trace.execs[0].interpreters == ("/ld.so",)
    assert trace.accesses["/etc/a"].ops == {"read", "probe"}
    assert trace.accesses["/etc/a"].hops == (("/etc", "etc2"),)
    assert trace.sockets == ("@bus",)
    assert trace.saved["/w/out"].copy == f"{name}.saved/0"
    assert trace.incomplete == ()


def test_several_traces_merge_in_order(tmp_path: Path) -> None:
    one = write(tmp_path / "1", HEADER, access("/a", "read"), END)
    two = write(tmp_path / "2", HEADER, access("/b", "read"), access("/a", "write"), END, HEADER, END)
    trace = read_traces([one, two])
    assert len(trace.runs) == 3
    assert [(item.path, item.order) for item in trace.accesses.values()] == [("/a", 0), ("/b", 1)]
    assert trace.accesses["/a"].ops == {"read", "write"}


def test_a_cut_last_line_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    trace = read_traces([write(tmp_path / "t", HEADER, access("/a", "read"), tail='{"t":"path","pa')])
    assert list(trace.accesses) == ["/a"]
    assert trace.runs[0].status is None
    assert "cut off" in trace.incomplete[0]


def test_a_segment_without_end_before_another_is_incomplete(tmp_path: Path) -> None:
    assert "cut off" in read_traces([write(tmp_path / "t", HEADER, HEADER, END)]).incomplete[0]
    assert read_traces([write(tmp_path / "u", HEADER, END, HEADER, END)]).incomplete == ()


def test_what_came_from_outside_during_the_run_existed_and_what_the_job_made_did_not(tmp_path: Path) -> None:
    lines = [
        access("/outside", "read", exists=False),
        access("/outside", "read"),
        access("/made", "probe", exists=False),
    ]
    lines += [access("/made", "create", exists=False), access("/made", "read")]
    accesses = read_traces([write(tmp_path / "t", HEADER, *lines, END)]).accesses
    assert accesses["/outside"].existed
    assert not accesses["/made"].existed
    assert accesses["/made"].kind == "file"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\necho\n", "line 1"),
        (b"\x7fELF\x00\x00\n\n", "a program or a bundle, not a trace"),
        (b'{"t":"path"}\n', "header"),
        (b"[1]\n", "line 1"),
        (json.dumps({**HEADER, "sdee": FORMAT + 1}).encode() + b"\n", "format 2"),
        (json.dumps(HEADER).encode() + b'\n{"t":"exec"}\n', "line 2"),
        (json.dumps(HEADER).encode() + b"\nnonsense\n" + json.dumps(END).encode() + b"\n", "line 2"),
        (json.dumps({"t": "header", "sdee": 1}).encode() + b"\n", "command"),
    ],
)
def test_what_is_no_trace_is_a_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(TraceError, match=words):
        read_traces([str(tmp_path / "t")])


def test_a_missing_trace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        read_traces([str(tmp_path / "none")])
    assert "sdee trace" in caught.value.hint


@given(name=st.binary(min_size=1).filter(lambda name: b"\0" not in name and is_normal("/" + os.fsdecode(name))))
def test_every_file_name_survives(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    path = str(tmp_path_factory.mktemp("names") / "t")
    text = "/" + os.fsdecode(name)
    writer = Writer(path, append=False)
    writer.record("header", **{key: value for key, value in HEADER.items() if key != "t"})
    records = Records(writer, Saver(path + ".saved", keep=False))
    records.access("read", Resolved(text, text, ((text, text),), None), 1)
    writer.record("end", status=0, calls=1, seconds=0)
    writer.close()
    with open(path, "rb") as file:
        assert file.read().isascii()
    assert list(read_traces([path]).accesses) == [text]
    assert read_traces([path]).accesses[text].hops == ((text, text),)


def test_a_write_error_is_kept_and_nothing_follows() -> None:
    writer = Writer("/dev/full", append=False)
    writer.record("end", status=0)
    writer.flush()
    assert writer.error
    writer.record("end", status=1)
    writer.close()
    assert writer.error.strerror == "No space left on device"


def test_a_trace_in_a_missing_directory_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="No such file"):
        Writer("/no/such/directory/t", append=False)


@pytest.mark.parametrize("home", ["/h/u", "/h//u", "/h/u/.", "//h/u", "/h/./u/", "relative", ""])
def test_the_home_is_a_path_whatever_home_is_set_to(tmp_path: Path, home: str) -> None:
    """It becomes a live directory of the bundle, which no launcher takes otherwise."""
    (run,) = read_traces([write(tmp_path / "t", HEADER | {"home": home}, END)]).runs
    assert run.home == ("/h/u" if home.startswith("/") else "/nonexistent")


def test_names_expand() -> None:
    assert expand_name("t.%r", {"SLURM_PROCID": "7"}) == "t.7"
    assert expand_name("%r%r%%%h", {"PMI_RANK": "2"}) == f"22%{os.uname().nodename}"
    assert expand_name("t.%r.%p", {}) == f"t.0.{os.getpid()}"
    assert expand_name("100%%", {}) == "100%"
    for wrong in ("%", "a%", "%x", "%%%"):
        with pytest.raises(UsageError):
            expand_name(wrong, {})


# As each launcher gives them to rank 3: src/sdee/base/facts/ranks.toml has the sources
RANK_3 = {
    "Open MPI": {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "PMIX_RANK": "3"},
    "MVAPICH2": {"MV2_COMM_WORLD_RANK": "3", "MV2_COMM_WORLD_LOCAL_RANK": "1"},
    "MVAPICH 3": {"MVP_COMM_WORLD_RANK": "3", "MVP_COMM_WORLD_LOCAL_RANK": "1"},
    "hydra": {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"},
    "jsrun": {"JSM_NAMESPACE_RANK": "3", "JSM_NAMESPACE_LOCAL_RANK": "1", "LSB_JOBID": "17"},
    "PALS": {"PALS_RANKID": "3", "PALS_LOCAL_RANKID": "1", "PALS_APID": "a", "PBS_JOBID": "17.host"},
    "Flux": {"FLUX_TASK_RANK": "3", "FLUX_TASK_LOCAL_ID": "1", "FLUX_JOB_ID": "f1"},
    "prun": {"PMIX_RANK": "3", "PMIX_NAMESPACE": "prterun@1"},
    "srun": {"SLURM_PROCID": "3", "SLURM_STEP_ID": "0"},
    "srun --mpi=pmix": {
        "SLURM_PROCID": "3",
        "SLURM_STEP_ID": "0",
        "PMIX_RANK": "3",
        "PMIX_NAMESPACE": "slurm.pmix.1.0",
    },
}


@pytest.mark.parametrize("launcher", RANK_3)
def test_the_nearest_launcher_says_the_rank(launcher: str) -> None:
    """In a batch script of Slurm, and in a task of Flux, too: these have numbers of their own."""
    variables = RANK_3[launcher]
    assert expand_name("t.%r", variables) == "t.3"
    assert expand_name("t.%r", {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", **variables}) == "t.3"
    inner = launcher not in {"prun", "srun", "srun --mpi=pmix"}
    assert expand_name("t.%r", {"FLUX_TASK_RANK": "0", "PMI_RANK": "0", **variables}) == ("t.3" if inner else "t.0")
    assert expand_name("t.%r", dict.fromkeys(variables, "")) == "t.0"
    assert expand_name("t.%r", dict.fromkeys(variables, "x/../../y")) == "t.0"


def test_a_saved_file_is_a_private_copy_of_what_was_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("before")
    saver = Saver(str(tmp_path / "t.saved"), keep=False)
    copy = saver.save(str(source), source.stat(), str(source))
    assert copy
    assert copy.copy == "0"
    source.write_text("after")
    assert (tmp_path / "t.saved/0").read_text() == "before"
    assert (tmp_path / "t.saved").stat().st_mode & 0o777 == 0o700
    assert saver.save(str(source), source.stat(), str(source)) is None
    another = Saver(str(tmp_path / "t.saved"), keep=True).save(str(source), source.stat(), str(source))
    assert another
    assert another.copy == "1"


def test_a_file_that_cannot_be_copied_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdee.tracer.saved.COPY_LIMIT", 3)
    source = tmp_path / "source"
    source.write_text("large")
    copy = Saver(str(tmp_path / "t.saved"), keep=False).save(str(source), source.stat(), str(source))
    assert copy
    if copy.copy is None:  # else the file system has reflinks
        assert "larger" in copy.why
        assert os.listdir(tmp_path / "t.saved") == []
    gone = Saver(str(tmp_path / "u.saved"), keep=False).save("/gone", source.stat(), "/gone")
    assert gone
    assert gone.why == "No such file or directory"


def test_secrets_are_told_by_their_names() -> None:
    secret = [
        "GITHUB_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "DB_PASSWD",
        "X_API_KEY",
        "apikey",
        "MY_CREDENTIALS",
    ]
    plain = [
        "PATH",
        "HOME",
        "SLURM_JOB_ID",
        "OMP_NUM_THREADS",
        "LD_LIBRARY_PATH",
        "MONKEY",
        "PASSAGE",
        "KEYBOARD",
        "XKB_KEYMAP",
    ]
    kept, dropped = host.split_environment(dict.fromkeys(secret + plain, "x"))
    assert dropped == sorted(secret)
    assert list(kept) == plain


def test_the_host_is_described_as_the_systems_own_tools_do() -> None:
    import platform
    import subprocess

    facts = host.facts()
    assert facts["kernel"] == platform.release()
    assert ["/proc", "proc"] in facts["mounts"]
    assert facts["libc"]["version"] == platform.libc_ver()[1]
    notes = subprocess.run(["readelf", "-n", facts["libc"]["path"]], capture_output=True, text=True, check=True).stdout
    assert f"Build ID: {facts['libc']['build_id']}" in notes
