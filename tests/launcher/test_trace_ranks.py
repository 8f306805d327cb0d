"""`sdee trace -o trace.%r` below real launchers: each rank has its own trace, in a batch script, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# What slurmd gives a batch script (sbatch(1)), and so all that it starts, mpirun's ranks included
BATCH = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
LAUNCHERS = {
    "Open MPI": ("mpirun.openmpi", "--oversubscribe", "-n", "3"),
    "MPICH": ("mpiexec.hydra", "-n", "3"),
}


@pytest.mark.parametrize("variables", [{}, BATCH], ids=["at a terminal", "in a batch script"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_rank_of_a_real_launcher_writes_its_own_trace(
    tmp_path: Path, launcher: str, variables: dict[str, str]
) -> None:
    program, *options = LAUNCHERS[launcher]
    if not shutil.which(program):
        pytest.skip(f"no {program}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI", "OMPI_"))}
    traced = (sys.executable, "-m", "sdee", "trace", "-q", "-o", "trace.%r", "--", "true")
    done = subprocess.run(
        [program, *options, *traced],
        cwd=tmp_path,
        env=kept | MAY | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["trace.0", "trace.1", "trace.2"]
