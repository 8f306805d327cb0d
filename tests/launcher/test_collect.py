"""What a job left in the nodes' own directories comes back, whatever happens to the clocks meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sdee.base.errors import UsageError
from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.slurm import shell as slurm
from waiting import wait_for

# In PATH before date(1): the clock is off by what the file `offset` says
DATE = '#!/bin/sh\nexpr $(/bin/date "$@") + $(cat {offset})\n'


SHELLS = ("bash", "dash")
# seconds by which the clock was ahead when the job began: files' times are those of the clock now
AHEAD = {"in-order": 0, "set-back": 3600, "set-forward": -3600}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give each case a directory, with a file of an earlier job. Nobody can set a ctime, which find(1) looks at."""
    top = tmp_path_factory.mktemp("nodes")
    for shell in SHELLS:
        for name in AHEAD:
            (top / shell / name).mkdir(parents=True)
            (top / shell / name / "old-1").write_text("of an earlier job")
    time.sleep(3.1)
    return top


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", AHEAD)
def test_results_come_back_when_the_clock_is_set_meanwhile(nodes: Path, tmp_path: Path, shell: str, name: str) -> None:
    node, kept, offset, before = nodes / shell / name, tmp_path / "kept", tmp_path / "offset", AHEAD[name]
    for directory in (kept, tmp_path / "bin"):
        directory.mkdir()
    (tmp_path / "bin/date").write_text(DATE.format(offset=offset))
    (tmp_path / "bin/date").chmod(0o755)
    job = f"""
export SLURMD_NODENAME=n1
sdee_results={kept}/{scripts.NODE} sdee_others=
{scripts.finish("", [f"{node}/*"])}
echo 0 >{offset}
echo new >{node}/new-1
sdee_finish 0
"""
    offset.write_text(f"{before}\n")
    variables = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    done = subprocess.run([shell, "-c", job], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted(os.listdir(f"{kept}/n1{node}"))
    assert "new-1" in found
    if before == 0:
        assert found == ["new-1"], "what was there before the job is not its result"


@pytest.mark.parametrize("uptime", ["1.0 2", ""])
def test_a_node_without_an_uptime_has_its_clock(tmp_path: Path, uptime: str) -> None:
    text = scripts.finish("", ["/nowhere/*"]).replace("/proc/uptime", f"{tmp_path}/uptime")
    (tmp_path / "uptime").write_text(f"{uptime}\n" if uptime else "")
    done = subprocess.run(["dash", "-c", f"{text}\nsdee_finish 5"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (5, "")


TASK = """
SLURMD_NODENAME=n1 SLURM_JOB_ID=$((70 + $1)) SLURM_ARRAY_TASK_ID=$1
{settings}
{finish}
{work}
sdee_finish 0 >>said 2>&1
echo "$?"
"""


def settings(name: str) -> str:
    """Return the lines of a script that say where results go, without the look for the bundle."""
    return slurm.settings("/b", "never", name).removesuffix(scripts.THERE)


def task(shell_: str, where: Path, number: int, name: str, work: str) -> subprocess.Popen[str]:
    text = TASK.format(settings=settings(name), finish=slurm.finish([f"{where}/tmp/out-[0-9]*"]), work=work)
    here = 'sdee_everywhere() { SLURMD_NODENAME=n1 "$@"; }\n'
    return subprocess.Popen(
        [shell_, "-c", here + text, "sh", str(number)], cwd=where, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("shell_", SHELLS)
@pytest.mark.parametrize("pattern", ["res-%a", "res/%j/%N-x"])
def test_tasks_of_an_array_that_share_a_node_are_told(tmp_path: Path, shell_: str, pattern: str) -> None:
    """The first to end cannot know; the second finds what the first has brought back since it began."""
    (tmp_path / "tmp").mkdir()
    name = f"{tmp_path}/{pattern}"
    wait = "echo a >tmp/out-{}; touch begun-{}; while [ ! -e go-{} ]; do sleep 0.05; done"
    both = [task(shell_, tmp_path, n, name, wait.format(n, n, n)) for n in (1, 2)]
    wait_for(lambda: all((tmp_path / f"begun-{n}").exists() for n in (1, 2)), "they do not begin")
    for number, running in zip((1, 2), both, strict=True):
        (tmp_path / f"go-{number}").touch()
        assert running.communicate(timeout=60)[0] == "0\n"
        said = (tmp_path / "said").read_text()
        assert ("other tasks of this array ran here meanwhile" in said) == (number == 2), said
    assert f"which wrote: {tmp_path}/tmp/out-1, {tmp_path}/tmp/out-2\n" in said
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("res*/**/out-*")}
    tops = ("res-1/n1", "res-2/n1") if "%a" in pattern else ("res/71/n1-x/1", "res/72/n1-x/2")
    assert found == {f"{top}{tmp_path}/tmp/out-{n}" for top in tops for n in (1, 2)}


def test_a_task_that_runs_alone_hears_nothing_of_the_one_before_it(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    for number in (1, 2):
        time.sleep(1.1)  # find(1) is asked for seconds
        running = task("dash", tmp_path, number, f"{tmp_path}/res-%a", f"sleep 2.2; echo a >tmp/out-{number}")
        assert running.communicate(timeout=60)[0] == "0\n"
    assert (tmp_path / "said").read_text() == ""
    assert len(list(tmp_path.glob("res-2/**/out-*"))) == 1


def test_names_of_results(tmp_path: Path) -> None:
    def made(name: str, variables: str) -> str:
        text = f'{variables}\n{settings(name)}\necho "$sdee_results"'
        return subprocess.run(["dash", "-c", text], capture_output=True, text=True, check=True).stdout.strip()

    one, array = "SLURM_JOB_ID=7", "SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=6 SLURM_ARRAY_TASK_ID=3"
    top = f"{tmp_path}/it's"
    assert made(f"{top}/%j", one) == f"{top}/7///N//"
    assert made(f"{top}/%j", array) == f"{top}/7/3///N//"
    assert made(f"{top}/%A-%a-100%%", array) == f"{top}/6-3-100%///N//"
    assert made(f"{top}/%N.%a", array) == f"{top}///N//.3"
    assert sorted(str(path.relative_to(top)) for path in Path(top).glob("**/")) == [".", "6-3-100%", "7", "7/3"]
    for wrong in ("%t", "%q", "a%"):
        with pytest.raises(UsageError, match="unknown pattern"):
            settings(wrong)
