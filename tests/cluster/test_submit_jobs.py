"""`sdee submit` and `sdee wrap` on Slurm and on Grid Engine: the same tests for both."""

from __future__ import annotations

import os

import pytest

from gridengine import fixture
from submit_support import SDEE, GridEngineSide, Side, SlurmSide, lines, wait_for

JOB = """#!/usr/bin/python3
import os, sys
print("job", sys.argv[1:], os.environ.get("SEED"), "status", os.environ.get("STATUS"))
task = os.environ.get("SLURM_ARRAY_TASK_ID") or os.environ.get("SGE_TASK_ID") or "none"
open(f"here-{task}.txt", "w").write("on shared storage\\n")
open("/tmp/sdee-test-left-1.txt", "w").write(f"left by {task}\\n")
if "JOB_ID" in os.environ or "SLURM_JOB_ID" in os.environ:
    open("/usr/share/sdee-test-result.txt", "w").write(f"result of {task}\\n")
    sys.exit(int(os.environ.get("STATUS", "0")))
"""
engine = fixture.engine
# Of sdee's names alone: Grid Engine's node is this machine, where others have files (test_submit_slurm.py sees all)
LEFT = "find /tmp /var/tmp /dev/shm -mindepth 1 -name 'sdee-test*' -prune -o -name '*sdee*' -print 2>/dev/null"


@pytest.fixture(params=[pytest.param("slurm", marks=pytest.mark.cluster), "gridengine"])
def side(request: pytest.FixtureRequest) -> Side:
    """Give each job manager in turn, with an empty directory."""
    if request.param == "slurm":
        found: Side = SlurmSide(request.getfixturevalue("cluster"))
    else:
        found = GridEngineSide(request.getfixturevalue("engine"))
    found.enter("submit " + request.node.originalname[5:30])  # a blank in the path, on purpose
    found.file("job.py", JOB)
    return found


def test_a_command_runs_as_a_job_and_its_status_comes_back(side: Side) -> None:
    done = side.sdee("submit", *side.waiting, "--", "./job.py", "a b", "c")
    assert done.returncode == 0, done
    assert lines(side.read("out.txt"), "job") == ["job ['a b', 'c'] None status None"], done
    assert "job ['a b', 'c']" in done.stderr  # the traced run
    assert "submitted" in done.stdout.lower()
    assert side.read("here-none.txt") or side.read("here-undefined.txt")


def test_a_job_that_fails_says_so(side: Side) -> None:
    passed = () if side.name == "slurm" else ("-v", "STATUS")
    done = side.sdee("submit", *side.waiting, *passed, "--", "./job.py", STATUS="5")
    assert done.returncode == 5, done


def test_the_kept_script_can_be_submitted_by_hand(side: Side) -> None:
    side.sdee("submit", *side.waiting, "--", "./job.py", "x")
    kept = [name for name in side.found("sdee-jobs") if name.endswith("job-1.sh")]
    assert len(kept) == 1
    os.unlink(os.path.join(side.path, "out.txt"))
    done = side.run(*side.hand, os.path.join(side.path, "sdee-jobs", kept[0]))
    assert done.returncode == 0, done
    wait_for(lambda: lines(side.read("out.txt"), "job") == ["job ['x'] None status None"], lambda: side.read("out.txt"))


def test_what_a_job_writes_outside_of_shared_storage_comes_back(side: Side) -> None:
    without = side.sdee("submit", *side.waiting, "--", "./job.py")
    assert without.returncode == 0
    assert "gone with the job" in side.read("out.txt")
    done = side.sdee("submit", *side.waiting, "--results", "back", "--", "./job.py")
    assert done.returncode == 0, done
    found = {name.split("/", 1)[1]: side.read(f"back/{name}") for name in side.found("back")}
    assert set(found) == {"tmp/sdee-test-left-1.txt", "usr/share/sdee-test-result.txt"}
    assert found["usr/share/sdee-test-result.txt"].startswith("result of ")


def test_results_that_cannot_be_brought_back_fail_the_job_and_are_named(side: Side) -> None:
    side.file(
        "left.sh",
        "#!/bin/sh\ncd /tmp; rm -f sdee-test-left-2.txt; echo x >sdee-test-left-2.txt; chmod 0 sdee-test-left-2.txt\n",
    )
    clean = "rm -f /tmp/sdee-test-left-2.txt"
    side.on_nodes(clean)
    done = side.sdee("submit", *side.waiting, "--results=back", "--", "./left.sh")
    side.on_nodes(clean)
    assert done.returncode == 247, done
    assert "cannot copy back /tmp/sdee-test-left-2.txt" in side.read("out.txt")
    done = side.sdee("submit", *side.waiting, "--results=/proc/nosuch", "--no-trace", "--", "./left.sh")
    assert done.returncode == 247, done


def test_each_task_of_an_array_has_its_own_results(side: Side) -> None:
    done = side.sdee("submit", *side.waiting, *side.array, "--results=back/%j", "--", "./job.py")
    assert done.returncode == 0, done
    results = [name for name in side.found("back") if name.endswith("result.txt")]
    assert sorted(side.read(f"back/{name}") for name in results) == ["result of 1\n", "result of 2\n"]
    assert {name.split("/")[1] for name in results} == {"1", "2"}
    assert side.read("here-1.txt") == side.read("here-2.txt") == "on shared storage\n"


def test_a_bundle_that_is_sent_to_the_nodes_is_gone_with_the_job(side: Side) -> None:
    before = side.on_nodes(LEFT)
    side.file("where.sh", "#!/bin/sh\ntr '\\0' '\\n' </proc/$PPID/cmdline\n")
    done = side.sdee("submit", *side.waiting, "--broadcast=always", "--", "./where.sh")
    assert done.returncode == 0, done
    out = side.read("out.txt")
    assert lines(out, "/") in (["/proc/self/fd/9"], [f"/tmp/{name}/bundle.sdee" for name in out.split("/")[2:3]]), out
    assert side.on_nodes(LEFT) == before
    side.sdee("submit", *side.waiting, "--broadcast=never", "--", "./where.sh")
    assert lines(side.read("out.txt"), f"{side.path}/sdee-jobs/where.sh-")


def test_what_a_waiting_job_needs_is_not_cleaned_away(side: Side) -> None:
    later = ("--hold",) if side.name == "slurm" else ("-a", "203001010000")
    done = side.sdee("submit", *side.number, *later, "--", "./job.py")
    assert done.returncode == 0, done
    number = done.stdout.split(";")[0].split(".")[0].strip()
    try:
        cleaned = side.run(*SDEE, "clean", "--yes")
        assert "stays: a waiting or running job needs it" in cleaned.stdout, cleaned
        assert side.found("sdee-jobs")
    finally:
        side.cancel(number)
    assert side.run(*SDEE, "clean", "--yes").returncode == 0
    assert side.found("sdee-jobs") == []


def test_a_cancelled_job_leaves_nothing(side: Side) -> None:
    before = side.on_nodes(LEFT)
    side.file("long.sh", '#!/bin/sh\necho begun\n[ -n "$SLURM_JOB_ID$JOB_ID" ] || exec sleep 0\nexec sleep 100\n')
    done = side.sdee("submit", *side.number, "--broadcast=always", "--", "./long.sh")
    job = done.stdout.strip()
    wait_for(lambda: "begun" in side.read("out.txt"), lambda: side.read("out.txt"))
    side.cancel(job)
    wait_for(lambda: side.on_nodes(LEFT) == before, lambda: side.on_nodes(LEFT))
    assert not any(
        "sleep" in text
        for text in side.on_nodes("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'slee[p] 100'")
    )


SCRIPT = """#!/bin/bash
{directive} {options}

# a script as people write it
set -u
mkdir -p work && cd work
export SEED=7 PATH="$PWD/../tools:$PATH"
for i in 1 2; do
  {launch} interpreter ../job.py "$1" \\
    "number $i" <&- &
  wait $!
done
{launch} sh -c 'exit 3'
echo "status $?"
"""


def test_a_batch_script_runs_its_steps_in_the_bundle(side: Side) -> None:
    slurm = side.name == "slurm"
    options = "--output=out.txt\n#SBATCH -N1" if slurm else "-j y -o out.txt\n#$ -cwd -v SDEE_ROOT=closed"
    directive = "#SBATCH" if slurm else "#$"
    side.file("job.sh", SCRIPT.format(directive=directive, options=options, launch="srun" if slurm else ""))
    os.mkdir(f"{side.path}/tools")
    os.symlink("/usr/bin/python3", f"{side.path}/tools/interpreter")  # found only by the script's own PATH
    programs = [] if slurm else ["--program", "interpreter", "--program", "sh"]
    done = side.sdee("wrap", *programs, "job.sh", "first arg")
    assert done.returncode == 0, done
    text = side.read("job.sh").splitlines()
    new = done.stdout.splitlines()
    assert new[:3] == text[:3] or new[:4] == [text[0], new[1], *text[1:3]]
    assert new[-len(text) + 5 :] == text[5:]
    assert "these run as the node's own tools: mkdir" in done.stderr
    submit = ["--submit", "--results=back", *(("--wait",) if slurm else ("-sync", "y"))]
    done = side.sdee("wrap", *submit, *programs, "job.sh", "first arg")
    assert done.returncode == 0, done
    assert "tracing" not in done.stderr
    out = side.read("out.txt")
    expected = [f"job ['first arg', 'number {i}'] 7 status None" for i in (1, 2)]
    assert lines(out, "job", "status") == [*expected, "status 3"], out
    back = {name.split("/", 1)[1] for name in side.found("back")}
    assert back == {"tmp/sdee-test-left-1.txt", "usr/share/sdee-test-result.txt"}
    if slurm:  # a node without Python
        assert side.on_nodes("command -v python3") == [""] * 3


def test_a_dry_run_of_a_script_shows_what_would_be_done_and_changes_nothing(side: Side) -> None:
    side.file("job.sh", "#!/bin/sh\nls\n")
    before = side.found(".")
    dry = ["--dry-run", "--program=ls", "--submit"]
    done = side.sdee("wrap", *dry, "job.sh")
    assert (done.returncode, side.found(".")) == (0, before), done
    assert "there is no trace of it yet" in done.stdout
    assert side.sdee("wrap", "--program=ls", "job.sh").returncode == 0
    assert done.stdout.split("\n\n", 1)[1] in side.sdee("wrap", "--program=ls", "job.sh").stdout
    assert "keep    " in side.sdee("wrap", *dry, "job.sh").stdout
    side.file("job.sh", "#!/bin/sh\nls -l\n")
    assert "the script has changed" in side.sdee("wrap", *dry, "job.sh").stdout


def test_a_script_of_which_nothing_would_run_in_the_bundle_is_refused(side: Side) -> None:
    side.file("plain.sh", "#!/bin/sh\nls\n")
    done = side.sdee("wrap", "plain.sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--program" in done.stderr
    side.file("other.py", "#!/usr/bin/python3\nprint(1)\n")
    done = side.sdee("wrap", "--program", "ls", "other.py")
    assert done.returncode == 2
    assert "not of a shell" in done.stderr
    assert side.sdee("wrap", "nosuch.sh").returncode == 246
