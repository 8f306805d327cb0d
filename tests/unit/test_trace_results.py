"""What a run leaves is in its trace, under both engines; the job itself sees nothing of that."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdee.packer.format.results import comparable
from sdee.tracer.tracefile.reader import read_traces

if TYPE_CHECKING:
    from pathlib import Path

JOB = """
echo one >made; mkdir d; echo two >d/in; mv d moved; ln -s made link; echo x >gone; rm gone
echo more >>log; echo new >replaced.tmp; mv replaced.tmp replaced; echo key >id_rsa; mkfifo pipe; echo printed
"""


def traced(here: Path, engine: str, *redirect: str, job: str = JOB) -> dict[str, dict[str, Any]]:
    """Run the job, with redirections by a shell; return the result records by path, and the end's by ""."""
    command = [sys.executable, "-m", "sdee", "trace", "-q", f"--engine={engine}", "--", "sh", "-c", job]
    subprocess.run(
        ["sh", "-c", f'"$@" {" ".join(redirect)}', "sh", *command], cwd=here, check=True, capture_output=True
    )
    with open(here / "sdee.trace", encoding="ascii") as file:
        records = [json.loads(line) for line in file]
    return {r.get("path", ""): r for r in records if r["t"] in ("result", "end")}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
def test_what_is_left_has_its_digest_and_what_is_gone_has_none(tmp_path: Path, engine: str) -> None:
    (tmp_path / "log").write_text("before\n")
    (tmp_path / "replaced").write_text("old\n")
    found = traced(tmp_path, engine, ">out")
    names = {os.path.relpath(path, tmp_path): record for path, record in found.items() if path}
    assert set(names) == {"made", "moved", "moved/in", "link", "log", "replaced", "id_rsa"}
    assert names["made"] == {**names["made"], "kind": "file", "size": 4, "sha256": sha256("one\n")}
    assert names["moved/in"]["sha256"] == sha256("two\n")
    assert names["moved"]["kind"] == "dir"
    assert names["link"]["target"] == "made"
    assert "sha256" not in names["id_rsa"], "a digest tells a short secret"
    assert found[""]["stdout"] == {"size": 8, "sha256": sha256("printed\n")}
    trace = read_traces([str(tmp_path / "sdee.trace")])
    left = {os.path.relpath(result.path, tmp_path) for result in comparable(trace)}
    assert left == set(names) - {"log"}, "a log that is continued depends on what was in it"


def test_output_is_known_where_it_is_a_file_of_its_own(tmp_path: Path) -> None:
    job = "echo printed; echo told >&2"
    assert "stdout" not in traced(tmp_path, "auto", job=job)[""], "a pipe"
    assert "stdout" not in traced(tmp_path, "auto", ">both", "2>&1", job=job)[""]
    (tmp_path / "log").write_text("before\n")
    for _ in range(2):
        assert traced(tmp_path, "auto", ">>log", job=job)[""]["stdout"] == {"size": 8, "sha256": sha256("printed\n")}
    assert traced(tmp_path, "auto", ">fresh", job="exec >other; echo x")[""]["stdout"]["size"] == 0


def test_the_job_finds_its_output_as_without_a_tracer(tmp_path: Path) -> None:
    traced(tmp_path, "auto", ">out", job="readlink /proc/self/fd/1; test -f /proc/self/fd/1 && echo file")
    assert (tmp_path / "out").read_text() == f"{tmp_path}/out\nfile\n"
