"""An ordinary user with a home of its own, for the tests of `sdee env`: no subordinate ids, no groups, nothing of root's."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = int(os.environ.get("SDEE_TEST_UID", "63001"))  # in no passwd(5) and no subuid(5)
OTHER_UID = UID + 1
SDEE = Path(sys.executable).parent / "sdee"

MANUALS = "rm -f /var/lib/man-db/auto-update"  # what debconf's man-db/auto-update=false does

OF_OTHERS = "/sdee-test-"  # how names of what tests put among the host's files begin

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become an ordinary user")


def skip_outside_of_ci(reason: str) -> None:
    """Skip a test on a machine that lacks something; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def becomes(uid: int) -> list[str]:
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


@dataclass(frozen=True)
class User:
    """`run` runs anything as the user, `sdee` the command under test, `inside` a shell script in an environment."""

    home: Path
    uid: int = UID

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "USER": "tester",
            "SHELL": "/bin/bash",
            "PATH": f"{SDEE.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
        }

    def run(
        self, *command: str, check: bool = True, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*becomes(self.uid), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            env={**self.environ, **(variables or {})},
            timeout=500,
        )
        assert not check or done.returncode == 0, f"in {self.home}: {command}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *command: str, variables: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*becomes(self.uid), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
            env={**self.environ, **(variables or {})},
        )

    def sdee(
        self, *arguments: str, check: bool = True, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(str(SDEE), *arguments, check=check, variables=variables)

    def inside(self, name: str, script: str, check: bool = True) -> str:
        """Return what the script prints in the environment: standard output and error."""
        return self.sdee("env", "enter", name, "--", "bash", "-c", f"exec 2>&1; {script}", check=check).stdout

    def changes(self, name: str) -> list[str]:
        """Return the lines of `env diff --all`, but those of what other tests had among the host's files meanwhile."""
        lines = self.sdee("env", "diff", "--all", name).stdout.splitlines()
        return [line for line in lines if OF_OTHERS not in line]

    def leave_manuals_alone(self, name: str) -> None:
        """Let dpkg not index manuals in the environment: 4 s of processor time a package, and no work of sdee's."""
        self.inside(name, MANUALS)

    def state(self, name: str) -> Path:
        return self.home / ".local/share/sdee/environments" / name


@cache
def end_what_killed_tests_left() -> None:
    """End the users' processes and remove their homes, once a session: the users are these tests' alone (SDEE_TEST_UID)."""
    for uid in (UID, OTHER_UID):
        subprocess.run(["pkill", "-KILL", "-u", str(uid)], check=False)
    for home in Path(tempfile.gettempdir()).glob("sdee-env-test-*"):
        if home.stat().st_uid in (UID, OTHER_UID):
            subprocess.run(["umount", "-l", home], check=False, capture_output=True)
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def a_user(uid: int = UID, *, on_disk: bool = False) -> Iterator[User]:
    """Make one; environments are ended and removed with the home. `on_disk`: it is on the host's own file system."""
    end_what_killed_tests_left()
    home = Path(tempfile.mkdtemp(prefix="sdee-env-test-"))
    # ext4 takes long for the many directories of an environment, longer where others were removed: half of the tests' time
    mount = ["mount", "-t", "tmpfs", "-o", "size=6g", "tests", str(home)]
    in_memory = not on_disk and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    os.chown(home, uid, uid)
    user = User(home, uid)
    try:
        yield user
    finally:
        for line in user.sdee("env", "list", check=False).stdout.splitlines():
            user.sdee("env", "stop", line.split()[0], check=False)
        if in_memory:
            subprocess.run(["umount", "-l", home], check=False)
        # not shutil's rmtree(), which takes 7 s of processor time for an environment's 30,000 directories
        subprocess.run(["rm", "-rf", "--one-file-system", home], check=False)


def processes_of(uid: int) -> list[str]:
    """The command lines of all processes of a user on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:  # noqa: PERF203 - processes end while we look
            continue
    return [line for line in found if line]
