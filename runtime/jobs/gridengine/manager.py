"""Grid Engine: qsub takes the script, which runs on the first node of the job. By the manuals of 8.1.9, Debian's."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from typing import TYPE_CHECKING

from sdee.base.errors import UsageError
from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.gridengine import shell
from sdee.runtime.jobs.model import JobManager, Request, Submission, Words, Wrapping, printed_by
from sdee.runtime.jobs.options import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# qsub(1): an option is one word, its values the next ones. Options that are not here have none
_ONE = names("""
    @ a ac A ar b c ckpt C dc display dl e he hold_jid hold_jid_ad i j jc js jsv l m M masterq N now o ot P p q R r
    rou rdi sc shell S si t tc tcon u v w wd xd xdv xd_run_as_image_user umask par mods adds clearp clears
    binding sync
""")
_VALUES = {**dict.fromkeys(_ONE, 1), "pe": 2}
_BINDING = ("env", "pe", "set")  # -binding [INSTANCE] STRATEGY
_OF_THE_CALL = frozenset(("sync", "terse", "verify", "help", "clear", "now", "@"))


class GridEngine(JobManager):
    """Grid Engine's qsub."""

    title = "Grid Engine"
    submit = "qsub"
    answer = r"^(?:Your job(?:-array)? )?(\d+)(?:\.\S+)?(?: \(.*\) has been submitted)?$"  # -terse: 7, or 7.1-10:1
    directive = "#$"
    launchers = ()

    def lacks(self) -> str:
        """Return "" where there is a qsub of Grid Engine's: PBS and Slurm bring one of their own, but no qconf."""
        if not shutil.which(self.submit):
            return "there is no qsub in PATH"
        return "" if shutil.which("qconf") else "qsub is not Grid Engine's: there is no qconf in PATH"

    def split(self, arguments: Sequence[str], own: Mapping[str, bool]) -> Words:
        """Split at `--`, or at the first word that is neither option nor value.

        Raises UsageError.
        """
        mine: list[str] = []
        theirs: list[str] = []
        at = 0
        while at < len(arguments) and arguments[at] != "--":
            word = arguments[at]
            name = word.partition("=")[0]
            if name in own:
                size = 2 if own[name] and "=" not in word else 1
            elif word.startswith("-") and word != "-":
                size = 1 + _values(arguments, at)
            else:
                break
            if "--" in arguments[at : at + size] or at + size > len(arguments):
                raise UsageError(f"option {word} needs a value")
            (mine if name in own else theirs).extend(arguments[at : at + size])
            at += size
        for option in _options(theirs):
            if option[0] == "-b":
                raise UsageError("-b and a command exclude each other", hint="the command comes last, after --")
        return Words(tuple(mine), tuple(theirs), tuple(arguments[at + (arguments[at : at + 1] == ["--"]) :]))

    def options_in(self, text: str) -> tuple[str, ...]:
        """Return the options of `#$` lines."""
        return scripts.directives(text, self.directive)

    def place(self, options: Sequence[str]) -> tuple[str, str]:
        """Return -wd and -i."""
        found = {option[0]: option[-1] for option in _options(options)}
        return found.get("-wd", ""), found.get("-i", "")

    def seconds(self, options: Sequence[str], in_script: Sequence[str] = ()) -> float | None:
        """Return h_rt of -l, seconds or H:M:S (sge_types(5)); what is typed wins."""
        for words in (options, in_script):
            asked = [part for o in _options(words) if o[0] == "-l" for part in o[-1].split(",")]
            found = [text for name, _, text in (part.partition("=") for part in asked) if name in ("h_rt", "hard_rt")]
            if found and re.fullmatch(r"\d+|\d*:\d*:\d*", found[-1], re.ASCII):
                units = (3600, 60, 1) if ":" in found[-1] else (1,)
                values = found[-1].split(":")
                return float(sum(int(v or 0) * unit for v, unit in zip(values, units, strict=True))) or None
        return None

    def submission(self, request: Request) -> Submission:
        """Return the script with the options as `#$` lines, and the call with the same."""
        options = list(_options(request.options))
        named = {option[0] for option in options}
        lines = ["#!/bin/bash", "#$ -S /bin/bash"]
        lines += [] if named & {"-wd", "-cwd"} else ["#$ -cwd"]
        lines += [] if "-N" in named else [f"#$ -N {_job_name(request.shown[0])}"]
        lines += [
            "#$ " + " ".join(map(_quoted, o))
            for o in options
            if o[0][1:] not in _OF_THE_CALL and "".join(o).isprintable()
        ]
        lines += scripts.heading("sdee submit", request.shown, f"{self.submit} {shlex.quote(request.script)}")
        lines += [shell.settings(request.bundle, request.broadcast, request.results), shell.STEP]
        lines += [shell.finish(request.collect)] if request.results else []
        lines.append(f'sdee_task "" {shlex.join(request.command)}'.rstrip())
        lines += ["sdee_finish $?"] if request.results else []
        return Submission(request.script, "\n".join(lines) + "\n", (self.submit, *request.options, request.script))

    def waiting_scripts(self) -> list[str] | None:
        """Return the script_file of each job that qstat(1) tells of: with -j it fails when there is none."""
        said = printed_by(["qstat", "-j", "*"]) if printed_by(["qstat"]) else printed_by(["qstat"])
        return None if said is None else re.findall(r"(?m)^script_file:\s*(\S.*)$", said)

    def wrap(self, wrapping: Wrapping) -> str:
        """Return the script with a function in front for each of `programs`.

        Raises UsageError when it is no shell script or no program is named: nothing tells which lines are steps.
        """
        if not wrapping.programs:
            hint = f"--program NAME: sdee wrap --program mpirun {shlex.quote(wrapping.name)}"
            raise UsageError(
                "Grid Engine has no srun, so sdee must know which programs of the script run in the bundle", hint=hint
            )
        preamble = [shell.settings(wrapping.bundle, wrapping.broadcast, wrapping.results), shell.STEP]
        preamble += [scripts.changed(wrapping.decisive), *scripts.programs(wrapping, shell.PROGRAM_CALL)]
        preamble[2:2] = [shell.finish(wrapping.collect)] if wrapping.results else []
        return scripts.insert(wrapping, self.directive, "\n".join(preamble), f"-N {_job_name(wrapping.name)}")

    def rehearsal(self, wrapping: Wrapping) -> str:
        """Return the variables of a job of one slot."""
        return shell.REHEARSAL.replace("@NAME@", _job_name(wrapping.name))


def _values(words: Sequence[str], at: int) -> int:
    name = words[at][1:]
    if name == "binding" and words[at + 1 : at + 2] and words[at + 1] in _BINDING:
        return 2
    return _VALUES.get(name, 0)


def _options(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    at = 0
    while at < len(words):
        size = 1 + _values(words, at)
        yield tuple(words[at : at + size])
        at += size


def _job_name(command: str) -> str:
    """Return a name as sge_types(5) allows it: no digit first, none of its special characters."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in os.path.basename(command))
    return name if name[:1].isalpha() else f"job_{name}"


def _quoted(word: str) -> str:
    return word if word and not set(word) & set(" \t\"'#") else '"' + word.replace('"', '\\"') + '"'
