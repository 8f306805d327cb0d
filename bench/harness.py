"""What the rows of the benchmark share: an ordinary user's work directory, and fair timing of commands."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Sequence[str | Path]

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("SDEE_TEST_CACHE", "/var/tmp/sdee-test-cache")) / "bench"
SDEE = Path(sys.executable).parent / "sdee"
USER = 1001  # measured as an ordinary user: what an HPC user is


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
    """A work directory of the ordinary user, and the programs and bundles that the rows share."""

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

    def run(
        self, command: Command, *, cwd: Path | None = None, check: bool = True, env: dict[str, str] | None = None
    ) -> float:
        """Run a command as the ordinary user, its output thrown away; return its wall time in seconds."""
        return self.run_measured(command, cwd=cwd, check=check, env=env)[0]

    def run_measured(
        self, command: Command, *, cwd: Path | None = None, check: bool = True, env: dict[str, str] | None = None
    ) -> tuple[float, float]:
        """Do the same; return wall and processor time in seconds, its children's too: the latter tells under load."""
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.getuid() == 0 else []
        path = f"{SDEE.parent}:/usr/bin:/bin:/usr/sbin:/sbin"
        environment = {"PATH": path, "HOME": str(self.work), "LANG": "C.UTF-8", **(env or {})}
        begin, used = time.perf_counter(), os.times()
        done = subprocess.run(
            [*as_user, *map(str, command)],
            cwd=cwd or self.work,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        wall, now = time.perf_counter() - begin, os.times()
        if check and done.returncode != 0:
            words = " ".join(map(str, command))
            raise RuntimeError(f"{words}: exit {done.returncode}: {done.stderr.decode()[-2000:]}")
        return wall, now.children_user + now.children_system - used.children_user - used.children_system

    def medians(self, *commands: Command) -> list[float]:
        """Median wall time of each command in seconds, run in turn `repeat` times after one warm-up each."""
        times: list[list[float]] = [[] for _ in commands]
        for turn in range(self.repeat + 1):
            for command, taken in zip(commands, times, strict=True):
                wall = self.run(command)
                if turn:
                    taken.append(wall)
        return [statistics.median(t) for t in times]

    def short_medians(self, *commands: Command, runs: int = 300) -> list[float]:
        """The same for commands of a few milliseconds: hyperfine -N costs less than this interpreter."""
        out = self.work / "hyperfine.json"
        words = [" ".join(map(str, command)) for command in commands]
        self.run(["hyperfine", "-N", "--warmup", "20", "--runs", str(runs), "--export-json", out, *words])
        return [result["median"] for result in json.loads(out.read_text())["results"]]

    def bundle(self, name: str, command: Command, *options: str) -> Path:
        """Trace and bundle a command once; return the bundle."""
        out = self.work / f"{name}.sdee"
        if not out.exists():
            self.run([SDEE, "trace", "-o", f"{name}.trace", "--", *command])
            self.run([SDEE, "bundle", f"{name}.trace", "-o", out, *options])
        return out


def milliseconds(*seconds: float) -> str:
    """Times as words."""
    return ", ".join(f"{1000 * s:.0f} ms" if s >= 0.01 else f"{1000 * s:.2f} ms" for s in seconds)
