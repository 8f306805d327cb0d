"""The rows of the benchmark: each function measures one promise of the project against a peer."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import CACHE, SDEE, USER, Bench, Result, Row, milliseconds

if TYPE_CHECKING:
    from harness import Command

STRACE = ["strace", "--seccomp-bpf", "-f", "-e", "trace=file", "-o", "/dev/null"]
# `env` in front of both sides where ours needs a variable, so that its own start cancels out
BWRAP = ["env", "A=B", "bwrap", "--dev-bind", "/", "/", "/bin/true"]
PIPELINE = ["bash", "-c", "for i in $(seq 100); do echo line $i | sed s/line/row/ | cat >/dev/null; done"]
PYTHON = """
import numpy, scipy.linalg, scipy.integrate, pandas
a = numpy.random.default_rng(1).random((300, 300))
print(scipy.linalg.det(a), pandas.DataFrame(a).describe())
"""
WATER = """#include "oplsaa.ff/forcefield.itp"
#include "oplsaa.ff/spce.itp"
[ system ]
water
[ molecules ]
"""
DYNAMICS = """integrator = md
nsteps = 4000
dt = 0.002
tcoupl = v-rescale
tc-grps = System
tau-t = 0.1
ref-t = 300
gen-vel = yes
"""


def traced(command: Command) -> Command:
    """The command under `sdee trace`."""
    return [SDEE, "trace", "-q", "-o", "bench.trace", "--", *command]


def python_job() -> Command:
    """A numpy/scipy/pandas script in a virtual environment that stays in the cache."""
    venv = CACHE / "venv"
    if not (venv / "ready").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "numpy", "scipy", "pandas"], check=True)
        (venv / "ready").touch()
    return [venv / "bin/python", "-c", PYTHON]


def trace_opens(bench: Bench) -> Result:
    """Overhead on a program that does nothing but open files."""
    command: Command = [bench.work / "opens", "20000", bench.work / "files"]
    bare, ours, strace = bench.medians(command, traced(command), [*STRACE, *command])
    return Result((ours - bare) / (strace - bare), f"bare, sdee, strace: {milliseconds(bare, ours, strace)}")


def trace_python(bench: Bench) -> Result:
    """A usual scientific script."""
    bare, ours = bench.medians(python_job(), traced(python_job()))
    return Result(ours / bare, f"bare, sdee: {milliseconds(bare, ours)}")


def trace_pipeline(bench: Bench) -> Result:
    """Many short processes."""
    bare, ours = bench.medians(PIPELINE, traced(PIPELINE))
    return Result(ours / bare, f"bare, sdee: {milliseconds(bare, ours)}")


def trace_pipeline_strace(bench: Bench) -> Result:
    """Many short processes, against the peer."""
    ours, strace = bench.medians(traced(PIPELINE), [*STRACE, *PIPELINE])
    return Result(ours / strace, f"sdee, strace: {milliseconds(ours, strace)}")


def trace_gromacs(bench: Bench) -> Result:
    """A program that computes."""
    box = bench.work / "gmx"
    if not box.exists():
        box.mkdir()
        (box / "topol.top").write_text(WATER)
        (box / "md.mdp").write_text(DYNAMICS)
        subprocess.run(["chown", "-R", str(USER), box], check=True)
        size = ["2.5", "2.5", "2.5"]
        bench.run(["gmx", "solvate", "-cs", "spc216", "-box", *size, "-o", "box.gro", "-p", "topol.top"], cwd=box)
        bench.run(["gmx", "grompp", "-f", "md.mdp", "-c", "box.gro", "-p", "topol.top", "-o", "run.tpr"], cwd=box)
    job: Command = ["gmx", "mdrun", "-s", box / "run.tpr", "-nt", "2", "-deffnm", box / "out"]
    bare, ours = bench.medians(job, traced(job))
    return Result(ours / bare, f"bare, sdee: {milliseconds(bare, ours)}")


def start_merged(bench: Bench) -> Result:
    """Start and end of a bundle of /bin/true."""
    ours, bwrap, bare = bench.short_medians(
        ["env", "SDEE_ROOT=merged", bench.bundle("true", ["/bin/true"])], BWRAP, ["env", "A=B", "/bin/true"]
    )
    return Result(ours / bwrap, f"sdee, bwrap, bare: {milliseconds(ours, bwrap, bare)}")


def start_closed(bench: Bench) -> Result:
    """The same in a closed root."""
    ours, bwrap = bench.short_medians(["env", "SDEE_ROOT=closed", bench.bundle("true", ["/bin/true"])], BWRAP)
    return Result(ours / bwrap, f"sdee, bwrap: {milliseconds(ours, bwrap)}")


def start_podman(bench: Bench) -> Result:
    """Podman needs an image: the smallest honest one is /bin/true with its libraries. Run as root: its fastest."""
    image = CACHE / "image.tar"
    files = ["/usr/bin/true", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
    subprocess.run(["tar", "-chPf", image, "--transform", "s,^/,,", *files], check=True)
    podman: list[str | Path] = [
        "podman",
        "--runtime=runc",  # crun refuses machines with both versions of cgroups
        "--root",
        CACHE / "podman",
        "--cgroup-manager=cgroupfs",
        "--events-backend=file",
    ]
    subprocess.run([*podman, "import", "-q", image, "sdee-bench"], check=True, capture_output=True)
    bundle = bench.bundle("true", ["/bin/true"])
    ours, theirs = [], []
    for _ in range(bench.repeat + 1):
        ours.append(bench.run([SDEE, "exec", bundle]))
        begin = time.perf_counter()
        subprocess.run(
            [
                *podman,
                "run",
                "--rm",
                "--network=none",
                "--ulimit=nofile=1024:1024",
                "--ulimit=nproc=1024:1024",
                "sdee-bench",
                "/usr/bin/true",
            ],
            check=True,
        )
        theirs.append(time.perf_counter() - begin)
    mine, peer = statistics.median(ours[1:]), statistics.median(theirs[1:])
    return Result(mine / peer, f"sdee exec, podman run --rm: {milliseconds(mine, peer)}")


def big_directory() -> Path:
    """About 400 MB of programs and libraries, copied once."""
    big = CACHE / "big"
    if big.exists():
        return big
    building = CACHE / "big.part"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    total = number = 0
    for top in (CACHE / "venv", Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/bin"), Path("/usr/lib")):
        for path in sorted(top.rglob("*")):
            if total < 400e6 and path.is_file() and not path.is_symlink() and path.stat().st_size > 50_000:
                shutil.copyfile(path, building / f"{number}-{path.name}")
                total += path.stat().st_size
                number += 1
    subprocess.run(["chmod", "-R", "a+rX", building], check=True)
    return building.rename(big)


def unpack(bench: Bench) -> Result:
    """About 400 MB into a tmpfs of a private namespace, by both; ours with start and end."""
    bundle = bench.bundle("big", ["/bin/true"], "--include", f"{big_directory()}/**")
    payload = bench.work / "big.tar.zst"
    with open(bundle, "rb") as source, open(payload, "wb") as target:
        source.seek(launcher_size(bundle))
        shutil.copyfileobj(source, target)
    script = f"mount -t tmpfs none /mnt && zstd -dcq {payload} | tar -x -C /mnt -f -"
    ours, theirs = bench.medians(["env", "SDEE_ROOT=closed", bundle], ["unshare", "-Urm", "bash", "-c", script])
    return Result(ours / theirs, f"sdee, zstd -d \\| tar x: {milliseconds(ours, theirs)}")


def launcher_size(bundle: Path) -> int:
    """Offset of a bundle's payload, from its footer (docs/bundle-format.md)."""
    with open(bundle, "rb") as file:
        file.seek(-104, os.SEEK_END)
        return int.from_bytes(file.read(8), "little")


def size(bench: Bench) -> Result:
    """Bundle size of the numpy/scipy/pandas job: the ratio to the smaller of care's tar.gz and reprozip's .rpz."""
    job = python_job()
    ours = bench.bundle("numpy", job).stat().st_size
    minimal = bench.bundle("numpy-minimal", job, "--minimal").stat().st_size
    care, rpz = bench.work / "job.tar.gz", bench.work / "job.rpz"
    # care's default mode crashes on this kernel; it hides $HOME unless told otherwise
    bench.run(["care", "-o", care, *job], env={"PROOT_NO_SECCOMP": "1", "HOME": "/nonexistent"})
    reprozip = CACHE / "reprozip"
    if not (reprozip / "ready").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", reprozip], check=True)
        subprocess.run([reprozip / "bin/pip", "install", "-q", "reprozip", "setuptools<81"], check=True)
        (reprozip / "ready").touch()
    bench.run([reprozip / "bin/reprozip", "trace", "-d", bench.work / "rpz", "--overwrite", *job])
    bench.run([reprozip / "bin/reprozip", "pack", "-d", bench.work / "rpz", rpz])
    theirs = {"care": care.stat().st_size, "reprozip": rpz.stat().st_size}
    words = ", ".join(f"{name} {number / 1e6:.1f} MB" for name, number in theirs.items())
    return Result(ours / min(theirs.values()), f"sdee {ours / 1e6:.1f} MB (--minimal {minimal / 1e6:.1f} MB), {words}")


def script_job(bench: Bench) -> tuple[Path, Command, Path]:
    """The numpy/scipy/pandas job as a script, traced: the script, the command that bundles it, and the bundle."""
    script, out = bench.work / "job.py", bench.work / "again.sdee"
    script.write_text(PYTHON)
    script.chmod(0o644)
    bench.run([SDEE, "trace", "-q", "-o", "again.trace", "--", python_job()[0], script])
    return script, [SDEE, "bundle", "-q", "again.trace", "-o", out], out


def packed_by_tar(bench: Bench, out: Path) -> Command:
    """The command that packs by tar and zstd what a bundle holds, at the same level and on all cores."""
    files = bench.work / f"{out.stem}-files"
    shutil.rmtree(files, ignore_errors=True)
    bench.run([SDEE, "extract", "-C", files, out])
    packed = bench.work / f"{out.stem}.tar.zst"
    return ["bash", "-o", "pipefail", "-c", f"tar -C {files} -cf - . | zstd -7 -T0 -qf -o {packed}"]


def compared(what: str, peer: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> Result:
    """The ratio of processor times, which a busy machine leaves as it is; the words have that of wall times, too."""
    (wall, used), (their_wall, their_used) = (
        [statistics.median(values) for values in zip(*runs[1:], strict=True)] for runs in (ours, theirs)
    )
    load = os.getloadavg()[0]
    words = f"processor: {what} {milliseconds(used)}, {peer} {milliseconds(their_used)}"
    return Result(used / their_used, f"{words}; wall {wall / their_wall:.2f}, load {load:.0f}")


def first_bundle(bench: Bench) -> Result:
    """The first bundle against packing the same files."""
    script, bundle, out = script_job(bench)
    bench.run(bundle)
    pack = packed_by_tar(bench, out)
    ours, theirs = [], []
    for _ in range(bench.repeat + 1):
        out.unlink()
        script.write_text(PYTHON)
        ours.append(bench.run_measured([*bundle, "--no-cache"]))
        theirs.append(bench.run_measured(pack))
    return compared("sdee", "tar \\| zstd", ours, theirs)


def rebundle(bench: Bench) -> Result:
    """Bundle, change the script, bundle again over it: whole commands, with working out the closure."""
    script, bundle, out = script_job(bench)
    first, again = [], []
    time.sleep(3)  # what was installed just now counts as changed (packer/contents.py)
    for turn in range(bench.repeat + 1):
        out.unlink(missing_ok=True)
        script.write_text(PYTHON)
        first.append(bench.run_measured(bundle))
        script.write_text(PYTHON + "# changed\n" * (turn + 1))
        again.append(bench.run_measured(bundle))
    return compared("again", "first", again, first)


def rebundle_tar(bench: Bench) -> Result:
    """The same against packing the same files again, at the same level on all cores; the peer knows what to pack."""
    script, bundle, out = script_job(bench)
    bench.run(bundle)
    pack = packed_by_tar(bench, out)
    ours, theirs = [], []
    for turn in range(bench.repeat + 1):
        script.write_text(PYTHON + "# changed\n" * (turn + 1))
        ours.append(bench.run_measured(bundle))
        theirs.append(bench.run_measured(pack))
    return compared("sdee", "tar \\| zstd", ours, theirs)


def many_files(bench: Bench, number: int) -> Path:
    """A trace of a program that opens so many small files of the user's."""
    top, trace = bench.work / f"many{number}", bench.work / f"many{number}.trace"
    if not trace.exists():
        for at in range(number):
            directory = top / "lib" / f"part{at // 5000}" / f"dir{at // 100}"
            if at % 100 == 0:
                directory.mkdir(parents=True)
            words = " ".join(f"word{at * n % 977}" for n in range(at % 400))
            (directory / f"file{at}.{('txt', 'py', 'dat', 'json')[at % 4]}").write_text(f"{words}\n{at}\n")
        subprocess.run(["chown", "-R", str(USER), top], check=True)
        bench.run([SDEE, "trace", "-q", "-o", trace, "--", "find", top, "-type", "f", "-exec", "cat", "{}", "+"])
    return trace


def analysis(bench: Bench) -> Result:
    """Milliseconds of processor for each further file, from 10,000 to 100,000: what is done once is taken off."""
    few, many = (many_files(bench, number) for number in (10_000, 100_000))
    pack = ["bash", "-c", f"tar -C {bench.work}/many100000 -cf - . | zstd -7 -T0 -qf -o {bench.work}/many.zst"]
    times: list[list[float]] = [[], [], []]
    plan = [SDEE, "bundle", "-q", "--no-cache", "--dry-run", "--with-data"]
    for _ in range(bench.repeat + 1):
        for taken, command in zip(times, ([*plan, few], [*plan, many], pack), strict=True):
            taken.append(bench.run_measured(command)[1])
    one, other, peer = (statistics.median(taken[1:]) for taken in times)
    words = (
        f"processor: 10,000 and 100,000 files {milliseconds(one, other)}; tar \\| zstd of these {milliseconds(peer)}"
    )
    return Result((other - one) / 90_000 * 1000, f"{words}; load {os.getloadavg()[0]:.0f}")


def stats_inside(bench: Bench) -> Result:
    """Walk and lstat /usr in a merged root; ten times the promised number, so that start and noise do not show."""
    stats: list[str | Path] = [bench.work / "stats"]
    bundle = bench.bundle("stats", [*stats, "10", "/usr"])
    inside: list[str | Path] = ["env", "SDEE_ROOT=merged", bundle]
    many, one = ["200000", "/usr"], ["1", "/usr"]
    bare, ours, bare_start, start = bench.medians([*stats, *many], [*inside, *many], [*stats, *one], [*inside, *one])
    mine, peer = ours - start, bare - bare_start
    return Result(mine / peer, f"200,000, start taken off: bare, sdee: {milliseconds(peer, mine)}")


ROWS = (
    Row("opens", "trace, 20,000 opens: overhead", "strace --seccomp-bpf -f -e trace=file", 0.15, trace_opens),
    Row("python", "trace, numpy/scipy/pandas script", "bare", 1.25, trace_python),
    Row("pipeline", "trace, bash pipeline of 300 processes", "bare", 2.0, trace_pipeline),
    Row("pipeline-strace", "the same", "strace --seccomp-bpf -f -e trace=file", 0.5, trace_pipeline_strace),
    Row("gromacs", "trace, gmx mdrun of some seconds", "bare", 1.05, trace_gromacs),
    Row("start", "./bundle.sdee of /bin/true, merged root", "bwrap --dev-bind / / /bin/true", 1.3, start_merged),
    Row("start-closed", "./bundle.sdee of /bin/true, closed root", "the same", 1.3, start_closed),
    Row("exec", "sdee exec of /bin/true", "podman run --rm", 0.3, start_podman),
    Row("unpack", "unpack of a 400 MB closure into tmpfs", "zstd -d, tar x into tmpfs", 0.7, unpack),
    Row("size", "bundle size, numpy/scipy/pandas job", "smaller of care's and reprozip's", 1.0, size),
    Row("analysis", "sdee bundle --dry-run: ms of processor for each further small file", "-", 0.06, analysis),
    Row("bundle", "sdee bundle, numpy/scipy/pandas job", "tar, zstd -7 -T0 of the same files", 0.8, first_bundle),
    Row("rebundle", "sdee bundle again, a script changed; same job", "sdee bundle from scratch", 0.15, rebundle),
    Row("rebundle-tar", "the same", "tar, zstd -7 -T0 of the same files", 1.0, rebundle_tar),
    Row("stats", "20,000 stats inside, merged root", "bare", 1.1, stats_inside),
)
