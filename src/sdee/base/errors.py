"""Every error that a user can meet, and the one table of exit codes.

The same table stands in runtime/native/lib/exit_codes.h and docs/exit-codes.md; tests/unit/test_exit_codes.py compares
the three. Library code raises these; only sdee.cli prints them. Users of the Python API know them as sdee.errors.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """sdee's own exit codes. Everything else that `sdee trace` and `sdee exec` return is the job's own status."""

    USAGE = 2
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERNAL = 240
    BUNDLE = 241
    KERNEL = 242
    RESOURCES = 243
    NODE = 244
    TRACE = 245
    INPUT = 246
    OUTPUT = 247


class SdeeError(Exception):
    """An error with a message, what was tried in order, a hint and an exit code.

    `message` says what failed, on what and why; `tried` every alternative that was tried, in order, with its
    outcome; `hint` what the user can do about it (the sysctl, the option). Shown as::

        sdee: error: MESSAGE
          tried: ...
          hint: ...

    Python's tracebacks show what was tried and the hint as notes (PEP 678, Python 3.11).
    """

    exit_code: int = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "", tried: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.tried = tried
        if notes := [f"tried: {attempt}" for attempt in tried] + ([f"hint: {hint}"] if hint else []):
            self.__notes__ = notes

    def render(self) -> str:
        """Return the error as the lines that the CLI prints, without a final newline.

        Names in it are perhaps of another user: none moves the terminal's cursor, or begins a line.
        """
        lines = [f"sdee: error: {_printable(self.message)}"]
        lines += [f"  tried: {_printable(attempt)}" for attempt in self.tried]
        lines += ["  hint: " + "\n".join(map(_printable, self.hint.split("\n")))] if self.hint else []
        return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UsageError(SdeeError):
    """The command line asks for something that cannot be meant."""

    exit_code = ExitCode.USAGE


class CommandNotExecutableError(SdeeError):
    """The job's program was found and cannot be executed (126, as in a shell)."""

    exit_code = ExitCode.NOT_EXECUTABLE


class CommandNotFoundError(SdeeError):
    """The job's program was not found (127, as in a shell)."""

    exit_code = ExitCode.NOT_FOUND


class InternalError(SdeeError):
    """A bug in sdee."""

    exit_code = ExitCode.INTERNAL


class BundleError(SdeeError):
    """A bundle is unreadable, truncated, damaged, hostile, or of a newer format."""

    exit_code = ExitCode.BUNDLE


class KernelError(SdeeError):
    """The kernel or the site's settings refuse what is needed (user namespaces, seccomp, ptrace, mounts)."""

    exit_code = ExitCode.KERNEL


class ResourceError(SdeeError):
    """Not enough memory, processes or descriptors."""

    exit_code = ExitCode.RESOURCES


class NodeError(SdeeError):
    """The node lacks what the job expects of it: the working directory, /proc, a host library."""

    exit_code = ExitCode.NODE


class TraceError(SdeeError):
    """A trace is unreadable, damaged, or of a newer format."""

    exit_code = ExitCode.TRACE


class InputError(SdeeError):
    """A file that should travel cannot be read, or may not."""

    exit_code = ExitCode.INPUT


class OutputError(SdeeError):
    """A result cannot be written: full disk, no permission."""

    exit_code = ExitCode.OUTPUT


class CommandFailedError(SdeeError):
    """A command that sdee ran for another purpose has failed: one to be submitted, or the job manager's.

    `exit_code` is its own exit status, 128+n when signal n ended it.
    """

    def __init__(self, message: str, *, status: int = 1, hint: str = "", tried: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint, tried=tried)
        self.exit_code = status
