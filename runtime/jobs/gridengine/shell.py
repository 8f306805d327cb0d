"""The shell text of Grid Engine scripts.

Nothing of sdee's stays on a node: a copy of the bundle lies in the job's own $TMPDIR, which sge_execd removes at the
job's end, however it ends.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sdee.runtime.jobs import scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATTERN = {"j": '"$JOB_ID"', "A": '"$JOB_ID"', "a": '"$SGE_TASK_ID"'}


def settings(bundle: str, broadcast: str, results: str) -> str:
    """Return the lines that say what runs. `results` may have %j, %A (the job) and %a (the array's task)."""
    lines = [
        f"sdee_bundle={shlex.quote(bundle)}",
        f"sdee_when={broadcast}  # the bundle is copied to $TMPDIR: always, or not",
    ]
    lines.append(f"sdee_results={scripts.expand(results, _PATTERN)}")
    if results and "%a" not in results:
        lines.append("case $SGE_TASK_ID in [0-9]*) sdee_results=$sdee_results/$SGE_TASK_ID ;; esac")
    if results:
        lines.append('mkdir -p "$sdee_results" || exit 247')
    return "\n".join([*lines, scripts.THERE])


STEP = r"""
# One node reads the bundle once, whether from shared storage or to copy it first: a copy is made only when asked
# for, and only into the job's own $TMPDIR: by hand that may be /tmp, where others write too
if [ "$sdee_when" = always ] && [ -n "$JOB_ID" ] && [ -O "$TMPDIR" ]; then
  cp "$sdee_bundle" "$TMPDIR/bundle.sdee" && [ -x "$TMPDIR/bundle.sdee" ] && sdee_bundle=$TMPDIR/bundle.sdee
fi

# The bundle in place of the program: $1 is the directory to run in, or empty
sdee_task() (
  [ -z "$sdee_results" ] || { SDEE_SAVE=$sdee_results/$(uname -n); export SDEE_SAVE; }
  [ -z "$1" ] || { SDEE_CHDIR=$1; export SDEE_CHDIR; }
  shift
  [ "$#" -eq 0 ] || { SDEE_COMMAND=$1; export SDEE_COMMAND; shift; }
  exec "$sdee_bundle" "$@"
)
"""

PROGRAM_CALL = "sdee_task ."


def finish(patterns: Sequence[str]) -> str:
    """Return the function `sdee_finish`, which brings results back."""
    return scripts.finish("", '"$sdee_results/$(uname -n)"', patterns)


REHEARSAL = r"""
export JOB_ID=0 JOB_NAME=@NAME@ NSLOTS=1 NHOSTS=1 NQUEUES=1 SGE_TASK_ID=undefined SGE_O_WORKDIR="$PWD" QUEUE=all.q
"""
