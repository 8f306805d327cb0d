"""The shell text of Slurm scripts. It runs in bash, dash and ksh, on nodes that may have little else.

Nothing of sdee's stays on a node. A copy of the bundle that was broadcast loses its name as soon as all tasks of its
node have it open: from then on the kernel drops it with the last of them, after kill -9 as well. Rejected: removing it
at the job's end, because after scancel no step can be started to do it, and a killed job does nothing at all; srun's
--bcast, which leaves the file. What remains is the moment between sbcast and the tasks' start; a copy that a job killed
there left is removed by the user's next broadcast job on the node, and by a reboot, since it lies in memory.

Other users of the node can write to /dev/shm and /tmp, too. Nobody can make the copy first: its name is random, and
without --force slurmd opens it with O_EXCL. A task runs it when it is open, the user's and nobody else's to write. Its
marks are directories: mkdir(2) follows no link and waits for no FIFO.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sdee.base.files import beside
from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.options import names

if TYPE_CHECKING:
    from collections.abc import Sequence

# srun(1): options of which the value may be in the next word
SRUN_SHORT = "AbcCdDeFGiJLmMnNopqrStTwWxB"
SRUN_FLAGS = "EHOQXZlsuv"  # without a value, and so before another letter
SRUN_LONG = names("""
    accel-bind account acctg-freq bb bbf bcast-exclude begin chdir cluster-constraint clusters comment
    constraint container container-id core-spec cores-per-socket cpu-bind cpu-freq cpus-per-gpu cpus-per-task
    deadline delay-boot dependency distribution epilog error exclude export export-file extra extra-node-info
    gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags het-group hint input
    job-name jobid licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus mpi
    msg-timeout network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
    ntasks-per-socket open-mode output partition power prefer priority profile prolog qos relative reservation
    segment signal slurmd-debug sockets-per-node switches task-epilog task-prolog thread-spec threads
    threads-per-core time time-min tmp tres-bind tres-per-task tree-width uid wait wckey
""")
_PATTERN = {"j": '"$SLURM_JOB_ID"', "A": '"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"', "a": '"${SLURM_ARRAY_TASK_ID-}"'}

# Bytes that all nodes together would read from shared storage, from which on the bundle is broadcast. sbcast sends
# along a tree; a shared file is read by each node. Measured on a cluster in namespaces of one machine: 100 MB to two
# nodes take sbcast 0.7 to 0.95 s and a plain copy less, which says nothing of a real network and of storage that
# thousands of nodes ask at once. So this is reckoned: storage that gives 10 GB/s needs a second for these.
BROADCAST_BYTES = 10_000_000_000

COPY_NAME = f'"sdee-bundle-{"[0-9a-f]" * 32}"'  # a glob of nothing but what sdee_broadcast makes


def settings(bundle: str, broadcast: str, results: str) -> str:
    """Return the lines that say what runs. `results` may have %j, %A, %a and %N, as sbatch's file names."""
    return "\n".join(
        [
            f"sdee_bundle={shlex.quote(bundle)}",
            f"sdee_when={broadcast}  # the bundle is broadcast: auto, always, never",
            *scripts.results(results, _PATTERN, '[ -n "$SLURM_ARRAY_TASK_ID" ]'),
            scripts.THERE,
        ]
    )


STEP = "\n" + beside(__file__, "step.sh").replace("@BYTES@", str(BROADCAST_BYTES)).replace("@NAME@", COPY_NAME)


def step(served: str = "") -> str:
    """Return what a script needs to start tasks. `served`: words before the bundle, as sh has them."""
    return STEP.replace("@SERVED@", served.replace("'", "'\\''"))


def task_call(here: str = "", *, copy: str = "$sdee_copy") -> str:
    """Return the words that start the bundle, or a copy of it, in the directory `here` ("": the recorded one)."""
    return f'/bin/sh -c "$sdee_task" sdee "$sdee_bundle" "{copy}" "$sdee_results" "{here}"'


# sbatch's --cpus-per-task is srun's no more since Slurm 22.05; sbatch(1) says to do so
CPUS = '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'


def srun_values() -> str:
    """Return srun's options with a value in the next word, as a pattern of sh's `case`."""
    joined = f"-[{SRUN_FLAGS}][{SRUN_SHORT}]|-[{SRUN_FLAGS}][{SRUN_FLAGS}][{SRUN_SHORT}]"  # -ln 2
    return "|".join([joined, *(f"-{letter}" for letter in SRUN_SHORT), *(f"--{n}" for n in SRUN_LONG)])


def finish(patterns: Sequence[str]) -> str:
    """Return the function `sdee_finish`, which brings results of all nodes back."""
    return scripts.finish("sdee_everywhere", patterns)


# The function replaces the program, also in `srun … &`, in pipelines and in loops. It is a subshell that becomes
# srun, so that $! is srun's.
WRAPPED_STEP = "\n" + beside(__file__, "wrapped_step.sh")

REHEARSED = "SLURM_PROCID=0"
# For the trace: srun's options are skipped, its command runs here, once
REHEARSED_STEP = "\n" + beside(__file__, "rehearsed_step.sh").replace(
    "@STEP@", f"{REHEARSED} SLURM_LOCALID=0 SLURM_NODEID=0"
)
# Not SLURM_STEP_ID: with it Open MPI takes itself for a rank of a real srun, looks for its PMI and gives up
# @SETTINGS@: variables of a job of one task
REHEARSAL = f"export @SETTINGS@{REHEARSED_STEP.replace('@PASS@', '')}"
