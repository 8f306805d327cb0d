"""Waiting for a condition: on a machine under load, a fixed time is too short one day and too long on all others."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_for(
    condition: Callable[[], bool], what: Callable[[], object] | str, limit: float = 60, pause: float = 0.02
) -> None:
    """Wait until a condition holds, at most `limit` seconds; `what` says, then, why it does not.

    A condition that asks a command takes a quarter of the time at most: what is waited for needs the processor, too.
    """
    deadline = time.monotonic() + limit
    asked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < deadline, what if isinstance(what, str) else what()
        time.sleep(max(pause, 3 * (now - asked)))
        asked = time.monotonic()


def states_of(command: str) -> list[str]:
    """Return the states of all processes whose command line begins so, as proc_pid_stat(5) has them: S, T, Z…"""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().replace("\0", " ")
            if entry.isdigit() and words.startswith(command):
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    found.append(file.read().rpartition(") ")[2][0])
        except OSError:  # noqa: PERF203 - no process, or it ended while we looked
            continue
    return found
