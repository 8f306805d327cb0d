"""`-b BUNDLE` names the bundle in every command that takes one; the first word still does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

WHERE = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def sdee(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run sdee there."""
    command = [sys.executable, "-m", "sdee", *words]
    return subprocess.run(command, cwd=here, env=WHERE, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with a bundle whose name does not look like one's."""
    top = tmp_path_factory.mktemp("named")
    (top / "job.sh").write_text('#!/bin/sh\necho "got:$*"\n')
    (top / "job.sh").chmod(0o755)
    assert sdee(top, "trace", "-q", "--", "./job.sh", "1").returncode == 0
    assert sdee(top, "bundle", "-q", "-o", "packed").returncode == 0
    return top


@pytest.mark.parametrize(
    ("command", "rest", "said"),
    [
        ("info", (), "./job.sh 1"),
        ("check", (), "every byte"),
        ("ls", (), "/job.sh"),
        ("ls", ("job.sh",), "/job.sh"),
        ("why", ("job.sh",), "travels in the bundle"),
        ("cat", ("job.sh",), "got:$*"),
        ("extract", ("--force", "-C", "out", "job.sh"), "out: 1 file"),
        ("status", (), "packed"),
        ("exec", (), "got:1"),
        ("exec", ("2", "-x"), "got:2 -x"),
        ("verify", ("--root", "closed", "--home", "here"), "nothing is missing"),
        ("verify", ("--root", "closed", "--home", "here", "--compare", "3"), "nothing is missing"),
    ],
)
def test_b_names_it(here: Path, command: str, rest: tuple[str, ...], said: str) -> None:
    for option in (["-b", "packed"], ["--bundle=packed"]):
        done = sdee(here, command, *option, *rest)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    if not rest or rest[0].isalnum():
        assert said in sdee(here, command, "packed", *rest).stdout, "the first word still does"


def test_deploy_takes_it_too(here: Path) -> None:
    (here / "deployed").mkdir(exist_ok=True)
    where = f"--deploy-dir={here}/deployed"
    found = json.loads(sdee(here, "deploy", "--json", where, "-b", "packed").stdout)
    assert found["bundle"] == f"{here}/packed"
    assert os.path.isdir(found["directory"])
    assert sdee(here, "undeploy", where, "-b", "packed").returncode == 0
    assert not os.path.exists(found["directory"])
    assert sdee(here, "deploy", where, "--bundle", "packed").stdout.strip() == found["directory"]
    assert sdee(here, "undeploy", where, "--bundle", "packed").returncode == 0


def test_two_bundles_or_none_are_refused(here: Path) -> None:
    for command in ("info", "check", "status"):
        done = sdee(here, command, "-b", "packed", "other")
        assert (done.returncode, done.stdout) == (2, "")
        assert "two bundles are named: 'packed' and 'other'" in done.stderr
    for words in (("deploy", "--json"), ("exec", "-b"), ("exec", "--bundle")):
        assert sdee(here, *words).returncode == 2, words
