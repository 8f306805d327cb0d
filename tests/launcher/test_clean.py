"""`sdee clean`: what sdee has left behind goes, and nothing else."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from sdee.workflow import cleaning

if TYPE_CHECKING:
    from pathlib import Path

SQUEUE = """#!/bin/sh
case $* in *--user=*) [ -z "$SQUEUE_FAILS" ] || exit 1; cat {queue};; esac
"""


class Place:
    """A directory with a traced and bundled job, and a queue that says what it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.queue = path / "bin/queue"
        (path / "bin").mkdir()
        self.queue.touch()
        silent = "#!/bin/sh\nexit 1\n"  # this machine's own qstat may answer
        queue = SQUEUE.format(queue=self.queue)
        for name, text in (("sbatch", "#!/bin/sh\necho Submitted\n"), ("squeue", queue), ("qstat", silent)):
            (path / "bin" / name).write_text(text)
            (path / "bin" / name).chmod(0o755)
        (path / "job.sh").write_text("#!/bin/sh\necho ran\n")
        (path / "job.sh").chmod(0o755)

    def sdee(
        self, *words: str, status: int = 0, squeue_fails: str = "", user: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.path}/bin:/usr/bin:/bin", "HOME": "/root", "SQUEUE_FAILS": squeue_fails}
        env["XDG_CACHE_HOME"] = "/proc"  # no cache can be made there: test_contents.py is about it
        command = [sys.executable, "-m", "sdee", *words]
        done = subprocess.run(
            command,
            cwd=self.path,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            user=user,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def left(self, squeue_fails: str = "", user: int | None = None) -> dict[str, tuple[str, str]]:
        """Return path → kind and why it stays, of what may go here."""
        found = json.loads(self.sdee("clean", "--dry-run", "--json", squeue_fails=squeue_fails, user=user).stdout)
        return {os.path.normpath(left["path"]): (left["kind"], left["kept"]) for left in found}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_jobs_go_unless_the_queue_needs_them_or_does_not_answer(place: Place) -> None:
    place.sdee("submit", "--", "./job.sh")
    (job,) = (str(path.relative_to(place.path)) for path in place.path.glob("sdee-jobs/*"))
    assert place.left() == {job: ("job", "")}
    place.queue.write_text(f"/elsewhere/job.sh\n{place.path}/{job}/job-1.sh\n")
    assert place.left() == {job: ("job", "a waiting or running job needs it")}
    assert "(stays: a waiting or running job needs it)" in place.sdee("clean", "--yes").stdout
    assert (place.path / job).exists()
    place.queue.write_text("")
    assert place.left(squeue_fails="1") == {job: ("job", "the job manager does not say which jobs are waiting")}
    assert place.sdee("clean", "--yes").stdout.endswith(f"today  {job}  (of sdee submit or sdee wrap)\n")
    assert list(place.path.glob("sdee-jobs/*")) == []
    assert place.sdee("clean", "--yes").stdout == "nothing to remove\n"


def test_without_a_terminal_nothing_is_removed_unasked(place: Place) -> None:
    place.sdee("submit", "--", "./job.sh")
    done = place.sdee("clean", status=2)
    assert "hint: sdee clean --yes" in done.stderr
    assert "hint: add --dry-run or --yes" in place.sdee("clean", "--json", status=2).stderr
    assert len(place.left()) == 1


def test_bundles_traces_and_what_only_looks_like_ours_stay(place: Place) -> None:
    place.sdee("trace", "-q", "--", "./job.sh")
    place.sdee("bundle", "-q")
    place.sdee("trace", "-q", "--", "sh", "-c", "kill -INT $$", status=-2)
    (place.path / "other.interrupted").touch()  # of no trace
    (place.path / "sdee.trace.old").touch()  # of a tracer that was killed
    (place.path / "gone.saved").mkdir()
    (place.path / "link.saved").symlink_to("bin")
    for name, age in ((".sdee-abc.tmp", 3), (".sdee-new.tmp", 0)):
        (place.path / name).touch()
        os.utime(place.path / name, (time.time() - age * 86_400,) * 2)
    assert place.left() == {
        "sdee.trace.interrupted": ("trace", ""),
        "sdee.trace.old": ("trace", ""),
        "gone.saved": ("trace", ""),
        ".sdee-abc.tmp": ("unfinished", ""),
        ".sdee-new.tmp": ("unfinished", "a program may still be writing it"),
    }
    place.sdee("clean", "--yes")
    assert set(os.listdir(place.path)) == {
        *("bin", "job.sh", "sdee.trace", "bundle.sdee", "other.interrupted", "link.saved", ".sdee-new.tmp"),
    }


def test_deployed_closures_go_when_they_are_not_in_use(place: Place) -> None:
    place.sdee("trace", "-q", "--", "./job.sh")
    place.sdee("bundle", "-q")
    place.sdee("deploy", "bundle.sdee")
    (deployed,) = (path for path, (kind, _) in place.left().items() if kind == "deployed")
    false = f"{os.path.dirname(deployed)}/sdee-{os.geteuid()}-{'0' * 32}"  # a name alone proves nothing
    os.mkdir(false)
    descriptor = os.open(deployed, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # as a run of it has
        assert place.left()[deployed] == ("deployed", "it is in use")
        place.sdee("clean", "--yes")
        assert os.path.isdir(deployed)
    finally:
        os.close(descriptor)
    try:
        place.sdee("clean", "--yes")
        assert not os.path.exists(deployed)
        assert os.path.isdir(false)
        assert place.sdee("exec", "bundle.sdee").stdout == "ran\n"
    finally:
        shutil.rmtree(false)


def test_another_one_that_has_come_to_a_name_meanwhile_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory that a group may write to, somebody replaces sdee-jobs by a link while the user reads the list."""
    monkeypatch.setenv("PATH", f"{place.path}/bin:/usr/bin:/bin")
    (place.path / "sdee-jobs/data").mkdir(parents=True)
    (place.path / "mine/data").mkdir(parents=True)
    (place.path / "mine/data/thesis.tex").touch()
    (job,) = (left for left in cleaning.plan(str(place.path)) if left.kind == "job")
    (place.path / "sdee-jobs").rename(place.path / "aside")
    (place.path / "sdee-jobs").symlink_to("mine")
    assert cleaning.remove(job) == "another one has come to its name"
    assert (place.path / "mine/data/thesis.tex").exists()
    (place.path / "sdee-jobs").unlink()
    (place.path / "aside").rename(place.path / "sdee-jobs")
    assert cleaning.remove(job) == ""
    assert not (place.path / "sdee-jobs/data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as another user")
def test_what_cannot_be_opened_is_listed_with_the_reason(place: Place) -> None:
    (place.path / "sdee-jobs/closed").mkdir(parents=True)
    (place.path / "sdee-jobs/closed").chmod(0)
    for path in (place.path / "sdee-jobs", place.path / "sdee-jobs/closed"):
        os.chown(path, 65534, 65534)
    for path in (place.path, *place.path.parents):
        if path.stat().st_mode & 0o077 == 0:
            path.chmod(0o711 if path != place.path else 0o755)
    assert place.left(user=65534)["sdee-jobs/closed"] == ("job", "it cannot be opened: Permission denied")
