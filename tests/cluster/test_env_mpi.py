"""MPI's own launchers in jobs from inside of a private environment: their daemons run on nodes that have no MPI."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cluster.jobs import Evening, held, in_memory, place, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.driver import Cluster

pytestmark = pytest.mark.cluster

LIBRARY = "int ours(void) { return 0; }\n"
# The library is the environment's own. With an argument it ends with that; with STAY it stays
RANKS = """#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int ours(void);
int main(int count, char **words)
{
    int rank, size, end = count > 1 ? atoi(words[1]) : 0, sum = ours();
    char node[64];
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    gethostname(node, sizeof node);
    printf("rank %d of %d on %s: %d\\n", rank, size, node, sum);
    fflush(stdout);
    if (getenv("STAY") != NULL)
        sleep(90);
    MPI_Finalize();
    return rank == 1 && end > 0 ? end : 0;
}
"""
STEP = """#!/bin/bash
#SBATCH -N2 -n3 -w n1,n2 -o step.out
srun --mpi=pmix ./ranks | sort
echo "psec $PMIX_MCA_psec"
"""
JOB = """#!/bin/bash
#SBATCH -N2 -n3 -w n1,n2 -o mpi.out
[ -z "$STAY" ] || { mpirun ./ranks; exit; }
mpirun -n 3 ./ranks | sort
mpirun -n 3 ./ranks 7 2>/dev/null | sort
echo "status ${PIPESTATUS[0]}"
mpiexec.hydra sh -c 'echo "rank $PMI_RANK on $(uname -n)"' | sort
"""


def on(*nodes: str) -> list[str]:
    """Return what ranks print, sorted, of which each is on one of `nodes`."""
    total = sum(range(len(nodes)))
    return [f"rank {rank} of {len(nodes)} on {node}: {total}" for rank, node in enumerate(nodes)]


@pytest.fixture(scope="module")
def mpi(cluster: Cluster) -> Iterator[Evening]:
    """Give an environment in which a program of MPI has been built."""
    made = Evening(place(cluster, "env-mpi"), in_memory(cluster, "env-mpi-states"))
    assert made.sdee("env", "create", "mine", "--emulate").returncode == 0
    try:
        for name, text in {"ours.c": LIBRARY, "ranks.c": RANKS, "step.sh": STEP, "mpi.sh": JOB}.items():
            made.place.file(name, text)
        made.out("gcc -shared -o /usr/local/lib/libours.so ours.c; ldconfig; mpicc.openmpi -o ranks ranks.c -lours")
        yield made
    finally:
        made.sdee("env", "remove", "--force", "mine")


def submit(mpi: Evening, name: str, expected: list[str]) -> None:
    """Submit a script whose run here is to succeed; wait for what it prints."""
    done = mpi.inside(f"sbatch -Q {name}.sh")
    assert (done.returncode, "the trial run failed" in done.stderr) == (0, False), done.stderr

    def printed() -> list[str]:
        return [line for line in mpi.place.read(f"{name}.out").splitlines() if not line.startswith("srun: ")]

    wait_for(lambda: printed() == expected, printed)


def test_ranks_start_in_an_environment_and_by_srun_in_a_job_from_it(mpi: Evening) -> None:
    assert mpi.out("mpirun --oversubscribe -n 2 ./ranks | sort").splitlines() == on("login", "login")
    submit(mpi, "step", [*on("n1", "n1", "n2"), "psec "])


def test_mpirun_in_a_batch_script_starts_ranks_on_both_nodes(mpi: Evening) -> None:
    bare = mpi.inside("srun -N1 -w n2 orted --version", SDEE_TRANSPARENT="0")
    assert bare.returncode != 0, "the node has Open MPI's daemon"
    ranks = on("n1", "n1", "n2")
    submit(mpi, "mpi", [*ranks, *ranks, "status 7", "rank 0 on n1", "rank 1 on n1", "rank 2 on n2"])


def test_mpirun_in_an_allocation_is_rehearsed_itself_and_not_its_daemon(mpi: Evening) -> None:
    command = "salloc -Q -N2 -n3 -w n1,n2 mpirun ./ranks 2> >(cat >&2) | sort"
    done = mpi.inside(command)
    assert done.stdout.splitlines() == on("n1", "n1", "n2"), done.stderr
    assert "sdee: srun: mpirun ./ranks: trial run here first" in done.stderr
    again = mpi.inside(command)
    assert (again.stdout, again.stderr) == (done.stdout, "")
    kept = [name.rpartition("-")[0] for name in os.listdir(f"{mpi.place.path}/sdee-jobs")]
    assert (kept.count("mpirun"), kept.count("orted")) == (1, 0)


def test_of_a_cancelled_mpirun_nothing_is_left_on_the_nodes(mpi: Evening) -> None:
    cluster = mpi.place.cluster
    nodes = ("n1", "n2")
    before = [held(cluster, node) for node in nodes]
    job = mpi.out("sbatch --parsable -o stay.out mpi.sh", STAY="1", SDEE_REHEARSAL_LIMIT="6").strip()
    wait_for(lambda: "rank 2 of 3 on n2" in mpi.place.read("stay.out"), lambda: mpi.place.read("stay.out"))
    assert "orted" in held(cluster, "n2")["programs"]
    mpi.out(f"scancel {job}")

    def left() -> list[str]:
        now = [held(cluster, node) for node in nodes]
        more = [path for new, old in zip(now, before, strict=True) for kind in old for path in new[kind] - old[kind]]
        return [path for path in more if "/tmp/ompi." not in path]  # on bare nodes, too, mpirun may leave its own

    wait_for(lambda: not left(), left)
