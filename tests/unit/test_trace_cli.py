"""`sdee trace` on real programs: the job behaves as without it, and the trace is there whatever happens."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdee.base.errors import CommandNotFoundError
from sdee.tracer.engine import choose, tracee
from sdee.tracer.tracefile.reader import read_traces
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SDEE = [sys.executable, "-m", "sdee"]
TRACE = [*SDEE, "trace", "--engine", "unotify"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(tmp_path)


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = str(tmp_path_factory.mktemp("calls") / "calls")
    subprocess.run(["gcc", "-Wall", "-pthread", "-o", program, f"{FIXTURES}/calls/calls.c"], check=True)
    return program


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    done = subprocess.run([*TRACE, *arguments], text=True, timeout=60, check=False, **options)
    done.returncode = shell_status(done.returncode)
    return done


def shell_status(code: int) -> int:
    """Return a wait status as a shell shows it: 128+n for signal n."""
    return code if code >= 0 else 128 - code


def records(path: str = "sdee.trace") -> list[dict[str, Any]]:
    with open(path) as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("exit 255", 255)],
)
def test_the_exit_status_is_the_jobs(here: str, command: str, status: int) -> None:  # noqa: ARG001
    assert run("sh", "-c", command).returncode == status
    assert records()[-1]["status"] == status
    assert read_traces(["sdee.trace"]).runs[0].status == status


def test_standard_output_is_the_jobs_alone_and_the_summary_is_one_line(here: str) -> None:
    result = run("sh", "-c", "cat; echo error >&2; pwd", stdin=None, input="from stdin\n")
    assert result.stdout == f"from stdin\n{here}\n"
    lines = result.stderr.splitlines()
    assert lines[0] == "error"
    assert len(lines) == 2
    assert lines[1].startswith("sdee: traced sh: ")
    assert lines[1].endswith("→ sdee.trace")
    assert run("-q", "sh", "-c", "echo error >&2").stderr == "error\n"


def test_a_missing_command_is_127_and_says_where_it_looked(here: str) -> None:  # noqa: ARG001
    result = run("no-such-command-here")
    assert result.returncode == 127
    assert "command not found: 'no-such-command-here'" in result.stderr
    assert "tried: /" in result.stderr
    assert result.stdout == ""
    assert not os.path.exists("sdee.trace")


def test_a_command_that_cannot_be_executed_is_126(here: str) -> None:
    with open("data", "w") as file:
        file.write("text")
    assert run("./data").returncode == 126
    assert run(here).returncode == 126


def test_a_missing_interpreter_is_127_and_named(here: str) -> None:  # noqa: ARG001
    with open("script", "w") as file:
        file.write("#!/no/such/interpreter\n")
    os.chmod("script", 0o755)
    result = run("./script")
    assert result.returncode == 127
    assert "interpreter" in result.stderr


def test_a_script_without_an_interpreter_line_runs_in_sh(here: str) -> None:  # noqa: ARG001
    with open("script", "w") as file:
        file.write('echo "$0 $1"\n')
    os.chmod("script", 0o755)
    assert run("./script", "argument").stdout == "./script argument\n"


def test_the_environment_is_passed_on_exactly(here: str) -> None:  # noqa: ARG001
    env = {"PATH": os.environ["PATH"], "ODD": "a=b\nc", "EMPTY": ""}  # no LANG: Python itself sets LC_CTYPE then
    bare = subprocess.run(["env", "-0"], env=env, capture_output=True, check=True).stdout
    traced = run("env", "-0", env=env).stdout
    assert sorted(traced.split("\0")) == sorted(os.fsdecode(bare).split("\0"))


@pytest.mark.parametrize(
    "command",
    [
        "ls /proc/self/fd | wc -l",
        "grep -E '^Sig(Blk|Ign|Cgt)|^ShdPnd' /proc/self/status",
        "ulimit -a; umask",
        "ps -o nice= -p $$; ps -o pgid= -p $PPID | wc -w",
        "trap '' USR1; grep SigIgn /proc/self/status",
    ],
)
def test_what_a_process_inherits_is_the_same(here: str, command: str) -> None:  # noqa: ARG001
    bare = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert run("bash", "-c", command).stdout == bare.stdout
    assert bare.stdout


def test_closed_descriptors_stay_closed(here: str) -> None:  # noqa: ARG001
    command = "exec 2>&-; exec 0<&-; " + " ".join([*TRACE, "-q", "ls", "/proc/self/fd"])
    result = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=True)
    assert result.stdout.split() == ["0", "1"]  # 0 is ls's own directory
    assert records()[-1]["status"] == 0


def test_a_signal_sent_to_the_tracer_reaches_the_job_and_the_trace_is_written(here: str) -> None:  # noqa: ARG001
    script = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([*TRACE, "-q", "bash", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got it\n"
    assert process.returncode == 7
    assert records()[-1] == {**records()[-1], "t": "end", "status": 7}


def test_a_sent_sigxcpu_reaches_the_job(here: str) -> None:  # noqa: ARG001
    script = "trap 'echo got >said; exit 9' XCPU; echo ready >started; while :; do sleep 0.1; done"
    with subprocess.Popen([*TRACE, "bash", "-c", script]) as tracer:
        wait_for(lambda: os.path.exists("started"), "the job has not started")
        tracer.send_signal(signal.SIGXCPU)
        assert tracer.wait(timeout=60) == 9
    assert os.path.exists("said")


def test_a_signal_to_the_group_is_not_doubled(here: str) -> None:  # noqa: ARG001
    script = "trap 'echo hit' USR1; echo ready; sleep 0.2; kill -USR1 0; sleep 0.5 & wait; wait; echo end"
    result = run("-q", "bash", "-c", script, start_new_session=True)
    assert result.stdout.count("hit") == 1


def terminal(*command: str) -> tuple[int, int]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    return pid, terminal


def expect(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        assert select.select([terminal], [], [], 30)[0], f"{text!r} did not come after {seen!r}"
        seen += os.read(terminal, 4096)
    return seen


def test_control_c_ends_the_job_and_the_trace_is_complete(here: str) -> None:  # noqa: ARG001
    pid, tty = terminal(*TRACE, "bash", "-c", "echo ready; sleep 100")
    expect(tty, b"ready")
    os.write(tty, b"\x03")
    expect(tty, b"sdee: traced bash")
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGINT  # a shell's loop ends, too
    assert records()[-1]["status"] == 130


def test_control_z_stops_the_job_and_fg_continues_it(here: str) -> None:  # noqa: ARG001
    pid, tty = terminal("bash", "--norc", "--noprofile", "-i")
    program = "trap 'echo continued' CONT; echo rea''dy; while ! read -t 0.1 line; do :; done; echo read $line"
    os.write(tty, f"PS1='$ '; {' '.join(TRACE)} bash -c \"{program}\"\n".encode())
    expect(tty, b"ready\r\n")
    os.write(tty, b"\x1a")
    expect(tty, b"Stopped")
    os.write(tty, b"echo she''ll\n")
    expect(tty, b"shell\r\n")
    os.write(tty, b"fg\n")
    expect(tty, b"continued")
    os.write(tty, b"\n")
    expect(tty, b"read")
    expect(tty, b"sdee: traced")
    os.write(tty, b"exit\n")
    os.waitpid(pid, 0)
    os.close(tty)


def test_background_processes_are_waited_for(here: str) -> None:  # noqa: ARG001
    run("sh", "-c", "(sleep 0.5; cat /etc/hostname) >/dev/null 2>&1 & exit 4")
    assert "/etc/hostname" in read_traces(["sdee.trace"]).accesses
    assert records()[-1]["status"] == 4


def test_background_processes_can_be_left_and_go_on_unharmed(here: str) -> None:  # noqa: ARG001
    script = "(sleep 2; cat /etc/hostname >copied) >/dev/null 2>&1 & exit 5"
    with subprocess.Popen([*TRACE, "-q", "sh", "-c", script], stderr=subprocess.PIPE) as process:
        wait_for(
            lambda: os.path.exists("sdee.trace") and any(r.get("pid") and r["t"] == "exit" for r in complete_records()),
            "no end of a process is recorded",
        )
        process.send_signal(signal.SIGINT)
    assert process.returncode == 5
    assert "background" in read_traces(["sdee.trace"]).incomplete[0]
    wait_for(lambda: os.path.exists("copied") and os.path.getsize("copied") > 0, "nothing is copied")


def complete_records() -> Iterator[dict[str, Any]]:
    with open("sdee.trace") as lines:
        yield from (json.loads(line) for line in lines if line.endswith("\n"))


def test_a_killed_tracer_leaves_a_trace_that_is_read_and_called_incomplete(here: str) -> None:  # noqa: ARG001
    script = "cat /etc/hostname; while :; do sleep 0.1; done"
    with subprocess.Popen([*TRACE, "bash", "-c", script], stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for(
            lambda: os.path.exists("sdee.trace") and any(r.get("path") == "/etc/hostname" for r in complete_records()),
            "the file is not recorded",
        )
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        os.killpg(process.pid, signal.SIGKILL)
    trace = read_traces(["sdee.trace"])
    assert "/etc/hostname" in trace.accesses
    assert trace.runs[0].status is None
    assert "cut off" in trace.incomplete[0]


def test_a_full_disk_does_not_stop_the_job_and_is_told(here: str) -> None:  # noqa: ARG001
    result = run("-o", "/dev/full", "sh", "-c", "echo done")
    assert result.stdout == "done\n"
    assert result.returncode == 247
    assert "No space left" in result.stderr
    assert run("-o", "/dev/full", "sh", "-c", "exit 9").returncode == 9


def test_a_trace_that_cannot_be_begun_is_an_error_before_the_job_runs(here: str) -> None:  # noqa: ARG001
    result = run("-o", "no/such/directory/trace", "touch", "ran")
    assert result.returncode == 247
    assert not os.path.exists("ran")


def test_the_commands_own_options_are_its_own_with_and_without_dashes(here: str) -> None:  # noqa: ARG001
    for dashes in ([], ["--"]):
        assert run("-q", *dashes, "echo", "-o", "--engine", "--", "-q").stdout == "-o --engine -- -q\n"


def test_the_trace_is_private_and_replaced_unless_appended(here: str) -> None:  # noqa: ARG001
    with open("sdee.trace", "w") as file:
        file.write("old")
    os.chmod("sdee.trace", 0o666)
    run("true")
    assert os.stat("sdee.trace").st_mode & 0o777 == 0o600
    run("--append", "sh", "-c", "cat /etc/hostname")
    trace = read_traces(["sdee.trace"])
    assert [one.command[0] for one in trace.runs] == ["true", "sh"]
    assert trace.incomplete == ()
    run("true")
    assert len(read_traces(["sdee.trace"]).runs) == 1


def test_the_rank_is_expanded_in_the_traces_name(here: str) -> None:  # noqa: ARG001
    run("-o", "trace.%r", "true", env={**os.environ, "SLURM_PROCID": "3"})
    assert os.path.exists("trace.3")
    job = {"SLURM_PROCID": "3", "SLURM_JOB_ID": "71", "SLURM_ARRAY_TASK_ID": "5"}
    run("-o", "%t-%N-%j-%a-%%", "true", env={**os.environ, **job})
    assert os.path.exists(f"3-{os.uname().nodename.partition('.')[0]}-71-5-%")
    run("-o", "%t-%j-%a", "true", env={"PATH": os.environ["PATH"]})
    assert os.path.exists("0-0-0")
    assert run("-o", "trace.%z", "true").returncode == 2


def test_variables_that_look_like_secrets_are_left_out_of_the_trace_only(here: str) -> None:  # noqa: ARG001
    env = {"PATH": os.environ["PATH"], "MY_API_KEY": "abc", "DB_PASSWORD": "def", "MONKEY": "ape", "TOKENIZERS": "x"}
    result = run("sh", "-c", "echo $MY_API_KEY $MONKEY", env=env)
    assert result.stdout == "abc ape\n"
    assert "left out as secrets: DB_PASSWORD, MY_API_KEY" in result.stderr
    header = records()[0]
    assert header["env"]["MONKEY"] == "ape"
    assert header["env"]["TOKENIZERS"] == "x"
    assert header["env_dropped"] == ["DB_PASSWORD", "MY_API_KEY"]
    with open("sdee.trace") as file:
        assert "abc" not in file.read()


def test_variables_that_hold_a_token_are_left_out_whatever_their_name(here: str) -> None:  # noqa: ARG001
    env = {"PATH": os.environ["PATH"], "SETTING": "x=ghp_" + "a1B2" * 9, "PLAIN": "ghp_short"}
    assert run("sh", "-c", 'test "$SETTING"', env=env).returncode == 0
    header = records()[0]
    assert (header["env_dropped"], header["env"]["PLAIN"]) == (["SETTING"], "ghp_short")
    with open("sdee.trace") as file:
        assert "a1B2" not in file.read()


def test_io_uring_is_refused_under_trace(here: str, calls: str) -> None:  # noqa: ARG001
    assert run(calls, "io_uring").returncode == 0
    assert read_traces(["sdee.trace"]).incomplete == ()


def test_an_unknown_system_call_makes_the_trace_incomplete(here: str, calls: str) -> None:  # noqa: ARG001
    result = run(calls, "unknown")
    assert result.returncode == 0
    assert "may be incomplete: unknown system call" in result.stderr
    assert "number 1000" in read_traces(["sdee.trace"]).incomplete[0]


def test_a_bad_pointer_is_the_jobs_own_error(here: str, calls: str) -> None:  # noqa: ARG001
    assert run(calls, "bad-pointer").returncode == 0
    assert read_traces(["sdee.trace"]).incomplete == ()


def test_an_exec_from_a_thread_that_is_not_the_leader_is_followed(here: str, calls: str) -> None:  # noqa: ARG001
    assert run(calls, "thread-exec", "/bin/echo").stdout == "from-a-thread\n"
    trace = read_traces(["sdee.trace"])
    assert [program.path for program in trace.execs] == [calls, "/bin/echo"]
    assert len(trace.processes) == 1


def test_a_program_from_memory_makes_the_trace_incomplete_and_fexecve_does_not(here: str, calls: str) -> None:  # noqa: ARG001
    assert run(calls, "fexecve", "/bin/true").returncode == 0
    trace = read_traces(["sdee.trace"])
    assert trace.incomplete == ()
    assert trace.execs[1].path == os.path.realpath("/bin/true")
    assert run(calls, "memfd", "/bin/true").returncode == 0
    assert "memfd" in read_traces(["sdee.trace"]).incomplete[0]


def test_an_i386_program_is_traced(here: str) -> None:
    source = f"{FIXTURES}/calls/calls.c"
    if subprocess.run(
        ["gcc", "-m32", "-pthread", "-o", "calls32", source], capture_output=True, check=False
    ).returncode:
        pytest.skip("gcc-multilib is not installed")
    os.mkdir("dir")
    for name in ("dir/data", "data2", "dir/data2"):
        with open(name, "w"):
            pass
    os.mkdir("dir/sub")
    assert run("./calls32", "dirfd", "dir").returncode == 0
    trace = read_traces(["sdee.trace"])
    assert trace.accesses[f"{here}/dir/data"].ops == {"read"}
    assert trace.accesses[f"{here}/dir/data2"].ops == {"read"}
    assert trace.execs[0].argv == ("./calls32", "dirfd", "dir")
    assert any("ld-linux.so.2" in path for path in trace.execs[0].interpreters)


def test_an_ordinary_user_can_trace(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    os.chmod(tmp_path, 0o777)
    for parent in list(tmp_path.parents)[:3]:
        if str(parent).startswith("/tmp/"):
            os.chmod(parent, 0o755)
    command = ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", *TRACE, "id", "-u"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("1001\n", 0), result.stderr
    assert read_traces([str(tmp_path / "sdee.trace")]).runs[0].uid == 1001


def test_an_engine_that_does_not_work_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdee.base.errors import KernelError

    monkeypatch.setattr(choose, "prove", lambda engine: f"{engine.name} is forbidden")
    with pytest.raises(KernelError) as caught:
        choose.choose("auto")
    assert caught.value.tried == ("unotify: unotify is forbidden", "ptrace: ptrace is forbidden")


def test_a_second_listener_is_refused_and_the_reason_told(here: str) -> None:  # noqa: ARG001
    result = run("-q", *TRACE, "-o", "inner", "true")
    assert result.returncode == 242
    assert "already listens" in result.stderr or "busy" in result.stderr


def test_programs_are_found_as_a_shell_finds_them(here: str) -> None:
    os.mkdir("bin")
    with open("bin/tool", "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod("bin/tool", 0o755)
    assert tracee.find_program("tool", f"/nowhere:{here}/bin") == f"{here}/bin/tool"
    assert tracee.find_program("bin/tool", "") == "bin/tool"
    assert tracee.find_program("sh", None) == "/bin/sh"


def test_every_place_where_a_program_was_looked_for_is_named_once_with_the_reason(here: str) -> None:
    os.mkdir("locked")
    with open("file", "w"):
        pass
    search = f"{here}/locked:{here}/file:/nowhere:{here}/locked"
    with pytest.raises(CommandNotFoundError) as raised:
        tracee.find_program("tool", search)
    assert raised.value.tried == (
        f"{here}/locked/tool: no such file or directory",
        f"{here}/file/tool: not a directory",
        "/nowhere/tool: no such file or directory",
    )


def test_a_trace_that_the_job_removed_is_put_back(here: str) -> None:  # noqa: ARG001
    with open("old", "w"):
        pass
    assert run("sh", "-c", "rm -f ./*; echo r >result").returncode == 0
    assert sorted(os.listdir(".")) == ["result", "sdee.trace"]
    assert read_traces(["sdee.trace"]).incomplete == ()
    assert os.stat("sdee.trace").st_mode & 0o777 == 0o600


def test_a_directory_that_the_job_removed_is_no_bug_of_ours(here: str) -> None:
    os.mkdir("gone")
    result = run("-o", f"{here}/t", "sh", "-c", "rmdir ../gone; exit 5", cwd=f"{here}/gone")
    assert (result.returncode, "bug" in result.stderr) == (5, False)


def test_a_limit_on_processor_time_ends_neither_tracer_nor_trace(here: str) -> None:  # noqa: ARG001
    code = "import os\nwhile os.times().user + os.times().system < 1.5: os.stat('/etc/passwd')\nprint('done')"
    limited = ["bash", "-c", 'trap "" XCPU; ulimit -S -t 1; exec "$@"', "bash", *TRACE, "/usr/bin/python3", "-c", code]
    result = subprocess.run(limited, capture_output=True, text=True, timeout=500, check=False)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_a_program_called_through_a_links_parent_is_the_one_that_ran(here: str) -> None:
    os.makedirs("real/deep")
    os.symlink("real/deep", "link")
    for name in ("real/prog", "prog"):
        with open(name, "w") as file:
            file.write(f"#!/bin/sh\necho {name}\n")
        os.chmod(name, 0o755)
    assert run("./link/../prog").stdout == "real/prog\n"
    assert read_traces(["sdee.trace"]).runs[0].program == f"{here}/real/prog"


def test_a_job_whose_tracer_was_killed_goes_on_unharmed(here: str) -> None:  # noqa: ARG001
    with open("job.sh", "w") as file:
        file.write("echo ready >started; sleep 1; cat /etc/hostname >copy || echo failed >copy; echo end >ended\n")
    with subprocess.Popen([*TRACE, "sh", "job.sh"]) as tracer:
        wait_for(lambda: os.path.exists("started"), "the job has not started")
        tracer.kill()
    wait_for(lambda: os.path.exists("ended"), "the job has not ended")
    with open("copy") as copy, open("/etc/hostname") as original:
        assert copy.read() == original.read()
    assert any("cut off" in why for why in read_traces(["sdee.trace"]).incomplete)


@pytest.mark.parametrize("attempt", range(4))
def test_a_call_that_the_tracer_had_read_when_it_was_killed_is_answered(here: str, attempt: int) -> None:  # noqa: ARG001
    code = "import os,time\nend=time.time()+1.5\nopen('started','w')\n"
    code += "while time.time()<end: os.stat('/etc/passwd')\nopen('ended','w')"
    with subprocess.Popen([*TRACE, "/usr/bin/python3", "-c", code], stderr=subprocess.DEVNULL) as tracer:
        wait_for(lambda: os.path.exists("started"), "the job has not started")
        time.sleep(0.3)
        tracer.kill()
    wait_for(lambda: os.path.exists("ended"), "the job has not ended")


@pytest.mark.parametrize("number", [0, 3, 9])
def test_json_is_alone_on_standard_output(here: str, number: int) -> None:
    """What the command prints goes to standard error then, as with `sdee verify --json`; its status stays."""
    end = "kill -9 $$" if number == 9 else f"exit {number}"
    done = run("--json", "-o", "t", "--", "sh", "-c", f"echo of the job; {end}")
    found = json.loads(done.stdout)
    assert done.stderr == "of the job\n"
    assert (found["trace"], found["command"][:2]) == (os.path.realpath(f"{here}/t"), ["sh", "-c"])
    assert (found["status"], found["signal"]) == ((137, 9) if number == 9 else (number, 0))
    assert done.returncode == found["status"]
    assert (found["processes"], found["engine"], found["incomplete"]) == (1, "unotify", [])
    assert found["paths"] > 3


def test_a_run_that_a_signal_ends_leaves_the_trace_of_the_run_before(here: str) -> None:
    with open("data.txt", "w") as file:
        file.write("before\n")
    change = "cat data.txt; echo after >data.txt; "
    assert run("sh", "-c", change + "true first").returncode == 0
    before = (records(), sorted(os.listdir("sdee.trace.saved")))
    done = run("sh", "-c", change + "kill -INT $$")
    assert done.returncode == 130
    assert "→ sdee.trace.interrupted\n" in done.stderr
    assert "warning: a signal ended the command (SIGINT): the trace holds what it used until then" in done.stderr
    assert "sdee.trace still holds the earlier run" in done.stderr
    assert (records(), sorted(os.listdir("sdee.trace.saved"))) == before
    interrupted = read_traces(["sdee.trace.interrupted"])
    assert interrupted.runs[0].command[2].endswith("kill -INT $$")
    (copy,) = (copy.copy for copy in interrupted.saved.values() if copy.path.endswith("data.txt"))
    assert copy == f"{here}/sdee.trace.interrupted.saved/0"
    with open(copy) as file:
        assert file.read() == "after\n"
    # what cannot be started changes nothing; the next run that ends by itself replaces all of them
    assert run("./missing").returncode == 127
    assert records() == before[0]
    assert run("true").returncode == 0
    assert sorted(os.listdir()) == ["data.txt", "sdee.trace"]


def test_a_run_that_a_signal_ends_is_the_trace_where_there_is_none_or_none_of_a_whole_run(here: str) -> None:  # noqa: ARG001
    for name in ("first", "second"):
        done = run("sh", "-c", f"kill -TERM $$; {name}")
        assert done.returncode == 143
        assert "→ sdee.trace\n" in done.stderr
        assert "still holds" not in done.stderr
        assert records()[0]["command"][2].endswith(name)
    assert os.listdir() == ["sdee.trace"]


def test_a_command_that_fails_is_told_from_one_that_does_well(here: str) -> None:  # noqa: ARG001
    assert "warning" not in run("true").stderr
    done = run("sh", "-c", "exit 3")
    assert "warning: the command failed with status 3: the trace holds what it used until then" in done.stderr
    assert records()[-1]["status"] == 3
    assert os.listdir() == ["sdee.trace"]


def test_files_of_others_beside_the_trace_stay(here: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of others")
    run("true")
    for name in ("sdee.trace.old", "sdee.trace.interrupted"):
        with open(name, "w") as file:
            file.write("another's\n")
        os.chown(name, 65534, 65534)
    assert run("sh", "-c", "kill -INT $$").returncode == 130
    assert run("true").returncode == 0
    for name in ("sdee.trace.old", "sdee.trace.interrupted"):
        with open(os.path.join(here, name)) as file:
            assert file.read() == "another's\n"


def test_a_good_trace_survives_a_tracer_that_is_killed_and_what_comes_after(here: str) -> None:  # noqa: ARG001
    run("true")
    good = records()
    script = "echo ready; while kill -0 $PPID; do sleep 0.02; done"  # it ends with the tracer
    with subprocess.Popen([*TRACE, "sh", "-c", script], stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout
        assert tracer.stdout.readline() == b"ready\n"
        tracer.kill()
    assert records("sdee.trace.old") == good
    for _ in range(2):  # the next runs are interrupted, too: it is put back
        assert run("sh", "-c", "kill -INT $$").returncode == 130
        assert records() == good
        assert sorted(os.listdir()) == ["sdee.trace", "sdee.trace.interrupted"]
    run("echo")
    assert os.listdir() == ["sdee.trace"]
