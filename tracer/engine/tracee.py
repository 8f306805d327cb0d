"""Starting a job so that it finds everything as without a tracer: program lookup, descriptors, signals, job control."""

from __future__ import annotations

import errno
import os
import signal
import struct
from typing import TYPE_CHECKING, NamedTuple

from sdee.base.errors import CommandNotExecutableError, CommandNotFoundError
from sdee.base.process import restore_signals
from sdee.tracer.engine import linux, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

_SHELL = "/bin/sh"
_DEFAULT_PATH = "/bin:/usr/bin"  # confstr(_CS_PATH)
# Caused by the process itself, not sent to it; or not to be caught; or handled apart (SIGCHLD)
_NOT_RELAYED = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT, signal.SIGPIPE, signal.SIGXFSZ),
}
# The terminal sends these to the whole foreground group, so the job has them already; and SIGXCPU is of our own limit
_SI_KERNEL = 0x80
_TIMERS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)  # si_code SI_KERNEL too, yet for one process
_ANY_CHANGE = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT
_TERMINAL_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def find_program(command: str, search: str | None) -> str:
    """Return the path to give to execve for `command`, as execvp(3) and shells find it in `search` (PATH).

    Raises CommandNotFoundError or CommandNotExecutableError, with every place in `tried`.
    """
    directories = [] if "/" in command else (search if search is not None else _DEFAULT_PATH).split(os.pathsep)
    candidates = [os.path.join(directory or ".", command) for directory in directories] or [command]
    tried, found = [], False
    for candidate in dict.fromkeys(candidates if command else []):
        try:
            os.stat(candidate)
        except OSError as error:
            tried.append(f"{candidate}: {(error.strerror or 'unavailable').lower()}")
            continue
        if os.path.isdir(candidate):
            tried.append(f"{candidate}: is a directory")
            found = found or "/" in command
        elif not os.access(candidate, os.X_OK):
            tried.append(f"{candidate}: not executable")
            found = True
        else:
            return candidate
    if found:
        hint = "chmod +x it, or run it by its interpreter (python3 FILE, sh FILE)"
        raise CommandNotExecutableError(f"cannot execute {command!r}", tried=tuple(tried), hint=hint)
    hint = not_found.hint(command, directories, os.environ)
    raise CommandNotFoundError(f"command not found: {command!r}", tried=tuple(tried), hint=hint)


def _is_text(program: str) -> bool:
    """Tell whether a shell would run a file without `#!` as a script: no NUL in its first line, as bash judges."""
    try:
        with open(program, "rb") as file:
            return b"\0" not in file.read(128).split(b"\n")[0]
    except OSError:
        return False


class Tracee(NamedTuple):
    """A job's first process. `errors`: read end of a pipe that says why its execve failed (os.close it)."""

    pid: int
    errors: int


class Signals:
    """While the job runs: signals sent to the tracer reach the job, and the tracer outlives them.

    `fd` is readable (poll(2)) when relay() has something to do; SIGCHLD makes it readable too. Signals that the
    terminal sends to the whole foreground group are not repeated, nor those that a process of the job sent to its
    group (`is_ours` says which process belongs to the job).
    """

    def __init__(self) -> None:
        self.fd = -1
        self.child = 0
        self.last: int | None = None  # the last signal that asked the tracer to end
        self._mask: set[int] = set()

    def __enter__(self) -> Self:
        relayed = {int(number) for number in signal.valid_signals() - _NOT_RELAYED}
        # If SIGCHLD was ignored when we began, children would be reaped without a status
        self._chld = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, relayed | {signal.SIGCHLD})}
        self.fd = linux.signalfd(relayed | {int(signal.SIGCHLD)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        # What arrived too late for the job has no one to go to: dropping it lets the trace be written
        for number in signal.sigpending():
            signal.sigtimedwait({number}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        signal.signal(signal.SIGCHLD, self._chld if self._chld is not None else signal.SIG_DFL)

    def restore(self) -> None:
        """In the job's first process, before execve: dispositions and mask as the tracer was given them."""
        restore_signals()
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._chld == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def relay(self, is_ours: Callable[[int], bool]) -> bool:
        """Read what has arrived and pass it on; return whether SIGCHLD was among it."""
        children = False
        while True:
            try:
                data = os.read(self.fd, 16 * linux.SIGINFO_SIZE)
            except BlockingIOError:
                return children
            for at in range(0, len(data), linux.SIGINFO_SIZE):
                number, _, code, sender = struct.unpack_from("=IiiI", data, at)  # struct signalfd_siginfo
                if number == signal.SIGCHLD:
                    children = True
                    continue
                if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                    self.last = number
                if (code == _SI_KERNEL and number not in _TIMERS) or (code <= 0 and is_ours(sender)):
                    continue
                if number == signal.SIGCONT:
                    self._continue_job()
                else:
                    self._send(number)

    def _send(self, number: int) -> None:
        if self.child:
            try:
                os.kill(self.child, number)
            except ProcessLookupError:
                self.child = 0

    def stop_with_job(self, status: int) -> None:
        """The job's first process was stopped with wait status `status`: stop too when the terminal did it.

        So the shell sees its job stopped only after the job's own handler (an editor's, say) has run, and `fg` finds
        both. On a SIGSTOP sent to the job alone the tracer goes on, or the job could not be continued alone.
        """
        if os.WSTOPSIG(status) not in _TERMINAL_STOPS:
            return
        os.kill(os.getpid(), signal.SIGSTOP)
        self._continue_job()

    def _continue_job(self) -> None:
        """We were continued, perhaps alone: continue the job too if it is still in the stop that we know of.

        It may have gone on with us and stopped again before we ran. That stop is not ours to end, and waitid(2)
        still holds the news of it.
        """
        if not self.child:
            return
        news = os.waitid(os.P_PID, self.child, _ANY_CHANGE)
        with open(f"/proc/{self.child}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
        if news is None and state in (b"T", b"t"):  # stopped; under ptrace a tracing stop
            self._send(signal.SIGCONT)


def start(
    program: str, argv: Sequence[str], env: Mapping[str, str], signals: Signals, prepare: Callable[[], None]
) -> Tracee:
    """Fork a process that calls `prepare` and then becomes `program` (execve(2)); a script without #! is given to sh.

    `prepare` runs in the new process and must not touch the file system once calls are intercepted. If it raises,
    or execve fails, raise_exec_error() tells after the process has ended.
    """
    text = _is_text(program)
    reader, writer = os.pipe()  # close-on-exec
    pid = os.fork()
    if pid:
        os.close(writer)
        signals.child = pid
        return Tracee(pid, reader)
    number = 0
    try:
        prepare()
        signals.restore()
        try:
            os.execve(program, list(argv), dict(env))
        except OSError as error:
            if error.errno != errno.ENOEXEC or not text:
                raise
            os.execve(_SHELL, [_SHELL, program, *argv[1:]], dict(env))
    except OSError as error:
        number = error.errno or errno.EIO
    except BaseException:  # noqa: BLE001 - the forked copy of the tracer must never go on as a tracer
        number = errno.EIO
    try:
        os.write(writer, struct.pack("i", number))
    finally:
        os._exit(127)


def raise_exec_error(tracee: Tracee, program: str) -> None:
    """After the process has ended: raise if it never became `program`.

    Raises CommandNotFoundError (127) or CommandNotExecutableError (126), as a shell judges errno.
    """
    with open(tracee.errors, "rb") as file:
        data = file.read()
    if not data:
        return
    number = struct.unpack("i", data)[0]
    message = f"cannot execute {program!r}: {os.strerror(number)}"
    if number == errno.ENOENT:  # the file was there before: its interpreter is not
        hint = "the interpreter named in its first line (#!) or its program interpreter (ld.so) does not exist"
        raise CommandNotFoundError(message, hint=hint)
    raise CommandNotExecutableError(message)
