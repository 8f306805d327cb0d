"""The cluster itself: it is of three distributions and this system, ends with its tests, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from cluster.driver import Cluster, ClusterError
from cluster.inside import REPO
from cluster.jobs import wait_for
from cluster.spec import NODES, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

HERE = os.path.join(REPO, "tests", "cluster")


@pytest.fixture
def directory() -> Iterator[str]:
    """Give a directory for a cluster of the test's own."""
    path = tempfile.mkdtemp(prefix="sdee-cluster-", dir="/home")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def mounts() -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read()


def processes(directory: str) -> list[str]:
    """Return the command lines of this machine that name a directory."""
    found = []
    for pid in os.listdir("/proc"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            found.append(file.read().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if directory in line]


def test_its_nodes_are_three_distributions_and_the_login_sides_own(cluster: Cluster) -> None:
    says = "grep ^VERSION_CODENAME /etc/os-release; hostname; id -un; stat -fc %T /; cat /proc/1/comm"
    for node, codename in {"n1": "bookworm", "n2": "bullseye", "n3": "trixie"}.items():
        done = cluster.run(["srun", "-w", node, "sh", "-c", says])
        assert done.stdout.splitlines()[:4] == [f"VERSION_CODENAME={codename}", node, "tester", "overlayfs"], done
    own = cluster.run(["srun", "-p", "own", "cat", "/etc/os-release"]).stdout
    with open("/etc/os-release", encoding="utf-8") as file:
        assert own == file.read()
    assert cluster.run(["hostname"]).stdout == "login\n"


def test_nothing_of_it_is_mounted_or_runs_outside(directory: str) -> None:
    before = mounts()
    one = Cluster(Spec(directory, NODES[:1]))
    one.start(with_parent=True)
    assert one.run(["srun", "hostname"]).stdout == "n1\n"
    assert mounts() == before
    one.stop()
    assert (mounts(), processes(directory), sorted(os.listdir(directory))) == (before, [], ["lock", "shared"])
    with pytest.raises(ClusterError, match="no cluster is up"):
        one.command(["true"])


def test_it_ends_when_the_tests_are_killed(directory: str) -> None:
    text = (
        "import sys, time; from cluster.driver import Cluster; from cluster.spec import NODES, Spec\n"
        f"Cluster(Spec({directory!r}, NODES[:2])).start(with_parent=True); print('up', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(HERE)}
    tests = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, env=environment)
    assert tests.stdout is not None
    assert tests.stdout.readline() == "up\n"
    assert len(processes(directory)) > 2
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    tests.stdout.close()
    wait_for(lambda: not processes(directory), "processes are left", 20)


def test_by_hand_it_starts_runs_and_stops(directory: str) -> None:
    def by_hand(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CLUSTER_DIR": directory}
        command = [sys.executable, HERE, *words]
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)

    assert "no cluster is up" in by_hand("status").stderr
    up = by_hand("up", "--own")
    assert f"all nodes see {directory}/shared" in up.stdout, up
    try:
        assert by_hand("run", "srun", "-N1", "pwd").stdout == "/\n"
        assert "own1" in by_hand("status").stdout
        assert by_hand("node", "own1", "id", "-u").stdout == "0\n"
        assert "no node n9" in by_hand("node", "n9", "id").stderr
        assert "is up" in by_hand("up").stderr
        assert by_hand("run", "false").returncode == 1
    finally:
        assert by_hand("down").returncode == 0
    assert processes(directory) == []
    assert "COMMAND" in by_hand("sideways").stderr
