"""`sdee.submit()`: a command as a batch job."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from sdee._api.words import quiet, words_of
from sdee.workflow import apart, submitting
from sdee.workflow.submitting import Submitted as Submission

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee._api.words import StrPath, Words

__all__ = ["Submission", "submit"]


def submit(
    command: Words = (),
    options: Words = (),
    *,
    bundle: StrPath | None = None,
    manager: str = "auto",
    retrace: bool = False,
    no_trace: bool = False,
    broadcast: str = "auto",
    results: StrPath | None = None,
    directory: StrPath | None = None,
    notice: Callable[[str], None] | None = None,
) -> Submission:
    """Run a command as a batch job: trace and bundle it here unless that was done, and give it to the job manager.

    `options`: of sbatch (or qsub), as they are typed: ["-N2", "--time=5"]. `bundle`: run in this one; without a command
    what it records. `manager`: "slurm", "gridengine", or "auto" for the first that is here. The others are the options
    of `sdee submit`: `retrace` traces again, `no_trace` takes the trace that there is; `broadcast`: "auto", "always" or
    "never"; `results`: bring back what the tasks write outside of shared storage; `directory`: instead of sdee-jobs.
    `notice` is called with sentences that a user should see. What the command prints while it is traced goes to
    standard error.

    Raises errors.CommandFailedError (the traced command, or the job manager's, which refused the job: `exit_code` is
    its status), CommandNotFoundError (there is no job manager), and what trace() and bundle() raise.
    """
    wanted = submitting.Wanted(
        retrace=retrace,
        no_trace=no_trace,
        ready=os.fspath(bundle) if bundle is not None else "",
        broadcast=broadcast,
        results=os.path.abspath(results) if results is not None else "",
        parent=os.fspath(directory) if directory is not None else "",
    )
    return apart.call(
        submitting.hand_over,
        words_of(options, "options"),
        words_of(command, "the command"),
        manager,
        wanted,
        callbacks={"say": notice or quiet},
        stdin=subprocess.DEVNULL,
    )
