"""Files of a bundle that were edited or compiled again since: said at the start, by info, verify and status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from launcher_tools import ROOTS, USERS, open_directory, put, run, script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bundle_maker import Maker

TAKES = "`sdee bundle` packs the new one"


@pytest.fixture
def work() -> Iterator[str]:
    """A directory of everybody."""
    yield from open_directory()


def project(work: str, **conf: str | list[str]) -> Maker:
    """Return a bundle of a script and a package, with the same files here, and the directory to find them in."""
    cwd = f"{work}/cwd"
    maker = script("true", cwd=cwd, live=[cwd], **conf)  # type: ignore[arg-type]
    for name in ("job.py", "lib/mod.py", "lib/__pycache__/mod.pyc", "data.txt"):
        maker.host_file(put(f"{cwd}/{name}", f"{name}\n"))
    return maker


def edit(path: str, text: str = "another text\n", *, older: bool = False) -> None:
    """Change a file, and let its time be another."""
    put(path, text)
    if older:
        os.utime(path, (1, 1))


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("tree", [False, True])
def test_the_start_says_which_file_is_another_here(work: str, root: str, uid: int, *, tree: bool) -> None:
    cwd = f"{work}/cwd"
    bundle = project(work, tree=[f"{cwd}/lib"] if tree else []).write(f"{work}/b.sdee")
    assert run([bundle], uid=uid, ROOT=root).stderr == ""
    edit(f"{cwd}/lib/mod.py")
    said = f"sdee: lib/mod.py here is newer than the bundle's; the job uses the bundle's; {TAKES}\n"
    assert run([bundle], uid=uid, ROOT=root).stderr == said
    assert run([bundle], uid=uid, ROOT=root, QUIET="1").stderr == ""
    away = run([bundle], uid=uid, ROOT=root, cwd="/").stderr.splitlines()[1]
    assert away == said.replace("lib/mod.py here", f"{cwd}/lib/mod.py").strip()
    edit(f"{cwd}/lib/mod.py", older=True)
    assert "lib/mod.py here differs from the bundle's" in run([bundle], uid=uid, ROOT=root).stderr
    edit(f"{cwd}/job.py")
    both = "sdee: job.py and 1 more file here differ from the bundle's; the job uses the bundle's; "
    assert run([bundle], uid=uid, ROOT=root).stderr == f"{both}{TAKES}s\n"


def test_what_the_job_takes_from_here_is_not_old(work: str) -> None:
    cwd = f"{work}/cwd"
    bundle = project(work, fallback=[f"{cwd}/data.txt"]).write(f"{work}/b.sdee")
    edit(f"{cwd}/data.txt")
    edit(f"{cwd}/lib/__pycache__/mod.pyc")
    os.unlink(f"{cwd}/job.py")
    put(f"{cwd}/new.py", "new\n")
    assert run([bundle]).stderr == ""
    without = project(work).write(f"{work}/c.sdee")
    edit(f"{cwd}/data.txt", "once more, and longer\n")
    assert "data.txt here is newer" in run([without]).stderr


def test_one_of_the_ranks_says_it_and_a_directory_of_many_files_costs_little(work: str) -> None:
    cwd = f"{work}/cwd"
    maker = project(work)
    for number in range(600):
        maker.host_file(put(f"{cwd}/deep/er/{number}.py", "x"))
    bundle = maker.write(f"{work}/b.sdee")
    edit(f"{cwd}/lib/mod.py")
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    assert [run([bundle], env={**step, "SLURM_PROCID": rank}).stderr.count("is newer") for rank in "01"] == [1, 0]
    put(f"{cwd}/deep/er/599.py", "beyond what is looked at")
    assert run([bundle]).stderr.startswith("sdee: lib/mod.py here is newer")


def sdee(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line of sdee, which must succeed."""
    done = subprocess.run([sys.executable, "-m", "sdee", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def state(cwd: Path) -> tuple[dict[str, str], list[str], str]:
    """Return what status says: paths that changed, commands to repeat, why the bundle is not of the trace."""
    found = json.loads(sdee("status", "--json", cwd=cwd).stdout)
    changed = {os.path.relpath(c["path"], os.path.realpath(cwd)): c["what"] for c in found["changed"]}
    return changed, found["next"], found["outdated"]


def test_status_follows_a_job_from_its_trace_to_an_edited_script(tmp_path: Path) -> None:
    trace, bundle = "sdee trace -- sh job.sh 5", "sdee bundle"
    assert state(tmp_path) == ({}, ["sdee trace -- COMMAND", bundle], "")
    (tmp_path / "job.sh").write_text("cat data; . ./part.sh\n")
    (tmp_path / "part.sh").write_text("echo part\n")
    (tmp_path / "data").write_text("data\n")
    sdee("trace", "-q", "--", "sh", "job.sh", "5", cwd=tmp_path)
    assert state(tmp_path) == ({}, [bundle], "")
    sdee("bundle", "-q", "--minimal", cwd=tmp_path)
    assert state(tmp_path) == ({}, [], "")
    assert "next: sdee exec bundle.sdee\n" in sdee("status", cwd=tmp_path).stdout
    (tmp_path / "data").write_text("is read where it is\n")
    os.utime(tmp_path / "part.sh")
    assert state(tmp_path) == ({}, [], ""), "the same content"
    (tmp_path / "job.sh").write_text("echo new\n")
    assert state(tmp_path) == ({"job.sh": "modified"}, [bundle], "")
    shown = sdee("status", cwd=tmp_path).stdout
    assert "  modified  job.sh\nnext:\n  sdee bundle\n  (first `sdee trace` again" in shown
    assert f"changed      {tmp_path}/job.sh: differs" in sdee("info", cwd=tmp_path).stdout
    report = json.loads(sdee("verify", "--root", "closed", "--json", cwd=tmp_path).stdout)
    assert (report["good"], report["old"]) == (True, [f"{tmp_path}/job.sh"])
    (tmp_path / "part.sh").unlink()
    assert state(tmp_path) == ({"job.sh": "modified", "part.sh": "deleted"}, [trace, bundle], "")
    time.sleep(0.01)
    sdee("trace", "-q", "--", "sh", "job.sh", "5", cwd=tmp_path)
    assert state(tmp_path)[1:] == ([bundle], "the trace is newer")
    sdee("bundle", "-q", "--minimal", cwd=tmp_path)
    assert state(tmp_path) == ({}, [], "")
    sdee("trace", "-q", "--", "sh", "job.sh", "6", cwd=tmp_path)
    assert state(tmp_path) == ({}, [bundle], "it is of another command than the trace")
    (tmp_path / "sdee.trace").unlink()
    assert state(tmp_path) == ({}, [], "")
    (tmp_path / "job.sh").write_text("echo newer\n")
    assert state(tmp_path)[1] == [trace, bundle]


def test_status_of_another_place_and_of_a_job_that_failed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "job.sh").write_text("exit 3\n")
    words = [sys.executable, "-m", "sdee", "trace", "-q", "-o", "there/t", "--", "sh", "job.sh"]
    assert subprocess.run(words, cwd=tmp_path, check=False).returncode == 3
    text = sdee("status", "-t", "t", "b.sdee", cwd=tmp_path / "there").stdout
    assert "ended with status 3" in text
    assert f"  (cd {tmp_path} && sdee trace -o {tmp_path}/there/t -- sh job.sh)\n  sdee bundle t -o b.sdee\n" in text
