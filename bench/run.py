"""The measurements of docs/performance.md: every number is a ratio against a peer in the same run.

    python bench/run.py [--only NAME]… [--repeat N] [--write]

Commands that are compared are run alternately, so that a busy machine slows both; the ratio is that of their medians. What
was not reached is shown as such. --write puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("SDEE_TEST_CACHE", "/var/tmp/sdee-test-cache")) / "bench"
SDEE = Path(sys.executable).parent / "sdee"
USER = 1001  # measured as an ordinary user: what an HPC user is

STRACE = ["strace", "--seccomp-bpf", "-f", "-e", "trace=file", "-o", "/dev/null"]


@dataclass(frozen=True)
class Result:
    """One row: the ratio found, and the absolute times or sizes it came from, in words."""

    ratio: float
    detail: str


@dataclass(frozen=True)
class Row:
    """What is measured, against what, and how far it should reach."""

    name: str
    what: str
    against: str
    reach: float
    measure: Callable[[Bench], Result]


class Bench:
    """A work directory of the ordinary user, and the programs and traces that the rows share."""

    def __init__(self, repeat: int) -> None:
        self.repeat = repeat
        self.work = CACHE / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        CACHE.chmod(0o755)
        for name in ("opens", "stats"):
            subprocess.run(["gcc", "-O2", ROOT / f"bench/{name}.c", "-o", self.work / name], check=True)
        (self.work / "files").mkdir()
        for i in range(200):
            (self.work / "files" / str(i)).write_text("x")
        subprocess.run(["chown", "-R", str(USER), self.work], check=True)

    def run(self, command: list[str | Path], *, cwd: Path | None = None, check: bool = True, env: dict[str, str] | None = None) -> float:
        """Run a command as the ordinary user with its output thrown away; return its wall time in seconds."""
        words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *map(str, command)]
        if os.getuid() != 0:
            words = words[4:]
        environment = {"PATH": f"{SDEE.parent}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.work), "LANG": "C.UTF-8", **(env or {})}
        begin = time.perf_counter()
        done = subprocess.run(words, cwd=cwd or self.work, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        wall = time.perf_counter() - begin
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
        return wall

    def medians(self, *commands: list[str | Path], repeat: int | None = None, before: Callable[[], None] | None = None) -> list[float]:
        """Median wall time of each command in seconds, run in turn `repeat` times after one warm-up each."""
        times: list[list[float]] = [[] for _ in commands]
        for turn in range((repeat or self.repeat) + 1):
            for command, taken in zip(commands, times, strict=True):
                if before:
                    before()
                wall = self.run(command)
                if turn:
                    taken.append(wall)
        return [statistics.median(t) for t in times]

    def bundle(self, name: str, command: list[str | Path], *, options: tuple[str, ...] = ()) -> Path:
        """Trace and bundle a command once; return the bundle."""
        out = self.work / f"{name}.sdee"
        if not out.exists():
            self.run([SDEE, "trace", "-o", f"{name}.trace", "--", *command])
            self.run([SDEE, "bundle", f"{name}.trace", "-o", out, *options])
        return out


def traced(*command: str | Path) -> list[str | Path]:
    """The command under `sdee trace`."""
    return [SDEE, "trace", "-q", "-o", "bench.trace", "--", *command]


def milliseconds(*seconds: float) -> str:
    """Times as words."""
    return ", ".join(f"{1000 * s:.0f} ms" if s >= 0.01 else f"{1000 * s:.2f} ms" for s in seconds)


def trace_opens(bench: Bench) -> Result:
    command = [bench.work / "opens", "20000", bench.work / "files"]
    bare, ours, strace = bench.medians(command, traced(*command), [*STRACE, *command])
    return Result((ours - bare) / (strace - bare), f"bare, sdee, strace: {milliseconds(bare, ours, strace)}")


def python_job() -> list[str | Path]:
    """The numpy/scipy/pandas job of tests/test_foreign_jobs.py, in a virtual environment kept in the cache."""
    venv = CACHE / "venv"
    if not (venv / "ready").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "numpy", "scipy", "pandas"], check=True)
        (venv / "ready").touch()
    code = "import numpy, scipy.linalg, scipy.integrate, pandas; a = numpy.random.rand(300, 300); print(scipy.linalg.det(a)); print(pandas.DataFrame(a).describe())"
    return [venv / "bin/python", "-c", code]


def trace_python(bench: Bench) -> Result:
    command = python_job()
    bare, ours = bench.medians(command, traced(*command))
    return Result(ours / bare, f"bare, sdee: {milliseconds(bare, ours)}")


PIPELINE = ["bash", "-c", "for i in $(seq 100); do echo line $i | sed s/line/row/ | cat >/dev/null; done"]


def trace_pipeline(bench: Bench) -> Result:
    bare, ours = bench.medians(PIPELINE, traced(*PIPELINE))
    return Result(ours / bare, f"bare, sdee: {milliseconds(bare, ours)}")


def trace_pipeline_strace(bench: Bench) -> Result:
    ours, strace = bench.medians(traced(*PIPELINE), [*STRACE, *PIPELINE])
    return Result(ours / strace, f"sdee, strace: {milliseconds(ours, strace)}")


def trace_gromacs(bench: Bench) -> Result:
    box = bench.work / "gmx"
    if not box.exists():
        box.mkdir()
        (box / "topol.top").write_text(
            '#include "oplsaa.ff/forcefield.itp"\n#include "oplsaa.ff/spce.itp"\n[ system ]\nwater\n[ molecules ]\n'
        )
        (box / "md.mdp").write_text("integrator = md\nnsteps = 4000\ndt = 0.002\ntcoupl = v-rescale\ntc-grps = System\ntau-t = 0.1\nref-t = 300\ngen-vel = yes\n")
        os.chown(box, USER, USER)
        for name in ("topol.top", "md.mdp"):
            os.chown(box / name, USER, USER)
        for command in (
            ["gmx", "solvate", "-cs", "spc216.gro", "-box", "2.5", "2.5", "2.5", "-o", "box.gro", "-p", "topol.top"],
            ["gmx", "grompp", "-f", "md.mdp", "-c", "box.gro", "-p", "topol.top", "-o", "run.tpr"],
        ):
            bench.run([*command], cwd=box)
    job: list[str | Path] = ["gmx", "mdrun", "-s", box / "run.tpr", "-nt", "2", "-deffnm", box / "out"]
    bare, ours = bench.medians(job, traced(*job))
    return Result(ours / bare, f"bare, sdee: {milliseconds(bare, ours)}")


def tiny(bench: Bench, *, closed: bool = False) -> list[str | Path]:
    """The bundle of /bin/true, as a command."""
    return ["env", f"SDEE_ROOT={'closed' if closed else 'merged'}", bench.bundle("true", ["/bin/true"])]


def hyperfine(bench: Bench, *commands: list[str | Path], runs: int = 200) -> list[float]:
    """Median wall time of very short commands: hyperfine -N has less overhead than this interpreter."""
    out = bench.work / "hyperfine.json"
    words = [" ".join(map(str, c)) for c in commands]
    bench.run(["hyperfine", "-N", "--warmup", "20", "--runs", str(runs), "--export-json", out, *words])
    import json

    return [r["median"] for r in json.loads(out.read_text())["results"]]


def start_bwrap(bench: Bench) -> Result:
    ours, bwrap, bare = hyperfine(bench, tiny(bench), ["env", "A=B", "bwrap", "--dev-bind", "/", "/", "/bin/true"], ["env", "A=B", "/bin/true"])
    return Result(ours / bwrap, f"sdee, bwrap, bare: {milliseconds(ours, bwrap, bare)}")


def start_closed(bench: Bench) -> Result:
    ours, bwrap = hyperfine(bench, tiny(bench, closed=True), ["env", "A=B", "bwrap", "--dev-bind", "/", "/", "/bin/true"])
    return Result(ours / bwrap, f"sdee, bwrap: {milliseconds(ours, bwrap)}")


def start_podman(bench: Bench) -> Result:
    """Rootless podman needs an image: the smallest honest one, /bin/true with its libraries."""
    tar = CACHE / "image.tar"
    files = ["/usr/bin/true", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
    subprocess.run(["tar", "-chf", tar, "--transform", "s,^/,,", *files], check=True, stderr=subprocess.DEVNULL)
    podman = ["podman", "--root", "/var/tmp/sdee-podman", "--cgroup-manager=cgroupfs", "--events-backend=file"]
    subprocess.run([*podman, "import", "-q", str(tar), "sdee-bench"], check=True, stdout=subprocess.DEVNULL)
    ours_bundle = bench.bundle("true", ["/bin/true"])
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(bench.repeat + 1):
        times[0].append(bench.run([SDEE, "exec", ours_bundle]))
        begin = time.perf_counter()
        subprocess.run([*podman, "run", "--rm", "--network=none", "sdee-bench", "/usr/bin/true"], check=True)
        times[1].append(time.perf_counter() - begin)
    ours, theirs = (statistics.median(t[1:]) for t in times)
    return Result(ours / theirs, f"sdee exec, podman run --rm (as root: its fastest): {milliseconds(ours, theirs)}")


def unpack(bench: Bench) -> Result:
    """About 400 MB of shared libraries, into a tmpfs of a private namespace, by both."""
    big = CACHE / "big"
    if not big.exists():
        big.mkdir(parents=True)
        total = 0
        sources = sorted(p for top in ("/usr/lib/x86_64-linux-gnu", CACHE / "venv", "/usr/bin", "/usr/lib") for p in Path(top).rglob("*"))
        for path in sources:
            if path.is_file() and not path.is_symlink() and path.stat().st_size > 50_000 and os.access(path, os.R_OK):
                target = big / f"{total}-{path.name}"
                shutil.copyfile(path, target)
                target.chmod(0o644)
                total += path.stat().st_size
            if total > 400e6:
                break
        subprocess.run(["chmod", "-R", "a+rX", big], check=True)
    bundle = bench.bundle("big", ["/bin/true"], options=("--include", str(big)))
    payload_at = int(subprocess.run([SDEE, "info", "--json", bundle], capture_output=True, text=True, check=True).stdout.split('"launcher_size": ')[1].split(",")[0])
    payload = bench.work / "big.tar.zst"
    with open(bundle, "rb") as source, open(payload, "wb") as target:
        source.seek(payload_at)
        shutil.copyfileobj(source, target)
    script = f"mount -t tmpfs none /mnt && zstd -dcq {payload} | tar -x -C /mnt -f -"
    by_tar: list[str | Path] = ["unshare", "-Urm", "bash", "-c", script]
    ours, theirs = bench.medians(["env", "SDEE_ROOT=closed", bundle], by_tar)
    return Result(ours / theirs, f"sdee (with start and exit), zstd -d | tar x: {milliseconds(ours, theirs)}")


def size(bench: Bench) -> Result:
    """Bundle size of the numpy/scipy/pandas job against care's tar.gz and reprozip's .rpz: the ratio to the smaller."""
    command = python_job()
    ours = bench.bundle("numpy", command).stat().st_size
    theirs: dict[str, int] = {}
    care = bench.work / "job.tar.gz"
    bench.run(["care", "-o", care, *command], check=False, env={"PROOT_NO_SECCOMP": "1"})
    if care.exists():
        theirs["care"] = care.stat().st_size
    reprozip = CACHE / "reprozip"
    if not (reprozip / "bin/reprozip").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", reprozip], check=True)
        subprocess.run([reprozip / "bin/pip", "install", "-q", "reprozip", "setuptools<81"], check=True)
    rpz = bench.work / "job.rpz"
    bench.run([reprozip / "bin/reprozip", "trace", "-d", bench.work / "rpz", "--overwrite", *command], check=False)
    bench.run([reprozip / "bin/reprozip", "pack", "-d", bench.work / "rpz", rpz], check=False)
    if rpz.exists():
        theirs["reprozip"] = rpz.stat().st_size
    minimal = bench.bundle("numpy-minimal", command, options=("--minimal",)).stat().st_size
    words = ", ".join(f"{k} {v / 1e6:.1f} MB" for k, v in theirs.items())
    return Result(ours / min(theirs.values()), f"sdee {ours / 1e6:.1f} MB (--minimal {minimal / 1e6:.1f} MB), {words}")


def stats_inside(bench: Bench) -> Result:
    command: list[str | Path] = [bench.work / "stats", "20000", "/usr"]
    inside = bench.bundle("stats", [bench.work / "stats", "10", "/usr"])
    many = "200000"
    bare, ours, bare_tiny, ours_tiny = bench.medians(
        [bench.work / "stats", many, "/usr"],
        ["env", "SDEE_ROOT=merged", inside, many, "/usr"],
        [bench.work / "stats", "1", "/usr"],
        ["env", "SDEE_ROOT=merged", inside, "1", "/usr"],
    )
    del command
    return Result((ours - ours_tiny) / (bare - bare_tiny), f"200,000 stats, start taken off: bare, sdee: {milliseconds(bare - bare_tiny, ours - ours_tiny)}")


ROWS = (
    Row("opens", "trace, 20,000 opens: overhead", "strace --seccomp-bpf -f -e trace=file", 0.15, trace_opens),
    Row("python", "trace, numpy/scipy/pandas script", "bare", 1.25, trace_python),
    Row("pipeline", "trace, bash pipeline of 300 processes", "bare", 2.0, trace_pipeline),
    Row("pipeline-strace", "trace, bash pipeline of 300 processes", "strace --seccomp-bpf", 0.5, trace_pipeline_strace),
    Row("gromacs", "trace, gmx mdrun", "bare", 1.05, trace_gromacs),
    Row("start", "./bundle.sdee of /bin/true, merged root", "bwrap --dev-bind / / /bin/true", 1.3, start_bwrap),
    Row("start-closed", "./bundle.sdee of /bin/true, closed root", "bwrap --dev-bind / / /bin/true", 1.3, start_closed),
    Row("exec", "sdee exec of /bin/true", "podman run --rm", 0.3, start_podman),
    Row("unpack", "unpack of a 400 MB closure into tmpfs", "zstd -d | tar x into tmpfs", 0.7, unpack),
    Row("size", "bundle size, numpy/scipy/pandas job", "smaller of care's tar.gz and reprozip's .rpz", 1.0, size),
    Row("stats", "20,000 stats inside, merged root", "bare", 1.1, stats_inside),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    bench = Bench(options.repeat)
    lines = ["| what | against | reach | found | | from |", "|---|---|---|---|---|---|"]
    for row in ROWS:
        if options.only and row.name not in options.only:
            continue
        try:
            result = row.measure(bench)
            verdict = "reached" if result.ratio <= row.reach else "**not reached**"
            line = f"| {row.what} | {row.against} | ≤ {row.reach} | {result.ratio:.2f} | {verdict} | {result.detail} |"
        except (RuntimeError, OSError, subprocess.CalledProcessError, ValueError) as error:
            line = f"| {row.what} | {row.against} | ≤ {row.reach} | – | not measured | {str(error).splitlines()[0]} |"
        print(line, flush=True)
        lines.append(line)
    if options.write:
        path = ROOT / "docs" / "performance.md"
        stamp = f"Linux {platform.release().split('-')[0]}, {os.cpu_count()} CPUs, median of {options.repeat} alternating runs."
        table = "\n".join([stamp, "", *lines])
        text = re.sub(r"(<!-- table -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table + m[2], path.read_text(), flags=re.S)
        path.write_text(text)


if __name__ == "__main__":
    main()
