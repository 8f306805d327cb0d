"""Texts and words of jobs that are submitted from inside of a private environment, with Slurm's own commands.

Inside, srun, sbatch and salloc are sdee-front (runtime/native/front/). What they start runs in a bundle: of srun each
task, of sbatch the whole script, which may call what the environment alone has, and in which srun, wherever it stands
and however it is found, is sdee-front again. That hands the call to a server outside of the bundle, on the node itself,
which runs `srun` of a directory of ours (step_program): the node's own srun, with each task in the same bundle.

Rejected: Slurm's commands of the login node in the bundle. Their plugins alone are 150, and need what sites do not
install; without configuration on disk (slurmd --conf-server) they do not start.
"""

from __future__ import annotations

import os
import shlex
import string
from typing import TYPE_CHECKING

from sdee.base.files import beside
from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.model import Batch, Call, Inside
from sdee.runtime.jobs.options import Table, read_options, split_getopt
from sdee.runtime.jobs.slurm import refusal, resubmit, shell
from sdee.runtime.jobs.slurm.manager import Slurm, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdee.runtime.jobs.model import Words

# Of srun, and of salloc, which has the same. A letter without a value is named, or it would abbreviate a long name
SRUN_OPTIONS = Table(
    frozenset((*shell.SRUN_LONG, *shell.SRUN_SHORT)), frozenset(string.ascii_letters) - frozenset(shell.SRUN_SHORT), {}
)
ASKING = frozenset(("help", "usage", "version", "h", "V", "test-only"))  # nothing is started
_SUBMITTED = "Submitted batch job 0"
# The command is its argument, so that jobs that differ in numbers alone have one script
_WRAP = '#!/bin/sh\n# made of sbatch --wrap\nsdee_wrapped=$1\nshift\neval "$sdee_wrapped"\n'


def split(program: str, arguments: Sequence[str]) -> Words:
    """Split the command line of srun, sbatch or salloc. Raises UsageError for an option without its value."""
    table = Slurm().table if program == "sbatch" else SRUN_OPTIONS
    return split_getopt(arguments, {}, table)


def names(program: str, options: Sequence[str]) -> dict[str, str]:
    """Return the options that were given, by their long name where there is one, with their values."""
    table = Slurm().table if program == "sbatch" else SRUN_OPTIONS
    return {option.name: option.value or "" for option in read_options(options, table)}


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of shell text, or it as one where it is not that simple."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return tuple(lexer)
    except ValueError:
        return (text,)


# The files may be the run's own, which are gone when it has ended
_RECORDED = beside(__file__, "recorded.sh").rstrip("\n")


def directive_lines(text: str) -> list[str]:
    """Return the lines of a batch script that hold options for the job manager, as they are."""
    head = []
    for line in text.split("\n"):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        head.append(line)
    return [line for line in head if line.startswith("#SBATCH")]


class SlurmInside(Inside):
    """srun, sbatch and salloc."""

    step, batch, allocation = "srun", "sbatch", "salloc"
    variables = "SLURM_"
    rehearsed = shell.REHEARSED

    def call(self, program: str, arguments: Sequence[str]) -> Call:
        """Understand a call. Raises UsageError for an option without its value."""
        words = split(program, arguments)
        given = names(program, words.options)
        inline = program == self.batch and "wrap" in given
        return Call(
            words,
            asks=bool(given.keys() & ASKING)
            or (inline and bool(words.command))  # which sbatch refuses
            or (program == self.allocation and "no-shell" in given),
            several=program == self.step and (":" in words.command or "multi-prog" in given),
            inline=inline,
            interactive="pty" in given,
            cwd=given.get("chdir", given.get("D", "")),
            stdin=given.get("input", given.get("i", "")),
        )

    def job(self, words: Words, found: str, stdin: str) -> Batch:
        """Return what sbatch is to submit. `found`: the script's text where it is a file; `stdin`: else."""
        wrapped = next((o for o in read_options(words.options, Slurm().table) if o.name == "wrap"), None)
        if wrapped is not None:
            left = [o for o in read_options(words.options, Slurm().table) if o.name != "wrap"]
            options = tuple(word for option in left for word in option.words)
            return Batch(options, "wrap", _WRAP, (wrapped.value or "",), words_of(wrapped.value or ""))
        if not words.command:
            return Batch(words.options, "sbatch", stdin, (), ())
        arguments = words.command[1:]
        return Batch(words.options, os.path.basename(words.command[0]), found, arguments, arguments)

    def place(self, job: Batch) -> tuple[str, str]:
        """Return --chdir and --input, of the command line or of the script."""
        return Slurm().place(self._options(job))

    def _options(self, job: Batch) -> tuple[str, ...]:
        return (*Slurm().options_in(job.text), *job.options)

    def rehearsal_variables(self, job: Batch | None) -> dict[str, str]:
        """Return variables of a job of one task."""
        if job is None:
            return Slurm().rehearsal_variables("interactive", ())
        return Slurm().rehearsal_variables(job.name, self._options(job))

    def check(self, program: str, words: Words, stdin: str, front: str) -> None:
        """Ask srun or sbatch, by --test-only. Raises RefusedError."""
        refusal.check(program, words, stdin, front)

    def step_program(
        self, bundle: str, decisive: Sequence[str], served: Sequence[str], *, broadcast: str = "auto", results: str = ""
    ) -> str:
        """Return the program that replaces srun outside of a bundle: each task runs in the bundle.

        `served`: words that become the bundle, and serve it (sdee-front); `broadcast`, `results`: as of model.Request.
        The batch script collects what is left in the nodes' own directories.

        All variables of the caller that decide on software (`decisive`: globs) are its tasks' too: it was the bundle,
        or the environment, that chose them.
        """
        kept = r"""kept=$(env | sed -n 's/^SDEE_INSIDE_\([A-Z_]*\)=.*/\1/p' | tr '\n' ,)"""
        return "\n".join(
            [
                "#!/bin/sh",
                *scripts.heading("sdee env", ("srun",), "sdee-front calls it"),
                shell.settings(bundle, broadcast, results),
                *(['sdee_finish() { return "$1"; }'] if results else []),
                shell.step(f"{shlex.join(served)} "),
                scripts.changed(decisive),
                "sdee_before=",
                f"{kept}\nSDEE_PASS_ENV=$kept$SDEE_PASS_ENV\nexport SDEE_PASS_ENV",
                shell.WRAPPED_STEP.replace("@VALUES@", shell.srun_values()),
                'srun "$@"',
                "",
            ]
        )

    def rehearsal_program(self, front: str, record: str) -> str:
        """Return the program that replaces srun, sbatch and salloc in a command that is traced: `NAME ARGUMENTS`.

        `front`: sdee-front, as it is found there; `record`: the file to which each sbatch adds the number of its
        arguments, where it is called, and of each argument itself and what the file of that name holds, a NUL after
        each.
        """
        step = scripts.fill(shell.REHEARSED_STEP, PASS=f"{shlex.quote(front)} pass ", VALUES=shell.srun_values())
        return "\n".join(
            [
                "#!/bin/sh",
                "# Written by sdee. What a traced command starts runs here, once; nothing is submitted.",
                step,
                "sdee_name=$1",
                "shift",
                'case "$sdee_name" in',
                'srun) srun "$@" ;;',
                "sbatch)",
                _RECORDED.replace("@RECORD@", shlex.quote(record)),
                f'  case " $* " in *" --parsable "*) echo 0 ;; *) echo "{_SUBMITTED}" ;; esac ;;',
                "esac",
                "",
            ]
        )

    def batch_program(self, job: Batch, script: str, bundle: str, served: Sequence[str]) -> str:
        """Return the batch script that runs `job`'s own in a bundle, perhaps another command's.

        `script`: where the job's own is; `served`: as of step_program.
        """
        lines = directive_lines(job.text)
        given = names("sbatch", (*job.options, *scripts.directives(job.text, "#SBATCH")))
        if "job-name" not in given and "SBATCH_JOB_NAME" not in os.environ:
            lines.insert(0, f"#SBATCH --job-name={quoted(scripts.printable(job.name))}")
        return "\n".join(
            [
                "#!/bin/sh",
                *lines,
                *scripts.heading("sdee env", (job.name, *job.arguments), "sbatch"),
                f"export SDEE_COMMAND={shlex.quote(script)}",
                *resubmit.run(bundle, served),
                "",
            ]
        )

    def resubmit_program(self, known: Mapping[str, str], bundle: str, served: Sequence[str]) -> str:
        """Return the program that replaces sbatch."""
        return resubmit.program(known, Slurm().table, bundle, served)
