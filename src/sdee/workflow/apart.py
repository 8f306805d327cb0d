"""Call a function of sdee in another process, whatever threads the calling program has.

A tracer waits for signals, changes standard descriptors and directory, and forks: in a process with a second thread
signals go to that (signal(7)), and the ptrace engine waits forever. Rejected: multiprocessing, whose `spawn` imports
the caller's main program again, and whose `fork` copies locks that other threads hold.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from sdee.base.errors import InternalError, SdeeError
from sdee.base.interpreter import same_module
from sdee.base.process import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    File = int | IO[Any] | None

Value = TypeVar("Value")
_GRACE = 0.25  # seconds, as subprocess.run() gives a program at Ctrl-C
_CALLED, _RETURNED, _RAISED = "called", "returned", "raised"


def call(
    function: Callable[..., Value],
    *arguments: object,
    callbacks: Mapping[str, Callable[..., None]],
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    cwd: str | None = None,
    **named: object,
) -> Value:
    """Return what a function of a module returns, called in a new process of this Python; raise what it raises.

    `callbacks`: keyword arguments that are functions, called here; the other process does not wait for them. Standard
    files and directory are as of subprocess.Popen. At KeyboardInterrupt, or when a callback raises, the other process
    gets SIGTERM, which a tracer passes on to the job, and this waits for its end; a second KeyboardInterrupt kills all.
    """
    task = (function, arguments, named, tuple(callbacks))
    reader, writer = os.pipe()
    with open(reader, "rb") as reports, tempfile.TemporaryFile() as file:
        try:
            file.write(pickle.dumps(task))
            file.seek(0)
            words = same_module(__name__, str(file.fileno()), str(writer))
            child = subprocess.Popen(
                words, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, pass_fds=(file.fileno(), writer)
            )
        finally:
            os.close(writer)
        try:
            value = _listen(reports, callbacks)
            child.wait()
        except BaseException as error:
            reports.close()  # what it would still say, nobody hears
            if not isinstance(error, _EndedError):
                _end(child)
                raise
            raise _died(child) from None
    return cast("Value", value)


class _EndedError(Exception):
    """The other process ended without a result."""


def _listen(reports: IO[bytes], callbacks: Mapping[str, Callable[..., None]]) -> object:
    while True:
        try:
            kind, name, value = pickle.load(reports)  # noqa: S301 - from our own process
        except (EOFError, pickle.UnpicklingError) as error:
            raise _EndedError from error
        if kind == _RETURNED:
            return value
        if kind == _RAISED:
            raise value
        callbacks[name](*value)


def _died(child: subprocess.Popen[bytes]) -> SdeeError:
    status = child.wait()
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    hint = "`dmesg` shows whether the machine ran out of memory" if status == -signal.SIGKILL else ""
    return InternalError(f"sdee's worker process {how}", hint=hint)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End it, and the job that it runs. The terminal sends Ctrl-C to these as well."""
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)
        if child.returncode is None:
            child.terminate()
            child.wait()
    except BaseException:
        for pid in descendants(child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.wait()
        raise


def main(arguments: list[str]) -> int:
    """In the other process: call the function named in the file, and write its result to the pipe."""
    task, report = (int(number) for number in arguments)
    for descriptor in (task, report):
        os.set_inheritable(descriptor, False)
    with open(task, "rb") as file:
        try:
            function, positional, named, callbacks = pickle.load(file)  # noqa: S301
            said = {name: partial(_callback, report, name) for name in callbacks}
            _say(report, _RETURNED, function(*positional, **named, **said))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            _say(report, _RAISED, _portable(error))
            return 1
    return 0


def _callback(report: int, name: str, *values: object) -> None:
    _say(report, _CALLED, values, name)


def _say(report: int, kind: str, value: object, name: str = "") -> None:
    """Tell the caller, unless it has gone: a callback must not stop a tracer during a job."""
    data = memoryview(pickle.dumps((kind, name, value)))
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(report, data) :]


def _portable(error: BaseException) -> BaseException:
    """Return an exception that reaches the other process; of a fault in sdee with where it arose."""
    if isinstance(error, SdeeError | KeyboardInterrupt):
        return error
    where = "".join(traceback.format_tb(error.__traceback__, -1)).strip() or str(sys.exc_info()[0])
    hint = f"this is a bug in sdee: report it with what it says here: {where}"
    return InternalError(f"{type(error).__name__}: {error}", hint=hint)
