"""Users' habits in an environment: debuggers, editors, tmux and screen, job control, terminals that are resized and closed."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import UID, User, a_user, needs_root, processes_of, skip_outside_of_ci
from env_terminal import shell_in, terminal
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root

PACKAGES = "build-essential gdb strace ltrace linux-perf valgrind vim nano emacs-nox tmux screen less man-db"
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((noinline)) int inner(int n) { char *p = malloc(10); p[0] = (char)n; int sum = p[0]; free(p); return sum; }
int main(int count, char **arguments) { (void)arguments; printf("got %d\\n", inner(count)); fflush(stdout); if (count > 1) sleep(1000); return 0; }
"""


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine")
        made.leave_manuals_alone("mine")
        if "Err:" in (output := made.inside("mine", "apt-get update", check=False)):
            skip_outside_of_ci(f"no package mirror: {output}")
        made.inside("mine", f"DEBIAN_FRONTEND=noninteractive apt-get install -y {PACKAGES}")
        (made.home / "program.c").write_text(PROGRAM)
        made.inside("mine", "cd; gcc -g -O0 -no-pie program.c -o program")
        yield made


def outside(user: User, script: str) -> tuple[int, str]:
    done = user.run("bash", "-c", f"exec 2>&1; {script}", check=False)
    return done.returncode, done.stdout


def inside(user: User, script: str) -> tuple[int, str]:
    done = user.sdee("env", "enter", "mine", "--", "bash", "-c", f"exec 2>&1; {script}", check=False)
    return done.returncode, done.stdout


SIDES = [inside, outside]
DEBUGGING = {
    "gdb: breakpoint, run, backtrace": ("gdb -nx -batch -ex 'break inner' -ex run -ex bt -ex continue ./program", ("Breakpoint 1, inner (n=1)", "main (count=1", "exited normally")),
    "gdb: attach": ("./program x & sleep 0.5; gdb -nx -batch -p $! -ex bt; kill $!", ("main (count=2",)),
    "strace": ("strace -e trace=write ./program", ('write(1, "got 1', "exited with 0")),
    "strace -f": ("strace -f -e trace=execve sh -c './program; :'", ('execve("./program"', "exited with 0")),
    "strace -p": ("./program x & sleep 0.5; timeout 1 strace -p $!; kill $!", ("attached", "detached")),
    "ltrace": ("ltrace ./program", ("malloc(10)", "free(", "exited (status 0)")),
    "valgrind": ("valgrind ./program", ("ERROR SUMMARY: 0 errors",)),
    "perf stat": ("perf stat true", ("task-clock",)),
    "perf record": ("perf record -o perf.data sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done' && perf report -i perf.data --stdio", ("Captured and wrote", "cpu-clock")),
    "perf of the kernel": ("perf stat -e cpu-clock:k true", ()),
    "perf of all processes": ("perf stat -a true", ()),
}  # fmt: skip


@pytest.mark.parametrize("case", DEBUGGING)
def test_debuggers_do_inside_what_they_do_outside(user: User, case: str) -> None:
    """Both sides: /proc/sys/kernel/perf_event_paranoid and Yama bind root of an environment as they bind the user."""
    command, expected = DEBUGGING[case]
    program = command.split(maxsplit=1)[0]
    status, output = inside(user, f"cd; {command}")
    for text in expected:
        assert text in output
    if outside(user, f"command -v {program}")[0] == 0:
        status_outside, output_outside = outside(user, command)
        assert status == status_outside, output + output_outside
        for text in expected:
            assert text in output_outside


def test_perf_is_as_paranoid_inside(user: User) -> None:
    assert inside(user, "cat /proc/sys/kernel/perf_event_paranoid") == outside(user, "cat /proc/sys/kernel/perf_event_paranoid")  # fmt: skip
    status, output = inside(user, "echo -1 >/proc/sys/kernel/perf_event_paranoid")
    assert status != 0, output


def test_a_process_of_another_terminal_and_of_another_user_can_be_debugged(user: User) -> None:
    with terminal(user, *shell_in(user, "mine", "bash", "-c", "cd; adduser --quiet --disabled-password --gecos '' bob; exec ./program x")) as first:  # fmt: skip
        first.expect("got 2")
        script = """
            gdb -nx -batch -p $(pgrep -x program) -ex bt 2>&1 | grep -o 'main (count=2'; timeout 0.5 strace -p $(pgrep -x program) 2>&1 | grep -c attached
            cp ~/program /usr/local/bin/ && su bob -c 'program x' >/dev/null & sleep 1; gdb -nx -batch -p $(pgrep -n -x program) -ex bt 2>&1 | grep -o 'main (count=2'; kill $(pgrep -n -x program)"""
        assert inside(user, script)[1].splitlines()[:3] == ["main (count=2", "1", "main (count=2"]


EDITORS = {
    "vim with backups": "vim -es -u NONE -N {0} -c 'set backup writebackup' -c 'normal Goby editor' -c 'w!' -c q",
    "vim by renaming": "vim -es -u NONE -N {0} -c 'set backup backupcopy=no' -c 'normal Goby editor' -c 'w!' -c q",
    "vim in place": "vim -es -u NONE -N {0} -c 'set backupcopy=yes' -c 'normal Goby editor' -c 'w!' -c q",
    "emacs": "emacs -Q --batch --eval '(progn (find-file \"{0}\") (goto-char (point-max)) (insert \"by editor\\n\") (save-buffer))'",
    "sed": "sed -i '$aby editor' {0}",
}  # fmt: skip
# A file of the host, one of which mode and owner were changed, one that the user reaches by a link
FILES = ("/etc/services", "/etc/protocols", "/etc/link")


@pytest.mark.parametrize("editor", EDITORS)
def test_editors_change_files_of_the_host_and_keep_mode_and_owner(user: User, editor: str) -> None:
    prepare = "rm -f /etc/*~; ln -sf rpc /etc/link; chmod 640 /etc/protocols; chown www-data:adm /etc/protocols"
    host = {path: Path(path).read_bytes() for path in ("/etc/services", "/etc/protocols", "/etc/rpc")}
    for path in FILES:
        before = inside(user, f"{prepare}; stat -Lc '%a %U:%G' {path}")[1]
        status, output = inside(user, EDITORS[editor].format(path))
        if editor.startswith("vim") and status != 0:  # "E949: file changed": docs/environment.md, what cannot be had
            status, output = inside(user, EDITORS[editor].format(path))
        assert status == 0, output
        assert inside(user, f"tail -n 1 {path}")[1] == "by editor\n"
        after = inside(user, f"stat -Lc '%a %U:%G' {path}")[1]
        assert after == before, path
    assert {path: Path(path).read_bytes() for path in host} == host


def test_editors_at_a_terminal(user: User) -> None:
    for command, keys in (
        ("vim -u NONE -N", "Goby vim\x1b:wq\r"),
        ("nano", "\x1b/by nano\x0f\r\x18"),
        ("emacs -nw -Q", "\x1b>by emacs\x18\x13\x18\x03"),
    ):
        with terminal(user, *shell_in(user, "mine", *command.split(), "/etc/ethertypes"), variables={"TERM": "xterm"}) as seen:  # fmt: skip
            seen.settle(1.5)
            for key in keys:
                seen.type(key)
            assert seen.status() == 0
    text = inside(user, "cat /etc/ethertypes")[1]
    assert all(f"by {name}" in text for name in ("vim", "nano", "emacs")), text


def test_pagers_and_manuals(user: User) -> None:
    with terminal(user, *shell_in(user, "mine", "less", "/etc/services"), variables={"TERM": "xterm"}) as seen:
        seen.settle()
        seen.type("/ssh\n")
        assert "22/tcp" in seen.settle_with("22/tcp")
        seen.type("q")
        assert seen.status() == 0
    with terminal(user, *shell_in(user, "mine", "man", "tmux"), variables={"TERM": "xterm"}) as seen:
        assert "terminal multiplexer" in seen.settle_with("terminal multiplexer")
        seen.type("q")
        assert seen.status() == 0


def test_there_is_no_sudo_and_su_needs_no_password(user: User) -> None:
    status, output = inside(user, "sudo true")
    assert (status, "not found" in output) == (127, True)
    script = "adduser --quiet --disabled-password --gecos '' sue; su - sue -c 'id -un; pwd; echo $HOME'; su - -c 'id -un; pwd'"
    assert inside(user, script)[1].split() == ["sue", "/var/home/sue", "/var/home/sue", "root", str(user.home)]
    with terminal(user, *shell_in(user, "mine")) as seen:
        seen.type("su - sue\n")
        seen.expect("(mine)sue@")
        assert seen.ask("tty | cut -c1-5; id -un") == "/dev/\nsue\n"
        seen.type("\x04exit 3\n")
        assert seen.status() == 3


@pytest.mark.parametrize(
    ("new", "again", "detach", "end"),
    [
        ("tmux new -s work", "tmux attach -t work", "\x02d", "tmux kill-server"),
        ("screen -S work", "screen -x work", "\x01d", "screen -S work -X quit"),
    ],
    ids=["tmux", "screen"],
)
def test_terminal_multiplexers_outlive_the_terminal_that_started_them(
    user: User, new: str, again: str, detach: str, end: str
) -> None:
    variables = {"TERM": "screen"}
    (user.home / ".screenrc").write_text("startup_message off\n")
    with terminal(user, *shell_in(user, "mine", *new.split()), variables=variables) as first:
        first.settle(1.5)
        first.type("MARK=kept-$((40 + 2)); tty\n")
        assert "/dev/pts/" in first.settle_with("/dev/pts/")
        with terminal(user, *shell_in(user, "mine", *again.split()), variables=variables) as second:
            second.settle(1.5)
            second.type("echo $MARK\n")
            assert "kept-42" in second.settle_with("kept-42")
            assert "kept-42" in first.settle_with("kept-42")
            second.type(detach)
            assert second.status() == 0
    # The first terminal was closed: nothing of the environment is left but the multiplexer, which keeps it
    assert "running" in user.sdee("env", "list").stdout
    with terminal(user, *shell_in(user, "mine", *again.split()), variables=variables) as third:
        third.settle(1.5)
        third.type("echo again-$MARK\n")
        assert "again-kept-42" in third.settle_with("again-kept-42")
    inside(user, end)
    wait_for(lambda: "running" not in user.sdee("env", "list").stdout, "it runs on")


def test_a_window_that_is_resized_is_noticed(user: User) -> None:
    with terminal(user, *shell_in(user, "mine")) as seen:
        assert seen.ask("stty size") == "24 100\n"
        seen.ask("trap 'echo WIN''CH' WINCH")
        seen.process.setwinsize(40, 120)
        seen.type("\n")
        seen.expect("WINCH")
        assert seen.ask("stty size; echo $LINES $COLUMNS") == "40 120\n40 120\n"
    # A program that is not a shell is told at once
    script = "import os, signal, sys; print('re' + 'ady', flush=True); signal.sigwait([signal.SIGWINCH]); print('size', os.get_terminal_size().lines)"
    with terminal(user, *shell_in(user, "mine", "python3", "-c", f"import signal; signal.pthread_sigmask(0, [signal.SIGWINCH]); {script}")) as seen:  # fmt: skip
        seen.expect("ready")
        seen.process.setwinsize(50, 90)
        seen.expect("size 50")


def test_a_terminal_that_is_closed_hangs_up_what_runs_in_it(user: User) -> None:
    with terminal(user, *shell_in(user, "mine")) as seen:
        seen.type("sleep 1111 &\nsleep 2222\n")
        wait_for(lambda: any("sleep 2222" in line for line in processes_of(UID)), lambda: processes_of(UID))
    wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))
    with terminal(user, *shell_in(user, "mine", "sleep", "3333")) as seen:
        wait_for(lambda: any("sleep 3333" in line for line in processes_of(UID)), lambda: processes_of(UID))
    wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))
    # nohup is for what shall go on
    with terminal(user, *shell_in(user, "mine")) as seen:
        seen.type("nohup sleep 4444 >/dev/null 2>&1 &\n")
        wait_for(lambda: any("sleep 4444" in line for line in processes_of(UID)), lambda: processes_of(UID))
    time.sleep(0.5)
    assert any("sleep 4444" in line for line in processes_of(UID))
    user.sdee("env", "stop", "mine")
    wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))


def test_keys_that_interrupt_and_stop_reach_the_command(user: User) -> None:
    with terminal(user, "bash", "--norc", "-i", variables={"PS1": "outer> "}) as seen:
        seen.expect("outer> ")
        seen.type(" ".join([*shell_in(user, "mine", "sleep", "1000"), "\n"]))
        wait_for(lambda: any(line.startswith("sleep 1000") for line in processes_of(UID)), lambda: processes_of(UID))
        seen.type("\x1a")  # Ctrl-Z stops `sdee env enter` with its command
        seen.expect("Stopped")
        assert "State:\tT" in inside(user, "cat /proc/$(pgrep -x sleep)/status")[1]
        seen.type("fg\n")
        seen.expect("sleep 1000")
        wait_for(
            lambda: "State:\tS" in inside(user, "cat /proc/$(pgrep -x sleep)/status")[1], lambda: processes_of(UID)
        )
        seen.type("\x03")
        seen.expect("outer> ")
        seen.type("echo status $?\n")
        seen.expect("status 130")
        seen.type(" ".join([*shell_in(user, "mine", "sleep", "1000"), "\n"]))
        wait_for(lambda: any(line.startswith("sleep 1000") for line in processes_of(UID)), lambda: processes_of(UID))
        seen.type("\x1c")  # Ctrl-\
        seen.expect("outer> ")
        seen.type("echo status $?\n")
        seen.expect(f"status {128 + signal.SIGQUIT}")
        seen.type(
            f"for i in 1 2 3; do echo round $i begins; {' '.join(shell_in(user, 'mine', 'sleep', '2000'))}; done\n"
        )
        seen.expect("round 1 begins")
        wait_for(lambda: any(line.startswith("sleep 2000") for line in processes_of(UID)), lambda: processes_of(UID))
        seen.type("\x03")  # ends the loop, too: bash asks whether its child died by the signal
        assert "round 2" not in seen.expect("outer> ")
