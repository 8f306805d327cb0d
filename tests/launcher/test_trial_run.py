"""The run on the login node before a job is submitted: its messages, its limit, and the commands that share it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sdee.runtime.jobs.gridengine.manager import GridEngine
from sdee.runtime.jobs.slurm.manager import Slurm
from submit_desk import Desk, desk
from waiting import states_of

__all__ = ["desk"]


def test_what_it_wrote_is_named(desk: Desk) -> None:
    done = desk.submit("--", "./job.sh")
    assert "it runs on this machine and writes its files; Ctrl-C ends it\n" in done.stderr
    assert "sdee: files that the run here wrote, which the job will find: output.txt, runs\n" in done.stderr
    (desk.path / "job.sh").write_text("#!/bin/sh\nfor n in 1 2 3 4 5; do echo >out-$n; done\n")
    assert "find: out-1, out-2, out-3 and 2 more files\n" in desk.submit("--", "./job.sh").stderr
    (desk.path / "job.sh").write_text("#!/bin/sh\ncat input.txt\n")
    done = desk.submit("--", "./job.sh")
    assert ("tracing" in done.stderr, "files that" in done.stderr) == (True, False)


# ---- its time ----


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 300),
        ("1:30", 90),
        ("1:00:00", 3600),
        ("2-0", 2 * 86400),
        ("1-2:03", 86400 + 2 * 3600 + 180),
        ("1-0:0:7", 86407),
        ("0", None),
        ("UNLIMITED", None),
        ("-1", None),
        ("nonsense", None),
    ],
)
def test_slurms_times(text: str, seconds: float | None) -> None:
    assert Slurm().seconds(["-N2", "-t", text]) == seconds
    assert Slurm().seconds([], [f"--time={text}"]) == seconds


def test_a_typed_time_wins_over_the_variables_and_that_over_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Slurm().seconds(["-N2"]) is None
    monkeypatch.setenv("SBATCH_TIMELIMIT", "2")
    assert Slurm().seconds(["-t", "1"], ["-t", "3"]) == 60
    assert Slurm().seconds([], ["-t", "3"]) == 120
    monkeypatch.delenv("SBATCH_TIMELIMIT")
    assert Slurm().seconds([], ["-t", "3"]) == 180


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (["-l", "mem=2G,h_rt=60"], 60),
        (["-l", "h_rt=1:0:30"], 3630),
        (["-l", "h_rt=:2:"], 120),
        (["-l", "mem=2G"], None),
        (["-pe", "smp", "2"], None),
    ],
)
def test_grid_engines_times(options: list[str], seconds: float | None) -> None:
    assert GridEngine().seconds(options) == seconds
    assert GridEngine().seconds([], options) == seconds


LATE = """#!/bin/sh
. ./library.sh
trap 'echo asked >asked; exit 3' TERM
(trap '' TERM; exec sleep 98.7654) &
sleep 98.7654 &
wait
"""


@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
def test_a_run_that_takes_longer_than_the_job_may_is_ended_as_the_job_would_be(desk: Desk, engine: str) -> None:
    (desk.path / "job.sh").write_text(LATE)
    scontrol = desk.path / "bin/scontrol"
    scontrol.write_text("#!/bin/sh\necho 'KillWait                = 2 sec'\n")
    scontrol.chmod(0o755)
    (desk.path / "limited.py").write_text(LIMITED)
    began = time.monotonic()
    done = desk.run_python("limited.py", engine)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 90
    assert (desk.path / "asked").read_text() == "asked\n"
    assert not states_of("sleep 98.7654"), "one is deaf to SIGTERM"
    assert done.stdout == "True 3\n"


LIMITED = """
import sys
from sdee.tracer.limit import Limit
from sdee.workflow import tracing
recorded = tracing.record(["./job.sh"], tracing.Wanted("t", sys.argv[1], limit=Limit(2, 2)), say=print)
print(recorded.ended, recorded.status)
"""


def test_what_it_used_until_then_serves_and_is_not_tried_again(desk: Desk) -> None:
    (desk.path / "job.sh").write_text("#!/bin/sh\n. ./library.sh\necho ran >>runs\nexec sleep 98.7655\n")
    done = desk.submit("--time=0:08", "--", "./job.sh")
    assert (done.returncode, done.stdout) == (0, "Submitted batch job 7\n"), done.stderr
    assert "writes its files, for 8 s at most; Ctrl-C ends it\n" in done.stderr
    assert "sdee: the run here was ended after 8 s, the job's time limit: what it used until then serves" in done.stderr
    assert "a signal ended" not in done.stderr
    assert "library.sh" in desk.sdee("ls", str(next(desk.path.glob("sdee-jobs/*/bundle-1.sdee")))).stdout
    assert desk.submit("--time=0:08", "--", "./job.sh").stderr == ""
    assert desk.runs() == 1


def test_a_scripts_own_time_counts(desk: Desk) -> None:
    (desk.path / "batch.sh").write_text("#!/bin/sh\n#SBATCH --time=0:08\nsrun ./job.sh\nsleep 98.7656\n")
    done = desk.sdee("wrap", "batch.sh")
    assert done.returncode == 0, done.stderr
    assert "tracing batch.sh here first: " in done.stderr
    assert "sdee: traced batch.sh: " in done.stderr
    assert "was ended after 8 s" in done.stderr


# ---- whom it serves ----


def test_a_command_that_differs_in_numbers_alone_is_not_run_here_again(desk: Desk) -> None:
    assert desk.submit("--", "./job.sh", "--seed=1", "in1.dat").returncode == 0
    done = desk.submit("--", "./job.sh", "--seed=22", "in3.dat")
    assert done.returncode == 0, done.stderr
    said = "using the trace of ./job.sh --seed=1 in1.dat for ./job.sh --seed=22 in3.dat: they differ in numbers only"
    assert done.stderr == f"sdee: {said} (--retrace traces it)\n"
    assert desk.runs() == 1
    assert desk.kept() == ["bundle-1.sdee", "job-1.sh", "job-2.sh", "state.json", "trace"]
    assert Path(desk.given()[-1]).read_text().endswith(' "" ./job.sh --seed=22 in3.dat\n')
    assert desk.submit("--dry-run", "--", "./job.sh", "--seed=5", "in4.dat").stdout.startswith("keep ")
    done = desk.submit("--retrace", "--", "./job.sh", "--seed=22", "in3.dat")
    assert "tracing ./job.sh --seed=22 in3.dat here first: --retrace" in done.stderr
    (desk.path / "library.sh").write_text("true # changed\n")
    done = desk.submit("--", "./job.sh", "--seed=7", "in7.dat")
    assert "tracing ./job.sh --seed=7 in7.dat here first: " in done.stderr
    assert "library.sh has changed" in done.stderr
    assert desk.runs() == 3


def test_other_words_and_other_programs_are_run_here(desk: Desk) -> None:
    for name in ("job1.sh", "job2.sh"):
        (desk.path / name).write_text("#!/bin/sh\necho ran >>runs\n")
        (desk.path / name).chmod(0o755)
    code = (["sh", "-c", "./job1.sh && true"], ["sh", "-c", "./job2.sh && true"])
    others = (["./job1.sh"], ["./job2.sh"], ["./job2.sh", "a"], ["sh", "job1.sh"], *code)
    for count, command in enumerate(others, 1):
        assert desk.submit("--", *command).returncode == 0
        assert desk.runs() == count


def test_a_file_that_the_bundle_would_have_to_hold_is_not_another_ones(desk: Desk) -> None:
    """Below the working directory nodes see it. Elsewhere on this machine's disks they may not."""
    elsewhere = desk.path / "elsewhere"
    elsewhere.mkdir()
    below = desk.path / "below"
    below.mkdir()
    for number in (1, 2):
        for directory in (elsewhere, below):
            (directory / f"in{number}").write_text(f"{number}\n")
    (desk.path / "job.sh").write_text('#!/bin/sh\ncat "${1#*=}"; echo ran >>runs\n')
    for count, words in ((1, "in1"), (1, "in2"), (2, f"--in={elsewhere}/in1"), (3, f"--in={elsewhere}/in2")):
        assert desk.submit("--dir", "../kept", "-D", "below", "--", "../job.sh", words).returncode == 0
        assert len((below / "runs").read_text().split()) == count, words


def test_a_script_with_other_numbers_is_not_run_here_again(desk: Desk) -> None:
    (desk.path / "batch.sh").write_text("#!/bin/bash\nsrun ./job.sh $1\n")
    assert desk.sdee("wrap", "batch.sh", "1").returncode == 0
    done = desk.sdee("wrap", "batch.sh", "2")
    assert done.returncode == 0, done.stderr
    assert "using the trace of batch.sh 1 for batch.sh 2" in done.stderr
    assert desk.runs() == 1
    assert os.path.basename(desk.path) in done.stdout


def test_a_hint_can_be_pasted(desk: Desk) -> None:
    (desk.path / "the batch.sh").write_text("#!/bin/bash\nsrun ./job.sh\n")
    done = desk.sdee("wrap", "-J", "a b", "the batch.sh")
    assert (done.returncode, desk.runs()) == (2, 0)
    assert "hint: --submit, or: sdee wrap 'the batch.sh' | sbatch -J 'a b'\n" in done.stderr
