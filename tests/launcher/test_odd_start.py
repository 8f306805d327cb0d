"""sdee started where something is missing that others have: standard output, a home, the directory itself."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdee.base.errors import ExitCode
from submit_desk import Desk, desk

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["desk"]
SDEE = f"{sys.executable} -m sdee"


def shell(text: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run shell text there."""
    env = {"PATH": f"{cwd}/bin:/usr/bin:/bin", **env}
    return subprocess.run(["bash", "-c", text], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["trace", "trace -q", "trace --json", "submit"])
def test_with_standard_output_closed_the_job_runs_and_has_it_closed(desk: Desk, command: str) -> None:
    (desk.path / "job.sh").write_text("#!/bin/sh\n[ -e /proc/self/fd/1 ] && echo open >said || echo closed >said\n")
    done = shell(f"{SDEE} {command} -- ./job.sh >&-", desk.path, HOME="/root")
    assert "bug" not in done.stderr, done.stderr
    plain = command in ("trace", "trace -q")  # the others give the job standard error
    assert (desk.path / "said").read_text() == ("closed\n" if plain else "open\n")


def test_a_bundle_needs_no_home(desk: Desk) -> None:
    user = "setpriv --reuid=63117 --regid=63117 --clear-groups " if not subprocess.getoutput("id -u").strip("0") else ""
    desk.path.chmod(0o777)
    for above in (desk.path.parent, desk.path.parent.parent, desk.path.parent.parent.parent):
        above.chmod(0o755)
    done = shell(f"{user}{SDEE} trace -q -- ./job.sh && {user}{SDEE} bundle -q && {user}./bundle.sdee", desk.path)
    assert (done.returncode, done.stdout) == (0, "said\nsaid\n"), done.stderr


@pytest.mark.parametrize("command", ["submit -- true", "wrap job.sh", "trace -- true"])
def test_a_directory_that_was_removed_is_told(desk: Desk, command: str) -> None:
    gone = f"mkdir gone; cd gone; rmdir ../gone; {SDEE} {command}"
    done = shell(gone, desk.path, HOME="/root")
    assert done.returncode not in (0, ExitCode.INTERNAL)
    assert "bug" not in done.stderr
    if command != "wrap job.sh":  # that cannot even read the script
        assert done.stderr == "sdee: error: the current directory was removed\n  hint: go to another one\n"
