"""The shell text of Grid Engine scripts.

Nothing of sdee's stays on a node: a copy of the bundle lies in the job's own $TMPDIR, which sge_execd removes at the
job's end, however it ends.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sdee.base.files import beside
from sdee.runtime.jobs import scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATTERN = {"j": '"$JOB_ID"', "A": '"$JOB_ID"', "a": '"$SGE_TASK_ID"'}


def settings(bundle: str, broadcast: str, results: str) -> str:
    """Return the lines that say what runs. `results` may have %j, %A (the job), %a (the array's task), %N."""
    return "\n".join(
        [
            f"sdee_bundle={shlex.quote(bundle)}",
            f"sdee_when={broadcast}  # the bundle is copied to $TMPDIR: always, or not",
            *scripts.results(results, _PATTERN, "case $SGE_TASK_ID in [0-9]*) ;; *) false ;; esac"),
            scripts.THERE,
        ]
    )


STEP = "\n" + beside(__file__, "step.sh")

PROGRAM_CALL = "sdee_task ."


def finish(patterns: Sequence[str]) -> str:
    """Return the function `sdee_finish`, which brings results back."""
    return scripts.finish("", patterns)


REHEARSAL = "\n" + beside(__file__, "rehearsal.sh")
