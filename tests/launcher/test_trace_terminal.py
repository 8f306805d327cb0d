"""A traced job at a terminal: ctrl-Z, continue and ctrl-C do what they do without a tracer."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdee.tracer.tracefile.reader import read_traces
from trace_support import ENGINES, FIXTURES, fresh, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What a shell with job control does for one job: a process group in the foreground. It takes the terminal back when the
# job stops, and continues the job when told to by a byte on a pipe.
SHELL = """
import os, signal, sys, termios
modes = termios.tcgetattr(0)
modes[3] |= termios.NOFLSH  # else ctrl-Z also discards what is written just after it
termios.tcsetattr(0, termios.TCSANOW, modes)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        break
    print("shell: stopped", flush=True)
    if os.read(int(sys.argv[1]), 1) == b"g":
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
    else:
        os.kill(job, signal.SIGCONT)
code = os.waitstatus_to_exitcode(status)
print("shell: status", 128 - code if code < 0 else code, flush=True)
"""
JOB = "cat data.txt; ./reader; exit $?"
CAREFUL = "exec ./reader careful"
SOURCE = os.path.join(os.path.dirname(FIXTURES), "terminal", "reader.c")


class Terminal:
    """The person at the terminal: types, and reads until something appears."""

    def __init__(self, command: list[str], cwd: str) -> None:
        read_end, self._tell = os.pipe()
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            os.set_inheritable(read_end, True)
            os.execv(sys.executable, [sys.executable, "-c", SHELL, str(read_end), *command])
        os.close(read_end)
        self.screen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resume(self, how: bytes) -> None:
        """`g`: as fg does; `o`: SIGCONT to the one process that the shell knows."""
        os.write(self._tell, how)

    def until(self, text: str) -> None:
        """Read until `text` appears after what was read before."""
        new = ""
        while text not in new:
            assert select.select([self._master], [], [], 30)[0], f"{text!r} did not appear: {self.screen}{new}"
            try:
                data = os.read(self._master, 4096)
            except OSError:  # EIO: the session has ended
                data = b""
            assert data, f"{text!r} did not appear: {self.screen}{new}"
            new += data.decode(errors="replace").replace("\r\n", "\n")
        self.screen += new

    def close(self) -> None:
        """After a test that went well the shell has ended; else nothing of it may stay."""
        os.close(self._tell)
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._master)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=["bare", *ENGINES])
def start(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Terminal]]:
    base = scratch()
    cwd, trace = os.path.join(base, "work"), os.path.join(base, "t.trace")
    fresh(cwd)
    subprocess.run(["gcc", "-O1", "-o", os.path.join(cwd, "reader"), SOURCE], check=True)
    started: list[Terminal] = []

    def begin(job: str) -> Terminal:
        command = ["/bin/sh", "-c", job]
        if request.param != "bare":
            sdee = [sys.executable, "-m", "sdee", "trace", "-o", trace, "--engine", request.param]
            command = [*sdee, "--", *command]
        started.append(Terminal(command, cwd))
        return started[0]

    yield begin
    started[0].close()
    if request.param != "bare":  # written to the end, whatever ended the job
        assert read_traces([trace]).runs[0].status is not None
        assert not read_traces([trace]).incomplete
    shutil.rmtree(base)


def test_ctrl_z_stops_the_job_and_fg_continues_it(start: Callable[[str], Terminal]) -> None:
    terminal = start(JOB)
    terminal.until("ready\n")
    for word in ("once", "twice"):
        terminal.type("\x1a")
        terminal.until("shell: stopped\n")
        terminal.resume(b"g")
        terminal.type(f"{word}\n")
        terminal.until(f"got {word}\n")
    terminal.type("\x04")
    terminal.until("shell: status 4\n")


def test_ctrl_c_ends_the_job_by_its_signal(start: Callable[[str], Terminal]) -> None:
    terminal = start(JOB)
    terminal.until("ready\n")
    terminal.type("\x03")
    terminal.until("shell: status 130\n")


def test_ctrl_backslash_too(start: Callable[[str], Terminal]) -> None:
    terminal = start("ulimit -c 0; " + JOB)
    terminal.until("ready\n")
    terminal.type("\x1c")
    terminal.until("shell: status 131\n")


def test_a_job_that_handles_ctrl_z_itself_is_not_stopped(start: Callable[[str], Terminal]) -> None:
    terminal = start(CAREFUL)
    terminal.until("ready\n")
    terminal.type("\x1a")
    terminal.until("tidied\n")
    terminal.type("word\n")
    terminal.until("got word\n")
    terminal.type("\x04")
    terminal.until("shell: status 4\n")
    assert "stopped" not in terminal.screen


def test_sigcont_to_the_process_that_the_shell_knows_continues_the_job(start: Callable[[str], Terminal]) -> None:
    """`kill -CONT %1` is for the group; a batch system may know only one process: the tracer passes it on."""
    terminal = start("exec ./reader")
    terminal.until("ready\n")
    terminal.type("\x1a")
    terminal.until("shell: stopped\n")
    terminal.resume(b"o")  # in the background now: reading the terminal stops it again, so it did go on
    terminal.until("shell: stopped\n")
    terminal.resume(b"g")
    terminal.type("word\n")
    terminal.until("got word\n")  # in the foreground again: a ctrl-C before that would be the shell's
    terminal.type("\x03")
    terminal.until("shell: status 130\n")
