"""Several runs in one bundle: where they found something else at a path, it is said, and only where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdee.packer.closure.notices import conflicts
from sdee.tracer.tracefile.model import FORMAT
from sdee.tracer.tracefile.reader import read_traces

if TYPE_CHECKING:
    from pathlib import Path

JOB = """#!/bin/sh
. ./lib.sh
. ./state.sh
echo "n=1" >> state.sh
"""
HEADER: dict[str, Any] = {
    "t": "header",
    "sdee": FORMAT,
    "engine": "unotify",
    "command": ["job"],
    "program": "/bin/job",
    "cwd": "/w",
    "env": {},
    "env_dropped": [],
    "umask": 18,
    "rlimits": {},
    "uid": 1,
    "gid": 2,
    "home": "/h",
}


def sdee(*arguments: str, cwd: Path) -> tuple[str, str]:
    command = [sys.executable, "-m", "sdee", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a job that reads one script, and another one which it changes."""
    (tmp_path / "job.sh").write_text(JOB)
    (tmp_path / "job.sh").chmod(0o755)
    (tmp_path / "lib.sh").write_text("m=1\n")
    (tmp_path / "state.sh").write_text("n=0\n")
    return tmp_path


@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
def test_a_file_that_changed_between_two_runs_is_named_with_what_travels(here: Path, engine: str) -> None:
    sdee("trace", "-q", "--engine", engine, "--", "./job.sh", cwd=here)
    assert "lib.sh" not in sdee("bundle", "-q", "--minimal", cwd=here)[1]
    (here / "lib.sh").write_text("m=1000\n")
    sdee("trace", "-q", "--engine", engine, "--append", "--", "./job.sh", cwd=here)
    said = sdee("bundle", "-q", "--minimal", cwd=here)[1]
    line = next(line for line in said.splitlines() if "lib.sh" in line)
    assert "was not the same in all traced runs: a file of 4 bytes" in line
    assert "a file of 7 bytes" in line
    assert line.endswith("The bundle has what run 2 found")
    assert sdee("cat", "bundle.sdee", str(here / "lib.sh"), cwd=here)[0] == "m=1000\n"


def test_of_a_file_that_the_job_changes_what_the_first_run_found_travels(here: Path) -> None:
    sdee("trace", "-q", "-o", "a.trace", "--", "./job.sh", cwd=here)
    sdee("trace", "-q", "-o", "b.trace", "--", "./job.sh", cwd=here)
    said = sdee("bundle", "-q", "--minimal", "a.trace", "b.trace", cwd=here)[1]
    line = next(line for line in said.splitlines() if "state.sh" in line)
    assert "and the job itself changes it: a file of 4 bytes" in line
    assert "(a.trace); a file of 8 bytes" in line
    assert line.endswith("The bundle has what a.trace found")
    assert sdee("cat", "bundle.sdee", str(here / "state.sh"), cwd=here)[0] == "n=0\n"
    assert "job.sh" not in said.replace(line, "")


def test_the_same_job_twice_is_no_conflict_nor_is_what_it_makes(here: Path) -> None:
    (here / "job.sh").write_text("#!/bin/sh\n. ./lib.sh\ndate +%N > out.txt; cat out.txt; mkdir -p d; cp out.txt d/x\n")
    sdee("trace", "-q", "--", "./job.sh", cwd=here)
    sdee("trace", "-q", "--append", "--", "./job.sh", cwd=here)
    assert sdee("bundle", "-q", "--minimal", cwd=here)[1] == ""


def test_input_that_stays_where_it_is_is_no_conflict(here: Path) -> None:
    (here / "job.sh").write_text("#!/bin/sh\ncat input.dat\n")
    (here / "input.dat").write_text("1\n")
    sdee("trace", "-q", "--", "./job.sh", cwd=here)
    (here / "input.dat").write_text("22\n")
    sdee("trace", "-q", "--append", "--", "./job.sh", cwd=here)
    assert sdee("bundle", "-q", "--minimal", cwd=here)[1] == ""
    said = sdee("bundle", "-q", "--minimal", "--with-data", cwd=here)[1]
    assert "input.dat" in said


def test_another_link_a_directory_or_nothing_is_named_too(here: Path) -> None:
    (here / "job.sh").write_text("#!/bin/sh\n. ./current/lib.sh\n[ ! -f extra.sh ] || . ./extra.sh\n")
    for name in ("v1", "v2"):
        (here / name).mkdir()
        (here / name / "lib.sh").write_text(f"v={name}\n")
    (here / "current").symlink_to("v1")
    sdee("trace", "-q", "--", "./job.sh", cwd=here)
    (here / "current").unlink()
    (here / "current").symlink_to("v2")
    (here / "extra.sh").write_text("extra=1\n")
    sdee("trace", "-q", "--append", "--", "./job.sh", cwd=here)
    said = sdee("bundle", "-q", "--minimal", cwd=here)[1]
    assert "a link to 'v1' (run 1); a link to 'v2' (run 2). The bundle has what run 2 found" in said
    assert "nothing (run 1); a file of 8 bytes" in said


def test_many_conflicts_do_not_fill_the_screen(here: Path) -> None:
    names = [f"part{n}.sh" for n in range(20)]
    (here / "job.sh").write_text("#!/bin/sh\n" + "".join(f". ./{name}\n" for name in names))
    for name in names:
        (here / name).write_text("a=1\n")
    sdee("trace", "-q", "--", "./job.sh", cwd=here)
    for name in names:
        (here / name).write_text("a=22\n")
    sdee("trace", "-q", "--append", "--", "./job.sh", cwd=here)
    lines = sdee("bundle", "-q", "--minimal", cwd=here)[1].splitlines()
    assert len(lines) == 6
    assert lines[-1].endswith("and 12 more")


# what a rank of a job on another node, or at the same time, makes of it


def seen(path: str = "/opt/x.sh", op: str = "read", **more: Any) -> dict[str, Any]:
    """A path record: a file of 10 bytes unless `more` says otherwise."""
    usual = {"exists": True, "kind": "file", "hops": [], "real": path, "size": 10, "mtime_ns": 10**18}
    return {"t": "path", "path": path, "ops": [op], "pid": 1, **usual, **more}


def merged(tmp_path: Path, *runs: tuple[str, float, float, list[dict[str, Any]]]) -> set[str]:
    """Return the paths in conflict of runs given as (host, begin, end, path records), a trace each."""
    names = []
    for number, (host, begin, end, records) in enumerate(runs):
        name = tmp_path / f"rank.{number}"
        ends = {"t": "end", "status": 0, "calls": 1, "seconds": end - begin, "time": end}
        lines = [{**HEADER, "host": {"hostname": host}}, *records, *([ends] if end else [])]
        name.write_text("".join(json.dumps(line) + "\n" for line in lines))
        names.append(os.fspath(name))
    return {c.path for c in conflicts(read_traces(names))}


def test_another_size_is_a_conflict_and_the_same_is_none(tmp_path: Path) -> None:
    one = ("n1", 1.0, 2.0, [seen()])
    assert merged(tmp_path, one, ("n1", 3, 4, [seen(size=11)])) == {"/opt/x.sh"}
    assert merged(tmp_path, one, ("n2", 3, 4, [seen(size=11)])) == {"/opt/x.sh"}
    assert merged(tmp_path, one, ("n1", 3, 4, [seen()])) == set()
    assert merged(tmp_path, one) == set()


def test_another_time_is_a_conflict_on_one_machine_only(tmp_path: Path) -> None:
    one = ("n1", 1.0, 2.0, [seen()])
    assert merged(tmp_path, one, ("n1", 3, 4, [seen(mtime_ns=5)])) == {"/opt/x.sh"}
    assert merged(tmp_path, one, ("n2", 3, 4, [seen(mtime_ns=5)])) == set()


def test_a_trace_that_does_not_say_sizes_makes_no_conflict(tmp_path: Path) -> None:
    old = seen()
    del old["size"], old["mtime_ns"]
    assert merged(tmp_path, ("n1", 1, 2, [old]), ("n1", 3, 4, [seen()])) == set()


def test_ranks_that_write_and_read_each_others_files_at_the_same_time_are_no_conflict(tmp_path: Path) -> None:
    writer = [seen(), seen(op="write")]
    assert merged(tmp_path, ("n1", 1, 9, writer), ("n2", 2, 8, [seen(size=77)])) == set()
    assert merged(tmp_path, ("n1", 1, 9, writer), ("n2", 2, 8, [seen(exists=False, kind=None)])) == set()
    assert merged(tmp_path, ("n1", 1, 9, writer), ("n2", 2, 8, [*writer[:0], seen(size=5), seen(op="write")])) == set()
    assert merged(tmp_path, ("n1", 1, 2, writer), ("n2", 3, 4, [seen(size=77)])) == {"/opt/x.sh"}


def test_a_run_that_was_cut_off_may_have_gone_on_for_long(tmp_path: Path) -> None:
    assert merged(tmp_path, ("n1", 1, 0, [seen(), seen(op="write")]), ("n1", 3, 4, [seen(size=77)])) == set()


def test_only_what_a_run_found_before_it_changed_it_counts(tmp_path: Path) -> None:
    own = [seen(), seen(op="truncate"), seen(op="write"), seen(size=99)]
    assert merged(tmp_path, ("n1", 1, 2, own), ("n1", 3, 4, [seen()])) == set()
    made = [seen(exists=False, kind=None), seen(op="create", exists=False, kind=None), seen(size=3, made=True)]
    assert merged(tmp_path, ("n1", 1, 2, made), ("n1", 3, 4, made)) == set()


def test_a_file_that_was_only_asked_about_or_written_is_no_conflict(tmp_path: Path) -> None:
    for op in ("probe", "write", "truncate"):
        assert merged(tmp_path, ("n1", 1, 2, [seen(op=op)]), ("n1", 3, 4, [seen(size=77)])) == set()


def test_a_thousand_ranks_that_saw_the_same_are_kept_as_one_state(tmp_path: Path) -> None:
    ranks = [("n1", 1.0, 2.0, [seen(), seen("/opt/y.sh")]) for _ in range(50)]
    assert merged(tmp_path, *ranks, ("n2", 1, 2, [seen(size=1)])) == {"/opt/x.sh"}
