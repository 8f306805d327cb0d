"""What the tests of the cluster share: places to work in, bundles made on the login side, and what a node holds."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.inside import REPO
from cluster.spec import USERS
from waiting import wait_for as wait_for  # noqa: PLC0414 - the tests of the cluster take it from here

if TYPE_CHECKING:
    import subprocess

    from cluster.driver import Cluster

FIXTURES = os.path.join(REPO, "fixtures")
SDEE = (sys.executable, "-m", "sdee")
WRITABLE = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/srv", "/mnt")


@dataclass(frozen=True)
class Place:
    """A directory of the shared storage in which a user works, and the cluster that it is on."""

    cluster: Cluster
    path: str

    def file(self, name: str, text: str | None = None) -> str:
        """Return the path of a file in the place, written first when `text` is given."""
        path = os.path.join(self.path, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chown(path, USERS["tester"], USERS["tester"])
        return path

    def read(self, name: str) -> str:
        """Return a file's text, "" when it is not there."""
        try:
            with open(self.file(name), encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def sdee(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        """Run sdee on the login side; it has to succeed."""
        done = self.cluster.run([*SDEE, *arguments], cwd=self.path, env=env)
        assert done.returncode == 0, f"sdee {' '.join(arguments)}: {done.stderr}"

    def srun(
        self, *arguments: str, text: str | None = None, timeout: float = 60, env: dict[str, str] | None = None
    ) -> Outcome:
        """Run `srun ARGUMENTS` here; return how it ended."""
        done = self.cluster.run(["srun", *arguments], cwd=self.path, text=text, timeout=timeout, env=env)
        return Outcome(done.returncode, done.stdout, numbers_out(done.stderr))


@dataclass(frozen=True)
class Evening:
    """A place of the user's and an environment, `mine`, with its states."""

    place: Place
    states: str

    def sdee(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run sdee in the place."""
        return self.place.cluster.run(
            [*SDEE, *arguments], cwd=self.place.path, env={"SDEE_ENV_DIR": self.states, **env}, timeout=300
        )

    def inside(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script of bash in the environment."""
        return self.sdee("env", "enter", "mine", "--", "bash", "-c", script, **env)

    def out(self, script: str, **env: str) -> str:
        """Run a script of bash in the environment; it has to succeed. Return what it prints."""
        done = self.inside(script, **env)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@dataclass(frozen=True)
class Outcome:
    """How a step ended: srun's status, standard output, and standard error without numbers of jobs and steps."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """Standard output's lines, sorted: tasks run side by side."""
        return sorted(self.stdout.splitlines())


def numbers_out(text: str) -> str:
    """Return messages of Slurm without what differs from one step to the next: ids, times, order of lines."""
    text = re.sub(r"\b(STEP|JOB|StepId=|JobId=|job|step) ?\d+(\.\d+)?", r"\1 N", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+", "TIME", text)
    waits = (
        "queued and waiting for resources",
        "has been allocated resources",
    )  # an earlier job's end may take a moment
    return "\n".join(sorted(line for line in text.splitlines() if not line.endswith(waits)))


def place(cluster: Cluster, name: str) -> Place:
    """Make an empty place of the ordinary user on the shared storage."""
    path = os.path.join(cluster.spec.shared, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    os.chown(path, USERS["tester"], USERS["tester"])
    return Place(cluster, path)


def in_memory(cluster: Cluster, name: str) -> str:
    """Make an empty place of the user's in the login side's memory; return its path.

    For environments: a disk takes minutes to make and to remove 30,000 directories.
    """
    path, uid = place(cluster, name).path, USERS["tester"]
    options = f"uid={uid},gid={uid},mode=755"
    done = cluster.run(["mount", "-t", "tmpfs", "-o", options, "tests", path], user="root")
    assert done.returncode == 0, done.stderr
    return path


def copy_fixture(place: Place, name: str) -> str:
    """Copy a file of fixtures/ into a place; return its path there."""
    path = place.file(os.path.basename(name))
    shutil.copy(os.path.join(FIXTURES, name), path)
    os.chown(path, USERS["tester"], USERS["tester"])
    return path


def held(cluster: Cluster, node: str) -> dict[str, set[str]]:
    """Return what a node holds besides its system: programs that run, mounts, files in writable places."""
    look = (
        "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || tr '\\0' ' ' <$p/cmdline 2>/dev/null && echo; done;"
        "echo //; cut -d' ' -f5,9- /proc/1/mountinfo; echo //;"
        f"find {' '.join(WRITABLE)} -xdev 2>/dev/null"
    )
    programs, mounts, files = cluster.on_node(node, ["sh", "-c", look]).stdout.split("//\n")
    kept = {line.split()[0] for line in programs.splitlines() if line.split()}
    return {"programs": kept, "mounts": set(mounts.splitlines()), "files": set(files.splitlines())}
