"""A working directory, a home elsewhere, and sdee run there: what the tests of `sdee verify` and `--cold` share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Any

import pytest

from launcher_tools import ROOT, TESTER, as_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Desk:
    """A working directory `work` and a home `home` that lies elsewhere."""

    def __init__(self, top: str, *, user: bool = False) -> None:
        self.top, self.work, self.home = top, f"{top}/work", f"{top}/home"
        self.before = as_user(TESTER) if user else []
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": self.home, "LANG": "C.UTF-8"}
        self.stdin: IO[str] | None = None
        for path in (self.work, self.home):
            os.mkdir(path)
            os.chmod(path, 0o777)

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def sdee(self, *words: str, status: int = 0, out: str = "") -> subprocess.CompletedProcess[str]:
        command = [*self.before, sys.executable, "-m", "sdee", *words]
        with open(f"{self.top}/{out or 'out'}", "w+", encoding="utf-8") as file:
            stdout = file if out else subprocess.PIPE
            done = subprocess.run(
                command,
                cwd=self.work,
                env=self.env,
                stdin=self.stdin or subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == status, (done.stdout or "") + done.stderr
        return done

    def bundle(self, command: Sequence[str], *options: str, out: str = "", trace: Sequence[str] = ()) -> None:
        self.sdee("trace", "-q", *trace, "--", *command, out=out)
        self.sdee("bundle", "-q", *options)

    def verify(self, *options: str, good: bool) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.sdee("verify", "--json", *options, status=not good).stdout)
        assert report["good"] is good
        return report


@pytest.fixture
def desk() -> Iterator[Desk]:
    top = tempfile.mkdtemp(prefix="sdee-verify-", dir="/home" if ROOT else None)
    os.chmod(top, 0o755)
    yield Desk(top)
    shutil.rmtree(top)
