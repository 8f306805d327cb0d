"""The Python API: what a workflow engine or a notebook does with `import sdee`, with threads of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import sdee
from launcher_tools import ROOT, TESTER, as_user
from sdee import errors
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENGINES = ("unotify", "ptrace")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Be in a directory, with files of a job."""
    with tempfile.TemporaryDirectory(prefix="sdee-api-", dir="/home" if ROOT else None) as top:
        os.chmod(top, 0o755)
        monkeypatch.chdir(top)
        with open("input.txt", "w", encoding="utf-8") as file:
            file.write("data\n")
        yield os.path.realpath(top)


@pytest.fixture
def threads() -> Iterator[None]:
    """Let this process have two more threads, which take any signal."""
    end = threading.Event()
    others = [threading.Thread(target=end.wait) for _ in range(2)]
    for thread in others:
        thread.start()
    yield
    end.set()
    for thread in others:
        thread.join()


@pytest.fixture
def bundle(here: str) -> sdee.Bundle:
    """Give a bundle of a small job."""
    text = 'read word <input.txt; echo "$word $1 $NAME"; echo said >&2; echo result >out.txt; exit ${STATUS:-0}'
    trace = sdee.trace(["sh", "-c", text, "job", "recorded"], capture_output=True)
    assert trace.path == f"{here}/sdee.trace"
    return sdee.bundle(trace)


def paths(files: tuple[sdee.File, ...]) -> set[str]:
    return {file.path for file in files}


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_program_with_threads_traces(here: str, engine: str) -> None:
    trace = sdee.trace(["sh", "-c", "cat input.txt; ls nosuch; echo x >out.txt"], engine=engine, capture_output=True)
    assert (trace.status, trace.stdout, trace.incomplete) == (0, b"data\n", ())
    assert b"nosuch" in (trace.stderr or b"")
    assert f"{here}/input.txt" in paths(trace.inputs)
    assert f"{here}/out.txt" in paths(trace.outputs)
    assert f"{here}/out.txt" not in paths(trace.inputs)
    missing = next(file for file in trace.files if file.path == f"{here}/nosuch")
    assert (missing.existed, missing.kind, missing.is_input) == (False, None, False)


@pytest.mark.parametrize("engine", ENGINES)
def test_several_threads_trace_at_once(here: str, engine: str) -> None:
    def one(number: int) -> sdee.Trace:
        return sdee.trace(["sh", "-c", f"sleep 0.2; cat input.txt >{number}"], f"{number}.trace", engine=engine)

    with ThreadPoolExecutor(4) as pool:
        traces = list(pool.map(one, range(4)))
    for number, trace in enumerate(traces):
        own = {f"{here}/{number}"}
        assert (trace.status, paths(trace.outputs) & {f"{here}/{n}" for n in range(4)}) == (0, own)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("engine", ENGINES)
def test_how_the_command_ended_is_in_the_trace_and_no_exception(here: str, engine: str) -> None:
    assert sdee.trace(["sh", "-c", "exit 3"], engine=engine).status == 3
    assert sdee.trace(["sh", "-c", "exit 241"], engine=engine).status == 241
    assert sdee.trace(["sh", "-c", "kill -TERM $$"], engine=engine).status == 128 + signal.SIGTERM
    assert sdee.trace(["sh", "-c", "kill -KILL $$"], engine=engine).status == 128 + signal.SIGKILL
    assert sdee.open_trace(f"{here}/sdee.trace").status == 128 + signal.SIGKILL


@pytest.mark.usefixtures("here")
def test_a_program_that_is_not_there_is_its_own_error() -> None:
    with pytest.raises(errors.CommandNotFoundError) as raised:
        sdee.trace(["nosuch", "x"])
    assert "nosuch" in raised.value.message
    assert raised.value.tried
    assert raised.value.exit_code == 127
    with pytest.raises(errors.CommandNotExecutableError):
        sdee.trace(["./input.txt"])
    with pytest.raises(errors.CommandNotFoundError):
        sdee.trace(["sh"], env={"PATH": "/nowhere"})
    with pytest.raises(errors.UsageError):
        sdee.trace([])
    with pytest.raises(errors.UsageError):
        sdee.trace(["true"], engine="nosuch")
    with pytest.raises(TypeError):
        sdee.trace("sh -c true")
    with pytest.raises(FileNotFoundError):
        sdee.trace(["true"], cwd="nosuch")
    assert not os.path.exists("sdee.trace")


def test_a_trace_that_cannot_be_written_is_an_error_before_and_after(here: str) -> None:
    with pytest.raises(errors.OutputError) as raised:
        sdee.trace(["touch", "ran"], "nosuch/t")
    assert "nosuch/t" in raised.value.message
    assert not os.path.exists("ran")
    with pytest.raises(errors.OutputError) as raised:
        sdee.trace(["touch", "ran"], "/dev/full")
    assert "No space left" in raised.value.message
    assert os.path.exists(f"{here}/ran")


def test_directory_variables_and_standard_files_are_as_of_subprocess(here: str) -> None:
    os.mkdir("below")
    env = {"PATH": os.environ["PATH"], "ONE": "1"}
    with open("in", "w+") as given, open("got", "w+b") as got:
        given.write("typed\n")
        given.seek(0)
        trace = sdee.trace(["sh", "-c", "pwd; env; cat"], cwd="below", env=env, stdin=given, stdout=got)
        got.seek(0)
        lines = got.read().decode().splitlines()
    assert trace.path == f"{here}/sdee.trace"  # as subprocess has it: other paths are the caller's
    assert (trace.cwd, trace.stdout) == (f"{here}/below", None)
    assert (lines[0], lines[-1]) == (f"{here}/below", "typed")
    assert sorted(line for line in lines if "=" in line and not line.startswith(("PWD=", "_=", "OLDPWD="))) == sorted(
        ["ONE=1", f"PATH={env['PATH']}", *(["SHLVL=1"] if "SHLVL=1" in lines else [])]
    )
    with pytest.raises(ValueError, match="capture_output"):
        sdee.trace(["true"], capture_output=True, stdout=subprocess.DEVNULL)


def test_what_python_changed_in_its_environment_counts(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", "set since")
    done = sdee.trace(["sh", "-c", 'echo "$OWN"'], f"{here}/t", capture_output=True)
    assert done.stdout == b"set since\n"


INTERRUPTED = """
import os, sys, threading
import sdee
text = "trap 'echo ended >ended; exit 9' TERM; echo $$ >pid; while :; do sleep 0.05; done"
try:
    sdee.trace(["sh", "-c", text], engine=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", os.path.exists("ended"))
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_ends_the_command_and_then_the_caller(here: str, engine: str) -> None:
    """As a notebook's stop button: the program alone gets the signal, not its group."""
    command = [sys.executable, "-c", INTERRUPTED, engine]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as program:
        wait_for(lambda: os.path.exists("pid") and os.path.getsize("pid") > 0, "the job has begun")
        program.send_signal(signal.SIGINT)
        out = program.communicate(timeout=60)[0]
    assert (out, program.returncode) == ("interrupted True\n", 0)
    with open("pid") as file, pytest.raises(ProcessLookupError):
        os.kill(int(file.read()), 0)
    assert sdee.open_trace(f"{here}/sdee.trace").path


def test_a_second_ctrl_c_kills_a_command_that_does_not_end(here: str) -> None:
    text = INTERRUPTED.replace("echo ended >ended; exit 9", ":")
    command = [sys.executable, "-c", text, "unotify"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as program:
        wait_for(lambda: os.path.exists("pid") and os.path.getsize("pid") > 0, "the job has begun")
        with open(f"{here}/pid") as file:
            job = int(file.read())
        program.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(1)
        assert program.poll() is None  # it waits for the job
        os.kill(job, 0)
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=60)[0] == b"interrupted False\n"
    with pytest.raises(ProcessLookupError):
        os.kill(job, 0)


def test_a_callback_that_raises_ends_the_tracing(here: str) -> None:
    def stop(sentence: str) -> None:
        raise LookupError(sentence)

    with pytest.raises(LookupError, match="sdee traces its background processes"):  # said after 3 s
        sdee.trace(["sh", "-c", "echo $$ >pid; sleep 9 & true"], notice=stop)
    assert os.path.exists(f"{here}/pid")


def test_a_bundle_tells_what_it_is(bundle: sdee.Bundle, here: str) -> None:
    assert (bundle.path, bundle.size) == (f"{here}/bundle.sdee", os.path.getsize("bundle.sdee"))
    assert (bundle.command[0], bundle.cwd, bundle.status) == ("sh", here, 0)
    assert bundle == sdee.open_bundle("bundle.sdee")
    assert f"{here}/input.txt" in bundle.shared
    entries = {entry.path: entry for entry in bundle.entries()}
    shell = next(entry for path, entry in entries.items() if path.endswith("/dash") and entry.kind == "file")
    assert (shell.mode, shell.size) == (0o755, os.path.getsize(shell.path))
    assert bundle.read(shell.path)[:4] == b"\x7fELF"
    with pytest.raises(errors.BundleError):
        bundle.read("/nosuch")
    assert os.fspath(bundle) == bundle.path
    assert pickle.loads(pickle.dumps(bundle)) == bundle


def test_what_is_left_out_is_told_with_its_reason(here: str) -> None:
    with open("token.txt", "w") as file:
        file.write("ghp_" + "a1B2" * 9 + "\n")
    os.mkdir("bin")
    os.mkdir("lib")
    os.rename("token.txt", "lib/token.txt")
    trace = sdee.trace(["cat", "lib/token.txt"], capture_output=True)
    bundle = sdee.bundle(trace, include=["lib"])
    assert [found.path for found in bundle.left_out] == [f"{here}/lib/token.txt"]
    assert "secret" in bundle.left_out[0].why
    assert sdee.bundle(trace, include=["lib"], allow=["lib/token.txt"]).left_out == ()


def test_progress_is_told_and_bundling_fails_as_errors(here: str) -> None:
    trace = sdee.trace(["cat", "input.txt"], capture_output=True)
    told: list[tuple[int, int]] = []
    sdee.bundle([trace], progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 100_000
    with pytest.raises(errors.TraceError):
        sdee.bundle("input.txt")
    with pytest.raises(errors.OutputError):
        sdee.bundle(trace, "nosuch/b.sdee")
    for wrong in ({"level": 20}, {"expand": ["everything"]}):
        with pytest.raises(errors.UsageError):
            sdee.bundle(trace, **wrong)
    with pytest.raises(errors.UsageError):
        sdee.bundle(trace, here)
    with pytest.raises(errors.UsageError):
        sdee.bundle([])
    assert sorted(os.listdir()) == ["bundle.sdee", "input.txt", "sdee.trace"]


def test_interrupting_progress_leaves_nothing(here: str) -> None:
    def stop(done: int, total: int) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    trace = sdee.trace(["cat", "input.txt"], capture_output=True)
    with pytest.raises(KeyboardInterrupt):
        sdee.bundle(trace, progress=stop)
    assert sorted(os.listdir(here)) == ["input.txt", "sdee.trace"]


@pytest.mark.usefixtures("threads")
def test_run_is_as_subprocess_run(bundle: sdee.Bundle, here: str) -> None:
    done = bundle.run(capture_output=True, text=True, env=os.environ | {"NAME": "outer"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "data recorded outer\n", "said\n")
    text = 'echo "$NAME $PWD"; cat; kill -TERM $$'
    done = bundle.run(
        ["-c", text],
        command="sh",
        text=True,
        input="typed\n",
        stdout=subprocess.PIPE,
        variables={"NAME": "a b"},
        cwd="/tmp",
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "a b /tmp\ntyped\n")
    status = bundle.run(stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ | {"STATUS": "241"})
    assert status.returncode == 241  # the job's own, though sdee has that number, too
    with pytest.raises(subprocess.CalledProcessError) as raised:
        bundle.run(capture_output=True, check=True, variables={"STATUS": "3"})
    assert (raised.value.returncode, raised.value.stderr) == (3, b"said\n")
    with open(f"{here}/out.txt") as file:
        assert file.read() == "result\n"


def test_sdees_own_warnings_are_not_among_what_the_job_says(
    bundle: sdee.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # that the job runs elsewhere is said
    assert bundle.run(capture_output=True).stderr == b"said\n"
    loud = bundle.run(capture_output=True, quiet=False).stderr
    assert loud.endswith(b"said\n")
    assert loud.startswith(b"sdee: ")


def test_what_sdee_itself_cannot_do_is_an_exception(bundle: sdee.Bundle, here: str) -> None:
    with pytest.raises(errors.CommandNotFoundError) as raised:
        bundle.run(command="nosuch")
    assert raised.value.hint
    with pytest.raises(errors.NodeError):
        bundle.run(cwd=f"{here}/nosuch", stdout=subprocess.DEVNULL)
    with pytest.raises(errors.UsageError):
        bundle.run(root="elsewhere")
    with pytest.raises(TypeError):
        bundle.run("-c true")
    os.truncate("bundle.sdee", 10_000)
    with pytest.raises(errors.BundleError):
        bundle.run()
    with pytest.raises(errors.BundleError):
        sdee.open_bundle("bundle.sdee")
    with pytest.raises(errors.BundleError):
        sdee.verify(bundle)


def test_a_job_that_takes_too_long_ends(bundle: sdee.Bundle, here: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        bundle.run(["-c", "echo $$ >pid; while :; do :; done"], command="sh", timeout=5)
    assert os.path.exists(f"{here}/pid")
    wait_for(lambda: not running("echo $$ >pid; while"), "the job has ended, too")


def running(text: str) -> bool:
    """Tell whether a process other than this one has a text in its command line."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            if text.encode() in file.read() and int(name) != os.getpid():
                return True
    return False


def test_deployed_runs_and_goes(bundle: sdee.Bundle) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as node:
        deployed = bundle.deploy(node)
        assert (deployed.bundle, deployed.identity) == (bundle.path, bundle.identity)
        assert os.path.isdir(f"{deployed.directory}/closure")
        assert os.listdir(node) == [os.path.basename(deployed.directory)]
        bundle.undeploy(node)
        assert os.listdir(node) == []
        with pytest.raises(errors.ResourceError) as raised:
            bundle.deploy(f"{node}/nosuch")
        assert raised.value.tried


@pytest.mark.usefixtures("threads")
def test_verify_tells_what_is_missing(here: str, capfd: pytest.CaptureFixture[str]) -> None:
    with open("job.sh", "w") as file:
        file.write("cat input.txt\n")
    bundle = sdee.bundle(sdee.trace(["sh", "job.sh"], capture_output=True))
    capfd.readouterr()
    report = sdee.verify(bundle, roots=["closed"])
    assert (report.passed, report.missing, {run.root for run in report.runs}) == (True, (), {"closed"})
    assert "nothing is missing on a bare node" in str(report)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(errors.UsageError):
        sdee.verify(bundle, roots=["elsewhere"])  # type: ignore[list-item]
    assert sorted(os.listdir(here)) == ["bundle.sdee", "input.txt", "job.sh", "sdee.trace"]


def test_verify_of_a_bundle_that_lacks_a_program(here: str) -> None:
    bundle = sdee.bundle(sdee.trace(["sh", "-c", "cat input.txt"], capture_output=True), exclude=["/usr/bin/cat"])
    report = sdee.verify(bundle, roots=["closed"])
    assert not report.passed
    missing = {m.path: m for m in report.missing}
    assert missing["/usr/bin/cat"].kind == "program"
    assert "/usr/bin/cat" in str(report)
    assert not os.path.exists(f"{here}/out")


SBATCH = '#!/bin/sh\n[ "$1" = --help ] && exit; echo >given; echo Submitted batch job 7\n'


@pytest.fixture
def manager(here: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give an sbatch that says that it took the job."""
    os.mkdir("bin")
    with open("bin/sbatch", "w") as file:
        file.write(SBATCH)
    os.chmod("bin/sbatch", 0o755)
    monkeypatch.setenv("PATH", f"{here}/bin:/usr/bin:/bin")
    return here


@pytest.mark.usefixtures("threads")
def test_submit_gives_the_jobs_number_and_its_things(manager: str) -> None:
    told: list[str] = []
    done = sdee.submit(["cat", "input.txt"], ["-N2", "--time=5"], notice=told.append)
    assert (done.job, done.manager, done.argv) == ("7", "Slurm", ("sbatch", "-N2", "--time=5", done.script))
    assert os.access(done.script, os.X_OK)
    assert sdee.open_bundle(done.bundle).command == ("cat", "input.txt")
    assert done.trace is not None
    assert sdee.open_trace(done.trace).status == 0
    assert any("tracing cat input.txt" in sentence for sentence in told)
    again = sdee.submit(["cat", "input.txt"])
    assert (again.bundle, again.script != done.script) == (done.bundle, True)
    given = sdee.submit(bundle=done.bundle, directory="kept")
    assert (given.bundle, given.trace) == (done.bundle, None)
    assert given.script.startswith(f"{manager}/kept/")


def test_what_cannot_be_submitted_is_an_error(manager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.CommandFailedError) as raised:
        sdee.submit(["sh", "-c", "exit 4"])
    assert raised.value.exit_code == 4
    assert not os.path.exists("given")
    with open("bin/sbatch", "w") as file:
        file.write("#!/bin/sh\necho sbatch: error: no such partition >&2; exit 1\n")
    with pytest.raises(errors.CommandFailedError, match="no such partition") as raised:
        sdee.submit(["true"])
    assert raised.value.exit_code == 1
    for wrong in ({"manager": "nosuch"}, {"broadcast": "perhaps"}, {"retrace": True, "no_trace": True}):
        with pytest.raises(errors.UsageError):
            sdee.submit(["true"], **wrong)
    with pytest.raises(errors.UsageError):
        sdee.submit()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(errors.CommandNotFoundError):
        sdee.submit([f"{manager}/bin/sbatch"])


QUIET = """
import os, sys
sys.path.insert(0, sys.argv[1])  # as a notebook does
import sdee
trace = sdee.trace(["sh", "-c", "cat input.txt >out"])
bundle = sdee.bundle(trace)
assert bundle.run().returncode == 0
assert sdee.verify(bundle, roots=["closed"]).passed
assert sdee.open_trace(trace).command == trace.command
wrong = {"click", "rich", "sdee.cli"} & set(sys.modules)
assert not wrong, wrong
"""


def test_nothing_is_printed_and_the_command_line_is_not_loaded(here: str) -> None:
    """Also for a program that has found sdee by a changed sys.path, as an ordinary user."""
    site = os.path.dirname(os.path.dirname(os.path.abspath(sdee.__file__)))
    if ROOT:
        os.chown(here, TESTER, TESTER)
    before = as_user(TESTER) if ROOT else []
    done = subprocess.run([*before, sys.executable, "-c", QUIET, site], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(os.stat("sdee.trace").st_mode) == 0o600


def test_the_type_of_everything_is_known(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        "import sdee\n"
        "trace = sdee.trace(['true'])\n"
        "bundle: sdee.Bundle = sdee.bundle([trace, 'x'])\n"
        "text: str = bundle.run(text=True, capture_output=True).stdout\n"
        "data: bytes = bundle.run(capture_output=True).stdout\n"
        "reveal_type(sdee.verify(bundle).missing[0].path)\n"
        "wrong: int = trace.path\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--no-color-output", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (wrong,) = (line for line in done.stdout.splitlines() if "error:" in line)
    assert wrong.startswith("user.py:7: error: Incompatible types in assignment")
    assert 'Revealed type is "builtins.str"' in done.stdout or 'Revealed type is "str"' in done.stdout
