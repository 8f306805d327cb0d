"""What another user of a shared directory plants, moves or links where sdee writes, keeps or clears away."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from sdee.runtime.environment import front
from two_users import GROUP, needs_root
from two_users import project as project  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from two_users import Project

pytestmark = needs_root


def writable_by_others(top: Path) -> list[str]:
    """Return what below a directory somebody besides its owner may write to, links aside."""
    found = [path for path in (top, *top.rglob("*")) if not path.is_symlink()]
    return [str(path.relative_to(top)) for path in found if path.stat().st_mode & 0o022]


SERVE = """
import os, sys
from sdee.cli import prepare, served
os.umask(int(sys.argv[1], 8))
with prepare.locked(os.path.abspath("sdee-jobs/app-1")):
    served.prepare(os.path.abspath("sdee-jobs/app-1"), os.path.abspath("sdee-jobs/app-1/b.sdee"), sys.argv[2])
"""


def test_what_runs_for_a_job_outside_of_its_bundle_is_the_users_to_change(project: Project) -> None:
    """sdee-front runs OUTSIDE/srun as the user: with umask 002 its directory was the whole project's."""
    copied = project.top / "sdee-front"
    shutil.copy(front(), copied)
    copied.chmod(0o775)  # as a group installs it
    project.mine(sys.executable, "-c", SERVE, "0", str(copied))
    kept = project.shared / "sdee-jobs"
    assert (kept / "app-1/b.outside/srun").exists()
    assert os.access(kept / "app-1/sdee-front", os.X_OK)
    assert writable_by_others(kept) == []
    project.theirs("printf 'echo TRAP' >x; chmod 755 x; mv -f x sdee-jobs/app-1/b.outside/srun || :")
    assert "TRAP" not in (kept / "app-1/b.outside/srun").read_text()
    (kept / "app-1/b.outside").chmod(0o775)  # as earlier versions left it
    said = project.mine(sys.executable, "-c", SERVE, "2", str(copied), status=1).stderr
    assert f"its group {GROUP} may write to it" in said
