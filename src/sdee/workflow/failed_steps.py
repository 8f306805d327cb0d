"""Find the failed steps of a traced script.

A script without `set -e` goes on after a step that failed, and ends with status 0. A step that failed here need not
fail in the job: here it is of one task, on another machine. What it would have come to is in no trace.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from sdee.packer import knowledge

if TYPE_CHECKING:
    from sdee.tracer.tracefile.model import Trace

# A server that the script ends, a reader that has enough (`| head`): it has come to all that it does
_ENDED_BY_OTHERS = frozenset(128 + number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE))


def failed(trace: Trace, mark: str) -> tuple[str, int] | None:
    """Return the program of the first step that failed, and its exit status.

    A step is what an MPI launcher starts, or what has `mark` in its command line (JobManager.rehearsed).
    """
    statuses = {process.pid: process.status for process in trace.processes}
    became: dict[int, list[str]] = {}
    steps: dict[int, None] = {}
    for execution in trace.execs:
        became.setdefault(execution.pid, []).append(execution.path)
        is_launcher = os.path.basename(os.path.realpath(execution.path)) in knowledge.COMPANIONS
        if is_launcher or (mark and mark in execution.argv):
            steps[execution.pid] = None
    for pid in steps:
        status = statuses.get(pid)
        if status and status not in _ENDED_BY_OTHERS:
            return os.path.basename(became[pid][-1]), status
    return None
