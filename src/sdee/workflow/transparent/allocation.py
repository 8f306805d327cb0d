"""An allocation (salloc) from inside of a private environment: a command here, as its root, with an allocation."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING

from sdee.runtime.environment import real_commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdee.runtime.jobs.model import Inside


def start(arguments: Sequence[str], caller: Mapping[str, str], inside: Inside) -> int:
    """Run a command here with `caller`'s variables and those of an allocation, which is released after it.

    Return its exit status, or the manager's where there is no allocation.
    """
    call = inside.call(inside.allocation, arguments)
    if call.asks:
        real_commands.become(inside.allocation, arguments)
    command = list(call.words.command) or [os.environ.get("SHELL") or "/bin/sh"]
    directory = tempfile.mkdtemp(prefix="sdee-salloc-")
    try:
        return _allocated(directory, call.words.options, command, caller, inside)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _allocated(
    directory: str, options: Sequence[str], command: Sequence[str], caller: Mapping[str, str], inside: Inside
) -> int:
    """Return how the command ended, or salloc where there is no allocation. salloc runs `sdee-front hold` meanwhile."""
    alive, told = (os.path.join(directory, name) for name in ("alive", "environment"))
    os.mkfifo(alive)
    held = [inside.allocation, *options, real_commands.FRONT, "hold", directory]
    holder = subprocess.Popen(held, executable=real_commands.FRONT, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's reaches salloc and the command as well
    while not os.path.exists(told):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return holder.wait(0.02)  # it got none, and said why
    writer = os.open(alive, os.O_WRONLY | os.O_CLOEXEC)
    with open(told, encoding="utf-8", errors="surrogateescape") as file:
        pairs = [pair.partition("=") for pair in file.read().split("\0") if pair.startswith(inside.variables)]
    allocation = {name: value for name, _, value in pairs}
    child = subprocess.Popen(command, env={**caller, **allocation}, preexec_fn=_normal_interrupt)  # noqa: PLW1509
    while child.poll() is None:
        if holder.poll() is not None:  # its time is over, or it was cancelled: salloc(1) sends SIGHUP then
            child.send_signal(signal.SIGHUP)
            child.wait()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
    os.close(writer)
    holder.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _normal_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
