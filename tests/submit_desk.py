"""A directory with a job, and an sbatch that says what it was given: `sdee submit` up to the job manager."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SBATCH = """#!/bin/sh
[ "$1" != --help ] || exit 1
for word; do echo "[$word]"; done >{record}
echo "Submitted batch job 7"
exit {status}
"""


class Desk:
    """A directory with a job, and an sbatch that says what it was given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "given"
        self.sbatch(0)
        (path / "job.sh").write_text(
            "#!/bin/sh\n. ./library.sh\ncat input.txt >output.txt; echo ran >>runs; echo said\n"
        )
        (path / "job.sh").chmod(0o755)
        (path / "library.sh").write_text("true\n")
        (path / "input.txt").write_text("data\n")

    def sbatch(self, status: int) -> None:
        """Let sbatch end with a status."""
        (self.path / "bin").mkdir(exist_ok=True)
        (self.path / "bin/sbatch").write_text(SBATCH.format(record=self.record, status=status))
        (self.path / "bin/sbatch").chmod(0o755)

    def submit(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `sdee submit ARGUMENTS` here."""
        return self.sdee("submit", *arguments, **env)

    def sdee(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `sdee ARGUMENTS` here."""
        return subprocess.run(
            [sys.executable, "-m", "sdee", *arguments],
            cwd=self.path,
            env={"PATH": f"{self.path}/bin:/usr/bin:/bin", "HOME": "/root", **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def run_python(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script of sdee's own Python here."""
        command = [sys.executable, script, *arguments]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)

    def runs(self) -> int:
        """How often has the job run here?"""
        return len((self.path / "runs").read_text().split()) if (self.path / "runs").exists() else 0

    def kept(self) -> list[str]:
        """Names of what is kept for jobs."""
        return sorted(path.name for path in self.path.glob("sdee-jobs/*/*"))

    def given(self) -> list[str]:
        """What sbatch was given."""
        return [line[1:-1] for line in self.record.read_text().split("\n") if line]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give a directory with a job."""
    return Desk(tmp_path)
