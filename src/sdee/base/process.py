"""Becoming another program, as a shell's child is one. Imports next to nothing: `sdee exec` does it."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # not typing's: importing that takes longer than all else here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def restore_signals() -> None:
    """Undo what Python does to signals in itself: an ignored one stays ignored over execve (signal(7)).

    What they were before Python started cannot be known.
    """
    import signal  # noqa: PLC0415 - 2 ms less where nothing is executed

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def flush() -> None:
    """Write out what Python holds back of standard output, unless that was closed when the process began."""
    if sys.stdout:
        sys.stdout.flush()


def become(program: str, argv: Sequence[str]) -> NoReturn:
    """Replace this process by a program, looked for in PATH if its name has no slash (execve(2)). Raises OSError."""
    flush()
    restore_signals()
    os.execvp(program, list(argv))


def descendants(pid: int) -> list[int]:
    """Return a process and all that it has begun and that lives, the eldest first (proc_pid_stat(5))."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        parents.setdefault(parent, []).append(int(name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def original_environment() -> dict[str, str]:
    """Return the environment that this process was given: Python itself may have set LC_CTYPE since (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
    return {name: value for name, _, value in pairs}
