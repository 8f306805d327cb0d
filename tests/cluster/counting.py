"""How much a job asks of the shared storage: bare from a virtual environment there, and from a bundle.

    cd tests && python -m cluster.counting     as root: prints the table of docs/shared-storage.md

The storage is fixtures/slurm/countfs.c: it counts requests as a parallel file system's servers would get them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.driver import Cluster
from cluster.jobs import FIXTURES, SDEE
from cluster.spec import NODES, USERS, Spec
from foreign.jobs import VENV, make_venv

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "own1"  # the one on which the job runs bare as well
RANKS = (1, 2, 8, 32)
BARE = ("venv/bin/python", "job.py")
BUNDLE = ("./job.sdee",)
# each rank in a directory of its own: they write the same names
JOB = """import os, runpy
os.makedirs(f"out/{os.environ.get('SLURM_PROCID', 0)}", exist_ok=True)
os.chdir(f"out/{os.environ.get('SLURM_PROCID', 0)}")
runpy.run_path("../../solve.py")
"""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Asked:
    """What one step asked of the storage: requests for names and attributes, opens, reads of data, bytes, writes."""

    metadata: int
    opens: int
    reads: int
    read_bytes: int
    changes: int

    @property
    def requests(self) -> int:
        """All but the data that was read: what metadata servers get."""
        return self.metadata + self.opens + self.changes


@contextlib.contextmanager
def counting_cluster() -> Iterator[Cluster]:
    """Give a cluster of one node whose storage counts, with the job and its bundle in it."""
    directory = tempfile.mkdtemp(prefix="sdee-cluster-", dir="/home")
    os.chmod(directory, 0o755)
    cluster = Cluster(Spec(directory, tuple(node for node in NODES if node.name in {NODE, "n2"}), counting=True))
    make_venv()
    cluster.start(with_parent=True)
    try:
        work = f"{cluster.spec.backing}/work"
        os.mkdir(work)
        subprocess.run(["cp", "-a", VENV, f"{work}/venv"], check=True)
        shutil.copy(f"{FIXTURES}/jobs/venv/solve.py", work)
        with open(f"{work}/job.py", "w", encoding="ascii") as file:
            file.write(JOB)
        subprocess.run(["chown", "-R", f"{USERS['tester']}:{USERS['tester']}", work], check=True)
        for command in (["trace", "-q", "--", *BARE], ["bundle", "-q", "-o", "job.sdee"]):
            done = cluster.run([*SDEE, *command], cwd=f"{cluster.spec.shared}/work", env=ENVIRONMENT)
            if done.returncode:
                raise RuntimeError(done.stderr)
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory)


def measure(
    cluster: Cluster, command: tuple[str, ...], ranks: int, *, node: str = NODE, software: bool = True
) -> Asked:
    """Run the job as a step of `ranks` tasks on one node that has cached nothing; return what it asked of the storage.

    `software`: is the virtual environment there, where it was traced? Raises RuntimeError when the job fails.
    """
    here, away = f"{cluster.spec.backing}/work/venv", f"{cluster.spec.backing}/venv"
    cluster.stop()  # what the client has cached goes with the mount
    if not software:
        os.rename(here, away)
    cluster.start(with_parent=True)
    try:
        return _measure(cluster, command, ranks, node)
    finally:
        if not software:
            os.rename(away, here)


def _measure(cluster: Cluster, command: tuple[str, ...], ranks: int, node: str) -> Asked:
    counts = f"{cluster.spec.shared}/.counts"
    partition = next(known.partition for known in cluster.spec.nodes if known.name == node)
    cluster.run(["rm", "-f", counts], user="root")
    step = ["srun", "-p", partition, "-w", node, f"-n{ranks}", "--output=none", *command]
    done = cluster.run(step, cwd=f"{cluster.spec.shared}/work", env=ENVIRONMENT, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr)
    words = cluster.run(["cat", counts], user="root").stdout.split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    metadata = sum(numbers[name] for name in ("attribute", "missing", "link", "list"))
    return Asked(
        metadata, numbers["open"], numbers["read"], numbers["read-bytes"], numbers["change"] + numbers["write"]
    )


# name in the table, what runs, whether the virtual environment is on the storage
ROWS = (("bare", BARE, True), ("bundle", BUNDLE, False), ("bundle, software on the same storage", BUNDLE, True))


def main() -> None:
    """Print the table."""
    print("| ranks on a node | | names, attributes | opens | changes, writes | MB read |")
    print("|---|---|---|---|---|---|")
    with counting_cluster() as cluster:
        for ranks in RANKS:
            for name, command, software in ROWS:
                asked = measure(cluster, command, ranks, software=software)
                numbers = " | ".join(f"{number:,}" for number in (asked.metadata, asked.opens, asked.changes))
                print(f"| {ranks} | {name} | {numbers} | {asked.read_bytes / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
