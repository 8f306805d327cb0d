"""Where a job runs: in the directory in which it was traced, in another one, on a node that lacks it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from launcher_tools import (
    ROOT,
    ROOTS,
    TESTER,
    USERS,
    built,
    listing,
    on_node,
    open_directory,
    put,
    run,
    script,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundle_maker import Maker

needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


@pytest.fixture
def work() -> Iterator[str]:
    """A directory with two others in which everybody may write."""
    for top in open_directory():
        for name in ("traced", "other"):
            os.mkdir(f"{top}/{name}")
            os.chmod(f"{top}/{name}", 0o777)
        yield top


def project(work: str) -> Maker:
    """Return a bundle of a script in `traced` that uses files beside it, in a directory, and in a tree of software."""
    top = f"{work}/traced"
    text = "cat part lib/part soft/mod link; echo $0 >result; ls"
    maker = script("", programs=("cat", "ls"), cwd=top, live=[work, top], tree=[f"{top}/soft"])
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", "/bin/sh"), ("arg", "sh"), ("arg", "job.sh"), ("kept-args", "2")]
    for name, content in (("job.sh", text), ("part", "part\n"), ("lib/part", "lib\n"), ("soft/mod", "mod\n")):
        maker.add(f"{top}/{name}", content)
    return maker.symlink(f"{top}/link", "part")


USED = ["part", "lib", "mod", "part"]
LISTED = ["job.sh", "lib", "link", "part", "result", "soft"]


def test_from_elsewhere_one_line_says_where_it_runs(work: str) -> None:
    bundle = script("pwd", cwd=f"{work}/traced", live=[work]).write(f"{work}/b.sdee")
    said = f"sdee: running in {work}/traced, where it was traced, not in {work}/other; SDEE_CHDIR=. runs it here\n"
    away = f"{work}/other"
    result = run([bundle], cwd=away)
    assert (result.stdout, result.stderr) == (f"{work}/traced\n", said)
    by_sdee = run([built("sdee-launcher"), bundle], cwd=away)
    assert by_sdee.stderr == said.replace("SDEE_CHDIR=.", "--chdir .")
    os.symlink("traced", f"{work}/link")
    for where in (f"{work}/traced", f"{work}/link"):
        assert run([bundle], cwd=where).stderr == ""
    assert run([bundle], cwd=away, QUIET="1").stderr == ""
    assert run([bundle], cwd=away, CHDIR=away).stderr == ""


def test_of_the_ranks_of_a_step_the_first_says_it(work: str) -> None:
    bundle = script("pwd", cwd=f"{work}/traced", live=[work]).write(f"{work}/b.sdee")
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    said = [run([bundle], cwd="/", env={**step, "SLURM_PROCID": rank}).stderr.count("running in") for rank in "01"]
    assert said == [1, 0]
    batch = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1"}  # a batch script, which is no rank
    assert "running in" in run([bundle], cwd="/", env=batch).stderr


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("uid", USERS)
def test_in_another_directory_the_files_of_the_traced_one_are_there(work: str, root: str, uid: int) -> None:
    bundle = project(work).write(f"{work}/b.sdee")
    other = f"{work}/other"
    result = run([bundle], cwd=other, uid=uid, ROOT=root, CHDIR=".")
    assert (result.stdout.split(), result.returncode) == (USED + LISTED, 0)
    assert f"{other} stays in memory" not in result.stderr, "new files are real at once"
    assert listing(other) == {"result": "job.sh\n"}, "the result, and nothing of the bundle"
    assert listing(f"{work}/traced") == {}
    # --command is all the caller's: there nothing is added
    assert run([bundle, "-a"], cwd=other, uid=uid, ROOT=root, CHDIR=".", COMMAND="ls").stdout.split()[2:] == ["result"]


@pytest.mark.parametrize("root", ROOTS)
def test_what_the_other_directory_has_is_its_own(work: str, root: str) -> None:
    bundle = project(work).write(f"{work}/b.sdee")
    other = f"{work}/other"
    for name in ("part", "lib/own", "soft/own"):
        put(f"{other}/{name}", "own\n")
    result = run([bundle], cwd=other, ROOT=root, CHDIR=".")
    assert result.stdout.split() == ["own", "lib", "own", *LISTED], "of soft nothing is mixed"
    assert "soft/mod" in result.stderr
    assert listing(other) == {"part": "own\n", "lib/own": "own\n", "soft/own": "own\n", "result": "job.sh\n"}


def test_a_directory_that_lies_in_the_traced_one_and_one_around_it(work: str) -> None:
    bundle = project(work).write(f"{work}/b.sdee")
    os.makedirs(f"{work}/traced/case/1")
    assert run([bundle], cwd=f"{work}/traced/case/1", CHDIR=".").stdout.split() == USED + LISTED
    assert listing(f"{work}/traced") == {"case/1/result": "job.sh\n"}
    listed = run([bundle], cwd=work, CHDIR=".").stdout.split()
    assert listed == [*USED, "b.sdee", "job.sh", "lib", "link", "other", "part", "result", "soft", "traced"]


def test_a_program_that_was_called_by_a_relative_name_is_called_by_it(work: str) -> None:
    maker = script("", programs=("cat",), cwd=f"{work}/traced", live=[work])
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", f"{work}/traced/run.sh"), ("arg", "./run.sh")]
    maker.add(f"{work}/traced/run.sh", "#!/bin/sh\necho $0 $*; pwd\n", 0o755)
    bundle = maker.write(f"{work}/b.sdee")
    assert run([bundle, "1"], cwd=f"{work}/other", CHDIR=".").stdout == f"./run.sh 1\n{work}/other\n"
    assert run([bundle, "1"], cwd=f"{work}/other").stdout == f"./run.sh 1\n{work}/traced\n"


def test_a_deployed_closure_serves_no_other_directory(work: str) -> None:
    bundle = project(work).write(f"{work}/b.sdee")
    assert run([bundle], DEPLOY="1", DEPLOY_DIR=work).returncode == 0
    try:
        assert run([bundle], cwd=f"{work}/other", CHDIR=".", DEPLOY_DIR=work).stdout.split() == USED + LISTED
        assert run([bundle], cwd=f"{work}/traced", DEPLOY_DIR=work).stdout.split() == USED + LISTED
    finally:
        run([bundle], UNDEPLOY="1", DEPLOY_DIR=work)


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_a_directory_that_the_node_lacks_is_made_and_results_go_to_it(work: str, root: str, uid: int) -> None:
    bundle = project(work).write(f"{work}/b.sdee")
    os.rmdir(f"{work}/traced")
    result = run([bundle], cwd=f"{work}/other", uid=uid, ROOT=root)
    assert (result.stdout.split(), result.returncode) == (USED + LISTED, 0)
    said = (
        f"sdee: this node lacks {work}/traced, where the job was traced: running in a directory of that name in memory"
    )
    said += f"; what it writes there is copied to the node at the end; SDEE_CHDIR=. runs it in {work}/other\n"
    assert result.stderr == said
    assert listing(f"{work}/traced") == {"result": "job.sh\n"}


@pytest.mark.parametrize("root", ROOTS)
def test_an_empty_directory_is_made_too(work: str, root: str) -> None:
    bundle = script("pwd; echo x >new", cwd=f"{work}/not/there", live=[f"{work}/not/there"]).write(f"{work}/b.sdee")
    assert run([bundle], ROOT=root).stdout == f"{work}/not/there\n"
    assert text_of(f"{work}/not/there/new") == "x\n"
    assert run([bundle], ROOT=root, cwd=f"{work}/not/there").stderr == ""
    refused = run([bundle], ROOT=root, CHDIR=f"{work}/none")
    assert (refused.returncode, f"working directory {work}/none cannot be entered" in refused.stderr) == (244, True)


@needs_root
@pytest.mark.parametrize("home", [(), (("/home", 0o755),), (("/home/other", 0o755),)])
def test_results_that_no_node_can_keep_are_named_and_saved(work: str, home: tuple[tuple[str, int], ...]) -> None:
    maker = script("cat mod; echo x >new; pwd", programs=("cat",), cwd="/home/u/job", live=["/home/u", "/home/u/job"])
    bundle = maker.add("/home/u/job/mod", "module\n").write(f"{work}/b.sdee")
    result = on_node([bundle], dirs=home)
    assert (result.stdout, result.returncode) == ("module\n/home/u/job\n", 0)
    assert "this node lacks /home/u/job, where the job was traced" in result.stderr
    assert "is gone at the end, --save DIR (SDEE_SAVE=DIR) keeps it" in result.stderr
    assert "1 file written outside live directories and gone with the job: /home/u/job/new;" in result.stderr
    os.mkdir(f"{work}/kept")
    os.chown(f"{work}/kept", TESTER, TESTER)
    saved = on_node([bundle], dirs=home, SAVE=f"{work}/kept")
    assert (saved.returncode, listing(f"{work}/kept")) == (0, {"home/u/job/new": "x\n"}), saved.stderr
