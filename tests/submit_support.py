"""The two job managers to which tests submit, with the same words for both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from waiting import wait_for as wait_for  # noqa: PLC0414 - the tests of both take it from here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.driver import Cluster
    from gridengine.driver import GridEngine

SDEE = (sys.executable, "-m", "sdee")
USER = 1001

Done = subprocess.CompletedProcess[str]


class Side(ABC):
    """A job manager with a directory in which the ordinary user works."""

    name: str
    waiting: tuple[str, ...]  # options: wait for the job's end, its output to out.txt
    array: tuple[str, ...]  # an array of the tasks 1 and 2
    hand: tuple[str, ...]  # the command that submits a script
    number: tuple[str, ...]  # options: print the job's number

    def __init__(self, shared: str) -> None:
        self.shared = shared
        self.path = ""

    def enter(self, name: str) -> None:
        """Work in a new directory."""
        self.path = os.path.join(self.shared, name)
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(self.path)
        os.chown(self.path, USER, USER)

    def file(self, name: str, text: str) -> str:
        """Write a file, executable."""
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)
        os.chown(path, USER, USER)
        return path

    def read(self, name: str) -> str:
        """Return a file's text, "" when there is none."""
        try:
            with open(os.path.join(self.path, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def found(self, name: str) -> list[str]:
        """Return the files below a directory."""
        top = os.path.join(self.path, name)
        return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, files in os.walk(top) for f in files)

    @abstractmethod
    def run(self, *argv: str, **env: str) -> Done:
        """Run a command on the login side, in the directory."""

    def sdee(self, command: str, *arguments: str, **env: str) -> Done:
        """Run `sdee COMMAND --manager … ARGUMENTS`."""
        return self.run(*SDEE, command, f"--manager={self.name}", *arguments, **env)

    @abstractmethod
    def on_nodes(self, command: str) -> list[str]:
        """Return what a shell command prints on each node, as root."""

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Cancel a job and wait until it is gone."""


class SlurmSide(Side):
    """The cluster of tests/cluster."""

    name = "slurm"
    waiting = ("--wait", "--output=out.txt", "--open-mode=append")
    array = ("--array=1-2",)
    hand = ("sbatch", "--wait")
    number = ("--parsable", "--output=out.txt", "--open-mode=append")
    nodes = ("n1", "n2", "n3")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.spec.shared)
        self.cluster = cluster

    def run(self, *argv: str, **env: str) -> Done:
        return self.cluster.run(list(argv), cwd=self.path, env=env)

    def on_nodes(self, command: str) -> list[str]:
        return [self.cluster.on_node(name, ["sh", "-c", command]).stdout for name in self.nodes]

    def cancel(self, job: str) -> None:
        assert self.run("scancel", job).returncode == 0
        wait_for(lambda: not self.run("squeue", "-h", "-j", job).stdout, "the job stays")


class GridEngineSide(Side):
    """The Grid Engine of tests/gridengine. Its node has this machine's system: so roots are closed here."""

    name = "gridengine"
    waiting = ("-sync", "y", "-j", "y", "-o", "out.txt", "-v", "SDEE_ROOT=closed")
    array = ("-t", "1-2")
    hand = ("qsub", "-sync", "y")
    number = ("-terse", "-j", "y", "-o", "out.txt", "-v", "SDEE_ROOT=closed")

    def __init__(self, engine: GridEngine) -> None:
        super().__init__(engine.shared)
        self.engine = engine

    def run(self, *argv: str, **env: str) -> Done:
        return self.engine.run(["env", *(f"{k}={v}" for k, v in env.items()), *argv], cwd=self.path)

    def on_nodes(self, command: str) -> list[str]:
        return [self.engine.run(["sh", "-c", command], user="root").stdout]

    def cancel(self, job: str) -> None:
        assert self.run("qdel", job).returncode == 0
        wait_for(lambda: self.run("qstat", "-j", job).returncode != 0, "the job stays")


def lines(text: str, *beginnings: str) -> list[str]:
    """Return the lines that begin so, sorted."""
    return sorted(line for line in text.splitlines() if line.startswith(tuple(beginnings)))


def words_of(argv: Sequence[str]) -> str:
    """Return a command line for messages."""
    return " ".join(argv)
