"""What the user of a cluster sees when a bundle cannot run; many starts at once, and two users, are no trouble."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from cluster.driver import Cluster
from cluster.jobs import Place, copy_fixture, held, place, wait_for
from cluster.spec import NODES, USERS, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

BARE = ("bash", "step.sh")
BUNDLE = ("./step.sdee",)


@pytest.fixture(scope="module")
def work(cluster: Cluster) -> Iterator[Place]:
    """Give a place with step.sh and its bundle; in the end the nodes must be as they were."""
    before = {node.name: held(cluster, node.name) for node in cluster.spec.nodes}
    here = place(cluster, "trouble")
    bundle_step(here)
    yield here
    cluster.run(["scancel", "-u", "tester"])
    wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout, "jobs are left")
    for name, was in before.items():
        now = held(cluster, name)
        assert {what: now[what] - was[what] for what in now} == {what: set() for what in now}, f"left on {name}"


def bundle_step(here: Place) -> None:
    copy_fixture(here, "slurm/step.sh")
    here.sdee("trace", "-q", "--", "bash", "step.sh", "all")
    here.sdee("bundle", "-q", "-o", "step.sdee")


def copy(work: Place, name: str, content: bytes | None = None) -> str:
    """Make another bundle of the same content, or of other content; return its path."""
    path = work.file(name)
    shutil.copy(work.file("step.sdee"), path)
    if content is not None:
        with open(path, "r+b") as file:
            file.write(content)
            file.truncate()
    os.chown(path, USERS["tester"], USERS["tester"])
    return path


# node, exit status, words that the message must have
REFUSALS = {
    "nouserns": (242, ("does not allow user namespaces", "Operation not permitted", "hint:")),
    "nomem": (243, ("MB of memory", "available", "hint: ask for a job with more memory")),
}


@pytest.mark.parametrize("node", REFUSALS)
def test_a_node_that_refuses_says_why_with_a_status_of_its_own(work: Place, node: str) -> None:
    status, words = REFUSALS[node]
    assert work.srun("-p", "odd", "-w", node, *BARE, "exit", "3").status == 3
    done = work.srun("-p", "odd", "-w", node, *BUNDLE, "exit", "3")
    assert (done.status, done.stdout) == (status, "")
    assert "sdee: error: " in done.stderr
    assert [word for word in words if word not in done.stderr] == []
    assert f"{node}: task 0: Exited with exit code {status}" in done.stderr


@pytest.mark.parametrize("node", REFUSALS)
def test_in_a_batch_scripts_output_the_message_names_the_node(work: Place, node: str) -> None:
    done = work.cluster.batch("#!/bin/sh\n./step.sdee exit 3\n", "-p", "odd", "-w", node, cwd=work.path)
    assert done.status == REFUSALS[node][0]
    assert node in done.stderr


def test_steps_of_a_job_share_a_closure_that_is_deployed_and_taken_away(work: Place) -> None:
    script = """#!/bin/sh
    one="srun -N3 -n3"
    SDEE_DEPLOY=1 $one ./step.sdee
    SDEE_ROOT=closed SDEE_DEBUG=1 srun -N3 -n6 ./step.sdee say 2>&1 | grep -c 'as it is deployed'
    srun -N3 -n6 ./step.sdee exit 4
    echo status $?
    SDEE_UNDEPLOY=1 $one ./step.sdee
    """.replace("\n    ", "\n")
    done = work.cluster.batch(script, "-N3", "-n6", cwd=work.path)
    places, rest = done.stdout.splitlines()[:3], done.stdout.splitlines()[3:]
    assert [os.path.basename(place)[:10] for place in places] == [f"sdee-{USERS['tester']}-"[:10]] * 3, done
    # Each node's first rank lays it, and one that starts when the others have ended; the work fixture sees what is left
    assert rest[0] in ("3", "4", "5"), done
    assert rest[1:] == ["status 4"], done


def test_a_job_that_ends_with_a_status_of_ours_has_no_message_of_ours(work: Place) -> None:
    bare, bundle = (work.srun("-w", "n2", *which, "exit", "242") for which in (BARE, BUNDLE))
    assert bundle == bare
    assert "sdee" not in bundle.stderr


def test_a_node_with_noexec_tiny_tmp_and_no_shm_runs_it_as_any_other(work: Place) -> None:
    look = work.srun(
        "-p", "odd", "-w", "bare", "sh", "-c", "df -k /tmp; ls /dev/shm; cp /bin/true /tmp/t; /tmp/t; rm /tmp/t"
    )
    assert " 64 " in look.stdout
    assert "Permission denied" in look.stderr
    assert "/dev/shm" in look.stderr
    for end in ("exit 0", "exit 9", "say"):
        bare, bundle = (work.srun("-p", "odd", "-w", "bare", *which, *end.split()) for which in (BARE, BUNDLE))
        assert bundle == bare


def test_results_that_do_not_fit_on_the_nodes_disk_are_told(work: Place) -> None:
    fill = f"for i in 1 2 3 4 5 6 7 8 9; do echo {'x' * 20000} >>/usr/new; done"
    env = {"SDEE_COMMAND": "bash", "SDEE_SAVE": "/tmp/kept", "SDEE_ROOT": "closed"}
    done = work.srun("-p", "odd", "-w", "bare", "./step.sdee", "-c", fill, env=env)
    assert (done.status, "sdee: error: " in done.stderr, "/tmp/kept" in done.stderr) == (247, True, True), done
    work.cluster.on_node("bare", ["rm", "-rf", "/tmp/kept"])


# ---- the file itself ----


def test_a_bundle_that_is_gone_fails_as_a_program_that_is_gone(work: Place) -> None:
    done = work.srun("-N3", "./gone.sdee")
    assert done.status == 2
    for node in ("n1", "n2", "n3"):
        assert f"{node}: error: execve(): {work.path}/./gone.sdee: No such file" in done.stderr


@pytest.mark.parametrize("kind", ["truncated", "damaged"])
def test_a_bundle_that_is_not_whole_is_refused_on_each_node(work: Place, kind: str) -> None:
    with open(work.file("step.sdee"), "rb") as file:
        content = file.read()
    middle = len(content) // 2
    damaged = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    copy(work, f"{kind}.sdee", content[:middle] if kind == "truncated" else damaged)
    done = work.srun("-N3", f"./{kind}.sdee", "say")
    assert (done.status, done.stdout) == (241, "")
    assert done.stderr.count("sdee: error: ") == 3


@pytest.mark.parametrize("how", ["removed", "replaced by rename"])
def test_a_bundle_may_vanish_or_be_replaced_once_its_job_runs(work: Place, how: str) -> None:
    name = how.replace(" ", "-")
    path = copy(work, f"{name}.sdee")
    job = work.cluster.submit(f"#!/bin/bash\nexec ./{name}.sdee wait {name}.heard\n", cwd=work.path)
    wait_for(lambda: "ready" in work.read(f"{name}.heard"), "the job does not begin")
    if how == "removed":
        os.unlink(path)
    else:
        os.rename(copy(work, f"{name}.new", b"#!/bin/sh\nexit 77\n"), path)
    work.cluster.run(["scancel", "--batch", "--signal=TERM", job])
    ended = work.cluster.wait(job, work.path)
    assert (ended.status, ended.stdout, "sdee" in ended.stderr) == (9, "got TERM\n", False)
    assert work.srun(f"./{name}.sdee").status == (2 if how == "removed" else 77)


def test_a_bundle_that_may_be_executed_and_not_read_says_so(work: Place) -> None:
    path = copy(work, "secret.sdee")
    os.chmod(path, 0o711)
    done = work.cluster.run(["srun", "-w", "n2", "./secret.sdee", "say"], cwd=work.path, user="other")
    assert "sdee: error: " in done.stderr
    assert "denied" in done.stderr
    assert 240 <= done.returncode <= 247, done


# ---- many ----


def test_two_users_run_one_bundle_on_one_node_at_once(work: Place) -> None:
    os.makedirs(work.file("both"), exist_ok=True)
    os.chmod(work.file("both"), 0o1777)
    wait = "until [ -e both/1001 ] && [ -e both/1002 ]; do sleep 0.05; done"
    text = f"echo $UID >both/$UID; {wait}; echo $UID"
    commands = [
        work.cluster.command(
            ["srun", "-w", "n2", "./step.sdee", "-c", text], cwd=work.path, user=user, env={"SDEE_COMMAND": "bash"}
        )
        for user in USERS
    ]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert ended == [("1001\n", "", 0), ("1002\n", "", 0)]
    assert [os.stat(work.file(f"both/{uid}")).st_uid for uid in USERS.values()] == list(USERS.values())


@pytest.mark.slow
def test_a_hundred_elements_of_an_array_start_at_once(work: Place) -> None:
    script = "#!/bin/bash\n./step.sdee array\n"
    done = work.cluster.run(
        ["sbatch", "--parsable", "--array=0-99", f"--output={work.path}/many.%a", "--begin=now"],
        text=script,
        cwd=work.path,
    )
    job = done.stdout.strip()
    wait_for(lambda: not work.cluster.run(["squeue", "-h", "-j", job]).stdout, "the array does not end", 240)
    assert {work.read(f"many.{element}") for element in range(100)} == {f"element {n} of 100\n" for n in range(100)}


@pytest.mark.slow
def test_when_a_node_dies_as_the_bundle_unpacks_the_job_begins_anew_on_another() -> None:
    directory = tempfile.mkdtemp(prefix="sdee-cluster-", dir="/home")
    os.chmod(directory, 0o755)
    small = Cluster(Spec(directory, tuple(node for node in NODES if node.name in {"n2", "n3"})))
    small.start(with_parent=True)
    try:
        here = place(small, "crash")
        bundle_step(here)
        before = {name for _, _, files in os.walk(here.path) for name in files}
        # the closure is large enough to be unpacking when the node goes
        here.file("data", "")
        os.truncate(here.file("data"), 600 << 20)
        here.sdee("bundle", "-q", "--with-data", "--include", here.file("data"), "-o", "large.sdee")
        script = "#!/bin/bash\nSDEE_THREADS=1 ./large.sdee wait heard\n"
        job = small.submit(script, "--requeue", "-w", "n2", cwd=here.path)
        wait_for(
            lambda: "large.sdee" in small.on_node("n2", ["sh", "-c", "cat /proc/[0-9]*/comm"]).stdout,
            "it does not begin",
        )
        small.crash("n2")
        assert here.read("heard") == "", "the job ran already"
        # Slurm itself needs half a minute to notice
        small.run(["scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=crashed"], user="root")
        wait_for(lambda: small.state_of(job)["JobState"] == "PENDING", "the job is not requeued", 60)
        small.run(["scontrol", "update", f"JobId={job}", "ReqNodeList=n3"])
        deadline = time.monotonic() + 60
        while "ready 1" not in here.read("heard"):
            assert time.monotonic() < deadline, small.state_of(job)
            small.run(["scontrol", "update", f"JobId={job}", "StartTime=now"])
            time.sleep(0.5)
        small.run(["scancel", job])
        wait_for(lambda: not small.run(["squeue", "-h"]).stdout, "the job stays")
        after = {name for _, _, files in os.walk(here.path) for name in files}
        assert after - before == {"data", "large.sdee", "heard", f"{job}.out", f"{job}.err"}
    finally:
        small.stop()
    shutil.rmtree(directory)
