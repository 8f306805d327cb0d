"""Slurm: sbatch takes the script, srun starts the processes, sbcast sends files. By the manuals of 22.05 to 24.11."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from functools import cached_property
from typing import TYPE_CHECKING

from sdee.base.errors import UsageError
from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.model import JobManager, Request, Submission, Words, Wrapping, printed_by
from sdee.runtime.jobs.options import Option, Table, names, read_options, split_getopt, table_of_help
from sdee.runtime.jobs.slurm import shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What sbatch(1) says and `sbatch --help` does not, or says otherwise (--container): with a value, and without or with
# an optional one. It is the table, too, where sbatch prints no help because no controller answers (22.05).
_VALUES = frozenset(
    names("""
    account acctg-freq array batch bb bbf begin chdir cluster cluster-constraint clusters comment constraint
    container container-id core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot
    dependency distribution error exclude export export-file extra extra-node-info gid gpu-bind gpu-freq gpus
    gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input job-name kill-on-invalid-dep licenses
    mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nodefile nodelist nodes
    ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output partition power
    prefer priority profile qos reservation resources segment signal sockets-per-node switches thread-spec
    threads-per-core time time-min tmp tres-bind tres-per-task uid wait-all-nodes wckey wrap
""")
)
_FLAGS = frozenset(
    names("""
    contiguous exclusive get-user-env help hold ignore-pbs nice no-kill no-requeue overcommit oversubscribe
    parsable propagate quiet reboot requeue spread-job stepmgr test-only usage use-min-nodes verbose version
    wait
""")
)
_SHORT = dict(
    pair.split(":")
    for pair in names("""
    A:account a:array b:begin D:chdir M:clusters C:constraint S:core-spec c:cpus-per-task d:dependency
    m:distribution e:error x:exclude G:gpus B:extra-node-info h:help H:hold i:input J:job-name L:licenses
    k:no-kill F:nodefile w:nodelist N:nodes n:ntasks o:output O:overcommit s:oversubscribe p:partition q:qos
    Q:quiet t:time v:verbose V:version W:wait
""")
)
# Options of srun that sbatch has not: `sdee submit --mpi=pmix -N2 -- ./app` means that step. True: with a value
_STEP = {
    **dict.fromkeys(("mpi", "cpu-bind", "accel-bind", "task-prolog", "task-epilog", "prolog", "epilog"), True),
    **dict.fromkeys(("label", "unbuffered", "kill-on-bad-exit", "exact", "resv-ports"), False),
}
# In a rehearsal `mpirun -n 64` finds one slot: it would refuse to start anything (Open MPI 4; 5). And there is no job
# in which srun could start something (MPICH; Intel MPI)
_CROWDED = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "HYDRA_LAUNCHER": "fork",
    "I_MPI_HYDRA_BOOTSTRAP": "fork",
}
_TIME = re.compile(r"(?:(?P<days>\d+)-(?=\d))?(?P<rest>\d+(?::\d+){0,2})", re.ASCII)  # sbatch(1), --time; else no limit
# Of the call that submits, not of the job: not to be repeated in the script
_OF_THE_CALL = frozenset(("parsable", "wait", "quiet", "verbose", "test-only", "export-file", "version", "usage"))


class Slurm(JobManager):
    """Slurm's sbatch."""

    title = "Slurm"
    submit = "sbatch"
    answer = r"^(?:Submitted batch job )?(\d+)(?:;.*| on cluster .*)?$"  # --parsable: 7;CLUSTER
    directive = "#SBATCH"
    launchers = ("srun",)
    remote = "srun"
    rehearsed = shell.REHEARSED
    crowded = _CROWDED

    def lacks(self) -> str:
        """Return "" where there is an sbatch."""
        return "" if shutil.which(self.submit) else "there is no sbatch in PATH"

    def lacks_for_mpi(self, options: Sequence[str]) -> str:
        """Look MpiDefault up (slurm.conf(5)), where neither --mpi nor SLURM_MPI_TYPE says otherwise."""
        if os.environ.get("SLURM_MPI_TYPE") or any(o.name == "mpi" for o in read_options(options, self.table)):
            return ""
        default = re.search(r"(?m)^MpiDefault\s*=\s*(\S+)", printed_by(["scontrol", "show", "config"]) or "")
        if default is None or default[1] != "none":
            return ""
        kinds = re.findall(r"(?m)^\s+(\w+)\s*$", printed_by(["srun", "--mpi=list"]) or "")
        known = ", ".join(kind for kind in kinds if kind != "none")
        given = f"--mpi=TYPE ({known})" if known else "--mpi=TYPE; `srun --mpi=list` shows the types"
        return f"Slurm starts tasks without MPI here (MpiDefault=none), so each would run alone: give {given}"

    def waiting_scripts(self) -> list[str] | None:
        """Return what squeue(1) calls the jobs' commands."""
        said = printed_by(["squeue", "--noheader", f"--user={os.geteuid()}", "--format=%o"])
        return None if said is None else said.split("\n")

    @cached_property
    def table(self) -> Table:
        """The options of this machine's sbatch."""
        try:
            done = subprocess.run([self.submit, "--help"], capture_output=True, text=True, check=False, timeout=20)
            text = done.stdout if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            text = ""
        found = table_of_help(
            text, _VALUES | {n for n, v in _STEP.items() if v}, _FLAGS | {n for n, v in _STEP.items() if not v}
        )
        return Table(found.values, found.flags, {**_SHORT, **found.short})

    def split(self, arguments: Sequence[str], own: Mapping[str, bool]) -> Words:
        """Split at the first word that is no option; refuse what makes another job than that of the command.

        Raises UsageError.
        """
        words = split_getopt(arguments, own, self.table)
        for option in read_options(words.options, self.table):
            if option.name == "wrap":
                given = option.value or "COMMAND"
                hint = f"the command comes last: sdee submit -- sh -c {scripts.printable(shlex.quote(given))}"
                raise UsageError("sdee submit takes a command and no --wrap", hint=hint)
            if option.name == "container":
                raise UsageError("a bundle cannot run in a Slurm container", hint="leave out --container")
        return words

    def options_in(self, text: str) -> tuple[str, ...]:
        """Return the options of #SBATCH lines; a component of a heterogeneous job begins with `:`."""
        return tuple(":" if word == "hetjob" else word for word in scripts.directives(text, self.directive))

    def place(self, options: Sequence[str]) -> tuple[str, str]:
        """Return --chdir and --input."""
        found = {option.name: option.value or "" for option in read_options(options, self.table)}
        return found.get("chdir", ""), found.get("input", "")

    def seconds(self, options: Sequence[str], in_script: Sequence[str] = ()) -> float | None:
        """Return --time of the options, of the variable, or of the script: in this order, as sbatch(1) says."""
        typed, written = (
            [o.value or "" for o in read_options(words, self.table) if o.name == "time"]
            for words in (options, in_script)
        )
        text = (typed or [os.environ.get("SBATCH_TIMELIMIT", "")])[-1] or (written or [""])[-1]
        found = _TIME.fullmatch(text)
        if not found:
            return None
        days, *rest = (found["days"], *re.split(":", found["rest"]))
        # M, M:S, H:M:S; D-H, D-H:M, D-H:M:S
        units = (3600, 60, 1) if days or len(rest) == 3 else (60, 1)
        seconds = int(days or 0) * 86400 + sum(int(value) * unit for value, unit in zip(rest, units, strict=False))
        return float(seconds) or None  # 0: no limit

    def grace(self) -> float:
        """Return KillWait (slurm.conf(5)), 30 s where nobody says."""
        found = re.search(r"(?m)^KillWait\s*=\s*(\d+)", printed_by(["scontrol", "show", "config"]) or "")
        return float(found[1]) if found else 30.0

    def submission(self, request: Request) -> Submission:
        """Return the script with the options as #SBATCH lines, and the call with the same: so SBATCH_* do not win."""
        mine = [o for o in read_options(request.options, self.table) if o.name not in _STEP]
        step = [o for o in read_options(request.options, self.table) if o.name in _STEP]
        typed = tuple(word for option in mine for word in option.words)
        return Submission(
            request.script,
            self._script(request, mine, tuple(word for option in step for word in option.words)),
            (self.submit, *typed, request.script),
        )

    def _script(self, request: Request, options: Sequence[Option], step: Sequence[str]) -> str:
        components = sum(option.name == ":" for option in options) + 1
        name = os.path.basename(request.shown[0])
        named = any(option.name == "job-name" for option in options)
        groups = [f"--het-group=0-{components - 1}"] if components > 1 else []
        if request.served and step:
            hint = f"leave it out, or give {request.shown[0]} its own"
            raise UsageError(f"{step[0]} is srun's, and {request.shown[0]} starts the processes of this job", hint=hint)
        starts = shlex.join(request.served or ("srun", *groups, *step))
        call = f"{starts} {shell.task_call()} {shlex.join(request.command)}".rstrip()
        lines = ["#!/bin/bash", *([] if named else [f"{self.directive} --job-name={quoted(scripts.printable(name))}"])]
        lines += [line for line in map(self._directive, options) if line]
        lines += scripts.heading("sdee submit", request.shown, f"{self.submit} {shlex.quote(request.script)}")
        lines += [shell.settings(request.bundle, request.broadcast, request.results), shell.step()]
        lines += [shell.finish(request.collect)] if request.results else []
        lines += [shell.CPUS, "sdee_copy=" if request.served else 'sdee_broadcast "$SLURM_JOB_NUM_NODES"', call]
        lines += ["sdee_finish $?"] if request.results else []
        return "\n".join(lines) + "\n"

    def _directive(self, option: Option) -> str:
        if option.name == ":":
            return f"{self.directive} hetjob"
        if option.name in _OF_THE_CALL or not all(word.isprintable() for word in option.words):
            return ""
        return f"{self.directive} " + " ".join(map(quoted, option.words))

    def wrap(self, wrapping: Wrapping) -> str:
        """Return the script with a function `srun` in front, which starts each task in the bundle.

        Raises UsageError when it is no shell script, or one that sbatch refuses.
        """
        scripts.check_line_breaks(wrapping.text, wrapping.name)
        preamble = [
            shell.settings(wrapping.bundle, wrapping.broadcast, wrapping.results),
            shell.step(),
            *([shell.finish(wrapping.collect)] if wrapping.results else []),
            scripts.changed(wrapping.decisive),
            shell.WRAPPED_STEP.replace("@VALUES@", shell.srun_values()),
            *scripts.programs(wrapping, f"{shlex.join(wrapping.served)} {shell.task_call('.', copy='')}".lstrip()),
        ]
        return scripts.insert(
            wrapping, self.directive, "\n".join(preamble), f"--job-name={quoted(scripts.printable(wrapping.name))}"
        )

    def rehearsal(self, wrapping: Wrapping) -> str:
        """Return a function `srun` that runs each step as one process, here, and a job's variables."""
        values = self.rehearsal_variables(wrapping.name, self.options_in(wrapping.text))
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
        settings += ' SLURM_SUBMIT_DIR="$PWD"'
        return scripts.fill(shell.REHEARSAL, VALUES=shell.srun_values(), SETTINGS=settings)

    def rehearsal_variables(self, name: str, options: Sequence[str]) -> dict[str, str]:
        """Return variables of a job of one task that is called `name`: what a script may want to know."""
        found = {o.name: o.value or "" for o in read_options(options, self.table)}
        node = os.uname().nodename
        values = dict.fromkeys(("SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURMD_NODENAME"), node)
        values["SLURM_JOB_NAME"] = found.get("job-name", name)
        values |= {"SLURM_JOB_ID": "0", "SLURM_JOBID": "0", "SLURM_TASKS_PER_NODE": "1", "SLURM_CPUS_ON_NODE": "1"}
        values |= dict.fromkeys(("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NNODES", "SLURM_JOB_NUM_NODES"), "1")
        if "cpus-per-task" in found:
            values["SLURM_CPUS_PER_TASK"] = found["cpus-per-task"]
        if "array" in found:
            first = re.split(r"\D", found["array"], maxsplit=1)[0]
            values |= {"SLURM_ARRAY_JOB_ID": "0", "SLURM_ARRAY_TASK_ID": first}
        return values | _CROWDED


def quoted(word: str) -> str:
    """Return a word as sbatch reads it from an #SBATCH line: quotes as in a shell, # begins a comment."""
    if word and not set(word) & set(" \t\"'\\#"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
