"""A bundle under Slurm does what the bare job does in the same cluster: steps, batch scripts, arrays, signals, streams.

The nodes have no Python and no sdee. The job is fixtures/slurm/step.sh: where bash is at hand, it runs bare too.
"""

from __future__ import annotations

import os
import pty
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from cluster.jobs import SDEE, Outcome, Place, copy_fixture, held, numbers_out, place, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.driver import Cluster

pytestmark = pytest.mark.cluster

THREE = ("n1", "n2", "n3")
BARE = ("bash", "step.sh")
BUNDLE = ("./step.sdee",)


@pytest.fixture(scope="module")
def work(cluster: Cluster) -> Iterator[Place]:
    """Give a place with step.sh and its bundle; in the end the nodes must be as they were."""
    before = {node.name: held(cluster, node.name) for node in cluster.spec.nodes}
    here = place(cluster, "jobs")
    copy_fixture(here, "slurm/step.sh")
    here.sdee("trace", "-q", "--", "bash", "step.sh", "all")
    here.sdee("bundle", "-q", "-o", "step.sdee")
    limited(here)
    yield here
    cluster.run(["scancel", "-u", "tester"])
    wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout, "jobs are left")
    for name, was in before.items():
        now = held(cluster, name)
        assert {what: now[what] - was[what] for what in now} == {what: set() for what in now}, f"left on {name}"


def both(work: Place, options: list[str], *arguments: str, text: str | None = None) -> tuple[Outcome, Outcome]:
    """Run the bare step and the bundle's with the same options of srun; return how they ended."""
    bare = work.srun(*options, *BARE, *arguments, text=text)
    return bare, work.srun(*options, *BUNDLE, *arguments, text=text)


def test_the_nodes_have_neither_python_nor_sdee(work: Place) -> None:
    for name in THREE:
        done = work.srun("-w", name, "sh", "-c", "command -v python3 sdee; head -1 /etc/os-release")
        assert ("bin/" in done.stdout, "Debian" in done.stdout) == (False, True), done


@pytest.mark.parametrize("end", ["exit 0", "exit 7", "exit 255", "kill TERM", "kill KILL", "kill SEGV", "kill USR1"])
def test_a_step_ends_as_the_bare_one_does(work: Place, end: str) -> None:
    bare, bundle = both(work, ["-N3"], *end.split())
    assert bundle == bare
    assert (bare.status == 0) == (end == "exit 0")


def test_one_task_that_fails_ends_the_step_as_bare(work: Place) -> None:
    work.file("prog.bare", "0-1 bash step.sh say\n2 bash step.sh exit 5\n")
    work.file("prog.bundle", "0-1 ./step.sdee say\n2 ./step.sdee exit 5\n")
    bare, bundle = (work.srun("-N3", "--multi-prog", f"prog.{which}") for which in ("bare", "bundle"))
    assert (bundle.status, bundle.lines, bundle.stderr) == (5, bare.lines, bare.stderr)
    assert bundle.lines == [f"task {rank} of 3 on node {rank}" for rank in (0, 1)]


def test_standard_input_is_broadcast_or_given_to_one_task(work: Place) -> None:
    text = "".join(f"line {number}\n" for number in range(5000))
    bare, bundle = both(work, ["-N3", "-n6", "--label"], "cat", text=text)
    assert (bundle.status, bundle.lines) == (0, bare.lines)
    assert len(bundle.lines) == 6 * 5000
    _, bundle = both(work, ["-N3", "-n3", "--label", "--input=2"], "cat", text=text)
    assert bundle.stdout == "".join(f"2: {line}\n" for line in text.splitlines())


def test_labels_and_each_tasks_order_of_lines_are_kept(work: Place) -> None:
    bare, bundle = both(work, ["-N3", "-n6", "--label"], "lines")
    assert (bundle.status, bundle.lines) == (0, bare.lines)
    for rank in range(6):
        mine = [line for line in bundle.stdout.splitlines() if line.startswith(f"{rank}: ")]
        assert mine == [f"{rank}: task {rank} line {number}" for number in range(1, 201)]


def test_output_goes_to_files_by_task(work: Place) -> None:
    work.srun("-N3", "-n3", "--output=task.%t.out", "--error=task.%t.err", *BUNDLE, "say")
    for rank in range(3):
        assert work.read(f"task.{rank}.out") == f"task {rank} of 3 on node {rank}\n"
        assert work.read(f"task.{rank}.err") == f"error of task {rank}\n"


def environment(outcome: Outcome) -> dict[str, str]:
    """Parse what env(1) prints."""
    return dict(line.split("=", 1) for line in outcome.stdout.splitlines() if "=" in line)


# each step has its own
OF_THE_STEP = {"SLURM_STEP_ID", "SLURM_STEPID", "SLURM_TASK_PID", "SLURM_SRUN_COMM_PORT", "SLURM_STEP_LAUNCHER_PORT"}
OF_THE_STEP |= {"SRUN_DEBUG", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_JOB_END_TIME"}
OF_THE_STEP |= {"SLURM_JOB_START_TIME", "SLURM_JOB_NAME", "PMI_JOBID"}


# Whether slurmstepd signalled the script's process alone (scancel --batch) or all of them (scancel) cannot be told, and
# a signal that is lost is worse than one that comes twice
TWICE = pytest.mark.xfail(
    reason="the launcher, as the batch script's own process, passes on what the job may have already"
)


@pytest.mark.parametrize("node", THREE)
def test_the_job_managers_and_the_users_variables_are_live_and_the_softwares_as_traced(work: Place, node: str) -> None:
    user = {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1,2", "SEED": "5", "LD_PRELOAD": "/nowhere/site.so"}
    options = ["-w", node, "--mpi=pmi2", "--export=ALL"]
    bare, bundle = (environment(work.srun(*options, *which, "env", env=user)) for which in (BARE, BUNDLE))
    live = {name for name in bare if name.startswith(("SLURM", "PMI", "OMP", "CUDA", "SEED"))}
    assert {"SLURM_PROCID", "PMI_RANK", "OMP_NUM_THREADS"} <= live
    assert {n: bundle.get(n) for n in live - OF_THE_STEP} == {n: bare[n] for n in live - OF_THE_STEP}
    assert live & OF_THE_STEP <= set(bundle)
    assert (bare["LD_PRELOAD"], bundle.get("LD_PRELOAD")) == ("/nowhere/site.so", None)
    assert set(bundle) - set(bare) <= {"OLDPWD"}
    assert set(bare) - set(bundle) == {"LD_PRELOAD"}


@pytest.mark.parametrize("node", THREE)
def test_directory_umask_limits_and_control_groups_are_the_bare_jobs(work: Place, node: str) -> None:
    bare, bundle = both(work, ["-w", node], "where")
    assert (bundle.status, bundle.stdout, bundle.stderr) == (0, bare.stdout, bare.stderr)
    assert f"{work.path}\n" in bundle.stdout


def test_from_another_directory_the_job_runs_where_it_was_traced_or_here_if_told(work: Place) -> None:
    os.makedirs(work.file("elsewhere"), exist_ok=True)
    options = ("-N1", f"--chdir={work.file('elsewhere')}")
    traced = work.srun(*options, work.file("step.sdee"), "where")
    here = work.srun(*options, work.file("step.sdee"), "where", env={"SDEE_CHDIR": "."})
    assert traced.stdout.splitlines()[0] == work.path
    assert here.stdout.splitlines()[0] == work.file("elsewhere")


def test_a_terminal_is_the_jobs_own(work: Place) -> None:
    said = {}
    for which in (BARE, BUNDLE):
        main, side = pty.openpty()
        command = work.cluster.command(["srun", "-w", "n2", "--pty", *which, "tty"], cwd=work.path)
        process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, start_new_session=True)
        os.close(side)
        text = read_until(main, "\r\n", 2)
        os.write(main, b"some words\n")
        text += read_until(main, "waiting")
        os.write(main, b"\x03")  # Ctrl-C: srun is in raw mode, the terminal on the node makes the signal
        said[which] = (text, process.wait(timeout=30))
        os.close(main)
    assert said[BUNDLE] == said[BARE]
    assert "read some words" in said[BUNDLE][0]
    assert said[BUNDLE][1] == 130


def read_until(terminal: int, word: str, times: int = 1) -> str:
    """Read a terminal until it has shown a word so many times."""
    text = ""
    while text.count(word) < times:
        text += os.read(terminal, 1000).decode()
    return text


# ---- batch scripts ----


SCRIPT = """#!/bin/bash
#SBATCH -N3 -n3
export OMP_NUM_THREADS=2
./step.sdee exit 3
echo "alone: $?"
srun --label ./step.sdee say 2>/dev/null | sort
srun -N1 -n1 ./step.sdee exit 4
"""


def test_a_batch_script_uses_a_bundle_as_it_would_a_program(work: Place) -> None:
    bundle = work.cluster.batch(SCRIPT, cwd=work.path)
    bare = work.cluster.batch(SCRIPT.replace("./step.sdee", "bash step.sh"), cwd=work.path)
    assert (bundle.status, bundle.stdout, numbers_out(bundle.stderr)) == (4, bare.stdout, numbers_out(bare.stderr))
    assert bundle.stdout.startswith("alone: 3\n0: task 0 of 3 on node 0\n1: task 1 of")


def test_sdee_exec_works_in_a_job_where_sdee_is_installed(work: Place) -> None:
    sdee = " ".join(SDEE)
    step = f"{sdee} exec step.sdee"
    script = f"#!/bin/bash\n#SBATCH -p own -n2\nsrun {step} say\n{step} exit 6\n"
    done = work.cluster.batch(script, cwd=work.path)
    assert (done.status, sorted(done.stdout.splitlines())) == (6, [f"task {rank} of 2 on node 0" for rank in (0, 1)])


def test_an_allocation_runs_the_bundle_on_the_login_side_and_on_its_nodes(work: Place) -> None:
    command = "./step.sdee exit 2; echo login: $?; srun ./step.sdee say; srun ./step.sdee exit 8"
    done = work.cluster.run(["salloc", "-Q", "-N2", "bash", "-c", command], cwd=work.path)
    assert done.returncode == 8, done
    assert sorted(done.stdout.splitlines()) == ["login: 2", "task 0 of 2 on node 0", "task 1 of 2 on node 1"]


def test_each_element_of_an_array_knows_which_it_is(work: Place) -> None:
    job = work.cluster.submit("#!/bin/sh\nsrun ./step.sdee array\n", "--array=0-5", cwd=work.path)
    wait_for(lambda: not work.cluster.run(["squeue", "-h", "-j", job]).stdout, "the array does not end")
    for element in range(6):
        assert work.read(f"{job}.{element}.out") == f"element {element} of 6\n", work.read(f"{job}.{element}.err")


# ---- signals ----


def heard(
    work: Place, name: str, script: str, *actions: list[str], options: tuple[str, ...] = ()
) -> tuple[object, ...]:
    """Run a batch script that writes to file `name`; do `actions` when it is ready; return what came.

    "{job}" in an action is the job's id.
    """
    if os.path.exists(work.file(name)):
        os.unlink(work.file(name))
    job = work.cluster.submit(script, *options, cwd=work.path)
    wait_for(lambda: "ready" in work.read(name), f"{name} does not begin: {work.read(job + '.err')}")
    for number, action in enumerate(actions, start=2):
        words = [word.format(job=job) for word in action]
        done = work.cluster.run(words)
        assert done.returncode == 0, done
        wait_for(lambda n=number: len(work.read(name).splitlines()) >= n or is_over(work, job), f"{words} is not heard")  # type: ignore[misc]
    ended = work.cluster.wait(job, work.path)
    wait_for(lambda: not work.cluster.run(["squeue", "-h", "-j", job]).stdout, "the job stays")
    state = work.cluster.state_of(job)
    return work.read(name).splitlines(), ended.stdout, numbers_out(ended.stderr), state["JobState"], ended.status


def is_over(work: Place, job: str) -> bool:
    return work.cluster.state_of(job).get("JobState") not in {"PENDING", "RUNNING"}


def step_script(which: tuple[str, ...], srun: str, verb: str, name: str) -> str:
    return f"#!/bin/bash\n{srun} {' '.join(which)} {verb} {name}\n"


@pytest.mark.parametrize("srun", ["srun", "exec"])
def test_signals_of_scancel_reach_the_job_once(work: Place, srun: str) -> None:
    batch = ["--batch"] if srun == "exec" else []  # the script's own process alone; else all of the step's
    actions = [["scancel", *batch, f"--signal={name}", "{job}"] for name in ("USR1", "USR2", "TERM")]
    bare, bundle = (
        heard(work, f"heard.{name}", step_script(which, srun, "wait", f"heard.{name}"), *actions)
        for name, which in (("bare", BARE), ("bundle", BUNDLE))
    )
    assert bundle == bare
    assert bare[0] == ["ready 0 0", "usr1", "usr2", "TERM"]


@pytest.mark.parametrize(
    ("srun", "verb"),
    [("srun", "wait"), ("srun", "stay"), pytest.param("exec", "wait", marks=TWICE)],
)
def test_scancel_ends_a_job_that_listens_and_one_that_does_not(work: Place, srun: str, verb: str) -> None:
    bare, bundle = (
        heard(work, f"end.{name}", step_script(which, srun, verb, f"end.{name}"), ["scancel", "{job}"])
        for name, which in (("bare", BARE), ("bundle", BUNDLE))
    )
    # which of its two timers ends first after SIGKILL, srun's or slurmstepd's, decides what srun says
    assert [bundle[n] for n in (0, 1, 3, 4)] == [bare[n] for n in (0, 1, 3, 4)]
    assert bare[3] == "CANCELLED"


def test_a_requeued_job_begins_anew(work: Place) -> None:
    outcomes: list[list[str]] = []
    for which in (BARE, BUNDLE):
        name = f"again.{len(outcomes)}"
        job = work.cluster.submit(step_script(which, "srun", "wait", name), "--requeue", "-w", "n3", cwd=work.path)
        wait_for(lambda n=name: "ready 0 0" in work.read(n), "the job does not begin")  # type: ignore[misc]
        assert work.cluster.run(["scontrol", "requeue", job]).returncode == 0
        begin_now(work, job, name)
        work.cluster.run(["scancel", job])
        wait_for(lambda: is_over(work, job), "the job does not end")  # noqa: B023
        outcomes.append(work.read(name).splitlines())
    begun = [[line for line in lines if "ready" in line] for lines in outcomes]
    assert begun == [["ready 0 0", "ready 1 0"]] * 2


def begin_now(work: Place, job: str, name: str) -> None:
    """Let a requeued job begin: Slurm lets it wait for two minutes."""
    time.sleep(2)  # slurmd refuses a job's new credential of the very second in which the old one was revoked
    deadline = time.monotonic() + 60
    while "ready 1 0" not in work.read(name):
        assert time.monotonic() < deadline, f"the job does not begin again: {work.cluster.state_of(job)}"
        if work.cluster.state_of(job)["JobState"] == "PENDING":
            work.cluster.run(["scontrol", "update", f"JobId={job}", "StartTime=now"])
        time.sleep(0.3)


# ---- the time limit ----

# A minute is the shortest, and Slurm looks every half minute: these jobs begin with the first test and are looked at by
# the last. Name: how the job runs, and sbatch's --signal: of the steps, or of the script's own process alone
LIMITED = {"step": ("srun", "USR1@50"), "script": ("exec", "B:USR1@50")}
KINDS = {"bare": BARE, "bundle": BUNDLE}


def limited(work: Place) -> None:
    """Submit jobs with a time limit of a minute that want a signal before."""
    for name, (srun, wanted) in LIMITED.items():
        for kind, which in KINDS.items():
            script = step_script(which, srun, "wait", f"{name}.{kind}")
            job = work.cluster.submit(script, "--time=1", f"--signal={wanted}", cwd=work.path)
            work.file(f"{name}.{kind}.job", job)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step", "script"])
def test_before_the_time_limit_comes_the_signal_that_was_asked_for_and_then_the_end(work: Place, name: str) -> None:
    came = {}
    for kind in KINDS:
        job = work.read(f"{name}.{kind}.job")
        ended = work.cluster.wait(job, work.path, timeout=200)
        lines = work.read(f"{name}.{kind}").splitlines()
        came[kind] = (
            lines[:2],
            set(lines),
            work.cluster.state_of(job)["JobState"],
            "DUE TO TIME LIMIT" in ended.stderr,
        )
    assert came["bundle"] == came["bare"]
    assert came["bare"] == (["ready 0 0", "usr1"], {"ready 0 0", "usr1", "TERM"}, "TIMEOUT", True)
    assert work.read(f"{name}.bundle").splitlines().count("usr1") == 1
