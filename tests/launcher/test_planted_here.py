"""What another user of a shared directory plants, moves or links where sdee writes, keeps or clears away."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sdee.runtime.jobs.slurm import resubmit
from sdee.runtime.jobs.slurm.manager import Slurm
from sdee.runtime.programs import front_path
from two_users import GROUP, MINE, needs_root
from two_users import project as project  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from two_users import Project

pytestmark = needs_root


def writable_by_others(top: Path) -> list[str]:
    """Return what below a directory somebody besides its owner may write to, links aside."""
    found = [path for path in (top, *top.rglob("*")) if not path.is_symlink()]
    return [str(path.relative_to(top)) for path in found if path.stat().st_mode & 0o022]


SERVE = """
import os, sys
from sdee.runtime.jobs.slurm.inside import SlurmInside
from sdee.workflow import preparation, serving
os.umask(int(sys.argv[1], 8))
directory = os.path.abspath("sdee-jobs/app-1")
with preparation.locked(directory):
    serving.prepare(directory, f"{directory}/b.sdee", sys.argv[2], SlurmInside())
"""


def test_what_runs_for_a_job_outside_of_its_bundle_is_the_users_to_change(project: Project) -> None:
    """sdee-front runs OUTSIDE/srun as the user: with umask 002 its directory was the whole project's."""
    copied = project.top / "sdee-front"
    shutil.copy(front_path(), copied)
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


def traced(project: Project, *options: str, status: int | None = 0) -> str:
    """Trace a command that changes a file that it had read: a copy of that is kept."""
    (project.home / "data").write_text("as it was")
    os.chown(project.home / "data", MINE, MINE)
    change = f"read x <{project.home}/data; echo new >{project.home}/data"
    return project.mine("sdee", "trace", "-q", *options, "-o", "t", "--", "sh", "-c", change, status=status).stderr


def test_a_directory_of_the_users_is_not_cleared_away_for_copies_of_changed_files(project: Project) -> None:
    """Who may move it there may not remove what is in it."""
    project.mine(
        "sh", "-c", "mkdir -m 755 results && echo mine >results/thesis && echo mine >results/0 && mkdir results/1"
    )
    project.theirs("mv results t.saved")
    said = traced(project, status=None)
    saved = project.shared / "t.saved"
    assert sorted(os.listdir(saved)) == ["0", "1", "thesis"]
    assert {(saved / name).read_text() for name in ("0", "thesis")} == {"mine\n"}
    assert "Traceback" not in said
    assert "holds more than copies" in (project.shared / "t").read_text()
    # the other side: what sdee has made is made anew, and added to by --append
    project.mine("mv", "t.saved", "results")
    for options, names in (((), ["0"]), ((), ["0"]), (("--append",), ["0", "1"])):
        traced(project, *options)
        assert sorted(os.listdir(saved)) == names


def test_names_of_another_user_in_the_directory_of_copies_end_no_trace(project: Project) -> None:
    project.theirs("mkdir t.saved && touch t.saved/\u00b2 t.saved/\u0663")
    assert "Traceback" not in traced(project, "--append")
    assert "sdee does not use " in (project.shared / "t").read_text()


def test_a_trace_is_not_written_into_another_file_of_the_users_by_a_second_name(project: Project) -> None:
    """A hard link: anybody can make it where fs.protected_hardlinks is 0. Here root does."""
    thesis = project.home / "thesis"
    project.mine("sh", "-c", f"echo mine >{thesis}; chmod 644 {thesis}")
    os.link(thesis, project.shared / "t")
    traced(project)
    assert (thesis.read_text(), thesis.stat().st_mode & 0o777) == ("mine\n", 0o644)
    assert '"t":"header"' in (project.shared / "t").read_text()
    os.unlink(project.shared / "t")
    os.link(thesis, project.shared / "t")
    assert "it has a second name" in traced(project, "--append", status=247)
    assert thesis.read_text() == "mine\n"


def test_a_script_that_a_job_makes_and_submits_is_the_users_to_change(project: Project) -> None:
    """Sbatch reads it a moment later; with umask 002 the whole project could write to it until then."""
    outside = project.shared / "outside"
    project.mine("mkdir", "-m", "755", "outside")
    text = resubmit.program(
        {"/nowhere": "/nowhere"}, Slurm().table, f"{outside}/b.sdee", ("front", "serve", str(outside))
    )
    stub = project.top / "tools/sbatch"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\nfor last; do :; done\necho "$last $(umask)"\n')
    stub.chmod(0o755)
    env = {"PATH": f"{stub.parent}:/usr/bin:/bin"}
    made, mask = project.mine("sh", "-c", text, "sh", "--wrap", "true", env=env).stdout.split()
    assert mask == "0002", "the job's own"
    project.theirs(f"echo 'echo TRAP' >>{made} || :")
    assert "TRAP" not in Path(made).read_text()
    assert writable_by_others(outside) == []
