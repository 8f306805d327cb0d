"""Carriage returns in batch scripts: kept where they are data, refused where sbatch refuses them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdee.base.errors import UsageError
from sdee.runtime.environment import real_commands
from sdee.runtime.jobs import model
from sdee.runtime.jobs.gridengine.manager import GridEngine
from sdee.runtime.jobs.model import RefusedError
from sdee.runtime.jobs.slurm.inside import SlurmInside
from sdee.runtime.jobs.slurm.manager import Slurm
from sdee.workflow.transparent import batch
from sdee.workflow.transparent.context import Context

if TYPE_CHECKING:
    from pathlib import Path

LONE = b"#!/bin/sh\ncat <<E >out\na\rb\nE\nprintf 'c\rd' >>out\n"
DOS = {
    "every line": "#!/bin/sh\r\necho\r\n",
    "a here-document": "#!/bin/sh\ncat <<E\na\r\nE\n",
}


def sdee(here: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line beside a stand-in for sbatch."""
    (here / "bin").mkdir(exist_ok=True)
    (here / "bin/sbatch").write_text("#!/bin/sh\nexit 1\n")
    (here / "bin/sbatch").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{here}/bin:{os.environ['PATH']}",
        "HOME": str(here),
        "SDEE_SUBMIT_DIR": str(here / "kept"),
    }
    return subprocess.run(
        [sys.executable, "-m", "sdee", *arguments], cwd=here, env=env, capture_output=True, check=False
    )


def test_a_carriage_return_in_a_here_document_stays_one(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_bytes(LONE)
    done = sdee(tmp_path, "wrap", "--program", "cat", "job.sh")
    assert done.returncode == 0, done.stderr.decode()
    assert b"\na\rb\n" in done.stdout
    assert b"'c\rd'" in done.stdout
    assert (tmp_path / "out").read_bytes() == b"a\rb\nc\rd", "the script that was traced had them"
    os.unlink(tmp_path / "out")
    (tmp_path / "wrapped.sh").write_bytes(done.stdout)
    assert subprocess.run(["sh", "wrapped.sh"], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "out").read_bytes() == b"a\rb\nc\rd"


@pytest.mark.parametrize("text", DOS.values(), ids=DOS)
def test_dos_line_breaks_are_refused_before_anything_runs(tmp_path: Path, text: str) -> None:
    (tmp_path / "job one.sh").write_bytes(text.encode())
    done = sdee(tmp_path, "wrap", "job one.sh")
    assert (done.returncode, done.stdout) == (2, b"")
    said = r"'job one.sh' contains DOS line breaks (\r\n) instead of expected UNIX line breaks (\n)"
    lines = done.stderr.decode().splitlines()
    assert lines == [f"sdee: error: {said}", r"  hint: sed -i 's/\r$//' 'job one.sh'"]
    assert not (tmp_path / "sdee-jobs").exists()
    subprocess.run(lines[-1].removeprefix("  hint: "), shell=True, cwd=tmp_path, check=True)
    assert b"\r" not in (tmp_path / "job one.sh").read_bytes()


def test_grid_engine_takes_them_behind_the_first_line() -> None:
    wrapping = model.Wrapping("job.sh", DOS["a here-document"], "b.sdee", ("cat",))
    assert "\na\r\nE\n" in GridEngine().wrap(wrapping)
    for manager in (GridEngine(), Slurm()):
        with pytest.raises(UsageError, match="DOS line breaks"):
            manager.wrap(model.replace(wrapping, text=DOS["every line"]))


@pytest.mark.parametrize("text", DOS.values(), ids=DOS)
def test_in_an_environment_sbatch_itself_refuses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "job.sh").write_bytes(text.encode())
    (tmp_path / "front").write_text(f"#!/bin/sh\ncat >{tmp_path}/given\nexit 1\n")
    (tmp_path / "front").chmod(0o755)
    monkeypatch.setattr(real_commands, "FRONT", str(tmp_path / "front"))
    with pytest.raises(RefusedError) as ended:
        batch.submit([str(tmp_path / "job.sh")], Context(SlurmInside(), print))
    assert (ended.value.status, ended.value.text) == (1, "")
    assert (tmp_path / "given").read_bytes() == text.encode()
