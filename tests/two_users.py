"""Two ordinary users with one group and a set-group-ID directory of a project: who attacks, and who works there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import SDEE, needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

MINE = int(os.environ.get("SDEE_TEST_UID", "63001")) + 40  # in no passwd(5)
THEIRS, GROUP = MINE + 1, MINE + 2

__all__ = ["GROUP", "MINE", "THEIRS", "Project", "needs_root", "project"]


@dataclass(frozen=True)
class Project:
    """`top`/shared belongs to the other user and is writable by both; `top`/home is the first user's own."""

    top: Path

    @property
    def shared(self) -> Path:
        return self.top / "shared"

    @property
    def home(self) -> Path:
        return self.top / "home"

    def run(
        self, uid: int, *words: str, status: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as one of them in the shared directory, with the umask of such projects."""
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={GROUP}", "sh", "-c", 'umask 002; "$@"']
        variables = {"HOME": str(self.home), "PATH": f"{SDEE.parent}:/usr/bin:/bin", "LANG": "C.UTF-8", **(env or {})}
        done = subprocess.run(
            [*command, "sh", *words], cwd=self.shared, env=variables, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert status is None or done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def mine(
        self, *words: str, status: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the user who is attacked."""
        return self.run(MINE, *words, status=status, env=env)

    def theirs(self, script: str) -> None:
        """Run shell text as the other user."""
        self.run(THEIRS, "sh", "-c", script)


@contextmanager
def a_project() -> Iterator[Project]:
    """Make one."""
    top = Path(tempfile.mkdtemp(prefix="sdee-two-users-", dir="/home"))
    top.chmod(0o755)
    for name, uid, gid, mode in (("shared", THEIRS, GROUP, 0o2775), ("home", MINE, MINE, 0o700)):
        (top / name).mkdir()
        os.chown(top / name, uid, gid)
        (top / name).chmod(mode)
    try:
        yield Project(top)
    finally:
        shutil.rmtree(top)


@pytest.fixture(name="project")
def project() -> Iterator[Project]:
    """Give one."""
    with a_project() as made:
        yield made
