"""`sdee diff` on real traces and bundles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def sdee(*arguments: str, cwd: Path, status: int = 0) -> str:
    command = [sys.executable, "-m", "sdee", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "helper.sh").write_text("echo one\n")
    (tmp_path / "data").write_text("data\n")
    sdee("trace", "-q", "-o", "a.trace", "--", "sh", "-c", ". ./helper.sh; cat data", cwd=tmp_path)
    sdee("bundle", "-q", "a.trace", "-o", "a.sdee", cwd=tmp_path)
    return tmp_path


def test_the_same_is_the_same(here: Path) -> None:
    assert sdee("diff", "a.trace", "a.trace", cwd=here) == ""
    assert sdee("diff", "a.sdee", "a.sdee", cwd=here) == ""


def test_traces_differ_in_what_was_done(here: Path) -> None:
    sdee("trace", "-q", "-o", "b.trace", "--", "sh", "-c", ". ./helper.sh; echo x >made; date", cwd=here)
    lines = sdee("diff", "a.trace", "b.trace", cwd=here, status=1).splitlines()
    assert f"- {here}/data  read, there" in lines
    assert f"+ {here}/made  create, made by the job" in lines
    assert any(line.startswith("+ /usr/bin/date  exec") for line in lines)


def test_bundles_differ_in_content_verdicts_and_settings(here: Path) -> None:
    (here / "helper.sh").write_text("echo two!\n")
    os.chmod(here / "helper.sh", 0o600)
    sdee("bundle", "-q", "a.trace", "-o", "b.sdee", "--with-data", "--exclude", "*/bin/cat", cwd=here)
    found = {d["path"]: d for d in json.loads(sdee("diff", "--json", "a.sdee", "b.sdee", cwd=here, status=1))}
    assert found[f"{here}/helper.sh"]["sign"] == "~"
    assert "9 bytes" in found[f"{here}/helper.sh"]["what"]
    assert "mode 0600" in found[f"{here}/helper.sh"]["what"]
    assert found[f"{here}/data"]["what"].startswith("shared → 5 bytes")
    assert found["/usr/bin/cat"]["what"].endswith("→ host")


def test_a_trace_and_a_bundle_are_not_compared(here: Path) -> None:
    assert "cannot compare a trace with a bundle" in sdee("diff", "a.trace", "a.sdee", cwd=here, status=2)
