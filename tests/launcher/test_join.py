"""Ranks of one step on one node: one set of namespaces, one unpacked closure; the last one out takes it away."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bundle_maker import job
from launcher_tools import PLAIN, REPO, ROOT, USERS, as_user, built, open_directory, run, script, traced_in

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = 'readlink /proc/self/ns/user; read line; echo "$line"'
TOOLS = ("readlink", "cat", "touch", "sleep", "ls")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def slurm(rank: int, size: int = 4, step: str = "0", job: str = "77") -> dict[str, str]:
    """Return what srun sets for a rank."""
    names = {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step, "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": str(size)}
    return {**names, "SDEE_DEBUG": "1"}


class Rank:
    """One rank: started, told to go on by a line, waited for."""

    def __init__(self, bundle: str, env: dict[str, str], uid: int | None = None) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*(as_user(uid) if uid is not None else []), bundle]
        self.process = subprocess.Popen(command, env=PLAIN | env, text=True, cwd=traced_in(command), **pipes)  # type: ignore[call-overload]

    def line(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline()).strip()

    def end(self, text: str = "go\n") -> tuple[str, str, int]:
        out, err = self.process.communicate(text, timeout=60)
        return str(out), str(err), self.process.returncode


def role(said: str) -> str:
    found = re.search(r"sdee: ranks: (.*)", said)
    return found.group(1) if found else ""


def unpacked(said: str) -> bool:
    return "plan: unpack" in said


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ["merged", "closed"])
def test_ranks_of_a_step_share_namespaces_and_one_unpacks(work: str, root: str, uid: int) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    ranks = [Rank(bundle, slurm(i) | {"SDEE_ROOT": root}, uid) for i in range(4)]
    namespaces = [rank.line() for rank in ranks]
    ended = [rank.end(f"rank {i}\n") for i, rank in enumerate(ranks)]
    assert [out for out, _, _ in ended] == [f"rank {i}\n" for i in range(4)]
    assert [status for _, _, status in ended] == [0] * 4
    assert len(set(namespaces)) == 1
    assert sum(unpacked(err) for _, err, _ in ended) == 1
    assert sorted(role(err) for _, err, _ in ended) == ["joined the first"] * 3 + [
        "the first of this step here, others may join"
    ]


@pytest.mark.skipif(not ROOT, reason="as an ordinary user beside root")
def test_ranks_can_read_each_others_memory(work: str) -> None:
    """What MPI's shared-memory transports do (process_vm_readv); in sibling user namespaces the kernel refuses it."""
    reader = f"{work}/peer"
    subprocess.run(["gcc", f"{REPO}/fixtures/ranks/peer.c", "-o", reader], check=True)
    launcher = built("sdee-launcher")
    bundle = job(launcher, [reader, f"{work}/mail"], live_env=["RANK", "SLURM_*"]).write(f"{work}/b.sdee")
    for join, expected in (("auto", "read: hello from the peer"), ("never", "process_vm_readv: ")):
        os.makedirs(f"{work}/mail", exist_ok=True)
        os.chmod(f"{work}/mail", 0o777)
        ranks = [Rank(bundle, slurm(i, 2) | {"SDEE_JOIN": join, "RANK": str(i)}, USERS[-1]) for i in range(2)]
        out = "".join(rank.end()[0] for rank in ranks)
        assert expected in out, out
        subprocess.run(["rm", "-r", f"{work}/mail"], check=True)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(slurm(1, step="1"), id="of another step"),
        pytest.param(slurm(1, job="78"), id="of another job"),
        pytest.param(slurm(1) | {"SDEE_ROOT": "closed"}, id="with another root"),
        pytest.param(slurm(1) | {"SDEE_JOIN": "never"}, id="that shall never join"),
        pytest.param({"SDEE_DEBUG": "1"}, id="that is no rank"),
    ],
)
def test_who_is_no_rank_of_the_step_is_alone(work: str, other: dict[str, str]) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    first = Rank(bundle, slurm(0) | {"SDEE_ROOT": "merged"}, USERS[-1])
    first.line()
    second = Rank(bundle, {"SDEE_ROOT": "merged"} | other, USERS[-1])
    second.line()
    assert unpacked(second.end()[1])
    assert first.end()[2] == 0


def test_a_step_of_one_task_does_not_look_for_others(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    assert role(run([bundle], env=slurm(0, size=1)).stderr) == ""
    assert role(run([bundle], env=slurm(0, size=2)).stderr) == "the first of this step here, others may join"


@pytest.mark.parametrize(
    ("env", "is_rank"),
    [
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "x"}, True),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "1", "PMIX_NAMESPACE": "x"}, False),
        ({"MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4", "PMI_RANK": "1"}, True),
        ({"FLUX_JOB_ID": "f1", "FLUX_TASK_RANK": "0", "FLUX_JOB_SIZE": "8"}, True),
        ({"PALS_APID": "a", "PALS_RANKID": "3"}, True),
        ({"PALS_APID": "a", "PALS_RANKID": "3", "PALS_LOCAL_SIZE": "1"}, False),
        ({"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_LOCAL_SIZE": "2"}, True),
        ({"MVP_COMM_WORLD_RANK": "0", "MVP_COMM_WORLD_LOCAL_SIZE": "2"}, True),
        ({"JSM_NAMESPACE_RANK": "0", "JSM_NAMESPACE_LOCAL_SIZE": "2", "LSB_JOBID": "7", "JSM_NAMESPACE_ID": "1"}, True),
        ({"JSM_NAMESPACE_RANK": "0", "JSM_NAMESPACE_LOCAL_SIZE": "2"}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, False),
        # srun speaks PMI and PMIx, and then says itself how many there are
        (slurm(0, size=1) | {"PMI_RANK": "0", "PMI_SIZE": "2", "PMIX_RANK": "0", "PMIX_NAMESPACE": "n"}, False),
        (slurm(0, size=2) | {"PMI_RANK": "0", "PMI_SIZE": "1"}, True),
        ({"PMIX_RANK": "0", "PMIX_NAMESPACE": "n"}, True),
        ({"SLURM_JOB_ID": "5"}, False),
    ],
)
def test_launchers_are_recognised_by_their_variables(work: str, env: dict[str, str], is_rank: bool) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    assert (role(run([bundle], env=env, DEBUG="1").stderr) != "") is is_rank


def test_a_name_joins_what_no_launcher_started(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    ranks = [Rank(bundle, {"SDEE_JOIN": "mine", "SDEE_DEBUG": "1"}) for _ in range(2)]
    assert len({rank.line() for rank in ranks}) == 1
    assert sum(unpacked(rank.end()[1]) for rank in ranks) == 1


def synthetic(work: str, text: str) -> str:
    """Return a bundle whose job runs `text` in a directory that lacks a link of it: what is written goes back."""
    os.mkdir(f"{work}/cwd")
    os.chmod(f"{work}/cwd", 0o777)
    maker = script(text, programs=TOOLS, cwd=f"{work}/cwd", live=[work], live_env=["RANK", "HOME", "SLURM_*"])
    return maker.symlink(f"{work}/cwd/only", "nowhere").write(f"{work}/b.sdee")


def test_ranks_see_what_others_wrote_and_each_that_leaves_brings_it_back(work: str) -> None:
    text = "touch rank.$RANK; echo ready; read line; ls | while read name; do echo -n $name,; done; echo $RANK >>log"
    bundle = synthetic(work, text)
    ranks = [Rank(bundle, slurm(i, 3) | {"RANK": str(i)}, USERS[-1]) for i in range(3)]
    assert [rank.line() for rank in ranks] == ["ready"] * 3
    assert os.listdir(f"{work}/cwd") == []
    for i, rank in enumerate(ranks):
        out, said, status = rank.end()
        assert "only,rank.0,rank.1,rank.2," in out
        assert (status, "changed on this node" in said) == (0, False)
        with open(f"{work}/cwd/log", encoding="utf-8") as file:  # written again by each, and no conflict
            assert file.read().split() == [str(n) for n in range(i + 1)]
    assert sorted(os.listdir(f"{work}/cwd")) == ["log", "rank.0", "rank.1", "rank.2"]


def test_results_of_a_rank_that_ended_outlive_the_kill_of_another(work: str) -> None:
    bundle = synthetic(work, "echo $RANK >out.$RANK; echo ready; read line")
    ranks = [Rank(bundle, slurm(i) | {"RANK": str(i)}, USERS[-1]) for i in range(2)]
    for rank in ranks:
        rank.line()
    assert ranks[0].end()[2] == 0
    ranks[1].process.kill()
    ranks[1].process.wait()
    with open(f"{work}/cwd/out.0", encoding="utf-8") as file:
        assert file.read() == "0\n"


def test_what_somebody_else_wrote_meanwhile_is_still_not_overwritten(work: str) -> None:
    bundle = synthetic(work, "echo $RANK >>log; echo ready; read line; echo $RANK again >>log")
    ranks = [Rank(bundle, slurm(i) | {"RANK": str(i)}, USERS[-1]) for i in range(2)]
    for rank in ranks:
        rank.line()
    assert ranks[0].end()[2] == 0
    with open(f"{work}/cwd/log", "w", encoding="utf-8") as file:
        file.write("another program\n")
    _, said, status = ranks[1].end()
    assert (status, "was changed on this node while the job ran" in said) == (247, True)
    with open(f"{work}/cwd/log", encoding="utf-8") as file:
        assert file.read() == "another program\n"


def test_runs_of_a_batch_script_are_not_one_anothers_ranks(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    batch = {"SLURM_JOB_ID": "5", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SDEE_DEBUG": "1"}
    runs = [Rank(bundle, batch, USERS[-1]) for _ in range(2)]
    for rank in runs:
        rank.line()
    assert [role(rank.end()[1]) for rank in runs] == ["", ""]


def test_ranks_that_save_elsewhere_are_apart(work: str) -> None:
    bundle = script("echo $SLURM_PROCID >/usr/result; " + NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    ranks = [Rank(bundle, slurm(i) | {"SDEE_SAVE": f"{work}/{i}", "SDEE_ROOT": "closed"}, USERS[-1]) for i in range(2)]
    for rank in ranks:
        rank.line()
        rank.end()
    for i in range(2):
        with open(f"{work}/{i}/usr/result", encoding="utf-8") as file:
            assert file.read() == f"{i}\n"


@pytest.mark.skipif(not ROOT, reason="mounts: needs root")
def test_a_rank_sees_its_own_mounts_and_none_of_anothers(work: str) -> None:
    bundle = script(f"cat {work}/at/who; echo; read line", programs=TOOLS, live=[work]).write(f"{work}/b.sdee")
    os.mkdir(f"{work}/at")
    ranks = []
    for i in range(2):
        os.mkdir(f"{work}/{i}")
        with open(f"{work}/{i}/who", "w", encoding="utf-8") as file:
            file.write(str(i))
        with open(f"{work}/{i}.sh", "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {work}/{i} {work}/at && exec {bundle}'\n")
        os.chmod(f"{work}/{i}.sh", 0o755)
        ranks.append(Rank(f"{work}/{i}.sh", slurm(i)))
        assert ranks[-1].line() == str(i)
    assert [rank.end()[2] for rank in ranks] == [0, 0]


@pytest.mark.skipif(not ROOT, reason="chroot(2): needs root")
def test_in_a_chroot_each_works_for_itself(work: str) -> None:
    """setns(2) leads to the root of the mount namespace, which is not the root of who leads there."""
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    os.mkdir(f"{work}/jail")
    made = f"mount --rbind / {work}/jail && mount --make-rprivate {work}/jail"
    enter = f"/usr/sbin/chroot {work}/jail {bundle}"
    # the second: two that share one mount namespace with a root that is not its own
    for name, inside in (("jail", f"exec {enter}"), ("both", f"{enter} & sleep 1; echo two | {enter}; wait")):
        with open(f"{work}/{name}.sh", "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec unshare -m sh -c '{made}; {inside}'\n")
        os.chmod(f"{work}/{name}.sh", 0o755)
    first = Rank(f"{work}/jail.sh", slurm(0))
    first.line()
    assert first.end()[2] == 0
    out, said, _ = Rank(f"{work}/both.sh", slurm(0)).end("")
    assert "two" in out
    assert "pivot_root" not in said
    assert not os.path.exists("/members")
    assert not os.path.exists("/ending")


def test_when_the_first_ends_the_others_go_on_and_a_later_one_can_start(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    first = Rank(bundle, slurm(0), USERS[-1])
    first.line()
    second = Rank(bundle, slurm(1), USERS[-1])
    second.line()
    assert first.end()[2] == 0
    third = Rank(bundle, slurm(2), USERS[-1])
    third.line()
    assert second.end("still here\n")[0] == "still here\n"
    out, said, status = third.end()
    assert (out, status) == ("go\n", 0)
    assert role(said) == "the first of this step here, others may join"


def test_a_rank_that_is_killed_leaves_the_others_running(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    ranks = [Rank(bundle, slurm(i), USERS[-1]) for i in range(3)]
    for rank in ranks:
        rank.line()
    ranks[0].process.kill()
    ranks[0].process.wait()
    late = Rank(bundle, slurm(3), USERS[-1])
    late.line()
    for rank in (*ranks[1:], late):
        assert rank.end()[::2] == ("go\n", 0)


@pytest.mark.parametrize("stage", ["unpacking", "serving"])
def test_a_first_rank_that_dies_while_others_wait_is_replaced(work: str, stage: str) -> None:
    """Kill -9 while it unpacks (a bundle large enough to be caught at it), or as soon as the others wait."""
    maker = script(NAMESPACE, programs=TOOLS)
    for i in range(40):
        maker.add(f"/opt/ballast/{i}", os.urandom(4 << 20))
    bundle = maker.write(f"{work}/b.sdee")
    first = Rank(bundle, slurm(0) | {"SDEE_ROOT": "closed", "SDEE_THREADS": "1"}, USERS[-1])
    assert first.process.stderr is not None
    while "plan: enter" not in first.process.stderr.readline():
        pass
    others = [Rank(bundle, slurm(i) | {"SDEE_ROOT": "closed"}, USERS[-1]) for i in (1, 2)]
    if stage == "serving":
        first.line()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert len({rank.line() for rank in others}) == 1 or stage == "serving"
    assert [rank.end()[::2] for rank in others] == [("go\n", 0)] * 2


def test_nothing_is_left_when_the_last_has_gone(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    ranks = [Rank(bundle, slurm(i, 8), USERS[-1]) for i in range(8)]
    assert [rank.end()[2] for rank in ranks] == [0] * 8
    own = (f"sdee-{USERS[-1]}-", f".sdee-{USERS[-1]}-")  # others may deploy something meanwhile
    assert [name for name in os.listdir("/dev/shm") if name.startswith(own)] == []
    with open("/proc/net/unix", encoding="utf-8") as file:
        assert f"@sdee-{USERS[-1]}-" not in file.read()


@pytest.mark.skipif(not ROOT, reason="takes another user's name: needs root to be both")
def test_another_users_socket_is_only_in_the_way(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    first = Rank(bundle, slurm(0), USERS[-1])
    first.line()
    with open("/proc/net/unix", encoding="utf-8") as file:
        name = next(line.split("@")[1].strip() for line in file if f"@sdee-{USERS[-1]}-" in line)
    assert first.end()[2] == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:  # as root, and it never answers
        squatter.bind(f"\0{name}")
        squatter.listen()
        rank = Rank(bundle, slurm(1), USERS[-1])
        rank.line()
        out, said, status = rank.end()
    assert (out, status) == ("go\n", 0)
    assert role(said) == "each for itself"


@pytest.mark.skipif(not ROOT, reason="takes another user's name: needs root to be both")
def test_another_users_full_queue_holds_nobody_up_for_ever(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    first = Rank(bundle, slurm(0), USERS[-1])
    first.line()
    with open("/proc/net/unix", encoding="utf-8") as file:
        name = next(line.split("@")[1].strip() for line in file if f"@sdee-{USERS[-1]}-" in line)
    assert first.end()[2] == 0
    kind = (socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket(*kind) as squatter, socket.socket(*kind) as one, socket.socket(*kind) as other:
        squatter.bind(f"\0{name}")
        squatter.listen(0)
        one.connect(f"\0{name}")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.connect(f"\0{name}")
        rank = Rank(bundle, slurm(1), USERS[-1])
        out, said, status = rank.end()
    assert (out.splitlines()[1:], status) == (["go"], 0)
    assert role(said) == "each for itself"


def test_where_namespaces_may_not_be_joined_each_works_for_itself(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    first = Rank(bundle, slurm(0), USERS[-1])
    first.line()
    refuse = [sys.executable, os.path.join(REPO, "fixtures", "launcher", "refuse.py"), "setns", bundle]
    second = run([*as_user(USERS[-1]), *refuse], env=slurm(1), text="alone\n")
    assert second.stdout.endswith("alone\n")
    assert role(second.stderr) == "each for itself"
    assert first.end()[2] == 0


def test_the_nested_run_of_a_bundle_in_its_own_job_works(work: str) -> None:
    inner = f"{work}/b.sdee"
    text = f'if [ -z "$SDEE_IN" ]; then SDEE_IN=1 {inner}; else echo inner; fi'
    bundle = script(text, live=[work], live_env=["SDEE_IN", "SLURM_*", "HOME"]).write(inner)
    result = run([bundle], env={k: v for k, v in slurm(0).items() if k != "SDEE_DEBUG"}, uid=USERS[-1])
    assert (result.stdout, result.returncode) == ("inner\n", 0), result.stderr


def test_many_ranks_at_once_unpack_once(work: str) -> None:
    bundle = script(NAMESPACE, programs=TOOLS).write(f"{work}/b.sdee")
    ranks = [Rank(bundle, slurm(i, 64) | {"SDEE_ROOT": "closed"}, USERS[-1]) for i in range(64)]
    assert len({rank.line() for rank in ranks}) == 1
    time.sleep(0.1)
    ended = [rank.end() for rank in ranks]
    assert sum(unpacked(err) for _, err, _ in ended) == 1
    assert {status for _, _, status in ended} == {0}
