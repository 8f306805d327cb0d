"""Project groups: a bare job may give its files to them, one in a user namespace may not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, TESTER, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

SDEE = [sys.executable, "-m", "sdee"]
PROJECT, OTHER = 5001, 5002
pytestmark = pytest.mark.skipif(not ROOT, reason="becomes a user with several groups")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def member(work: str, *command: str, primary: int = TESTER) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is in two project groups."""
    groups = f"--groups={TESTER},{PROJECT},{OTHER}"
    prefix = ["setpriv", f"--reuid={TESTER}", f"--regid={primary}", groups]
    return subprocess.run(
        [*prefix, *command], cwd=work, env=PLAIN | {"HOME": work}, capture_output=True, text=True, check=False
    )


JOBS = {
    "chgrp": f"touch result && chgrp {PROJECT} result",
    "install": f"touch input && install -m 640 -g {PROJECT} input result",
    "python": f"python3 -c \"import os; open('result', 'w'); os.chown('result', -1, {PROJECT})\"",
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
def test_a_job_that_gives_files_to_a_project_is_told_how_to_start(work: str, engine: str, job: str) -> None:
    traced = member(work, *SDEE, "trace", "--engine", engine, "sh", "-ec", job)
    assert traced.returncode == 0, traced.stderr
    assert os.stat(f"{work}/result").st_gid == PROJECT
    bundled = member(work, *SDEE, "bundle")
    assert f"the job gives files to the group {PROJECT} ({PROJECT}); in a bundle" in bundled.stderr
    assert f"start it by `sg {PROJECT} -c ./bundle.sdee`" in bundled.stderr
    os.unlink(f"{work}/result")
    refused = member(work, "./bundle.sdee")
    assert refused.returncode == 1
    assert "Invalid argument" in refused.stderr
    member(work, "rm", "-f", "result")
    assert member(work, "./bundle.sdee", primary=PROJECT).returncode == 0, "as sg(1) and newgrp(1) start it"
    assert os.stat(f"{work}/result").st_gid == PROJECT


@pytest.mark.parametrize("job", [f"chgrp {TESTER} f", "chown 9 f || true", "chgrp 5003 f || true", "cp -p f g"])
def test_the_primary_group_and_what_the_kernel_refuses_need_no_word(work: str, job: str) -> None:
    member(work, *SDEE, "trace", "sh", "-c", f"touch f; {job}")
    assert "gives files to the group" not in member(work, *SDEE, "bundle").stderr
