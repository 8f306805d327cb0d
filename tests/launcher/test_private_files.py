"""What sdee writes is as private as what it was made of; a secret of a command line reaches the job."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from typing import TYPE_CHECKING

from sdee.base.secrets.tokens import BLANK
from sdee.runtime.jobs.gridengine.manager import GridEngine
from sdee.runtime.jobs.model import Request
from sdee.runtime.jobs.slurm.manager import Slurm
from test_shared_directory import desk, own
from two_users import MINE, needs_root
from two_users import project as project  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from two_users import Project

pytestmark = needs_root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_bundle_of_private_files_is_the_users_alone(project: Project) -> None:
    tool = project.shared / "tool.sh"
    for name, readable in (("open.sh", True), ("private.sh", False), ("in-a-private-directory.sh", False)):
        place = project.shared
        if "directory" in name:
            place = project.home / "lib"  # the home is 0700
            place.mkdir()
            os.chown(place, MINE, MINE)
        helper = place / name
        helper.write_text("echo helped\n")
        tool.write_text(f"#!/bin/sh\n. {helper}\n")
        for path in (helper, tool):
            os.chown(path, MINE, MINE)
            path.chmod(0o600 if "private.sh" in name and path == helper else 0o755)
        project.mine("sdee", "trace", "-q", "-o", f"{name}.trace", "--", "./tool.sh")
        said = project.mine("sdee", "bundle", "-o", f"{name}.sdee", f"{name}.trace").stdout
        assert mode(project.shared / f"{name}.sdee") == (0o755 if readable else 0o700)
        assert ("  mode        0700: it holds 1 file that others may not read" in said) != readable
        read = f"grep -q . {name}.sdee && cat {name}.sdee >/dev/null"
        assert (project.run(MINE + 1, "sh", "-c", read, status=None).returncode == 0) == readable
        assert project.mine(f"./{name}.sdee", env={"SDEE_ROOT": "closed"}).stdout == "helped\n"


def test_a_copy_of_what_the_job_changed_is_as_public_as_the_file_was(project: Project) -> None:
    for name, readable in (("open.sh", True), ("private.sh", False)):
        helper = project.shared / name
        helper.write_text("echo helped\n")
        os.chown(helper, MINE, MINE)
        helper.chmod(0o644 if readable else 0o600)
        project.mine("sdee", "trace", "-q", "-o", "t", "--", "sh", "-c", f". ./{name}; echo >>{name}")
        project.mine("sdee", "bundle", "-q", "-o", f"{name}.sdee", "t")
        assert mode(project.shared / f"{name}.sdee") == (0o755 if readable else 0o700)


def test_a_secret_of_a_submitted_command_reaches_the_job_and_nobody_else(project: Project) -> None:
    env = desk(project)
    job = own(project, "job.sh", f'#!/bin/sh\necho "$2" >{project.home}/said\n', 0o755)
    command = (str(job), "--password", "hunter2-of-mine")
    done = project.mine("sdee", "submit", "--manager=slurm", "--broadcast=never", "--", *command, env=env)
    assert (project.home / "said").read_text() == "hunter2-of-mine\n"
    kept = project.shared / "sdee-jobs"
    holders = [path for path in kept.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert [path.name for path in holders] == ["job-1.sh"]
    assert mode(holders[0]) == 0o700
    heading = holders[0].read_text().split("\n\n")[0]
    assert "hunter2" not in heading + done.stdout + done.stderr
    assert f"--password {BLANK}" in heading
    # it is the same command again, with another secret too, and each job has its own
    project.mine("sdee", "submit", "--manager=slurm", "--broadcast=never", "--", *command[:2], "other", env=env)
    assert (project.home / "said").read_text() == "other\n"
    (directory,) = kept.iterdir()
    assert sorted(path.name for path in directory.iterdir()) == [
        "bundle-1.sdee",
        "job-1.sh",
        "job-2.sh",
        "state.json",
        "trace",
    ]
    # its bundle alone does not know the secret, and is not submitted without it
    bundle = str(directory / "bundle-1.sdee")
    said = project.mine("sdee", "submit", "--manager=slurm", "--bundle", bundle, status=2, env=env).stderr
    assert "sdee did not record a secret" in said
    project.mine("sdee", "submit", "--manager=slurm", "--broadcast=never", "--bundle", bundle, "--", *command, env=env)
    assert (project.home / "said").read_text() == "hunter2-of-mine\n"


def test_no_heading_of_a_script_holds_a_secret() -> None:
    command = ("./app", "--api-key=abcdefgh", "PGPASSWORD=abcdefgh", "plain")
    for manager in (Slurm(), GridEngine()):
        text = manager.submission(Request("/s/job-1.sh", "/s/b.sdee", command, command, ())).text
        comments = [line for line in text.split("\n") if line.startswith("#")]
        assert "abcdefgh" not in "\n".join(comments)
        assert any("plain" in line for line in comments)
        (call,) = (line for line in text.split("\n") if shlex.join(command) in line)
        assert not call.startswith("#")


def test_scripts_of_jobs_are_the_users_alone(project: Project) -> None:
    script = own(project, "batch.sh", "#!/bin/sh\nTOKEN=mine srun ./step.sh\n", 0o700)
    step = project.shared / "step.sh"
    step.write_text("#!/bin/sh\necho step\n")
    step.chmod(0o755)
    env = desk(project)
    done = project.mine("sdee", "wrap", "--manager=slurm", "--broadcast=never", "--submit", str(script), env=env)
    assert "step\n" in done.stdout
    scripts = list((project.shared / "sdee-jobs").rglob("*.sh"))
    assert len(scripts) == 3  # the new script, the one that ran here, and what that reads first
    assert {mode(path) for path in scripts} == {0o700}
    assert (
        subprocess.run(["grep", "-l", "TOKEN=mine", *scripts], capture_output=True, check=True).stdout.count(b"\n") == 2
    )
