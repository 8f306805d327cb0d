"""The ptrace engine by itself: what it promises to handlers, and what becomes of the job when something goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdee.base import process
from sdee.base.errors import CommandNotFoundError, ExitCode
from sdee.tracer.engine import memory, ptrace_calls
from sdee.tracer.engine.ptrace import PtraceEngine
from sdee.tracer.syscalls import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, CALLS
from trace_support import fixture_program, fresh, run, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.own_process


class ListHandler:
    """Keeps everything that an engine tells."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.arches: set[int] = set()
        self.parents: dict[int, int] = {}
        self.exits: dict[int, int] = {}
        self.complaints: list[str] = []

    def stop(self, tid: int, arch: int, nr: int, args: ptrace_calls.Arguments) -> None:
        call = CALLS[arch][nr]
        self.arches.add(arch)
        text = memory.read_cstring(tid, args[call.paths[0].path]) if call.paths and args[call.paths[0].path] else b""
        self.calls.append((call.name, text))

    def process(self, pid: int, ppid: int) -> None:
        assert pid not in self.parents, "a process was announced twice"
        self.parents[pid] = ppid

    def exit(self, pid: int, status: int) -> None:
        assert pid in self.parents
        assert pid not in self.exits
        self.exits[pid] = status

    def incomplete(self, why: str, pid: int | None = None, detail: str = "") -> None:
        del pid
        self.complaints.append(f"{why}: {detail}")

    def waiting(self, *, ends_them: bool) -> None:
        self.complaints.append(f"waiting, interrupting ends them: {ends_them}")

    def pulse(self) -> None:
        pass


def trace(command: list[str], handler: ListHandler) -> int:
    return PtraceEngine().run(command[0], command, process.original_environment(), handler)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    base = scratch()
    directory = os.path.join(base, "work")
    fresh(directory)
    monkeypatch.chdir(directory)
    yield directory
    shutil.rmtree(base)


@pytest.mark.usefixtures("work")
def test_the_first_stop_is_the_execve_of_the_program_itself() -> None:
    handler = ListHandler()
    assert trace(["/bin/true"], handler) == 0
    assert handler.calls[0] == ("execve", b"/bin/true")
    assert handler.complaints == []
    assert list(handler.parents.values()) == [os.getpid()]


@pytest.mark.usefixtures("work")
def test_every_process_of_a_fork_storm_is_announced_once_with_its_parent_and_ends_once() -> None:
    handler = ListHandler()
    assert trace([fixture_program("fork_storm.c")], handler) == 0
    assert len(handler.parents) == 1001
    assert set(handler.exits.values()) == {0}
    assert handler.exits.keys() == handler.parents.keys()
    first, *others = handler.parents
    assert {handler.parents[pid] for pid in others} == {first}


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("program", ["i386.c", "dirfd.c", "execveat.c"])
def test_registers_tell_the_same_as_the_kernels_own_account(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PTRACE_GETREGSET, for kernels before 5.3, against PTRACE_GET_SYSCALL_INFO: at each stop both are read."""
    compared = []

    def both(self: ptrace_calls.CallReader, tid: int) -> ptrace_calls.Call:
        account, registers = self._syscall_info(tid), self._registers(tid)
        compared.append((account, registers))
        return registers

    monkeypatch.setattr(ptrace_calls.CallReader, "read", both)
    handler = ListHandler()
    assert trace([fixture_program(program)], handler) == 0
    assert all(account == registers for account, registers in compared)
    arches = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386} if program == "i386.c" else {AUDIT_ARCH_X86_64}
    assert {account.arch for account, _ in compared} == arches == handler.arches


@pytest.mark.usefixtures("work")
def test_a_kernel_without_syscall_info_is_found_out_at_the_first_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptrace_calls, "_PTRACE_GET_SYSCALL_INFO", 0x42FF)  # no such request: EIO, as before 5.3
    handler = ListHandler()
    assert trace(["/bin/cat", "data.txt"], handler) == 0
    assert ("openat", b"data.txt") in handler.calls
    assert handler.complaints == []


@pytest.mark.usefixtures("work")
def test_a_handler_that_fails_makes_the_trace_incomplete_and_not_the_job() -> None:
    class Failing(ListHandler):
        def stop(self, tid: int, arch: int, nr: int, args: ptrace_calls.Arguments) -> None:
            super().stop(tid, arch, nr, args)
            raise ZeroDivisionError

    handler = Failing()
    assert os.waitstatus_to_exitcode(trace(["/bin/sh", "-c", "cat data.txt >copy; exit 3"], handler)) == 3
    assert len(handler.complaints) == len(handler.calls) > 20
    assert "ZeroDivisionError" in handler.complaints[0]
    with open("copy", "rb") as file:
        assert file.read() == b"input\n"


def test_a_program_whose_interpreter_is_absent_is_said_to_be_not_found(work: str) -> None:
    program = os.path.join(work, "script")
    with open(program, "w", encoding="utf-8") as file:
        file.write("#!/no/such/interpreter\n")
    os.chmod(program, 0o755)
    with pytest.raises(CommandNotFoundError, match="No such file"):
        trace([program], ListHandler())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_where_ptrace_is_refused_the_error_says_so_and_nothing_is_run(work: str) -> None:
    """Under strace -f the job's first process is traced already."""
    sdee = [sys.executable, "-m", "sdee", "trace", "--engine", "ptrace", "-o", "x.trace", "--", "touch", "ran"]
    result = run(["strace", "-f", "-o", "/dev/null", *sdee], work)
    assert result.status == ExitCode.KERNEL
    assert "refuses ptrace: Operation not permitted" in result.stderr
    assert not os.path.exists(os.path.join(work, "ran"))


def test_under_another_listener_all_calls_stop_so_that_none_is_missed(work: str) -> None:
    """Of two filters' answers USER_NOTIF comes before TRACE (seccomp(2)): ours would be lost where the other stops."""
    job = "cat data.txt; [ -e nosuch.txt ] || mv data.txt moved.txt"
    command = [sys.executable, "-m", "sdee", "trace", "-q", "--engine", "ptrace", "-o", "inner.trace", "--"]
    result = run([*command, "/bin/sh", "-c", job], work, "unotify")
    assert (result.status, result.stdout) == (0, b"input\n"), result.stderr
    with open(os.path.join(work, "inner.trace"), encoding="utf-8") as file:
        inner = file.read()
    for name, operation in (("data.txt", "read"), ("nosuch.txt", "probe"), ("moved.txt", "rename")):
        assert f'"path":"{work}/{name}"' in inner, name
        assert f'"{operation}"' in inner
    assert "incomplete" not in inner


def test_when_the_tracer_is_killed_the_job_ends_with_it_rather_than_fail_oddly(work: str) -> None:
    read_end, write_end = os.pipe()
    job = "echo $$; cat data.txt; while :; do cat data.txt; done"
    command = [sys.executable, "-m", "sdee", "trace", "--engine", "ptrace", "-o", "x.trace", "--", "/bin/sh", "-c", job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[write_end], cwd=work) as tracer:
        os.close(write_end)
        assert tracer.stdout is not None
        assert tracer.stdout.readline().strip().isdigit()
        assert tracer.stdout.readline() == b"input\n"
        tracer.send_signal(signal.SIGKILL)
        # every process of the job has the write end; reading ends when the last of them has gone
        assert os.read(read_end, 1) == b""
        os.close(read_end)
        assert set(tracer.stdout.read().split()) <= {b"input"}


def test_a_background_process_ends_with_the_tracer_only_when_the_user_asks(work: str) -> None:
    read_end, write_end = os.pipe()
    job = "(exec >/dev/null 2>&1; while :; do cat data.txt; sleep 0.01; done) & exec true"
    command = [sys.executable, "-m", "sdee", "trace", "--engine", "ptrace", "-o", "x.trace", "--", "/bin/sh", "-c", job]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[write_end], cwd=work
    ) as tracer:
        os.close(write_end)
        assert tracer.stderr is not None
        assert b"sdee traces its background processes until they end" in tracer.stderr.readline()
        tracer.send_signal(signal.SIGTERM)
        rest = tracer.stderr.read()
        assert tracer.wait() == 0, "the command itself had ended well"
    assert b"sdee ended background processes of the job" in rest
    assert os.read(read_end, 1) == b""
    os.close(read_end)
