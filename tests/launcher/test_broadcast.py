"""A broadcast copy in a directory where other users write too. slurmd is stood in for: it opens as sbcast asks it to.

The same on a real cluster: tests/cluster/test_submit_slurm.py.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdee.runtime.jobs.gridengine import shell as gridengine_shell
from sdee.runtime.jobs.slurm import shell
from two_users import GROUP, MINE, THEIRS, needs_root
from two_users import project as project  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from two_users import Project

pytestmark = needs_root
# src/slurmd/slurmd/req.c, _open_as_other(): O_CREAT with O_TRUNC for --force, else with O_EXCL
SBCAST = """#!/usr/bin/python3
import os, shutil, sys
force = sys.argv[1] == "--force"
source, target = sys.argv[-2:]
open(os.environ["NAMES"], "a").write(target + "\\n")
os.umask(0)
fd = os.open(target, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL), 0o700)
os.write(fd, open(source, "rb").read())
"""
BUNDLE = "#!/bin/sh\necho bundle as $(id -u)\n"
TRAP = "#!/bin/sh\necho TRAP as $(id -u)\n"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory such as /dev/shm: everybody writes there, files stay their owners'."""
    path = Path(tempfile.mkdtemp(prefix="sdee-test-broadcast-", dir="/dev/shm"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


class Node:
    """A node of two tasks of the first user's job."""

    def __init__(self, project: Project, memory: Path) -> None:
        self.project, self.memory = project, memory
        tools = project.top / "tools"
        tools.mkdir()
        for name, text in (("sbcast", SBCAST), ("srun", "#!/bin/sh\n:\n")):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.bundle = project.top / "the.sdee"
        self.bundle.write_text(BUNDLE)
        self.bundle.chmod(0o755)
        self.names = project.home / "names"
        self.text = shell.step().replace("/dev/shm /tmp", str(memory))
        self.variables = {
            "PATH": f"{tools}:/usr/bin:/bin", "NAMES": str(self.names), "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1",
            "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0", "SLURMD_NODENAME": "n1",
        }  # fmt: skip

    def run(self, script: str, **more: str) -> str:
        start = f"sdee_when=always sdee_results= sdee_bundle={self.bundle}\n{self.text}\n"
        done = self.project.mine("sh", "-c", start + script, env={**self.variables, **more})
        return done.stdout + done.stderr

    def broadcast(self) -> str:
        return self.run('sdee_broadcast 1; echo "$sdee_copy"').splitlines()[-1]

    def task(self, copy: str, number: int) -> str:
        return self.run(f"sdee_copy={copy}; {shell.task_call()}", SLURM_LOCALID=str(number))

    def theirs(self, script: str) -> None:
        self.project.theirs(f"cd {self.memory} && {script}")

    def left(self) -> list[str]:
        return sorted(path.name for path in self.memory.iterdir())


@pytest.fixture
def node(project: Project, memory: Path) -> Node:
    return Node(project, memory)


def test_a_copy_is_run_and_leaves_nothing(node: Node) -> None:
    copy = node.broadcast()
    assert re.fullmatch(rf"{node.memory}/sdee-bundle-[0-9a-f]{{32}}", copy)
    node.bundle.write_text("#!/bin/sh\necho storage\n")
    assert node.task(copy, 0) == f"bundle as {MINE}\n"
    assert node.left() == [os.path.basename(copy), f"{os.path.basename(copy)}.0"]
    assert node.task(copy, 1) == f"bundle as {MINE}\n"
    assert not node.left()


def test_the_name_of_a_copy_cannot_be_foretold(node: Node) -> None:
    names = {node.broadcast() for _ in range(8)}
    assert len(names) == 8
    assert all(len({name[-at] for name in names}) > 1 for at in range(1, 33))


def test_what_another_user_made_first_is_neither_written_to_nor_run(node: Node, project: Project) -> None:
    """Even one who knows the name: the file is made in the moment before slurmd opens it."""
    tool = project.top / "tools/sbcast"
    plant = f"setpriv --reuid={THEIRS} --regid={THEIRS} --groups={GROUP} sh -c"
    for made in ("printf '{trap}' >{copy}; chmod 777 {copy}", "ln -s {link} {copy}", "mkfifo -m 666 {copy}"):
        mine = project.home / "mine.txt"
        mine.write_text("mine")
        os.chown(mine, MINE, MINE)
        copy = node.broadcast()
        os.unlink(copy)
        script = made.format(trap=TRAP.replace("\n", "\\n"), copy=copy, link=mine)
        os.system(f'{plant} "{script}"')
        assert os.path.lexists(copy)
        sent = project.mine(str(tool), str(node.bundle), copy, status=1, env=node.variables)
        assert "FileExistsError" in sent.stderr
        assert mine.read_text() == "mine"
        said = node.task(copy, 0)
        assert said.startswith(f"bundle as {MINE}\nsdee: n1: cannot run {copy}, or others can write to it")
        node.theirs(f"rm -f {copy}")
    # --force, as before: slurmd writes into theirs, and the owner alone tells it from one's own
    copy = node.broadcast()
    os.unlink(copy)
    node.theirs(f"touch {copy}; chmod 777 {copy}")
    project.mine(str(tool), "--force", str(node.bundle), copy, env=node.variables)
    node.theirs(f"printf '{TRAP!r}' >{copy}")
    assert "others can write to it" in node.task(copy, 0)


def test_a_copy_that_others_may_write_is_not_run(node: Node) -> None:
    for mode, runs in ((0o700, True), (0o755, True), (0o775, False), (0o757, False)):
        copy = node.broadcast()
        os.chmod(copy, mode)
        assert ("others can write to it" in node.task(copy, 0)) != runs


def test_marks_of_another_user_are_neither_followed_nor_counted(node: Node, project: Project) -> None:
    mine = project.home / "mine.txt"
    mine.write_text("mine")
    os.chown(mine, MINE, MINE)
    copy = node.broadcast()
    node.theirs(f"ln -s {mine} {copy}.5; touch {copy}.6; mkdir {copy}.7")
    assert node.task(copy, 0) == f"bundle as {MINE}\n"
    assert os.path.exists(copy), "theirs do not count: the other task has it not open yet"
    assert node.task(copy, 1) == f"bundle as {MINE}\n"
    assert not os.path.exists(copy)
    copy = node.broadcast()
    node.theirs(f"ln -s {mine} {copy}.0; mkfifo -m 666 {copy}.1")
    assert node.task(copy, 0) == f"bundle as {MINE}\n"
    assert not os.path.exists(copy), "who cannot count leaves no copy"
    assert node.task(copy, 1).startswith(f"bundle as {MINE}\n")
    assert mine.read_text() == "mine"


def test_only_copies_that_broadcasts_left_are_cleared_away(node: Node, project: Project) -> None:
    digits = "0123456789abcdef" * 2
    left = [f"sdee-bundle-{digits}", f"sdee-bundle-{digits[::-1]}", f"sdee-bundle-{digits[::-1]}.12"]
    kept = [
        "sdee-notes",
        f"sdee-{MINE}-7-x",
        f"sdee-bundle-{digits[:-1]}",
        f"sdee-bundle-{digits}0",
        f"x-sdee-bundle-{digits}",
    ]
    directory = f"sdee-bundle-{digits[1:]}0.results"
    script = f"touch {' '.join([*left[:2], *kept])}; mkdir {left[2]} {directory}; touch {directory}/data"
    project.mine("sh", "-c", f"cd {node.memory}; {script}; touch -d '2 hours ago' *")
    young = f"sdee-bundle-{'f' * 32}"
    project.mine("touch", f"{node.memory}/{young}")
    node.theirs(f"touch -d '2 hours ago' sdee-bundle-{'a' * 32}")
    copy = node.broadcast()
    for number in (0, 1):
        node.task(copy, number)
    assert node.left() == sorted([*kept, directory, young, f"sdee-bundle-{'a' * 32}"])
    assert (node.memory / directory / "data").exists()


def test_grid_engines_copy_is_made_in_the_jobs_own_directory_only(project: Project, memory: Path) -> None:
    (project.top / "b.sdee").write_text(BUNDLE)
    (project.top / "b.sdee").chmod(0o755)
    script = f"sdee_when=always sdee_bundle={project.top}/b.sdee\n{gridengine_shell.STEP}\necho $sdee_bundle"
    own = project.home / "job"
    own.mkdir()
    os.chown(own, MINE, MINE)
    shared = str(memory)
    for directory, job, copied in (
        (shared, "", False),
        (shared, "7", False),
        (str(own), "", False),
        (str(own), "7", True),
    ):
        done = project.mine("sh", "-c", script, env={"TMPDIR": directory, "JOB_ID": job})
        assert done.stdout == (f"{own}/bundle.sdee\n" if copied else f"{project.top}/b.sdee\n")
    assert not list(memory.iterdir())
