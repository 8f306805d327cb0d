"""A disk that is full: what fails says where, and what was good stays. A limit of file sizes stands in for it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Python keeps compiled modules of which a full disk has cut off the end (its _write_atomic): not here
WHERE = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


def sdee(here: Path, *words: str, kilobytes: str = "unlimited", **env: str) -> subprocess.CompletedProcess[str]:
    """Run sdee with no file larger than so."""
    command = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", sys.executable, "-m", "sdee", *words]
    return subprocess.run(command, cwd=here, env={**WHERE, **env}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("full")
    (top / "job.sh").write_text("#!/bin/sh\necho done\n")
    (top / "job.sh").chmod(0o755)
    assert sdee(top, "trace", "-q", "--", "./job.sh").returncode == 0
    assert sdee(top, "bundle", "-q").returncode == 0
    return top


def test_a_trace_that_is_not_whole_leaves_the_one_before_it(here: Path) -> None:
    before = (here / "sdee.trace").read_bytes()
    done = sdee(here, "trace", "--", "./job.sh", kilobytes="2")
    assert (done.returncode, done.stdout) == (247, "done\n"), "the job is not harmed"
    assert "cannot write the trace" in done.stderr
    assert "sdee.trace still holds the earlier run" in done.stderr
    assert (here / "sdee.trace").read_bytes() == before


def test_verify_says_that_its_own_files_have_no_room(here: Path) -> None:
    (here / "tmp").mkdir()
    done = sdee(here, "verify", "--root", "closed", "--home", "here", kilobytes="2", TMPDIR=str(here / "tmp"))
    assert done.returncode == 247, done.stderr
    assert f"sdee: error: cannot write below '{here}/tmp': File too large" in done.stderr
    assert "hint: TMPDIR names another place" in done.stderr
    assert list((here / "tmp").iterdir()) == []


def test_a_bundle_that_cannot_be_written_leaves_the_one_before_it(here: Path) -> None:
    before = (here / "bundle.sdee").stat()
    done = sdee(here, "bundle", kilobytes="100")
    assert done.returncode == 247
    assert "'bundle.sdee' cannot be written: File too large\n  hint: choose another place with -o FILE" in done.stderr
    assert (here / "bundle.sdee").stat() == before
    assert not list(here.glob(".sdee-*"))


def test_why_names_no_more_than_one_reads(here: Path) -> None:
    done = sdee(here, "why", "o")
    assert done.returncode == 0
    assert done.stdout.count("  ./job.sh\n") <= 20
    assert "more paths: give more of the name (--json: all)\n" in done.stdout
    assert len(json.loads(sdee(here, "why", "--json", "o").stdout)) > 20
