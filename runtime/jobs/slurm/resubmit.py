"""The program that replaces sbatch outside of a bundle: what a job submits runs in a bundle, too.

Scripts that the run on the login node submitted have bundles of their own. Any other (made by the job, given by --wrap
or on standard input) runs in the bundle of the job that submits it: where that did so in the run here, all that was
changed in the environment is in it (src/sdee/workflow/transparent/submissions.py).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sdee.base.files import beside
from sdee.runtime.jobs import scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdee.runtime.jobs.options import Table

# Which word is the script? Then the same words, with another script in its place, or at the end
_OTHERS = "\n" + beside(__file__, "resubmit.sh")


def program(known: Mapping[str, str], table: Table, bundle: str, served: Sequence[str]) -> str:
    """Return the program. `known`: where scripts are found, and what is submitted in their place.

    `table`: sbatch's options; `bundle`: the job's own, with the words before it that serve it.
    """
    cases = [
        f'[ "$sdee_word" -ef {shlex.quote(script)} ] && sdee_own={shlex.quote(written)}'
        for script, written in known.items()
    ]
    outside = shlex.quote(served[-1])
    # a word of this shell's text, and words of the script's that it writes
    others = scripts.fill(
        _OTHERS,
        VALUES=values(table),
        RUN=shlex.quote("\n".join(run(bundle, served))),
        QUOTED=shlex.quote(outside),
        OUTSIDE=outside,
    )
    return "\n".join(
        [
            "#!/bin/sh",
            "# Written by sdee. What a job submits runs in a bundle, too",
            "sdee_found= sdee_left=$#",
            'while [ "$sdee_left" -gt 0 ]; do',
            "  sdee_word=$1 sdee_own= sdee_left=$((sdee_left - 1))",
            "  shift",
            '  if [ -z "$sdee_found" ]; then',
            *(f"    {case}" for case in cases),
            "  fi",
            '  set -- "$@" "${sdee_own:-$sdee_word}"',
            "  sdee_found=$sdee_found$sdee_own",
            "done",
            '[ -z "$sdee_found" ] || exec sbatch "$@"',
            others.strip("\n"),
            "",
        ]
    )


def run(bundle: str, served: Sequence[str]) -> list[str]:
    """Return the lines of a batch script that runs its bundle, served."""
    return [
        f"sdee_bundle={shlex.quote(bundle)}",
        scripts.THERE,
        "SDEE_CHDIR=$PWD",
        "export SDEE_CHDIR",
        f'exec {shlex.join(served)} "$sdee_bundle" "$@"',
    ]


def values(table: Table) -> str:
    """Return options with a value in the next word, as a pattern of sh's `case`."""
    letters = "".join(sorted(short for short, name in table.short.items() if name in table.values))
    names = sorted(name for name in table.values if len(name) > 1 and name != "wrap")
    return "|".join([*(f"-{letter}" for letter in letters), *(f"--{name}" for name in names)])
