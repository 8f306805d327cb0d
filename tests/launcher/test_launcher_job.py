"""What a job sees and what its parent sees: arguments, environment, descriptors, status, signals, terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from launcher_tools import (
    PLAIN,
    ROOT,
    ROOTS,
    SOURCES,
    TESTER,
    USERS,
    as_user,
    built,
    mounts,
    open_directory,
    run,
    script,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_the_recorded_command_runs(work: str, root: str, uid: int) -> None:
    bundle = script('echo "$1 is $(pwd)"; exit 7', "here").write(f"{work}/b.sdee")
    before = mounts()
    for command in ([bundle], [built("sdee-launcher"), bundle]):
        result = run(command, uid=uid, ROOT=root)
        assert (result.stdout, result.stderr, result.returncode) == ("here is /tmp\n", "", 7)
    assert mounts() == before


@pytest.mark.parametrize("root", ROOTS)
def test_arguments_replace_the_recorded_ones(work: str, root: str) -> None:
    maker = script("", programs=("echo",))
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", "/bin/echo"), ("arg", "echo"), ("arg", "recorded")]
    bundle = maker.write(f"{work}/b.sdee")
    assert run([bundle], ROOT=root).stdout == "recorded\n"
    assert run([bundle, "-x", "--root", "a b"], ROOT=root).stdout == "-x --root a b\n"
    assert run([built("sdee-launcher"), "--root", root, bundle, "--debug"]).stdout == "--debug\n"


@pytest.mark.parametrize("root", ROOTS)
def test_a_script_without_an_interpreter_line_runs_in_sh_as_in_a_shell(work: str, root: str) -> None:
    maker = script("")
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", "/opt/plain"), ("arg", "./plain"), ("arg", "recorded")]
    bundle = maker.add("/opt/plain", 'echo "$0 $#:$1:$2"\n', 0o755).write(f"{work}/b.sdee")
    assert run([bundle], ROOT=root).stdout == "/opt/plain 1:recorded:\n"
    assert run([bundle, "a b", "c"], ROOT=root).stdout == "/opt/plain 2:a b:c\n"


@pytest.mark.parametrize("root", ROOTS)
def test_a_script_sees_the_name_by_which_it_was_called(work: str, root: str) -> None:
    maker = script("", cwd=work, live=[work])
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", f"{work}/bin/job"), ("arg", "bin/job")]
    maker.add(f"{work}/bin/job", '#!/bin/sh\necho "$0"\n', 0o755)
    bundle = maker.write(f"{work}/b.sdee")
    assert run([bundle], ROOT=root).stdout == "bin/job\n"
    assert run([bundle], ROOT=root, CHDIR="/").stdout == f"{work}/bin/job\n"


def test_a_binary_of_no_known_format_is_126_and_not_given_to_sh(work: str) -> None:
    maker = script("")
    maker.conf = [("program", "/opt/odd") if c[0] == "program" else c for c in maker.conf]
    result = run([maker.add("/opt/odd", b"MZ\0\1echo no\n", 0o755).write(f"{work}/b.sdee")])
    assert (result.returncode, result.stdout) == (126, "")
    assert "/opt/odd" in result.stderr


@pytest.mark.parametrize("root", ROOTS)
def test_another_command_is_looked_up_in_the_jobs_path(work: str, root: str) -> None:
    maker = script("echo recorded", env=["PATH=/opt/p/bin"]).add(
        "/opt/p/bin/tool", "#!/bin/sh\necho tool $0 $*\n", 0o755
    )
    maker.add("/opt/p/bin/data", "no program", 0o644)
    bundle = maker.write(f"{work}/b.sdee")
    assert run([bundle, "1"], ROOT=root, COMMAND="tool").stdout == "tool /opt/p/bin/tool 1\n"
    assert run([built("sdee-launcher"), "--command=tool", bundle], ROOT=root).stdout == "tool /opt/p/bin/tool\n"
    missing = run([bundle], ROOT=root, COMMAND="nothing-such")
    assert missing.returncode == 127
    assert "nothing-such was not found in PATH (/opt/p/bin)" in missing.stderr
    assert run([bundle], ROOT=root, COMMAND="data").returncode == 126
    nowhere = script("echo recorded", env=[]).write(f"{work}/without")
    said = run(["env", "-u", "PATH", nowhere], ROOT=root, COMMAND="nothing-such").stderr
    assert "(null)" not in said
    assert "nothing-such was not found in PATH (which is unset)" in said


def test_a_shell_runs_the_bundles_shell(work: str) -> None:
    bundle = script("echo recorded").write(f"{work}/b.sdee")
    result = run([bundle], ROOT="closed", SHELL="1", text="echo from $0\n")
    assert result.stdout == "from /bin/sh\n"
    assert run([bundle], SHELL="1", COMMAND="x").returncode == 2


@pytest.mark.parametrize("root", ROOTS)
def test_the_environment_is_the_recorded_one_with_live_variables_over_it(work: str, root: str) -> None:
    shown = r"tr '\0' '\n' </proc/$$/environ"  # a shell's own would lack f.g
    maker = script(shown, programs=("tr",), env=["PATH=/usr/bin:/bin", "A=recorded", "SLURM_X=old", "KEPT=1"])
    bundle = maker.write(f"{work}/b.sdee")
    outer = {"A": "outer", "SLURM_X": "live", "SLURM_Y": "new", "LD_PRELOAD": "", "EXTRA": "e", "TMPDIR": "/tmp/t"}
    outer |= {"SDEE_PASSED_0": "f.g=h=i", "SDEE_PASSED_1": "no variable"}  # runtime/native/front/passed.c
    names = dict(
        line.split("=", 1) for line in run([bundle], env=outer, ROOT=root, ENV="EXTRA,NONE").stdout.splitlines()
    )
    assert {key: names.get(key) for key in ("A", "SLURM_X", "SLURM_Y", "KEPT", "EXTRA", "TMPDIR", "f.g")} == {
        "A": "recorded", "SLURM_X": "live", "SLURM_Y": "new", "KEPT": "1", "EXTRA": "e", "TMPDIR": "/tmp/t",
        "f.g": "h=i",
    }  # fmt: skip
    assert not [name for name in names if name.startswith("SDEE_") or name in ("LD_PRELOAD", "NONE")]
    given = run([built("sdee-launcher"), "--pass-env", "A=B=C", "--env", "EXTRA", bundle], env=outer, ROOT=root).stdout
    assert "A=B=C\n" in given
    assert "EXTRA=e\n" in given


@pytest.mark.parametrize("root", ROOTS)
def test_umask_and_limits_are_the_recorded_ones(work: str, root: str) -> None:
    maker = script(
        "umask; ulimit -S -n; ulimit -S -c",
        umask="0027",
        rlimit=["nofile 777 1000", "core 0 0", "stack 8388608 unlimited"],
    )
    bundle = maker.write(f"{work}/b.sdee")
    command = ["sh", "-c", 'umask 0; ulimit -S -n 100; ulimit -S -c 0; exec "$0"', bundle]
    assert run(command, ROOT=root).stdout.split() == ["0027", "777", "0"]
    more = ["sh", "-c", 'ulimit -S -n 900; exec "$0"', bundle]
    assert run(more, ROOT=root).stdout.split()[1] == "900", "a limit is never lowered"


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_closed_descriptors_stay_closed_and_none_are_added(work: str, closed: tuple[int, ...]) -> None:
    maker = script('ls -1 /proc/self/fd >"$1"', f"{work}/fds", programs=("ls",))
    bundle = maker.write(f"{work}/b.sdee")
    bare = ["/bin/sh", "-c", 'ls -1 /proc/self/fd >"$0"', f"{work}/bare"]
    for command in (bare, [bundle]):
        redirect = " ".join(f"{fd}>&-" for fd in closed)
        assert run(["sh", "-c", f'"$@" {redirect}', "sh", *command], ROOT="closed").returncode == 0
    with open(f"{work}/fds", encoding="utf-8") as ours, open(f"{work}/bare", encoding="utf-8") as theirs:
        assert ours.read() == theirs.read()


@pytest.mark.parametrize("uid", USERS)
def test_the_job_has_no_capabilities_that_the_user_has_not(work: str, uid: int) -> None:
    bundle = script(
        "while read a b; do case $a in CapEff:|CapPrm:|CapAmb:|NoNewPrivs:) echo $a $b;; esac; done </proc/self/status"
    )
    path = bundle.write(f"{work}/b.sdee")
    bare = run(["/bin/sh", "-c", bundle.conf[4][1]], uid=uid).stdout
    assert bare.count("\n") == 4
    assert run([path], uid=uid, ROOT="closed").stdout == bare


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_a_signal_that_kills_the_job_is_what_the_parent_sees(work: str, root: str, number: signal.Signals) -> None:
    bundle = script(f"kill -{int(number)} $$").write(f"{work}/b.sdee")
    assert run([bundle], ROOT=root).returncode == -number


def start(command: list[str], **variables: str) -> subprocess.Popen[str]:
    environment = PLAIN | {f"SDEE_{key}": value for key, value in variables.items()}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd="/", start_new_session=True
    )


def test_signals_sent_to_the_launcher_reach_the_job(work: str) -> None:
    traps = 'trap "echo usr1" USR1; trap "echo int" INT; trap "echo term; exit 3" TERM'
    text = f"{traps}; echo ready; while :; do sleep 0.05; done"
    bundle = script(text, programs=("sleep",)).write(f"{work}/b.sdee")
    process = start([bundle])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number, said in ((signal.SIGUSR1, "usr1\n"), (signal.SIGINT, "int\n"), (signal.SIGTERM, "term\n")):
        process.send_signal(number)
        assert process.stdout.readline() == said
    assert process.wait(30) == 3


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("root", ROOTS)
def test_killing_the_launcher_kills_the_job_and_leaves_nothing(work: str, root: str) -> None:
    bundle = script("echo $$; exec sleep 1000", programs=("sleep",)).write(f"{work}/b.sdee")
    before, files = mounts(), set(os.listdir("/tmp"))
    process = start([bundle], ROOT=root)
    assert process.stdout is not None
    job = int(process.stdout.readline())
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert eventually(lambda: gone(job))
    assert mounts() == before
    assert set(os.listdir("/tmp")) == files


@pytest.mark.parametrize("root", ROOTS)
def test_killing_the_launcher_at_any_moment_leaves_nothing(work: str, root: str) -> None:
    bundle = script("exec sleep 1000", f"mark {work}", programs=("sleep",)).write(f"{work}/b.sdee")
    before, files = mounts(), set(os.listdir("/tmp"))
    for step in range(25):
        process = start([bundle], ROOT=root)
        time.sleep(step * 0.0006)
        process.kill()
        process.wait(30)
    assert mounts() == before
    assert set(os.listdir("/tmp")) == files

    def nothing_runs() -> bool:
        names = [f"/proc/{pid}/environ" for pid in os.listdir("/proc") if pid.isdigit()]
        return not any(f"mark {work}".encode() in read_bytes(name.replace("environ", "cmdline")) for name in names)

    assert eventually(nothing_runs)


def read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_many_at_once_all_work(work: str) -> None:
    bundle = script('echo "$SLURM_PROCID"').write(f"{work}/b.sdee")
    variables = [PLAIN | {"SLURM_PROCID": str(n), "SDEE_ROOT": ROOTS[n % 2]} for n in range(32)]
    processes = [subprocess.Popen([bundle], stdout=subprocess.PIPE, text=True, env=env, cwd="/") for env in variables]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == [str(n) for n in range(32)]
    assert {process.returncode for process in processes} == {0}


class Terminal:
    """A shell with job control on a pseudo-terminal."""

    def __init__(self) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.execve("/bin/bash", ["bash", "--norc", "-i"], PLAIN | {"PS1": "", "TERM": "dumb"})
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, pattern: str) -> str:
        """Wait until the output since the last match holds the pattern."""
        end = time.monotonic() + 30
        while True:
            match = re.search(pattern, self.seen)
            if match:
                self.seen = self.seen[match.end() :]
                return match[0]
            assert time.monotonic() < end, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.5)[0]:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    shell = Terminal()
    yield shell
    os.kill(shell.pid, signal.SIGKILL)
    os.close(shell.fd)
    os.waitpid(shell.pid, 0)


def test_control_c_reaches_the_job_once_and_the_shell_goes_on(work: str, terminal: Terminal) -> None:
    text = 'trap "echo caught-it; n=1" INT; echo rea\\dy; while [ -z "$n" ]; do sleep 0.05; done; sleep 0.3; exit 5'
    bundle = script(text.replace("rea\\dy", "rea''dy"), programs=("sleep",)).write(f"{work}/b.sdee")
    terminal.type(f"stty -echo; {bundle}; echo status=$?\n")
    terminal.expect("ready")
    terminal.type("\x03")
    output = terminal.expect(r"(?s).*status=\d+")
    assert output.count("caught-it") == 1
    assert output.endswith("status=5")


def test_control_c_kills_a_job_that_does_not_catch_it(work: str, terminal: Terminal) -> None:
    bundle = script("echo rea''dy; exec sleep 1000", programs=("sleep",)).write(f"{work}/b.sdee")
    terminal.type(f"stty -echo; {bundle}; echo status=$?\n")
    terminal.expect("ready")
    terminal.type("\x03")
    terminal.type("echo status=$?\n")
    assert terminal.expect(r"status=\d+") == "status=130"


def test_control_z_stops_the_job_and_fg_continues_it(work: str, terminal: Terminal) -> None:
    bundle = script("echo rea''dy; read line; echo got=$line; exit 4").write(f"{work}/b.sdee")
    terminal.type(f"stty -echo; {bundle}\n")
    terminal.expect("ready")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.type("fg\n")
    terminal.expect("b.sdee")
    terminal.type("word\n")
    terminal.expect("got=word")
    terminal.type("echo status=$?\n")
    terminal.expect("status=4")


def test_a_real_time_signal_reaches_the_job(work: str) -> None:
    text = 'trap "echo got; exit 3" RTMIN; echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; done'
    maker = script("", programs=("bash", "sleep"))
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", "/usr/bin/bash"), ("arg", "bash"), ("arg", "-c"), ("arg", text)]
    with subprocess.Popen([maker.write(f"{work}/b.sdee")], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        os.kill(job.pid, signal.SIGRTMIN)
        assert job.communicate(timeout=60)[0] == "got\n"
    assert job.returncode == 3


def test_what_the_caller_sets_counts_but_what_is_fixed_unless_it_is_named(work: str) -> None:
    live, fixed = ["*", "PYTHONPATH"], ["PYTHON*", "LANG"]
    text = 'echo "$SEED $LANG $PYTHONPATH $PYTHONHOME"'
    env = ["PATH=/usr/bin:/bin", "SEED=1", "LANG=C", "PYTHONHOME=/recorded"]
    bundle = script(text, env=env, live_env=live, fixed_env=fixed).write(f"{work}/b.sdee")
    given = {"SEED": "2", "LANG": "de_DE", "PYTHONPATH": "/mine", "PYTHONHOME": "/node"}
    assert run([bundle], env=given).stdout == "2 C /mine /recorded\n"


def test_ignored_signals_stay_ignored(work: str) -> None:
    bundle = script("kill -HUP $$; echo alive").write(f"{work}/b.sdee")
    assert run(["nohup", bundle]).stdout == "alive\n"


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_user_and_group_are_the_users_own(work: str) -> None:
    bundle = script(
        'while read a b c; do case $a in Uid:|Gid:) echo $a $b;; esac; done </proc/self/status; echo x >"$1"',
        f"{work}/out",
    )
    result = run([bundle.write(f"{work}/b.sdee")], uid=TESTER, ROOT="closed")
    assert result.stdout == f"Uid: {TESTER}\nGid: {TESTER}\n"
    assert os.stat(f"{work}/out").st_uid == TESTER
    assert as_user(TESTER)


def test_in_a_job_messages_name_the_node(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    plain, job = (run([bundle], CHDIR="/nowhere", env=env) for env in ({}, {"SLURM_JOB_ID": "7"}))
    assert plain.returncode == job.returncode == 244
    assert "\n  node: " not in plain.stderr
    assert f"\n  node: {os.uname().nodename}\n  hint: " in job.stderr
    bundle = script("true", shared=f"{work}/gone").write(f"{work}/b.sdee")
    assert run([bundle], env={"PBS_JOBID": "7"}).stderr.endswith(f" (node {os.uname().nodename})\n")


def test_all_directories_that_have_no_place_on_the_node_are_saved(work: str) -> None:
    """Also when their descriptors are the lowest ones: standard input is closed."""
    names = [f"{a}/{b}/{c}" for a in "abc" for b in "abc" for c in "abc"]
    text = "for f; do mkdir -p /opt/x/$f; echo 1 >/opt/x/$f/f; done"
    maker = script(text, *names, programs=("mkdir",)).directory("/opt/x", 0o1777)
    bundle = maker.write(f"{work}/b.sdee")
    for line in ("exec $0", "exec $0 <&-"):
        shutil.rmtree(f"{work}/kept", ignore_errors=True)
        result = run(["sh", "-c", line, bundle], ROOT="closed", SAVE=f"{work}/kept")
        assert (result.returncode, result.stderr[:19]) == (0, "sdee: 27 files writ")
        assert sorted(os.listdir(f"{work}/kept/opt/x")) == ["a", "b", "c"]
        assert all(text_of(f"{work}/kept/opt/x/{name}/f") == "1\n" for name in names)


CLOCKS = """
#include "launcher/keep/clock.h"
#include <stdio.h>

int main(void)
{
    long long at[4];
    struct timespec times[4], found;
    for (int i = 0; i < 4; i++) {
        if (scanf("%lld", &at[i]) != 1)
            return 1;
        times[i] = (struct timespec){at[i] / 1000, at[i] % 1000 * 1000000};
    }
    found = keep_begun(times[0], times[1], times[2], times[3]);
    return printf("%lld", found.tv_sec * 1000LL + found.tv_nsec / 1000000) < 0;
}
"""


@pytest.mark.parametrize(
    ("times", "found"),  # ms: begun, by the steady clock; now, by the steady clock
    [
        pytest.param((500_000, 1_000, 560_000, 61_000), 500_000, id="nobody set it"),
        pytest.param((500_000, 1_000, 560_010, 61_050), 500_000, id="a tick"),
        pytest.param((500_000, 1_000, 560_000, 71_000), 490_000, id="10 s back"),
        pytest.param((500_000, 1_000, 480_000, 61_000), 420_000, id="to before the job"),
        pytest.param((500_000, 1_000, 900_000, 61_000), 500_000, id="forward"),
    ],
)
def test_a_clock_that_is_set_back_hides_nothing_that_others_wrote(
    tmp_path: Path, times: tuple[int, ...], found: int
) -> None:
    """By its parts, since a test cannot set the clock: what is newer than `found` was written since the job began."""
    (tmp_path / "driver.c").write_text(CLOCKS)
    command = ["gcc", "-Wall", "-Werror", "-D_GNU_SOURCE", f"-I{SOURCES}", str(tmp_path / "driver.c")]
    subprocess.run([*command, f"{SOURCES}/launcher/keep/clock.c", "-o", tmp_path / "driver"], check=True)
    said = " ".join(map(str, times))
    done = subprocess.run([tmp_path / "driver"], input=said, capture_output=True, text=True, check=True)
    assert int(done.stdout) == found
