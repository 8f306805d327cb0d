"""What Slurm would refuse, asked before a command runs here for nothing: srun's and sbatch's --test-only."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from sdee.runtime.jobs.model import RefusedError

if TYPE_CHECKING:
    from sdee.runtime.jobs.model import Words

_LIMIT = 10  # seconds: a controller that does not answer now may later
_FAILURE = "allocation failure: "
# Of its answers these are the same for a job that waits. Not those that a job is only too early for: sbatch takes one
# that no node can run as it is now
_FOR_GOOD = re.compile(rf"^{_FAILURE}(Invalid .*|Requested reservation is invalid)$", re.MULTILINE)
_SUBMITS = {
    "sbatch": "sbatch: error: Batch job submission failed: ",
    "srun": "srun: error: Unable to allocate resources: ",
}


def check(name: str, words: Words, text: str, front: str) -> None:
    """Raise RefusedError as srun or sbatch (`name`) would end with these options, in its words, if it will refuse them.

    `text`: the script, where that is standard input; `front`: the program that replaces both. Nothing is submitted.
    """
    try:
        done = subprocess.run(
            [name, "--test-only", *words.options, *words.command],
            executable=front,
            input=text,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return
    in_allocation = name == "srun" and "SLURM_JOB_ID" in os.environ  # of which --test-only knows nothing
    asked = _FAILURE in done.stderr
    if done.returncode == 0 or (asked and (in_allocation or not _FOR_GOOD.search(done.stderr))):
        return
    raise RefusedError(done.stderr.replace(_FAILURE, _SUBMITS[name]), done.returncode)
