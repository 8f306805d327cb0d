"""The jobs of fixtures/jobs: how each is built, run, and what of its output is compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foreign.roots import CACHE, USER, cached

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = os.path.normpath(os.path.join(os.path.abspath(__file__), "..", "..", "..", "fixtures", "jobs"))
VENV = os.path.join(CACHE, "venv")
SDEE = [sys.executable, "-m", "sdee"]
# a login's environment; nothing of the one that the tests run in
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/home/tester",
    "USER": "tester",
    "LOGNAME": "tester",
    "LANG": "C.UTF-8",
}


def same(content: bytes) -> bytes:
    """Compare all of it."""
    return content


def without_times(log: bytes) -> bytes:
    """GROMACS' log: the energies of each step, without what names hosts, times, threads and paths."""
    return b"\n".join(re.findall(rb"^ +Step +Time\n.*\n|^ {3}Energies .*\n(?:.*\S.*\n)+", log, re.MULTILINE))


@dataclass(frozen=True)
class Job:
    """A program of fixtures/jobs/NAME or made of `files`: commands that build it, the job, the files that it writes.

    `outputs` says for each file what of it is compared. In commands and variables "{work}" is the job's working
    directory, "{home}" a home that nodes lack. `leaves`: what the program itself leaves in live directories, with sdee
    or without.
    """

    name: str
    command: tuple[str, ...]
    outputs: dict[str, Callable[[bytes], bytes]]
    build: tuple[tuple[str, ...], ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    setup: Callable[[], None] | None = None
    leaves: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


def make_venv() -> None:
    """Make the virtual environment of job "venv" with the system's Python, from the package index, once."""
    with open(os.path.join(FIXTURES, "venv", "requirements.txt"), encoding="utf-8") as file:
        requirements = file.read()
    with cached("venv", f"1 {sys.platform}\n{requirements}") as building:
        if not building:
            return
        subprocess.run(["/usr/bin/python3", "-m", "venv", building], check=True)
        pip = [os.path.join(building, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", os.path.join(FIXTURES, "venv", "requirements.txt")], check=True)


JOBS = {
    job.name: job
    for job in (
        Job(
            "plugin",
            ("./app", "words.txt", "converted.txt"),
            {"converted.txt": same},
            build=(("./build.sh",),),
            env={"LOCPATH": "{work}/locales"},
        ),
        Job("pipeline", ("./pipeline.sh",), {"summary.txt": same, "joined.tsv": same}),
        Job(
            "venv",
            (f"{VENV}/bin/python", "solve.py"),
            {"orbit.csv": same, "monthly.csv": same},
            setup=make_venv,
        ),
        Job("system_python", ("./report.py",), {"report.json": same, "steps.db": same}),
        Job("perl", ("./analyse.pl", "text.txt"), {"count.json": same, "count.storable": same}),
        Job(
            "gromacs",
            ("./run.sh",),
            {"energies.txt": same, "md.gro": same, "water.gro": same, "md.xtc": same, "md.log": without_times},
        ),
        Job("compiler", ("./build.sh",), {"integrate": same, "libquadrature.a": same, "result.txt": same}),
        Job(
            "java",
            ("java", "-cp", "classes", "Stations", "readings.csv"),
            {"means.txt": same},
            build=(("javac", "-d", "classes", "Stations.java"),),
            leaves=("/tmp/hsperfdata_tester",),
        ),
    )
}


# ---- running them ----


@dataclass(frozen=True)
class Run:
    """What a run of a job gave: status as a shell gives it, both streams, and of its files what is compared."""

    status: int
    stdout: bytes
    stderr: str
    outputs: dict[str, bytes]

    def differences(self, other: Run) -> list[str]:
        """Return a sentence for each thing in which `other` differs."""
        found = []
        if self.status != other.status:
            found.append(f"status {other.status} instead of {self.status}")
        if self.stderr != other.stderr:
            found.append(f"standard error {other.stderr!r} instead of {self.stderr!r}")
        if self.stdout != other.stdout:
            found.append(f"standard output {other.stdout!r} instead of {self.stdout!r}")
        for name, content in self.outputs.items():
            there = other.outputs.get(name)
            if there is None:
                found.append(f"{name} is not there")
            elif there != content:
                found.append(f"{name} differs: {len(there)} bytes instead of {len(content)}")
        return found


class Workshop:
    """A job's place: the same working directory, filled anew for each run, and the bundle made of it.

    DIR/fresh and DIR/fresh-home hold the job as built, DIR/work is where it runs, DIR/home is its home, DIR/made holds
    trace and bundle.
    """

    def __init__(self, job: Job, directory: str) -> None:
        self.job, self.directory = job, directory
        self.work = os.path.join(directory, "work")
        self.bundle = os.path.join(directory, "made", "job.sdee")
        self.home = os.path.join(directory, "home")
        self._fresh, self._fresh_home = (os.path.join(directory, name) for name in ("fresh", "fresh-home"))
        if job.setup:
            job.setup()
        for made in (os.path.dirname(self.bundle), self.home):
            os.makedirs(made)
        if job.files:
            self._write_files()
        else:
            shutil.copytree(os.path.join(FIXTURES, job.name), self.work)
        self._give_away(directory)
        for command in job.build:
            done = as_user(self.words(command), cwd=self.work, env=self.env())
            if done.returncode:
                raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        os.rename(self.work, self._fresh)
        os.rename(self.home, self._fresh_home)

    def _write_files(self) -> None:
        for name, text in self.job.files.items():
            path = os.path.join(self.work, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.removeprefix("\n"))

    def words(self, command: tuple[str, ...]) -> list[str]:
        """Return a command with its places filled in."""
        return [word.replace("{work}", self.work).replace("{home}", self.home) for word in command]

    def env(self) -> dict[str, str]:
        """Return the job's environment."""
        return {**ENVIRONMENT, **dict(zip(self.job.env, self.words(tuple(self.job.env.values())), strict=True))}

    def renew(self) -> None:
        """Make the working directory and the home as they were before the job ran, hard links and all."""
        for fresh, place in ((self._fresh, self.work), (self._fresh_home, self.home)):
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run(["cp", "-a", fresh, place], check=True)

    def run(self, *before: str, timeout: float = 300) -> Run:
        """Run the job here, bare or through the command `before`, in a renewed working directory."""
        self.renew()
        done = as_user([*before, *self.words(self.job.command)], cwd=self.work, env=self.env(), timeout=timeout)
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return self.result(status, done.stdout, done.stderr.decode(errors="replace"))

    def trace_and_bundle(self, timeout: float = 300) -> Run:
        """Trace the job and make its bundle; return what the job gave under trace.

        Raises subprocess.CalledProcessError when sdee fails.
        """
        trace = os.path.join(self.directory, "made", "job.trace")
        run = self.run(*SDEE, "trace", "-q", "-o", trace, "--", timeout=timeout)
        done = as_user([*SDEE, "bundle", "-q", trace, "-o", self.bundle], cwd=self.work)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr.decode())
        return run

    def result(self, status: int, stdout: bytes, stderr: str) -> Run:
        """Return a run's outcome together with the files that lie in the working directory now."""
        outputs = {}
        for name, compared in self.job.outputs.items():
            path = os.path.join(self.work, name)
            if os.path.exists(path):
                with open(path, "rb") as file:
                    outputs[name] = compared(file.read())
        return Run(status, stdout, stderr, outputs)

    @staticmethod
    def _give_away(directory: str) -> None:
        subprocess.run(["chown", "-R", f"{USER}:{USER}", directory], check=True)


def as_user(
    command: list[str], cwd: str, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[bytes]:
    """Run a command here as the ordinary user, with a login's environment unless another is given."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=env or ENVIRONMENT,
        user=USER,
        group=USER,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
