"""Fuzz targets for some seconds, as many at once as there are cores, and say what was found: `make fuzz`, or by hand

    python tests/fuzz/run.py [--seconds N] [--jobs N] [--engine libfuzzer|afl] [--log FILE] [TARGET...]

Corpora grow in build/corpus-ENGINE, findings lie in build/findings, both below this directory. Targets in C are in
seeds.py, those in Python in python_targets.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "build")
sys.path.insert(0, HERE)
import python_targets
import seeds

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=1:symbolize=0",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1",
}
MEMORY = 1024  # MB, of a process
LAST = ["nice", "-n", "19"]
CORES = len(os.sched_getaffinity(0))
PATIENCE = 60  # s, for one input: at the lowest priority on a busy machine, 10 were not enough for one of 0.05 s


@dataclass
class Result:
    """What one target's run gave. `edges` None: the engine does not count them."""

    target: str
    engine: str
    executions: int
    seconds: float
    edges: int | None
    findings: list[str]


def what_is_missing(engine: str) -> str:
    """Return why an engine's harnesses cannot be built here, or nothing."""
    with tempfile.TemporaryDirectory() as place:
        source = os.path.join(place, "x.c")
        with open(source, "w", encoding="ascii") as file:
            file.write("#include <zstd.h>\nint LLVMFuzzerTestOneInput(void) { return ZSTD_versionNumber() == 0; }\n")
        done = subprocess.run(
            ["make", "-s", "-C", HERE, f"ENGINE={engine}", f"SOURCE={source}", "probe"],
            capture_output=True,
            text=True,
            check=False,
        )
    return "" if done.returncode == 0 else done.stderr.strip() or f"make ended with {done.returncode}"


def build(engine: str, targets: list[str]) -> None:
    """Build harnesses. Raises CalledProcessError."""
    wanted = [os.path.join("build", engine, target) for target in targets]
    if wanted:
        subprocess.run(["make", "-s", "-C", HERE, f"-j{CORES}", f"ENGINE={engine}", *wanted], check=True)


def places(target: str, engine: str) -> tuple[str, str, str]:
    """Return the directories of seeds, corpus and findings."""
    found = tuple(os.path.join(BUILD, kind, target) for kind in ("seeds", f"corpus-{engine}", "findings"))
    shutil.rmtree(found[0], ignore_errors=True)
    for path in found:
        os.makedirs(path, exist_ok=True)
    return found[0], found[1], found[2]


def files(directory: str) -> set[str]:
    """Return the paths of a directory's files."""
    return {os.path.join(directory, name) for name in os.listdir(directory)}


def last_number(pattern: str, text: str) -> int:
    """Return the last number that a pattern finds, or 0."""
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def libfuzzer(target: str, seconds: int) -> Result:
    """Run libFuzzer's harness, or atheris' for a target in Python."""
    seed, corpus, findings = places(target, "libfuzzer")
    options = [
        f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY}", f"-malloc_limit_mb={MEMORY // 2}",
        f"-timeout={PATIENCE}", f"-report_slow_units={PATIENCE}",
        "-detect_leaks=0", "-print_final_stats=1", f"-artifact_prefix={findings}/",
    ]  # fmt: skip
    if target in seeds.TARGETS:
        seeds.write(target, seed)
        command = [os.path.join(BUILD, "libfuzzer", target), "-close_fd_mask=1"]
    else:
        python_targets.write_seeds(target, seed)
        command = [sys.executable, os.path.join(HERE, "python_targets.py"), target]
    before, start = files(findings), time.monotonic()
    done = subprocess.run(
        [*LAST, *command, *options, corpus, seed],
        env=os.environ | SANITIZERS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    found = sorted(files(findings) - before)
    if done.returncode != 0 and not found:
        found = [os.path.join(findings, "ended-by-itself.log")]
    if found:
        with open(os.path.join(findings, "last.log"), "w", encoding="utf-8") as file:
            file.write(said)
        print(said[-3000:], file=sys.stderr)
    runs = last_number(r"stat::number_of_executed_units: (\d+)", said) or last_number(r"#(\d+)\s", said)
    spent = time.monotonic() - start
    return Result(target, "libfuzzer", runs, spent, last_number(r" cov: (\d+)", said), found)


def afl(target: str, seconds: int) -> Result:
    """Run AFL++'s harness."""
    seed, corpus, findings = places(target, "afl")
    seeds.write(target, seed)
    shutil.rmtree(corpus)
    harness = os.path.join(BUILD, "afl", target)
    quiet = {
        "AFL_SKIP_CPUFREQ": "1",
        "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
        "AFL_NO_UI": "1",
        "AFL_NO_AFFINITY": "1",
    }
    done = subprocess.run(
        [
            *LAST,
            "afl-fuzz",
            "-i",
            seed,
            "-o",
            corpus,
            "-V",
            str(seconds),
            "-t",
            str(PATIENCE * 1000),
            "-m",
            "none",
            "--",
            harness,
        ],
        env=os.environ | SANITIZERS | quiet,
        capture_output=True,
        check=False,
    )
    try:
        with open(os.path.join(corpus, "default", "fuzzer_stats"), encoding="utf-8") as file:
            stats = dict(re.split(r"\s*:\s*", line.strip(), maxsplit=1) for line in file if ":" in line)
    except OSError:
        sys.exit(f"afl-fuzz did not start:\n{done.stdout.decode(errors='replace')[-2000:]}")
    found = [
        shutil.copy(path, os.path.join(findings, f"afl-{kind}-{os.path.basename(path)[:9].replace(':', '-')}"))
        for kind in ("crashes", "hangs")
        for path in sorted(files(os.path.join(corpus, "default", kind)))
        if "README" not in path
    ]
    spent = float(stats.get("run_time", 0))
    return Result(target, "afl", int(stats["execs_done"]), spent, int(stats.get("edges_found", 0)), found)


def report(result: Result, log: str | None) -> None:
    """Print one target's line, and how to repeat what was found."""
    edges = "" if result.edges is None else f"{result.edges:6d} edges"
    print(
        f"{result.target:12s} {result.engine:9s} {result.executions:10d} inputs {result.seconds:6.0f} s {edges}"
        f"  {len(result.findings)} found",
        flush=True,
    )
    for path in result.findings:
        repeat = (
            f"make -s -C tests/fuzz ENGINE=replay && tests/fuzz/build/replay/{result.target} {os.path.relpath(path)}"
            if result.target in seeds.TARGETS
            else f"python tests/fuzz/python_targets.py {result.target} {os.path.relpath(path)}"
        )
        print(f"  found: {os.path.relpath(path)}\n  again: {repeat}", flush=True)
    if log is not None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def possible(engine: str, targets: list[str]) -> list[str]:
    """Return the targets that can be fuzzed on this machine, and say which cannot."""
    in_c = [target for target in targets if target in seeds.TARGETS]
    why = what_is_missing(engine) if in_c else ""
    if not why:
        return targets
    print(
        f"not fuzzed here: {' '.join(in_c)}: {engine}'s harnesses cannot be built:\n{why}", file=sys.stderr, flush=True
    )
    return [target for target in targets if target not in in_c]


def main() -> int:
    """Run the targets. 1 when anything was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=CORES, help="targets at once")
    parser.add_argument("--engine", choices=("libfuzzer", "afl"), default="libfuzzer")
    parser.add_argument("--log", help="append results as lines of JSON")
    parser.add_argument(
        "--where-possible", action="store_true", help="leave out, and say, what this machine cannot fuzz"
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_args()
    run = libfuzzer if arguments.engine == "libfuzzer" else afl
    every = [*seeds.TARGETS, *(python_targets.TARGETS if arguments.engine == "libfuzzer" else ())]
    unknown = set(arguments.targets) - set(every)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    targets = arguments.targets or every
    if arguments.where_possible:
        targets = possible(arguments.engine, targets)
    build(arguments.engine, [target for target in targets if target in seeds.TARGETS])
    found = 0
    with ThreadPoolExecutor(max(arguments.jobs, 1)) as pool:
        for ended in as_completed([pool.submit(run, target, arguments.seconds) for target in targets]):
            report(ended.result(), arguments.log)
            found += len(ended.result().findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
