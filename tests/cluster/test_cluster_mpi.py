"""Open MPI programs (PMIx) and MPICH programs (PMI2) in bundles, run by Slurm on three distributions without MPI.

Their traffic has known results (fixtures/mpi). The bundle is traced on one rank alone, on the login side, unless a test
says otherwise.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from cluster.jobs import FIXTURES, SDEE, Place, copy_fixture, place
from cluster.spec import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.driver import Cluster

pytestmark = pytest.mark.cluster

THREE = ("n1", "n2", "n3")
PMIX = ("--mpi=pmix",)
# one copy from process to process (process_vm_readv(2)): refused if ranks of one node did not share a user namespace
CMA = {"OMPI_MCA_btl_vader_single_copy_mechanism": "cma"}
SHARED_MEMORY = {"OMPI_MCA_btl": "self,vader"} | CMA


@pytest.fixture(scope="module")
def work(cluster: Cluster) -> Iterator[Place]:
    """Give a place with ring and allreduce, traced as one rank without a job manager, and their bundles."""
    here = place(cluster, "mpi")
    for name in ("ring", "allreduce"):
        program = here.file(name)
        subprocess.run(["mpicc.openmpi", "-O", "-o", program, f"{FIXTURES}/mpi/{name}.c"], check=True)
        os.chown(program, USERS["tester"], USERS["tester"])
        here.sdee("trace", "-q", "-o", f"{name}.trace", "--", f"./{name}")
        here.sdee("bundle", "-q", f"{name}.trace", "-o", f"{name}.sdee")
    yield here
    cluster.run(["scancel", "-u", "tester"])


def ranks(size: int, nodes: list[str]) -> list[str]:
    """Return what ring prints on `nodes`, one for each rank, sorted."""
    shorts = sum(range(size))
    longs = shorts + size * ((1 << 17) - 1)
    lines = [f"rank {rank} of {size} on {node}" for rank, node in enumerate(nodes)]
    return sorted([*lines, f"ring of {size}: {shorts} {longs}"])


@pytest.mark.parametrize("name", THREE)
def test_the_bare_program_cannot_run_on_the_nodes(work: Place, name: str) -> None:
    done = work.srun("-w", name, *PMIX, "./ring")
    assert done.status == 127
    assert "libmpi.so.40" in done.stderr


def test_ranks_of_three_distributions_talk_to_each_other(work: Place) -> None:
    done = work.srun("-N3", "-n3", *PMIX, "./ring.sdee")
    assert (done.status, done.lines, done.stderr) == (0, ranks(3, ["n1", "n2", "n3"]), "")


def test_collectives_give_the_known_sums_on_all_ranks(work: Place) -> None:
    done = work.srun("-N3", "-n6", "--ntasks-per-node=2", *PMIX, "./allreduce.sdee", env=CMA)
    assert (done.status, done.lines, done.stderr) == (0, [f"rank {rank} of 6: right" for rank in range(6)], "")


@pytest.mark.parametrize("node", ["own1", *THREE])
def test_ranks_of_one_node_talk_by_shared_memory(work: Place, node: str) -> None:
    partition = "own" if node == "own1" else "all"
    options = ("-p", partition, "-w", node, "-n4", *PMIX)
    done = work.srun(*options, "./ring.sdee", env=SHARED_MEMORY)
    assert (done.status, done.lines, done.stderr) == (0, ranks(4, [node] * 4), "")
    if node == "own1":
        bare = work.srun(*options, "./ring", env=SHARED_MEMORY)
        assert (bare.status, bare.lines, bare.stderr) == (done.status, done.lines, done.stderr)


@pytest.mark.parametrize("node", THREE)
def test_ranks_of_one_node_read_each_others_memory(work: Place, node: str) -> None:
    done = work.srun("-w", node, "-n4", *PMIX, "./ring.sdee", env=SHARED_MEMORY)
    assert (done.status, done.lines, done.stderr) == (0, ranks(4, [node] * 4), "")


def test_the_nodes_mpi_is_used_when_asked_for_where_it_fits(work: Place) -> None:
    host = {"SDEE_MPI": "host", "SDEE_ROOT": "closed"}
    done = work.srun("-p", "own", "-n2", *PMIX, "./ring.sdee", env=host)
    assert (done.status, done.lines, done.stderr) == (0, ranks(2, ["own1"] * 2), "")
    refused = work.srun("-w", "n1", "-n1", *PMIX, "./ring.sdee", env=host)
    assert (refused.status, refused.stdout) == (244, "")
    assert "--mpi host: libmpi.so.40, which " in refused.stderr
    assert "node: n1" in refused.stderr


def test_every_rank_is_traced_and_all_make_one_bundle(work: Place) -> None:
    traced = work.srun("-p", "own", "-n3", *PMIX, *SDEE, "trace", "-q", "-o", "all.%r", "--", "./ring")
    assert (traced.status, traced.lines, traced.stderr) == (0, ranks(3, ["own1"] * 3), "")
    work.sdee("bundle", "-q", "all.0", "all.1", "all.2", "-o", "all.sdee")
    done = work.srun("-N3", "-n3", *PMIX, "./all.sdee")
    assert (done.status, done.lines, done.stderr) == (0, ranks(3, ["n1", "n2", "n3"]), "")


@pytest.mark.parametrize("node", ["own1", "n2"])
def test_a_rank_that_aborts_ends_all_of_them(work: Place, node: str) -> None:
    options = ("-p", "own" if node == "own1" else "all", "-w", node, "-n3", *PMIX)
    for program in ["./allreduce.sdee"] + (["./allreduce"] if node == "own1" else []):
        done = work.srun(*options, program, "1", timeout=30, env=CMA)
        assert (done.status, done.stdout) == (3, ""), done
        assert "MPI_ABORT was invoked on rank 1" in done.stderr


MPIRUN = """#!/bin/bash
#SBATCH -N1 -n3
./mpirun.sdee -n 3 ./ring
"""


@pytest.mark.parametrize("node", THREE)
def test_mpirun_starts_its_ranks_inside_the_bundle(work: Place, node: str) -> None:
    if not os.path.exists(work.file("mpirun.sdee")):
        work.sdee("trace", "-q", "-o", "mpirun.trace", "--", "mpirun", "-n", "1", "./ring")
        work.sdee("bundle", "-q", "mpirun.trace", "-o", "mpirun.sdee")
    done = work.cluster.batch(MPIRUN, "-w", node, cwd=work.path)
    assert (done.status, sorted(done.stdout.splitlines()), done.stderr) == (0, ranks(3, [node] * 3), "")


@pytest.mark.parametrize("node", THREE)
def test_srun_sbatch_and_squeue_work_inside_a_bundle(work: Place, node: str) -> None:
    if not os.path.exists(work.file("inner.sdee")):
        copy_fixture(work, "slurm/inner.sh")
        command = ["salloc", "-Q", *SDEE, "trace", "-q", "-o", "inner.trace", "--", "./inner.sh"]
        traced = work.cluster.run(command, cwd=work.path)
        assert traced.returncode == 0, traced
        work.sdee("bundle", "-q", "inner.trace", "-o", "inner.sdee")
    done = work.cluster.batch("#!/bin/bash\n#SBATCH -n2\n./inner.sdee\n", "-w", node, cwd=work.path)
    assert (done.status, done.stderr) == (0, ""), done
    states, where, job = done.stdout.split("//\n")
    assert (states, where) == ("RUNNING\n", f"{node}\n{node}\n")
    assert int(job) > 0


# ---- MPICH ----

PMI2 = ("--mpi=pmi2",)


@pytest.fixture(scope="module")
def mpich(work: Place) -> Place:
    """Give the place with ring.mpich and its bundle, traced as one rank without a job manager."""
    program = work.file("ring.mpich")
    subprocess.run(["mpicc.mpich", "-O", "-o", program, f"{FIXTURES}/mpi/ring.c"], check=True)
    os.chown(program, USERS["tester"], USERS["tester"])
    work.sdee("trace", "-q", "-o", "mpich.trace", "--", "./ring.mpich")
    work.sdee("bundle", "-q", "mpich.trace", "-o", "mpich.sdee")
    return work


def test_ranks_of_mpich_talk_across_two_distributions(mpich: Place) -> None:
    for _ in range(3):  # MPICH 4.0's MPI_Finalize hangs now and then, without sdee too
        done = mpich.srun("-w", "n1,n2", "-n2", *PMI2, "./mpich.sdee", timeout=15)
        if done.status != 124:
            break
    assert (done.status, done.lines, done.stderr) == (0, ranks(2, ["n1", "n2"]), "")


@pytest.mark.parametrize("node", THREE)
def test_ranks_of_mpich_on_one_node_talk_to_each_other(mpich: Place, node: str) -> None:
    done = mpich.srun("-w", node, "-n4", *PMI2, "./mpich.sdee", timeout=30)
    assert (done.status, done.lines, done.stderr) == (0, ranks(4, [node] * 4), "")


def test_ranks_of_mpich_on_one_node_talk_to_each_other_bare(mpich: Place) -> None:
    done = mpich.srun("-p", "own", "-w", "own1", "-n4", *PMI2, "./ring.mpich", timeout=30)
    assert (done.status, done.lines, done.stderr) == (0, ranks(4, ["own1"] * 4), "")
