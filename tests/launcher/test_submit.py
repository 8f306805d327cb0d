"""`sdee submit` up to the job manager: options, script, plan, and when a trace and a bundle still hold.

A stand-in for sbatch says what it was given. The jobs themselves run in tests/cluster/test_submit_slurm.py and
tests/cluster/test_submit_jobs.py.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdee.base.errors import OutputError, UsageError
from sdee.runtime.jobs.gridengine.manager import GridEngine
from sdee.runtime.jobs.model import Request, Words
from sdee.runtime.jobs.options import table_of_help
from sdee.runtime.jobs.registry import choose
from sdee.runtime.jobs.slurm.inside import SlurmInside
from sdee.runtime.jobs.slurm.manager import Slurm
from sdee.runtime.programs import front_path
from sdee.workflow import serving
from submit_desk import Desk, desk

__all__ = ["desk"]
OWN = {"--dry-run": False, "--results": True}


@pytest.mark.parametrize(
    ("line", "own", "options", "command"),
    [
        (["-N2", "--", "a"], [], ["-N2"], ["a"]),
        (["-N2", "a", "-N3"], [], ["-N2"], ["a", "-N3"]),
        (["-J", "name", "a"], [], ["-J", "name"], ["a"]),
        (["--job-name", "name", "a"], [], ["--job-name", "name"], ["a"]),
        (["--job-name=name", "a"], [], ["--job-name=name"], ["a"]),
        (["--nod", "2", "a"], [], ["--nod", "2"], ["a"]),  # as getopt_long(3) abbreviates
        (["--exclusive", "a"], [], ["--exclusive"], ["a"]),  # its value can follow = only
        (["-HW", "a"], [], ["-HW"], ["a"]),
        (["-HJ", "name", "a"], [], ["-HJ", "name"], ["a"]),
        (
            ["-n4", "--dry-run", "-p", "all", "--results", "d", "a"],
            ["--dry-run", "--results", "d"],
            ["-n4", "-p", "all"],
            ["a"],
        ),
        (["-o", "--dry-run", "a"], [], ["-o", "--dry-run"], ["a"]),  # a value, though it looks like ours
        (["--results=d", "--", "--dry-run"], ["--results=d"], [], ["--dry-run"]),
        (["-N1", ":", "-N2", "--", "a"], [], ["-N1", ":", "-N2"], ["a"]),
        (["--mpi=pmix", "--label", "a"], [], ["--mpi=pmix", "--label"], ["a"]),
        (["--new-in-a-later-slurm", "a"], [], ["--new-in-a-later-slurm"], ["a"]),
    ],
)
def test_slurms_options_are_told_from_ours_and_from_the_command(
    line: list[str], own: list[str], options: list[str], command: list[str]
) -> None:
    assert Slurm().split(line, OWN) == Words(tuple(own), tuple(options), tuple(command))


@pytest.mark.parametrize(
    ("line", "own", "options", "command"),
    [
        (["-cwd", "-pe", "smp", "4", "a", "-x"], [], ["-cwd", "-pe", "smp", "4"], ["a", "-x"]),
        (["-l", "h_rt=60", "--dry-run", "--", "-a"], ["--dry-run"], ["-l", "h_rt=60"], ["-a"]),
        (["-binding", "set", "linear", "a"], [], ["-binding", "set", "linear"], ["a"]),
        (["-binding", "linear", "a"], [], ["-binding", "linear"], ["a"]),
        (["-terse", "a"], [], ["-terse"], ["a"]),
    ],
)
def test_grid_engines_options_are_told_from_ours_and_from_the_command(
    line: list[str], own: list[str], options: list[str], command: list[str]
) -> None:
    assert GridEngine().split(line, OWN) == Words(tuple(own), tuple(options), tuple(command))


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        (Slurm(), ["-N"]),
        (Slurm(), ["--nodes", "--", "a"]),
        (Slurm(), ["--results", "--", "a"]),
        (Slurm(), ["--wrap", "x", "a"]),
        (Slurm(), ["--container=x", "a"]),
        (GridEngine(), ["-pe", "smp"]),
        (GridEngine(), ["-N", "--", "a"]),
        (GridEngine(), ["-b", "y", "a"]),
    ],
)
def test_what_cannot_be_meant_is_refused(manager: Slurm | GridEngine, line: list[str]) -> None:
    with pytest.raises(UsageError):
        manager.split(line, OWN)


def test_the_programs_own_help_tells_which_options_have_values() -> None:
    text = "  -x, --new=<what>    something\n      --newer[=a]   else\n      --flag      text with --inner=x in it\n"
    table = table_of_help(text, frozenset(("known",)), frozenset(("newest",)))
    assert [table.takes_value(name) for name in ("new", "newer", "flag", "known", "newest", "nosuch")] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert table.short == {"x": "new"}
    assert not table.takes_value("inner")


def request_of(*options: str, **values: object) -> Request:
    """Return a request for the command `./app "a b"`."""
    return Request("/s/job-1.sh", "/s/it's a/bundle.sdee", (), ("./app", "a\nb"), options, **values)  # type: ignore[arg-type]


def test_a_slurm_script_repeats_the_options_of_the_job_and_not_those_of_the_call() -> None:
    made = Slurm().submission(request_of("-N2", "-J", 'my "x" #1', "--wait", "--parsable", "--mpi", "pmix"))
    lines = made.text.split("\n")
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert directives == ["#SBATCH -N2", '#SBATCH -J "my \\"x\\" #1"']
    assert made.argv == ("sbatch", "-N2", "-J", 'my "x" #1', "--wait", "--parsable", "/s/job-1.sh")
    assert any(line.startswith("srun --mpi pmix /bin/sh") for line in lines)
    assert any(line.startswith("# ./app 'a?b'") for line in lines)  # nothing ends the comment


def test_a_grid_engine_script_runs_in_bash_in_the_directory_of_the_call() -> None:
    made = GridEngine().submission(request_of("-pe", "smp", "2", "-sync", "y"))
    directives = [line for line in made.text.split("\n") if line.startswith("#$")]
    assert directives == ["#$ -S /bin/bash", "#$ -cwd", "#$ -N app", "#$ -pe smp 2"]
    assert made.argv == ("qsub", "-pe", "smp", "2", "-sync", "y", "/s/job-1.sh")
    assert "#$ -cwd" not in GridEngine().submission(request_of("-wd", "/x")).text


@pytest.mark.parametrize("manager", [Slurm(), GridEngine()])
@pytest.mark.parametrize("broadcast", ["auto", "always", "never"])
@pytest.mark.parametrize("results", ["", "/r/%j-%a it's"])
def test_scripts_are_shell(manager: Slurm | GridEngine, broadcast: str, results: str) -> None:
    made = manager.submission(request_of(broadcast=broadcast, results=results, collect=("/tmp/it's [0-9]*",)))
    for shell in ("bash", "dash"):
        done = subprocess.run([shell, "-n"], input=made.text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_without_a_job_manager_it_is_said_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Exception, match="no job manager") as raised:
        choose("auto")
    assert raised.value.exit_code == 127  # type: ignore[attr-defined]
    assert len(raised.value.tried) == 2  # type: ignore[attr-defined]


# ---- traces and bundles that hold ----


def test_the_first_submission_traces_and_bundles_and_gives_sbatchs_output_alone(desk: Desk) -> None:
    done = desk.submit("-N2", "--parsable", "-J", "a name", "--", "./job.sh")
    assert (done.returncode, done.stdout) == (0, "Submitted batch job 7\n"), done.stderr
    assert "said" in done.stderr  # what the traced run prints
    assert desk.kept() == ["bundle-1.sdee", "job-1.sh", "state.json", "trace"]
    assert desk.given()[:4] == ["-N2", "--parsable", "-J", "a name"]
    script = Path(desk.given()[4])
    assert script.name == "job-1.sh"
    assert os.access(script, os.X_OK)
    assert desk.runs() == 1


def test_the_exit_status_is_sbatchs(desk: Desk) -> None:
    desk.sbatch(3)
    assert desk.submit("--", "./job.sh").returncode == 3


def test_json_says_which_job_it_is_and_where_its_things_are(desk: Desk) -> None:
    planned = desk.submit("--dry-run", "--json", "-N2", "--", "./job.sh")
    assert (planned.stderr, desk.kept(), desk.runs()) == ("", [], 0)
    done = desk.submit("--json", "-N2", "--", "./job.sh")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (kept,) = (desk.path / "sdee-jobs").iterdir()
    assert [found[key] for key in ("job", "manager", "status")] == ["7", "Slurm", 0]
    assert found["output"] == "Submitted batch job 7\n"
    places = {"script": f"{kept}/job-1.sh", "bundle": f"{kept}/bundle-1.sdee", "trace": f"{kept}/trace"}
    assert {key: found[key] for key in places} == places
    assert found["argv"] == ["sbatch", "-N2", f"{kept}/job-1.sh"]
    plan = json.loads(planned.stdout)
    assert (plan["job"], plan["text"]) == (None, (kept / "job-1.sh").read_text())
    assert {key: plan[key] for key in (*places, "argv")} == {key: found[key] for key in (*places, "argv")}
    given = json.loads(desk.submit("--json", "--bundle", found["bundle"]).stdout)
    assert (given["bundle"], given["trace"]) == (found["bundle"], None)


def test_json_of_a_job_that_is_refused_is_none(desk: Desk) -> None:
    (desk.path / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: no such partition' >&2; exit 3\n")
    done = desk.submit("--json", "--", "./job.sh")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == "sdee: error: sbatch ended with status 3: sbatch: error: no such partition"


def test_the_status_of_a_job_that_sbatch_waited_for_is_the_commands(desk: Desk) -> None:
    desk.sbatch(4)  # it says the job's number, too
    done = desk.submit("--json", "--wait", "--", "./job.sh")
    assert (done.returncode, json.loads(done.stdout)["job"], json.loads(done.stdout)["status"]) == (4, "7", 4)


@pytest.mark.parametrize(
    ("manager", "printed", "job"),
    [
        (Slurm(), "Submitted batch job 71\n", "71"),
        (Slurm(), "Submitted batch job 71 on cluster main\n", "71"),
        (Slurm(), "71;main\n", "71"),
        (Slurm(), "71\n", "71"),
        (Slurm(), "", ""),
        (Slurm(), "sbatch: 71 nodes\n", ""),
        (GridEngine(), 'Your job 5 ("python3") has been submitted\n', "5"),
        (GridEngine(), 'Your job-array 5.1-10:1 ("a (b)") has been submitted\nJob 5.1 exited\n', "5"),
        (GridEngine(), "5\n", "5"),
        (GridEngine(), "5.1-10:1\n", "5"),
        (GridEngine(), "Unable to run job: 5 queues\n", ""),
    ],
)
def test_a_jobs_number_is_found_in_what_the_job_manager_prints(
    manager: Slurm | GridEngine, printed: str, job: str
) -> None:
    assert manager.job_in(printed) == job


def test_nothing_is_made_again_when_nothing_changed_and_other_options_do_not_count(desk: Desk) -> None:
    desk.submit("--", "./job.sh")
    (desk.path / "input.txt").write_text("other data\n")
    done = desk.submit("-N3", "--", "./job.sh", SEED="4")
    assert (done.returncode, done.stderr) == (0, "")
    assert desk.runs() == 1
    assert desk.kept() == ["bundle-1.sdee", "job-1.sh", "job-2.sh", "state.json", "trace"]
    assert "bundle-1.sdee" in Path(desk.given()[-1]).read_text()


def change_library(desk: Desk) -> dict[str, str]:
    (desk.path / "library.sh").write_text("true # changed\n")
    return {}


def change_environment(desk: Desk) -> dict[str, str]:
    return {"PYTHONPATH": str(desk.path)}


def remove_trace(desk: Desk) -> dict[str, str]:
    next(desk.path.glob("sdee-jobs/*/trace")).unlink()
    return {}


@pytest.mark.parametrize("change", [change_library, change_environment, remove_trace])
def test_a_change_of_code_or_environment_is_traced_and_bundled_anew(desk: Desk, change: object) -> None:
    desk.submit("--", "./job.sh")
    env = change(desk)  # type: ignore[operator]
    done = desk.submit("--", "./job.sh", **env)
    assert done.returncode == 0
    assert "tracing ./job.sh here first: " in done.stderr
    assert desk.runs() == 2
    # the bundle of before is left to jobs that wait
    assert [name for name in desk.kept() if name.endswith(".sdee")] == ["bundle-1.sdee", "bundle-2.sdee"]


def test_before_the_run_here_it_says_so_and_ctrl_c_ends_it(desk: Desk) -> None:
    """The sentence comes first: who did not want the run here can still stop it."""
    (desk.path / "job.sh").write_text("#!/bin/sh\necho begun >&2; sleep 100; echo ran >>runs\n")
    command = [sys.executable, "-m", "sdee", "submit", "--", "./job.sh"]
    env = {"PATH": f"{desk.path}/bin:/usr/bin:/bin", "HOME": "/root"}
    with subprocess.Popen(
        command, cwd=desk.path, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        status = process.wait(60)
    assert lines[0].endswith("it runs on this machine and writes its files; Ctrl-C ends it\n")
    assert lines[1].startswith("  hint: if that takes too long: ")
    assert lines[2] == "begun\n"
    assert (status, "sdee submitted nothing" in said, desk.record.exists(), desk.runs()) == (130, True, False, 0), said


def test_a_new_trace_that_gives_the_same_bundle_leaves_one(desk: Desk) -> None:
    (desk.path / "job.sh").write_text("#!/bin/sh\n. ./library.sh\n")
    for _ in range(2):
        done = desk.submit("--retrace", "--", "./job.sh")
        assert "bundled" in done.stderr
    assert [name for name in desk.kept() if name.endswith(".sdee")] == ["bundle-1.sdee"]


def test_options_in_a_scripts_lines_are_not_lost_without_a_word(desk: Desk) -> None:
    (desk.path / "job.sh").write_text("#!/bin/sh\n#SBATCH --time=5\necho ran >>runs\n")
    done = desk.submit("--", "./job.sh")
    assert done.returncode == 0
    assert "warning: ./job.sh has #SBATCH lines, which sdee submit ignores: sdee wrap --submit ./job.sh" in done.stderr
    (desk.path / "job.sh").chmod(0o644)
    done = desk.submit("job.sh")
    assert (done.returncode, desk.runs()) == (2, 1)
    assert "'job.sh' is a batch script, not a command\n  hint: sdee wrap --submit job.sh" in done.stderr


def test_a_bundle_that_was_removed_is_made_again(desk: Desk) -> None:
    for _ in range(3):
        done = desk.submit("--", "./job.sh")
        assert done.returncode == 0, done.stderr
        assert "bundled" in done.stderr
        bundle = next(desk.path.glob("sdee-jobs/*/bundle-1.sdee"))
        assert str(bundle) in Path(desk.given()[-1]).read_text()
        assert subprocess.run([bundle], cwd=desk.path, check=False, capture_output=True).stdout == b"said\n"
        bundle.unlink()
    assert desk.runs() == 4  # once here, three times from the bundle


def test_a_file_that_was_looked_for_and_appears_counts_as_a_change(desk: Desk) -> None:
    (desk.path / "job.sh").write_text("#!/bin/sh\n[ ! -e settings ] || . ./settings\necho ran >>runs\n")
    desk.submit("--", "./job.sh")
    (desk.path / "settings").write_text("true\n")
    done = desk.submit("--", "./job.sh")
    assert "settings is new" in done.stderr
    assert desk.runs() == 2


def test_a_file_that_appears_in_a_directory_of_software_is_bundled_and_not_traced(desk: Desk) -> None:
    (desk.path / "tools/mine").mkdir(parents=True)
    (desk.path / "tools/mine/__init__.py").write_text("")
    code = "import sys; sys.path.insert(0, 'tools'); import mine; sys.dont_write_bytecode = True"
    command = ("--", "/usr/bin/python3", "-B", "-c", code)
    assert desk.submit(*command).returncode == 0
    assert desk.submit(*command).stderr == ""
    (desk.path / "tools/mine/more.py").write_text("")
    done = desk.submit(*command)
    assert ("bundled" in done.stderr, "tracing" in done.stderr) == (True, False), done.stderr


def test_a_policy_file_is_bundled_anew_and_not_traced(desk: Desk) -> None:
    desk.submit("--", "./job.sh")
    (desk.path / "extra").write_text("more\n")
    (desk.path / "sdee.toml").write_text('include = ["extra"]\n')
    done = desk.submit("--", "./job.sh")
    assert "bundled" in done.stderr
    assert desk.runs() == 1
    assert "bundle-2.sdee" in desk.kept()


def test_retrace_and_no_trace_do_what_they_say(desk: Desk) -> None:
    assert desk.submit("--no-trace", "--", "./job.sh").returncode == 245
    desk.submit("--", "./job.sh")
    desk.submit("--retrace", "--", "./job.sh")
    assert desk.runs() == 2
    change_library(desk)
    done = desk.submit("--no-trace", "--", "./job.sh")
    assert (done.returncode, desk.runs()) == (0, 2)
    assert "using the trace as it is, although" in done.stderr
    assert "bundle-2.sdee" in desk.kept()  # with the file as it is now


def test_a_command_that_fails_here_is_not_submitted_unless_told(desk: Desk) -> None:
    (desk.path / "job.sh").write_text("#!/bin/sh\necho ran >>runs; exit 9\n")
    done = desk.submit("--", "./job.sh")
    assert (done.returncode, done.stdout, desk.record.exists()) == (9, "", False)
    assert "--no-trace submits" in done.stderr
    assert desk.submit("--", "./job.sh").returncode == 9  # once more: it may be mended
    assert desk.runs() == 2
    assert desk.submit("--no-trace", "--", "./job.sh").returncode == 0


def test_a_dry_run_shows_the_plan_and_the_script_and_changes_nothing(desk: Desk) -> None:
    before = sorted(desk.path.rglob("*"))
    done = desk.submit("--dry-run", "-N2", "--results", "out", "--", "./job.sh")
    assert done.returncode == 0
    assert sorted(desk.path.rglob("*")) == before
    assert "trace   ./job.sh   (there is no trace of it yet)" in done.stdout
    assert "#SBATCH -N2" in done.stdout
    desk.submit("-N2", "--results", "out", "--", "./job.sh")
    script = Path(desk.given()[-1]).read_text()
    assert script in done.stdout  # what is shown is what is done
    assert "keep    " in desk.submit("--dry-run", "--", "./job.sh").stdout


def test_the_directory_and_input_of_sbatchs_options_are_those_of_the_traced_run(desk: Desk) -> None:
    (desk.path / "below").mkdir()
    (desk.path / "in").write_text("words\n")
    done = desk.submit("-D", "below", "--input=in", "--", "sh", "-c", "cat >got; pwd -P >where")
    assert done.returncode == 0, done.stderr
    assert (desk.path / "below/got").read_text() == "words\n"
    assert (desk.path / "below/where").read_text() == f"{desk.path}/below\n"


def test_a_ready_bundle_is_submitted_as_recorded_or_with_another_command(desk: Desk) -> None:
    sdee = [sys.executable, "-m", "sdee"]
    subprocess.run([*sdee, "trace", "-q", "--", "./job.sh"], cwd=desk.path, check=True)
    subprocess.run([*sdee, "bundle", "-q"], cwd=desk.path, check=True)
    runs = desk.runs()
    assert desk.submit("--bundle", "bundle.sdee").returncode == 0
    recorded = Path(desk.given()[-1]).read_text()
    assert desk.submit("--bundle", "bundle.sdee", "--", "./job.sh", "a b").returncode == 0
    other = Path(desk.given()[-1]).read_text()
    assert recorded.splitlines()[-1].endswith('"$sdee_results" ""')
    assert other.splitlines()[-1].endswith("\"\" ./job.sh 'a b'")
    assert desk.runs() == runs
    assert desk.submit("--bundle", "nosuch.sdee").returncode == 241


def test_bad_options_are_refused_before_anything_runs(desk: Desk) -> None:
    for arguments in (["--retrace", "--no-trace", "--", "./job.sh"], ["--results", "%q", "--", "./job.sh"], ["-N2"]):
        done = desk.submit(*arguments)
        assert done.returncode == 2, done
        assert done.stderr.startswith("sdee: error: ")
    assert desk.runs() == 0
    shutil.rmtree(desk.path / "bin")
    done = subprocess.run(
        [sys.executable, "-m", "sdee", "submit", "--", "./job.sh"],
        cwd=desk.path,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, desk.runs()) == (127, 0)


def test_what_serves_a_bundle_is_whole_or_not_there(tmp_path: Path) -> None:
    bundle = str(tmp_path / "bundle-1.sdee")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk ends a write in the midst
    try:
        with pytest.raises(OutputError, match=r"cannot write '.*/sdee-front'"):
            serving.prepare(str(tmp_path), bundle, front_path(), SlurmInside())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle-1.outside"]
    assert list((tmp_path / "bundle-1.outside").iterdir()) == []
    words = serving.prepare(str(tmp_path), bundle, front_path(), SlurmInside())
    assert Path(words[0]).read_bytes() == Path(front_path()).read_bytes()
    assert os.access(Path(words[2]) / "srun", os.X_OK)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make"):
        serving.prepare(str(tmp_path / "file"), bundle, front_path(), SlurmInside())


SCRIPT = """#!/bin/bash
#SBATCH -N1

mkdir -p out; date >out/date
python3 -c 'print("before")'
srun python3 -c 'print("step")' | sort
for n in 1 2; do srun ./job.sh $n & done; wait
./after.sh
no-such-command || true
"""


@pytest.fixture
def script(desk: Desk) -> Path:
    """Give a batch script with steps, tools of every system and programs of its own."""
    (desk.path / "after.sh").write_text("#!/bin/sh\ncat output.txt\n")
    (desk.path / "after.sh").chmod(0o755)
    found = desk.path / "batch.sh"
    found.write_text(SCRIPT)
    return found


def test_of_a_scripts_programs_those_that_nodes_may_lack_are_named_with_their_lines(desk: Desk, script: Path) -> None:
    done = desk.sdee("wrap", script.name)
    assert done.returncode == 0, done.stderr
    said = "warning: NOT in the bundle, each node must have them: python3 (line 5), after.sh (line 8)\n"
    assert said in done.stderr
    hint = "sdee wrap --program python3 batch.sh runs them in the bundle; start after.sh with srun in the script\n"
    assert hint in done.stderr
    assert "these run as the node's own tools: mkdir, date, sort\n" in done.stderr
    script.write_text(SCRIPT.replace("./after.sh", "srun ./after.sh"))
    done = desk.sdee("wrap", "--program", "python3", script.name)
    assert "warning" not in done.stderr


def test_messages_of_the_run_here_name_the_scripts_own_lines(desk: Desk, script: Path) -> None:
    done = desk.sdee("wrap", script.name)
    assert f"line {SCRIPT[: SCRIPT.index('no-such')].count(chr(10)) + 1}: no-such-command: " in done.stderr
    assert desk.sdee("wrap", script.name).stderr.count("no-such-command") == 0, "its trace holds"


def test_a_program_that_the_script_does_not_name_is_refused_before_anything_runs(desk: Desk, script: Path) -> None:
    for name, hint in (
        ("pyhton3", "did you mean 'python3'?"),
        ("gfortran", "--program takes a name as the script has it"),
    ):
        done = desk.sdee("wrap", "--program", name, script.name)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"no command of 'batch.sh' names the program '{name}'\n  hint: {hint}" in done.stderr
    assert not (desk.path / "sdee-jobs").exists()
