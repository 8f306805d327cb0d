"""Rows of the benchmark: many ranks on one node, and MPI between two of them."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from typing import TYPE_CHECKING

from harness import ROOT, USER, Bench, Result, Row, milliseconds
from rows import big_directory, python_job

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Command

# Start all ranks at once as srun does, each with its number; wait for all
START = 'n=$1; shift; i=0; while [ $i -lt $n ]; do SLURM_PROCID=$i "$@" & i=$((i + 1)); done; wait'


def at_once(count: int, *command: str | Path) -> Command:
    """`count` times the command, as the ranks of one step of Slurm."""
    step = ["SLURM_JOB_ID=1", "SLURM_STEP_ID=0", f"SLURM_STEP_NUM_TASKS={count}"]
    return ["env", *step, "sh", "-c", START, "sh", str(count), *command]


def ranks(bench: Bench, count: int) -> Result:
    """Ranks of a step with the closure of the numpy/scipy/pandas job, each of which only starts and ends."""
    bundle = bench.bundle("ranks", python_job(), "--include", "/bin/true")
    one = ["env", "SDEE_COMMAND=/bin/true", "SDEE_ROOT=merged", bundle]
    ours, bwrap, bare = bench.medians(
        at_once(count, *one), at_once(count, "bwrap", "--dev-bind", "/", "/", "/bin/true"), at_once(count, "/bin/true")
    )
    return Result(ours / bwrap, f"sdee, bwrap, bare: {milliseconds(ours, bwrap, bare)}")


def closed_ranks(bench: Bench) -> Result:
    """64 ranks in the closed root: the whole closure is unpacked. What sharing saves."""
    bundle = bench.bundle("ranks", python_job(), "--include", "/bin/true")
    one = ["env", "SDEE_COMMAND=/bin/true", "SDEE_ROOT=closed", bundle]
    shared, first = bench.medians(at_once(64, *one), at_once(1, *one))
    return Result(shared / first, f"64 ranks, one rank: {milliseconds(shared, first)}")


def deployed(bench: Bench) -> Result:
    """A step in the closed root whose closure is deployed, against one that unpacks."""
    bundle = bench.bundle("ranks", python_job(), "--include", "/bin/true")
    place = bench.work / "deployed"
    place.mkdir(mode=0o777, exist_ok=True)
    os.chown(place, USER if os.getuid() == 0 else -1, -1)
    one = ["SDEE_COMMAND=/bin/true", "SDEE_ROOT=closed", bundle]
    bench.run(["env", "SDEE_DEPLOY=1", f"SDEE_DEPLOY_DIR={place}", bundle])
    ours, anew = bench.medians(["env", f"SDEE_DEPLOY_DIR={place}", *one], ["env", *one])
    bench.run(["env", "SDEE_UNDEPLOY=1", f"SDEE_DEPLOY_DIR={place}", bundle])
    return Result(ours / anew, f"deployed, unpacked: {milliseconds(ours, anew)}")


def deploys(bench: Bench) -> Result:
    """Deploy closures of 20, 100 and 400 MB, against `cp -r` of what was deployed."""
    files = [path for path in sorted(big_directory().rglob("*")) if path.is_file() and not path.is_symlink()]
    place = bench.work / "sizes"
    place.mkdir(mode=0o777, exist_ok=True)
    os.chown(place, USER if os.getuid() == 0 else -1, -1)
    environment = f"SDEE_DEPLOY_DIR={place}"
    ratios, words = [], []
    for megabytes in (20, 100, 400):
        chosen, total = [], 0
        while files and total < megabytes << 20:
            chosen.append(files.pop())
            total += chosen[-1].stat().st_size
        files = [*chosen, *files]
        options = [word for path in chosen for word in ("--include", str(path))]
        bundle = bench.bundle(f"size-{megabytes}", ["/bin/true"], *options)
        ours, copies = [], []
        for _ in range(bench.repeat):
            ours.append(bench.run(["env", environment, "SDEE_DEPLOY=1", bundle]))
            copies.append(bench.run(["sh", "-c", f"cp -r {place}/sdee-* {place}/copy "]))
            bench.run(["rm", "-rf", place / "copy"])
            bench.run(["env", environment, "SDEE_UNDEPLOY=1", bundle])
        ratios.append(statistics.median(ours) / statistics.median(copies))
        words.append(f"{megabytes} MB {milliseconds(statistics.median(ours), statistics.median(copies))}")
    return Result(max(ratios), f"sdee deploy, cp -r: {'; '.join(words)}")


def _pingpong(bench: Bench, *program: str | Path) -> tuple[float, float]:
    """Latency in µs and bandwidth in MB/s between two ranks of mpirun, by shared memory."""
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.getuid() == 0 else []
    mca = ["--mca", "btl", "self,vader", "--mca", "btl_vader_single_copy_mechanism", "cma"]
    command = [*as_user, "mpirun", "--oversubscribe", "-n", "2", *mca, *map(str, program)]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(bench.work), "LANG": "C.UTF-8"}
    done = subprocess.run(command, cwd=bench.work, env=environment, capture_output=True, text=True, check=False)
    found = re.fullmatch(r"([\d.]+) us (\d+) MB/s\n", done.stdout)
    if done.returncode != 0 or not found or done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}"[:2000])
    return float(found[1]), float(found[2])


def _both(bench: Bench) -> tuple[list[float], list[float], list[float], list[float]]:
    program = bench.work / "pingpong"
    subprocess.run(["mpicc", "-O2", ROOT / "fixtures/mpi/pingpong.c", "-o", program], check=True)
    bundle = bench.work / "pingpong.sdee"
    bench.run(["sh", "-c", f"exec sdee trace -q -o pingpong.trace -- mpirun --oversubscribe -n 2 {program}"])
    bench.run(["sdee", "bundle", "-q", "pingpong.trace", "-o", bundle])
    inside, outside = [], []
    for _ in range(bench.repeat):
        outside.append(_pingpong(bench, program))
        inside.append(_pingpong(bench, "env", f"SDEE_COMMAND={program}", bundle))
    return [i[0] for i in inside], [o[0] for o in outside], [i[1] for i in inside], [o[1] for o in outside]


def latency(bench: Bench) -> Result:
    """Ping-pong of 8 bytes."""
    inside, outside, _, _ = _both(bench)
    ours, bare = statistics.median(inside), statistics.median(outside)
    return Result(ours / bare, f"inside, outside: {ours:.2f} µs, {bare:.2f} µs")


def bandwidth(bench: Bench) -> Result:
    """Ping-pong of 4 MB, one copy from process to process (CMA)."""
    _, _, inside, outside = _both(bench)
    ours, bare = statistics.median(inside), statistics.median(outside)
    return Result(bare / ours, f"inside, outside: {ours:.0f} MB/s, {bare:.0f} MB/s")


ROWS = [
    Row("ranks-1", "1 rank of a step, merged root", "bwrap --dev-bind / / /bin/true", 1.5, lambda b: ranks(b, 1)),
    Row("ranks-8", "8 ranks at once", "8 times the same", 1.2, lambda b: ranks(b, 8)),
    Row("ranks-64", "64 ranks at once", "64 times the same", 1.2, lambda b: ranks(b, 64)),
    Row("ranks-closed", "64 ranks at once, closed root, 170 MB", "one rank", 2.0, closed_ranks),
    Row("deployed", "a step whose closure is deployed, closed root", "one that unpacks", 0.5, deployed),
    Row("deploy", "sdee deploy of 20, 100, 400 MB: the worst", "cp -r of the same files, unpacked", 3.0, deploys),
    Row("latency", "Open MPI ping-pong inside, 8 bytes: time", "outside", 1.03, latency),
    Row("bandwidth", "the same, 4 MB: time", "outside", 1.03, bandwidth),
]
