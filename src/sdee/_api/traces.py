"""`sdee.trace()`, and a trace as a value."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from sdee._api.words import quiet, words_of
from sdee.errors import UsageError
from sdee.tracer.tracefile.reader import read_traces
from sdee.workflow import apart, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdee._api.words import StrPath, Words
    from sdee.tracer.tracefile import model


@dataclass(frozen=True)
class File:
    """A path that a traced command touched. `real`: the path without links, "" if nothing was there.

    `operations` are those of docs/trace-format.md: "read", "exec", "list", "probe", "write", "create" and others.
    `existed`: something was there before, not made by the command. `kind`: "file", "dir", "link" …, None for nothing.
    """

    path: str
    real: str
    kind: str | None
    operations: frozenset[str]
    existed: bool

    @property
    def is_input(self) -> bool:
        """Return whether it is a file that was there before, and that the command read or executed."""
        return self.existed and self.kind == "file" and not self.operations.isdisjoint(("read", "exec"))

    @property
    def is_output(self) -> bool:
        """Return whether the command wrote to it, made it, or gave it its name."""
        return not self.operations.isdisjoint(("write", "create", "truncate", "rename"))


@dataclass(frozen=True)
class Trace:
    """What a command touched, in the file `path` (absolute). It can be given to a pool of processes.

    `status`: how the command ended, as a shell shows it: 128+n by signal n; None where the trace was cut off. Of
    several runs in one trace it is that of the last. `incomplete`: why something may be missing; `dropped`: names of
    variables that looked like secrets and were not recorded. `stdout`, `stderr`: what the command printed, where that
    was captured. `command` is without what looked like a secret.
    """

    path: str
    command: tuple[str, ...]
    cwd: str
    status: int | None
    incomplete: tuple[str, ...]
    dropped: tuple[str, ...]
    stdout: bytes | None = field(default=None, repr=False)
    stderr: bytes | None = field(default=None, repr=False)

    def __fspath__(self) -> str:
        """Return its path, so that functions that take a path also take a trace."""
        return self.path

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Return every path that the command touched, in the order of the first time. Raises errors.TraceError."""
        return tuple(map(_file, read_traces([self.path]).accesses.values()))

    @property
    def inputs(self) -> tuple[File, ...]:
        """Return the files that were there before and that the command read or executed, the system's, too."""
        return tuple(file for file in self.files if file.is_input)

    @property
    def outputs(self) -> tuple[File, ...]:
        """Return what the command wrote or made."""
        return tuple(file for file in self.files if file.is_output)


def _file(access: model.Access) -> File:
    return File(access.path, access.real, access.kind, frozenset(access.ops), access.existed)


def open_trace(path: StrPath) -> Trace:
    """Open an existing trace. Raises errors.TraceError if it is unreadable or not a trace."""
    return _opened(os.path.abspath(path))


def _opened(path: str, stdout: bytes | None = None, stderr: bytes | None = None) -> Trace:
    found = read_traces([path])
    run = found.runs[-1]
    return Trace(path, run.command, run.cwd, run.status, found.incomplete, run.env_dropped, stdout, stderr)


def trace(
    command: Words,
    output: StrPath = "sdee.trace",
    *,
    engine: str = "auto",
    append: bool = False,
    cold: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: StrPath | None = None,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    capture_output: bool = False,
    notice: Callable[[str], None] | None = None,
) -> Trace:
    """Run a command and record every file that it uses, it and all processes that it starts.

    A command that fails is no error: `Trace.status` says so. The command runs below a process of its own, so that
    this program may have threads. `output`: the file to write, with patterns as of `sdee trace -o` (%t: rank);
    `engine`: "auto", "unotify" or "ptrace"; `append`: add this run to the trace that is there; `cold`:
    run in a home without caches. `env`, `cwd`, `stdin`, `stdout`, `stderr` and `capture_output` are as of
    subprocess.run(), but for subprocess.PIPE. `notice` is called with sentences that a user should see.

    At KeyboardInterrupt the command gets SIGTERM and is waited for. Raises errors.CommandNotFoundError,
    CommandNotExecutableError, OutputError (the trace cannot be written), KernelError (this machine lets nobody trace),
    UsageError; NotADirectoryError or FileNotFoundError for `cwd`; TypeError for a command that is one text.
    """
    words = words_of(command, "the command")
    if not words:
        raise UsageError("the command is empty")
    wanted = tracing.Wanted(
        output=os.path.join(os.getcwd().replace("%", "%%"), os.fspath(output)),
        engine=engine,
        append=append,
        cold=cold,
        environment=dict(os.environ if env is None else env),
    )
    with ExitStack() as stack:
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError("stdout and stderr arguments may not be used with capture_output")
            stdout, stderr = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        recorded = apart.call(
            tracing.record,
            words,
            wanted,
            callbacks={"say": notice or quiet},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=None if cwd is None else os.fspath(cwd),
        )
        if recorded.error:
            raise recorded.error
        return _opened(recorded.trace, *(map(_whole, (stdout, stderr)) if capture_output else ()))


def _whole(file: int | IO[Any] | None) -> bytes:
    assert file is not None
    assert not isinstance(file, int)
    file.seek(0)
    content: bytes = file.read()
    return content
