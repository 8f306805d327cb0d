"""`sdee submit` and `sdee wrap` of what MPI's own launchers start: ranks on several nodes that have no MPI."""

from __future__ import annotations

import glob
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from cluster.jobs import FIXTURES
from submit_support import Side, SlurmSide, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.driver import Cluster

pytestmark = pytest.mark.cluster

ON_BOTH = ("-N2", "-n3", "-w", "n1,n2")
RANKS = [f"rank {rank} of 3 on {node}: 3" for rank, node in enumerate(("n1", "n1", "n2"))]
JOB = """#!/bin/bash
#SBATCH -N2 -n3 -w n1,n2
mpirun ./where | sort
mpirun ./where 7 >/dev/null 2>&1
echo "status $?"
mpiexec.hydra sh -c 'echo "rank $PMI_RANK on $(uname -n)"' | sort
"""


@pytest.fixture
def side(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Side]:
    """Give a directory with a program of MPI's."""
    found = SlurmSide(cluster)
    found.enter(f"submit mpi {request.node.name[5:30]}")
    subprocess.run(["mpicc.openmpi", "-o", f"{found.path}/where", f"{FIXTURES}/mpi/where.c"], check=True)
    os.chmod(found.path, 0o755)
    yield found
    for left in glob.glob("/var/tmp/where-*.txt"):  # of the traced runs
        os.unlink(left)


def printed(side: Side, name: str = "out.txt") -> list[str]:
    """Return what a job printed, sorted, without what srun says."""
    return sorted(line for line in side.read(name).splitlines() if not line.startswith("srun: "))


def test_mpirun_starts_ranks_on_all_nodes_of_the_job(side: Side) -> None:
    bare = side.run("srun", "-N1", "-w", "n2", "sh", "-c", "command -v orted mpirun")
    assert bare.returncode != 0, "the node has Open MPI"
    done = side.sdee("submit", *side.waiting, *ON_BOTH, "--", "mpirun", "./where")
    assert (done.returncode, printed(side)) == (0, RANKS), done
    assert "mpirun starts the processes, so it runs once, on the job's first node" in done.stderr
    # with the same bundle, another argument; its status is the job's
    again = side.sdee("submit", *side.waiting, *ON_BOTH, "-o", "again.txt", "--no-trace", "--", "mpirun", "./where")
    assert (again.returncode, printed(side, "again.txt")) == (0, RANKS), again
    kept = next(name for name in side.found("sdee-jobs") if name.endswith("bundle-1.sdee"))
    words = ("--bundle", f"sdee-jobs/{kept}", "--", "mpirun", "./where", "7")
    failed = side.sdee("submit", *side.waiting, *ON_BOTH, "-o", "failed.txt", *words)
    assert failed.returncode == 7, failed
    assert [line for line in printed(side, "failed.txt") if line.startswith("rank ")] == RANKS


def test_ranks_that_srun_starts_are_srun_s_as_ever(side: Side) -> None:
    """The other side: nothing is served, and what says how srun starts them is refused where mpirun does."""
    done = side.sdee("submit", *side.waiting, *ON_BOTH, "--mpi=pmix", "--", "./where")
    assert (done.returncode, printed(side)) == (0, RANKS), done
    assert "starts the processes" not in done.stderr
    assert not [name for name in side.found("sdee-jobs") if "front" in name]
    refused = side.sdee("submit", *ON_BOTH, "--mpi=pmix", "--", "mpirun", "./where")
    assert refused.returncode == 2, refused
    assert "--mpi=pmix is srun's, and mpirun starts the processes of this job" in refused.stderr


def test_ranks_that_slurm_would_start_without_mpi_are_told_of_before_they_wait(side: Side) -> None:
    hold = ("--hold", "--parsable", *ON_BOTH)
    done = side.sdee("submit", *hold, "--", "./where")
    said = "warning: ./where uses MPI. Slurm starts tasks without MPI here (MpiDefault=none)"
    assert said in done.stderr, done
    assert "give --mpi=TYPE (" in done.stderr
    assert "pmix" in done.stderr.partition("give --mpi=TYPE (")[2]
    others = [side.sdee("submit", *hold, *more, "--", *command) for more, command in (
        (("--mpi=pmix",), ("./where",)), ((), ("mpirun", "./where")), ((), ("uname", "-n")),
    )]  # fmt: skip
    assert [said.partition(" ./where ")[2] in other.stderr for other in others] == [False] * 3, others
    for job in (done, *others):
        side.cancel(job.stdout.strip())


def test_what_ranks_leave_on_their_nodes_comes_back(side: Side) -> None:
    done = side.sdee("submit", *side.waiting, *ON_BOTH, "--results", "back", "--", "mpirun", "./where")
    assert (done.returncode, printed(side)) == (0, RANKS), done
    found = {name: side.read(f"back/{name}") for name in side.found("back") if "where-" in name}
    assert found == {
        f"{node}/var/tmp/where-{rank}.txt": f"from rank {rank} on {node}\n"
        for rank, node in enumerate(("n1", "n1", "n2"))
    }


def test_a_dry_run_shows_how_and_makes_nothing(side: Side) -> None:
    done = side.sdee("submit", "--dry-run", *ON_BOTH, "--", "mpirun", "./where")
    assert done.returncode == 0, done
    assert "/sdee-front' serve '" in done.stdout
    assert "\nsrun " not in done.stdout
    assert side.found("sdee-jobs") == []


def test_launchers_of_a_script_run_in_the_bundle(side: Side) -> None:
    side.file("job.sh", JOB)
    done = side.sdee("wrap", "--submit", *side.number, "job.sh")
    assert done.returncode == 0, done
    assert "these run as the node's own tools: sort" in done.stderr
    expected = [*RANKS, "status 7", "rank 0 on n1", "rank 1 on n1", "rank 2 on n2"]
    wait_for(lambda: side.read("out.txt").splitlines() == expected, lambda: (side.read("out.txt"), done))


def test_a_launcher_that_is_called_past_the_shell_is_refused(side: Side) -> None:
    side.file("job.sh", "#!/bin/bash\n#SBATCH -n2\nexec mpirun ./where\n")
    done = side.sdee("wrap", "job.sh")
    assert done.returncode == 2, done
    assert "line 3 of 'job.sh' starts mpirun past the shell" in done.stderr


def test_more_ranks_than_processors_are_no_hindrance_on_the_login_node(side: Side) -> None:
    """For the trace alone: mpirun itself refuses them."""
    bare = side.run("mpirun", "-n", "32", "true")
    assert bare.returncode != 0, bare
    done = side.sdee("submit", "-n3", "--output=out.txt", "--wait", "--", "mpirun", "-n", "32", "./where")
    assert "rank 31 of 32" in done.stderr
    assert done.returncode != 0, "it was told on the nodes, too"
    assert "not enough slots" in side.read("out.txt")
