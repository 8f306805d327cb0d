"""For tests of tracing: fresh directories, fixture programs, runs with and without a tracer, expectations."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sdee.tracer.tracefile.reader import read_traces

if TYPE_CHECKING:
    from sdee.tracer.tracefile.model import Trace

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fixtures", "trace")
ENGINES = ("unotify", "ptrace")
ORDINARY_USER = 65534

FILES = {
    "data.txt": b"input\n",
    "inner.txt": b"a decoy: what a path means that was cut lexically\n",
    "dir/inner.txt": b"inner\n",
    "dir/second.txt": b"second\n",
    "dir/deeper/leaf.txt": b"leaf\n",
}
LINKS = {
    "chain1": "chain2",
    "chain2": "data.txt",
    "link": "dir/deeper",
    "filelink": "dir/inner.txt",
    "dangling": "nothing",
    "loop1": "loop2",
    "loop2": "loop1",
}


@dataclass(frozen=True)
class Result:
    """What a run left: output, exit status as a shell gives it (128+n by signal), and its trace if it was traced."""

    stdout: bytes
    stderr: str
    status: int
    trace: Trace | None = None


def scratch() -> str:
    """Return a new directory that every user may enter, without symbolic links on the way to it."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="sdee-test-"))
    os.chmod(path, 0o755)
    return path


def fresh(directory: str, owner: int | None = None) -> None:
    """Make `directory` anew with FILES and LINKS in it, so that every run finds the same."""
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    for name, content in FILES.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    for name, target in LINKS.items():
        os.symlink(target, os.path.join(directory, name))
    if owner is not None:
        for parent, directories, files in os.walk(directory):
            for name in [".", *directories, *files]:
                os.lchown(os.path.join(parent, name), owner, owner)


@cache
def _programs() -> str:
    path = scratch()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def fixture_program(name: str) -> str:
    """Return the path of fixture `name` (a file of FIXTURES), compiled if it is C, with the options it names.

    Raises subprocess.CalledProcessError with the compiler's words when it does not compile.
    """
    source = os.path.join(FIXTURES, name)
    program = os.path.join(_programs(), name.removesuffix(".c"))
    if name.endswith(".c"):
        options = re.search(r"build: (.*?)\s*\*/", header(name))
        command = [
            "gcc",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
            "-pthread",
            "-o",
            program,
            source,
        ]
        subprocess.run([*command, *(options[1].split() if options else [])], check=True, stdin=subprocess.DEVNULL)
    else:
        shutil.copy(source, program)
        os.chmod(program, 0o755)
    return program


@cache
def header(name: str) -> str:
    """Return the comment at the head of a fixture, which names the trap."""
    with open(os.path.join(FIXTURES, name), encoding="utf-8") as file:
        lines = file.read().split("\n")
    return lines[0] if name.endswith(".c") else "\n".join(line for line in lines[1:4] if line.startswith("#"))


def fixture_status(name: str) -> int:
    """Return the exit status with which a fixture means to end (`exit:` in its head)."""
    match = re.search(r"exit: (\d+)", header(name))
    return int(match[1]) if match else 0


def run(command: list[str], cwd: str, engine: str | None = None, user: int | None = None, **more: object) -> Result:
    """Run `command` in `cwd`, bare or through `sdee trace --engine ENGINE`, as `user` if given; read the trace."""
    if engine is None:
        return _run(command, cwd, user, more)
    directory = scratch()
    try:
        if user is not None:
            os.chown(directory, user, user)
        file = os.path.join(directory, "t.trace")
        tracer = [sys.executable, "-m", "sdee", "trace", "-o", file, "--engine", engine, "--"]
        result = _run([*tracer, *command], cwd, user, more)
        assert os.path.exists(file), f"no trace was written; status {result.status}\n{result.stderr}"
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        trace = read_traces([file])
        check_saved(trace, cwd)
        return Result(result.stdout, result.stderr, result.status, trace)
    finally:
        shutil.rmtree(directory)


def _run(command: list[str], cwd: str, user: int | None, more: dict[str, object]) -> Result:
    if user is not None:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *command]
    options = {"cwd": cwd, "input": b"one\ntwo\n", "timeout": 120, **more}
    done = subprocess.run(command, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Result(done.stdout, done.stderr.decode(errors="replace"), status)


def check_saved(trace: Trace, cwd: str) -> None:
    """Every saved copy of one of FILES holds what fresh() had put there."""
    for path, saved in trace.saved.items():
        content = FILES.get(os.path.relpath(path, cwd))
        if saved.copy is not None and content is not None:
            with open(saved.copy, "rb") as file:
                assert file.read() == content, f"{path} was saved after it had changed"


def _unescape(text: str) -> str:
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
    return os.fsdecode(raw)


def expectations(stdout: bytes, engine: str) -> list[tuple[str, str, str]]:
    """Return the `expect` lines that hold under `engine`, as (what, first word, rest)."""
    found = []
    for line in stdout.decode("ascii", "replace").split("\n"):
        word, _, rest = line.partition(" ")
        if word in ("expect", f"expect@{engine}"):
            what, first, more = (rest + "  ").split(" ", 2)
            found.append((what, _unescape(first), more.strip()))
    return found


def missing(result: Result, engine: str, cwd: str) -> list[str]:
    """Return what the fixture's output promises and the trace does not hold, a sentence each."""
    assert result.trace is not None
    wrong = []
    expected = expectations(result.stdout, engine)
    for what, word, more in expected:
        path = os.path.normpath(os.path.join(cwd, word)) if word.startswith("./") else word
        if not _holds(result, what, path, more):
            access = result.trace.accesses.get(path)
            wrong.append(f"{what} {path!r} {more}: the trace has {access}")
    if result.trace.incomplete and not any(what == "incomplete" for what, _, _ in expected):
        wrong.append(f"the trace calls itself incomplete: {result.trace.incomplete}")
    return wrong


def _holds(result: Result, what: str, word: str, more: str) -> bool:
    trace = result.trace
    assert trace is not None
    accesses = trace.accesses
    access = accesses.get(word)
    if what == "absent":
        return access is not None and not access.existed
    if what == "untouched":
        return access is None
    if what == "real":
        return any(word == other.real and "read" in other.ops for other in accesses.values())
    if what == "hop":
        return any((word, more) in other.hops for other in accesses.values())
    if what == "noread":
        return not any(word in other.path or word in other.real for other in accesses.values())
    if what == "executed":
        return any(word == made.path for made in trace.execs)
    if what == "interpreter":
        return any(word in made.interpreters for made in trace.execs)
    if what == "setid":
        return any(made.setid for made in trace.execs if made.path == word)
    if what == "socket":
        return word in trace.sockets
    if what == "saved":
        return word in trace.saved and trace.saved[word].copy is not None
    if what == "notsaved":
        return word not in trace.saved
    if what == "incomplete":
        return any(word in sentence for sentence in trace.incomplete)
    if what == "processes":
        return len(trace.processes) >= int(word)
    if what == "stderr":
        return word in result.stderr
    assert what in {"read", "probe", "list", "exec", "write", "truncate", "create", "rename", "remove", "chdir"}, what
    # what the job made itself may be there or not when first seen; what it read or listed was there
    return access is not None and what in access.ops
