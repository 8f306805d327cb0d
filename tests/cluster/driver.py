"""A real Slurm cluster on one machine, from outside: start it, run things on it, stop it. Needs root.

Its sides are other systems in other namespaces (inside.py); what they are made of is data (spec.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster import inside
from cluster.roots import check_packages
from cluster.spec import USERS, Spec, loads
from foreign.roots import CannotBuildError, check_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
START_LIMIT, STOP_LIMIT = 30.0, 10.0  # seconds
LOOK = "for p in /proc/[0-9]*; do echo $p $(tr '\\0' ' ' <$p/cmdline) in $(cat $p/wchan); done"


class ClusterError(Exception):
    """Why the cluster does not start, or is not there."""


def check_possible() -> None:
    """Raise CannotBuildError where this machine cannot have a cluster."""
    check_machine()
    check_packages()


@dataclass(frozen=True)
class Batch:
    """How a batch job ended: its id, exit status as a shell gives it, and what it wrote."""

    job: str
    status: int
    stdout: str
    stderr: str


class Cluster:
    """A cluster and its state on disk."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @classmethod
    def of(cls, directory: str) -> Cluster:
        """Return the cluster that was started with this directory.

        Raises ClusterError when there is none.
        """
        try:
            with open(f"{directory}/state/spec.json", encoding="utf-8") as file:
                return cls(loads(file.read()))
        except FileNotFoundError as error:
            raise ClusterError(f"no cluster is up in {directory}") from error

    # ---- start, stop ----

    def start(self, *, with_parent: bool = False) -> None:
        """Start the cluster and wait until all nodes are idle; `with_parent`: it ends when this process ends.

        Raises CannotBuildError where this machine cannot have one, ClusterError when it does not come up.
        """
        check_possible()
        os.makedirs(self.spec.directory, mode=0o755, exist_ok=True)
        with self._locked():
            if self.pid():
                raise ClusterError(f"a cluster is up in {self.spec.directory} already")
            shutil.rmtree(self.spec.state, ignore_errors=True)
            inside.prepare(self.spec)
            with open(f"{self.spec.state}/spec.json", "w", encoding="utf-8") as file:
                file.write(self.spec.dumps())
            logs = self._start(with_parent)
            if logs:
                self.stop()
                raise ClusterError(f"the cluster does not come up in {START_LIMIT:.0f} s\n{logs}")

    def _start(self, with_parent: bool) -> str:
        """Start the processes; return "" when all nodes are at work, else what the logs say."""
        command = [sys.executable, HERE, "inside", self.spec.directory, *(["--with-parent"] if with_parent else [])]
        with open(f"{self.spec.state}/log/login", "wb") as log:
            holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_LIMIT
        while not self.ready():
            if time.monotonic() > deadline or holder.poll() is not None:
                return self.logs()
            time.sleep(0.1)
        return ""

    def stop(self) -> None:
        """End the cluster, all its processes and mounts, and remove its state; `shared` stays.

        Raises ClusterError when the kernel does not end it.
        """
        pid = self.pid()
        if pid:
            holder = inside.parent(pid)
            began = inside.start_time(holder)
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + STOP_LIMIT
            while self.pid() or inside.start_time(holder) == began != "":
                if time.monotonic() > deadline:
                    raise ClusterError(f"process {pid} of the cluster in {self.spec.directory} does not end")
                time.sleep(0.02)
        shutil.rmtree(self.spec.state, ignore_errors=True)

    def pid(self) -> int:
        """Return the id of the login side's process 1, 0 when the cluster is down."""
        try:
            with open(f"{self.spec.state}/pid", encoding="ascii") as file:
                pid, started = file.read().split()
        except (FileNotFoundError, ValueError):
            return 0
        return int(pid) if inside.start_time(int(pid)) == started else 0

    def ready(self) -> bool:
        """Are all nodes idle or at work?"""
        if not self.pid():
            return False
        states = self.run(["sinfo", "-h", "-N", "-o", "%T"]).stdout.split()
        return len(states) == len(self.spec.nodes) and set(states) <= {"idle", "mixed", "allocated"}

    def logs(self) -> str:
        """Return the end of each side's log."""
        found = [self.run(["sinfo", "-N", "-o", "%N %T %E"]).stdout] if self.pid() else []
        for name in sorted(os.listdir(f"{self.spec.state}/log")):
            with open(f"{self.spec.state}/log/{name}", encoding="utf-8", errors="replace") as file:
                found.append(f"-- {name}\n" + "".join(file.readlines()[-8:]))
            if self.pid() and os.path.exists(f"{self.spec.state}/pids/{name}"):
                found.append(self.on_node(name, ["sh", "-c", LOOK]).stdout)
        return "".join(found)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(f"{self.spec.directory}/lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # ---- running ----

    def command(
        self, argv: list[str], *, user: str = "tester", cwd: str = "", env: dict[str, str] | None = None
    ) -> list[str]:
        """Return the command that runs `argv` on the login side, as a login of `user` has it.

        Raises ClusterError when the cluster is down.
        """
        pid = self.pid()
        if not pid:
            raise ClusterError(f"no cluster is up in {self.spec.directory}")
        enter = ["nsenter", "-t", str(pid), "-m", "-n", "-u", "-i", "-p", f"-W{cwd or self.spec.shared}", "--"]
        if user == "root":
            become = ["env", "-i", f"PATH={inside.PATH}"]
        else:
            uid = str(USERS[user])
            become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "--reset-env", "--pdeathsig=TERM"]
            become += ["--", "env"]
        return [*enter, *become, *(f"{name}={value}" for name, value in (env or {}).items()), *argv]

    def run(
        self,
        argv: list[str],
        *,
        text: str | None = None,
        timeout: float = 120,
        user: str = "tester",
        cwd: str = "",
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on the login side; after `timeout` seconds it is killed, with status 124 as of timeout(1)."""
        limited = ["timeout", "-k", "5", str(timeout), *argv]
        return subprocess.run(
            self.command(limited, user=user, cwd=cwd, env=env),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def node_command(self, name: str, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` on a node as root, past Slurm: to look around.

        Raises ClusterError when there is no such node.
        """
        try:
            with open(f"{self.spec.state}/pids/{name}", encoding="ascii") as file:
                pid = file.read()
        except FileNotFoundError as error:
            raise ClusterError(f"no node {name}: {' '.join(node.name for node in self.spec.nodes)}") from error
        enter = [
            "nsenter",
            "-t",
            pid,
            "-m",
            "-n",
            "-u",
            "-i",
            "-p",
            "-r",
            "-w",
            "--",
            "env",
            "-i",
            f"PATH={inside.PATH}",
        ]
        return self.command([*enter, *argv], user="root")

    def crash(self, name: str) -> None:
        """Let a node go as if its power were cut: its process 1 is killed, and with it all that it runs."""
        with open(f"{self.spec.state}/pids/{name}", encoding="ascii") as file:
            pid = file.read()
        self.run(["kill", "-KILL", pid], user="root")

    def on_node(self, name: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run `argv` on a node as root, past Slurm."""
        return subprocess.run(self.node_command(name, argv), capture_output=True, text=True, check=False)

    def submit(
        self, script: str, *options: str, cwd: str, user: str = "tester", env: dict[str, str] | None = None
    ) -> str:
        """Submit a batch script; its output goes to JOB.out and JOB.err in `cwd`. Return the job's id."""
        where = [f"--output={cwd}/%A.%a.out", f"--error={cwd}/%A.%a.err"] if "array" in " ".join(options) else []
        where = where or [f"--output={cwd}/%j.out", f"--error={cwd}/%j.err"]
        done = self.run(["sbatch", "--parsable", *where, *options], text=script, cwd=cwd, user=user, env=env)
        if done.returncode:
            raise ClusterError(done.stderr)
        return done.stdout.strip()

    def state_of(self, job: str) -> dict[str, str]:
        """Return what Slurm knows of a job: scontrol(1), NAME=VALUE."""
        words = self.run(["scontrol", "show", "-o", "job", job]).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, cwd: str, timeout: float = 120) -> Batch:
        """Wait for a batch job's end.

        Raises ClusterError when it takes longer than `timeout` seconds; the job is then cancelled.
        """
        deadline = time.monotonic() + timeout
        while (known := self.state_of(job)).get("JobState") in {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}:
            if time.monotonic() > deadline:
                self.run(["scancel", job])
                raise ClusterError(f"job {job} does not end in {timeout:.0f} s: {known}")
            time.sleep(0.1)
        code, _, number = known["ExitCode"].partition(":")
        texts = []
        for stream in ("out", "err"):
            with open(f"{cwd}/{job}.{stream}", encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return Batch(job, 128 + int(number) if int(number) else int(code), *texts)

    def batch(self, script: str, *options: str, cwd: str, timeout: float = 120) -> Batch:
        """Submit a batch script and wait for its end."""
        return self.wait(self.submit(script, *options, cwd=cwd), cwd, timeout)


__all__ = ["Batch", "CannotBuildError", "Cluster", "ClusterError", "check_possible"]
