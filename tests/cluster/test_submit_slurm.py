"""`sdee submit` and `sdee wrap` on a cluster of three distributions: what only Slurm has, and what can go wrong."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from sdee.runtime.jobs.options import table_of_help
from sdee.runtime.jobs.slurm.manager import _SHORT, _VALUES
from submit_support import SDEE, SlurmSide, lines, wait_for

if TYPE_CHECKING:
    from cluster.driver import Cluster

pytestmark = pytest.mark.cluster

RANK = """#!/usr/bin/python3
import os
e = os.environ.get
print("rank", e("SLURM_PROCID"), "of", e("SLURM_NTASKS"), "on", e("SLURMD_NODENAME"))
print("cpus", e("SLURM_CPUS_PER_TASK"), "pmi", e("PMI_RANK"), "het", e("SLURM_HET_SIZE"))
if "SLURM_PROCID" in os.environ:
    open(f"/usr/share/sdee-test-{e('SLURM_PROCID')}.txt", "w").write("kept\\n")
    open("/tmp/sdee-test-left.txt", "w").write("left\\n")
else:
    open("/tmp/sdee-test-left.txt", "w").write("left\\n")
    os.path.exists("/usr/share/sdee-test-0.txt")
"""
LONG = """#!/bin/sh
echo "begun ${SLURM_PROCID-here} again ${SLURM_RESTART_COUNT:-0}"
[ -n "$SLURM_PROCID" ] || exec sleep 0
exec sleep 100
"""
LEFT = "find /dev/shm /tmp /var/tmp -mindepth 1 -not -name 'sdee-test-*' 2>/dev/null"


@pytest.fixture
def side(cluster: Cluster, request: pytest.FixtureRequest) -> SlurmSide:
    """Give the cluster, with an empty directory."""
    found = SlurmSide(cluster)
    found.enter("slurm-" + request.node.originalname[5:40])
    found.file("rank.py", RANK)
    found.file("long.sh", LONG)
    return found


def test_the_table_of_options_is_sbatchs_own(side: SlurmSide) -> None:
    text = side.run("sbatch", "--help").stdout
    known = {name for name, _ in _SHORT.items()}
    found = table_of_help(text, frozenset(), frozenset())
    assert {letter: name for letter, name in _SHORT.items() if letter not in ("V", "h")}.items() <= found.short.items()
    assert known >= set(found.short)
    kinds = {name: name in found.values for name in found.values | found.flags}
    ours = {name: name in _VALUES for name in kinds}
    # the help shows no value of --container, and those of --wrap and --export as if one could do without
    assert {name for name in kinds if kinds[name] != ours[name]} <= {"container", "wrap", "export"}


def test_ranks_run_on_three_distributions_and_bring_their_results_back(side: SlurmSide) -> None:
    done = side.sdee(
        "submit", *side.waiting, "-N3", "-n5", "-c1", "-J", "my job", "--results", "back", "--", "./rank.py"
    )
    assert done.returncode == 0, done
    out = side.read("out.txt")
    ranks = lines(out, "rank")
    assert [re.sub(r" on n\d", "", line) for line in ranks] == [f"rank {n} of 5" for n in range(5)], out
    assert {line[-2:] for line in ranks} == {"n1", "n2", "n3"}
    back = side.found("back")
    assert sorted(re.sub(r"^n\d/", "", name) for name in back if "/usr/" in name) == [
        f"usr/share/sdee-test-{n}.txt" for n in range(5)
    ]
    assert [name for name in back if "/tmp/" in name] == [f"n{n}/tmp/sdee-test-left.txt" for n in (1, 2, 3)]


def test_slurms_options_have_the_effect_that_they_have_for_sbatch(side: SlurmSide) -> None:
    job = side.sdee(
        "submit", "--parsable", "-H", "-J", "my job", "--comment=a  b", "-t", "7", "--", "./rank.py"
    ).stdout.strip()
    shown = side.run("squeue", "-h", "-j", job, "-o", "%j|%k|%l|%r").stdout.strip()
    side.run("scancel", job)
    assert shown == "my job|a  b|7:00|JobHeldUser"
    script = side.read(f"sdee-jobs/{side.found('sdee-jobs')[0].split('/')[0]}/job-1.sh")
    kept = side.run(
        "sbatch", "--parsable", "-H", f"{side.path}/sdee-jobs/{side.found('sdee-jobs')[0].split('/')[0]}/job-1.sh"
    )
    again = side.run("squeue", "-h", "-j", kept.stdout.strip(), "-o", "%j|%k|%l|%r").stdout.strip()
    side.run("scancel", kept.stdout.strip())
    assert again == shown, script
    default = side.sdee("submit", "--parsable", "-H", "--", "./rank.py").stdout.strip()
    assert side.run("squeue", "-h", "-j", default, "-o", "%j").stdout.strip() == "rank.py"
    side.run("scancel", default)


def test_cpus_for_each_task_and_sruns_own_options_reach_the_step(side: SlurmSide) -> None:
    done = side.sdee("submit", *side.waiting, "-n1", "-c3", "--mpi=pmi2", "--label", "--", "./rank.py")
    assert done.returncode == 0, done
    assert lines(side.read("out.txt"), "0: cpus") == ["0: cpus 3 pmi 0 het None"]


def test_all_components_of_a_heterogeneous_job_run_the_command(side: SlurmSide) -> None:
    done = side.sdee(
        "submit", *side.waiting, "-n1", ":", "-n2", "--open-mode=append", "--output=out.txt", "--", "./rank.py"
    )
    assert done.returncode == 0, done
    out = side.read("out.txt")
    assert [line.split()[1] for line in lines(out, "rank")] == ["0", "1", "2"]
    assert lines(out, "cpus")[0].endswith("het 2")


def test_what_sbatch_refuses_is_refused_with_its_words_and_status(side: SlurmSide) -> None:
    bare = side.run("sbatch", "-p", "nosuch", "--wrap", "true")
    done = side.sdee("submit", "-p", "nosuch", "--", "./rank.py")
    assert (done.returncode, done.stdout) == (bare.returncode, bare.stdout)
    assert done.stderr.endswith(bare.stderr)
    assert done.returncode == 1


def test_a_broadcast_copy_has_no_name_while_the_job_runs_and_survives_nothing(side: SlurmSide) -> None:
    before = side.on_nodes(LEFT)
    job = side.sdee(
        "submit", *side.number, "-N3", "-n4", "--broadcast=always", "--requeue", "--", "./long.sh"
    ).stdout.strip()
    wait_for(lambda: len(lines(side.read("out.txt"), "begun")) == 4, lambda: side.read("out.txt"))
    assert side.on_nodes(LEFT) == before
    open_there = "ls -l /proc/[0-9]*/exe 2>/dev/null | grep -c 'sdee-.*deleted'"
    assert all(int(text) >= 1 for text in side.on_nodes(open_there))
    assert side.run("scontrol", "requeue", job).returncode == 0
    time.sleep(2)  # slurmd refuses a job of the number that it has ended in this very second

    def again() -> bool:
        side.run("scontrol", "update", f"JobId={job}", "StartTime=now")
        return side.read("out.txt").count("again 1") == 4

    wait_for(again, lambda: (side.read("out.txt"), side.cluster.state_of(job)), 90)
    wait_for(lambda: side.on_nodes(LEFT) == before, lambda: side.on_nodes(LEFT))
    # the node's side of the job is killed at a stroke, as when memory runs out
    ours = "grep -q 'slurmstep[d]\\|slee[p] 100'"
    side.on_nodes(
        f"for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | {ours} && kill -9 ${{p#/proc/}}; done"
    )
    wait_for(lambda: not any(int(text) for text in side.on_nodes(open_there)), "copies are held")
    assert side.on_nodes(LEFT) == before
    side.run("scancel", job)


def test_a_copy_that_a_job_killed_at_its_start_left_goes_with_the_next(side: SlurmSide) -> None:
    left, young = (f"sdee-bundle-{digit * 32}" for digit in "ab")
    user = "setpriv --reuid=1001 --regid=1001 --clear-groups"
    side.on_nodes(f"cd /dev/shm && {user} mkdir {left}.0 && {user} touch -d '2 hours ago' {left} {left}.0 sdee-mine")
    side.on_nodes(f"{user} touch /dev/shm/{young}")
    side.sdee("submit", *side.waiting, "-N3", "--broadcast=always", "--", "./rank.py")
    found = [text.split() for text in side.on_nodes("ls /dev/shm; rm -f /dev/shm/*")]
    assert found == [[young, "sdee-mine"]] * 3


def test_where_the_bundle_cannot_be_sent_it_is_read_from_shared_storage(side: SlurmSide) -> None:
    # `bare` has 64 KiB of /tmp, not executable, and no /dev/shm
    done = side.sdee(
        "submit",
        *side.waiting,
        "-p",
        "odd",
        "-w",
        "bare",
        "--broadcast=always",
        "--",
        "sh",
        "-c",
        "echo ran $SLURMD_NODENAME",
    )
    out = side.read("out.txt")
    assert "sdee: cannot send the bundle to the nodes; they read" in out, (done, out)
    assert side.cluster.on_node("bare", ["sh", "-c", LEFT]).stdout == ""


def test_a_bundle_that_is_gone_when_the_job_begins_is_named(side: SlurmSide) -> None:
    job = side.sdee("submit", *side.number, "-H", "--", "./rank.py").stdout.strip()
    bundle = f"{side.path}/sdee-jobs/" + next(name for name in side.found("sdee-jobs") if name.endswith(".sdee"))
    os.unlink(bundle)
    side.run("scontrol", "release", job)
    wait_for(lambda: "sdee: error: " in side.read("out.txt"), "no message")
    assert f"{bundle} is missing" in side.read("out.txt")
    wait_for(lambda: side.cluster.state_of(job).get("ExitCode") == "241:0", lambda: side.cluster.state_of(job))


WRAPPED = """#!{shell}
#SBATCH -N3 -n6
#SBATCH --output=out.txt
set -e
TOKEN="a  b"; export TOKEN
srun --label -n 3 ./rank.py one | sort
srun -n1 -N1 --nodelist $(scontrol show hostnames | tail -1) -- sh -c 'echo "alone $SLURMD_NODENAME $TOKEN"'
srun -lN2 -n2 --mpi none sh -c 'echo "pair $SLURM_PROCID"' & wait
if srun -n3 sh -c 'exit $SLURM_PROCID'; then echo good; else echo "bad $?"; fi
"""


@pytest.mark.parametrize(
    ("shell", "broadcast"), [("/bin/sh", "always"), ("/bin/bash -eu", "always"), ("/usr/bin/env bash", "never")]
)
def test_all_kinds_of_srun_lines_run_in_the_bundle(side: SlurmSide, shell: str, broadcast: str) -> None:
    before = side.on_nodes(LEFT)
    side.file("job.sh", WRAPPED.format(shell=shell))
    done = side.run(*SDEE, "wrap", "--broadcast", broadcast, "job.sh")
    assert done.returncode == 0, done
    side.file("new.sh", done.stdout)
    done = side.run("bash", "-c", "sbatch --wait <new.sh")  # as a filter: sdee wrap job.sh | sbatch
    out = side.read("out.txt")
    assert done.returncode == 0, out
    ranks = [re.sub(r"^\d: ", "", line) for line in out.splitlines() if re.match(r"\d: rank", line)]
    assert sorted(ranks) == [f"rank {n} of 3 on n{n + 1}" for n in range(3)], out
    assert lines(out, "alone", "0: pair", "1: pair", "bad") == ["0: pair 0", "1: pair 1", "alone n3 a  b", "bad 2"], out
    assert side.on_nodes(LEFT) == before


def test_srun_past_the_shell_is_refused_with_the_lines_number(side: SlurmSide) -> None:
    for line in ("exec srun ./rank.py", "timeout 5 srun ./rank.py", "/usr/bin/srun ./rank.py"):
        side.file("job.sh", f"#!/bin/sh\n# exec srun in a comment\nsrun ./rank.py\n{line}\n")
        done = side.run(*SDEE, "wrap", "job.sh")
        assert (done.returncode, done.stdout) == (2, "")
        assert "line 4 of 'job.sh' starts srun past the shell" in done.stderr
    side.file("job.sh", "#!/bin/sh\nsrun ./rank.py; echo srun.log\n")
    assert side.run(*SDEE, "wrap", "job.sh").returncode == 0


def test_a_step_that_fails_here_is_said_though_the_script_goes_on(side: SlurmSide) -> None:
    side.file("job.sh", "#!/bin/sh\nsrun sh -c 'exit $1' sh $1\nsrun echo fine\n")
    done = side.run(*SDEE, "wrap", "job.sh", "5")
    assert done.returncode == 0, done
    assert "sdee: warning: sh ended with status 5 in the traced run" in done.stderr
    assert "ended with status" not in side.run(*SDEE, "wrap", "job.sh", "0").stderr


def test_a_virtual_environment_that_the_script_activates_is_that_of_its_steps(side: SlurmSide) -> None:
    assert side.run("/usr/bin/python3", "-m", "venv", "--without-pip", "venv").returncode == 0
    site = next(os.path.join(d, "") for d, _, _ in os.walk(f"{side.path}/venv") if d.endswith("site-packages"))
    with open(f"{site}mine.py", "w", encoding="utf-8") as file:
        file.write("where = __file__\n")
    code = 'import mine, sys; print("venv", mine.where, sys.prefix)'
    side.file("job.sh", f"#!/bin/bash\n#SBATCH -o out.txt\n. venv/bin/activate\nsrun python -c '{code}'\n")
    done = side.run(*SDEE, "wrap", "--submit", "--wait", "job.sh")
    assert done.returncode == 0, (done, side.read("out.txt"))
    assert lines(side.read("out.txt"), "venv") == [f"venv {site}mine.py {side.path}/venv"]


def test_ranks_are_traced_each_for_itself_and_bundled_together(side: SlurmSide) -> None:
    side.file(
        "own.sh",
        '#!/bin/sh\nread -r line <input.$SLURM_PROCID; echo "read $line"; case $SLURM_PROCID in 1) expr 1 + 1;; esac\n',
    )
    for rank in (0, 1):
        side.file(f"input.{rank}", f"of {rank}\n")
    srun = ("srun", "-p", "own", "-n2")  # a node with this machine's system, where sdee is
    done = side.run(*srun, *SDEE, "trace", "-q", "-o", "trace.%r", "--", "./own.sh")
    assert (done.returncode, lines(done.stdout, "read")) == (0, ["read of 0", "read of 1"]), done
    assert [name for name in side.found(".") if name.startswith("trace.")] == ["trace.0", "trace.1"]
    done = side.run("bash", "-c", f"{subprocess.list2cmdline(SDEE)} bundle -q trace.*")
    assert done.returncode == 0, done
    done = side.sdee("submit", *side.waiting, "-N2", "-n2", "--bundle", "bundle.sdee")
    assert done.returncode == 0, (done, side.read("out.txt"))
    assert lines(side.read("out.txt"), "read", "2") == ["2", "read of 0", "read of 1"]  # expr was seen on one rank only
