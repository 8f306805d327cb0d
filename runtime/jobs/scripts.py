"""What batch scripts of every job manager share: the heading, and where a preamble goes into a script of the user's."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from typing import TYPE_CHECKING

from sdee.base import patterns
from sdee.base.errors import UsageError
from sdee.base.files import beside
from sdee.base.secrets.tokens import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdee.runtime.jobs.model import Wrapping

SHELLS = ("sh", "bash", "dash", "ksh", "mksh", "zsh")


def heading(by: str, command: Sequence[str], again: str) -> list[str]:
    """Return the comment that says what a script is. Nothing in it can end the comment, or a line of it; no secret."""
    shown = printable(shlex.join(redact(command)))
    return ["#", f"# {shown}", f"# in a bundle. Written by `{by}`; by hand: {printable(again)}", ""]


def printable(text: str) -> str:
    """Return text with "?" for what cannot be printed."""
    return "".join(c if c.isprintable() else "?" for c in text)


def fill(template: str, **values: str) -> str:
    """Return a template with each `@NAME@` replaced, in one pass: a value may hold what looks like another name."""
    return re.sub(r"@([A-Z]+)@", lambda found: values.get(found[1], found[0]), template)


def check_line_breaks(text: str, name: str) -> None:
    """Raise UsageError for DOS line breaks, also in a here-document, as sbatch refuses them."""
    if "\r\n" in text:
        message = f"{name!a} contains DOS line breaks (\\r\\n) instead of expected UNIX line breaks (\\n)"
        raise UsageError(message, hint=rf"sed -i 's/\r$//' {shlex.quote(name)}")


def shell_of(text: str, name: str) -> str:
    """Return the shell that a script's first line names.

    Raises UsageError when there is none, or another interpreter.
    """
    first = text.split("\n", 1)[0]
    if first.endswith("\r"):  # the kernel would look for an interpreter of that name
        check_line_breaks(text, name)
    words = first[2:].split() if first.startswith("#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if not words:
        raise UsageError(f"{name!a} does not begin with #!", hint="a batch script says what runs it: #!/bin/bash")
    shell = os.path.basename(words[0])
    if shell not in SHELLS:
        raise UsageError(
            f"{name!a} is a script of {shell}, not of a shell like bash",
            hint="submit its command: sdee submit [OPTIONS] -- COMMAND",
        )
    return shell


def directives(text: str, prefix: str) -> tuple[str, ...]:
    """Return the words of a batch script's lines of options, those before its first command."""
    found: list[str] = []
    for line in text.split("\n"):
        if line.startswith(f"{prefix} "):
            with contextlib.suppress(ValueError):  # an open quote: the job manager will say so
                found += shlex.split(line.removeprefix(prefix), comments=True)
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return tuple(found)


def insert(wrapping: Wrapping, directive: str, preamble: str, named: str) -> str:
    """Return a script with a preamble before its first command, so that the job manager still reads its options.

    `named`: the option that names the job as the script, put in where the script does not name it ("": never).
    Raises UsageError when it is no shell script.
    """
    shell_of(wrapping.text, wrapping.name)
    lines = wrapping.text.split("\n")
    at = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    head = lines[:at]
    option = re.compile(r"\s(-J|--job-name|-N)")
    options = (line.removeprefix(directive) for line in head if line.startswith(directive))
    if named and not any(words[:1].isspace() and option.search(words) for words in options):
        head.insert(1, f"{directive} {named}")
    begin = "# ---- sdee: from here to the next such line, how steps run in the bundle"
    return "\n".join([*head, begin, preamble.strip("\n"), "# ---- sdee", *lines[at:]])


def reading(text: str, path: str) -> str:
    """Return a script that reads the file `path` before its first command.

    No line is added, so that the shell's messages give the numbers of the user's lines.
    """
    lines = text.split("\n")
    at = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None)
    if at is not None:
        lines[at] = f". {shlex.quote(path)}; {lines[at]}"
    return "\n".join(lines)


THERE = beside(__file__, "there.sh").rstrip("\n")


NODE = "//N//"  # in sdee_results: each node puts its name there. No normalised path has two slashes


def results(name: str, words: Mapping[str, str], is_task: str) -> list[str]:
    """Return the lines that say where results go: sdee_results, and sdee_others, a glob of it for an array's tasks.

    `name`: absolute, with patterns, or "". Each node and each task of an array have directories of their own below,
    unless %N and %a say where. `words`: letter → word of sh; `is_task`: a condition of sh. Raises UsageError.
    """
    if not name:
        return ["sdee_results="]
    named = name.replace("%%", "")
    if "%t" in named:
        hint = "%N is the node: the ranks of a node share what they write"
        raise UsageError(f"unknown pattern %t in {name!a}", hint=hint)
    node = name if "%N" in named else f"{name}/%N"
    of_task = node if "%a" in named else f"{name}/%a" + node.removeprefix(name)

    def put(text: str, **task: str) -> str:
        return patterns.expand(text, {**words, "N": shlex.quote(NODE), **task}, shlex.quote)

    others = put(of_task, a=shlex.quote("*"), j=shlex.quote("*"))
    return [
        f"sdee_results={put(node, a='')} sdee_others=",
        f"if {is_task}; then sdee_results={put(of_task)} sdee_others={others}; fi",
        "sdee_made=${sdee_results%%//N//*}",
        'mkdir -p "${sdee_made%/*}" || exit 247',
    ]


# For `sh -c`: copies to $1 what the other words name, as globs, where something of this user's has changed in it since
# $3 (seconds since 1970), $4 seconds ago; $2: sdee_others. A clock
# that was set back, or a node's that is behind, would hide results: then the seconds count, of a clock nobody sets.
# Tasks of an array that run on a node at one time share its /tmp, and nothing tells whose file it is
_COLLECT = beside(__file__, "collect.sh").rstrip("\n")

# What the job left in the nodes' own directories comes back too, and stays there, as usual
_FINISH = "\n" + beside(__file__, "finish.sh")
_ELAPSED = '"$(($(sdee_uptime) - $sdee_started))"'


def finish(on_each_node: str, globs: Sequence[str]) -> str:
    """Return a function that brings results back after a step.

    `on_each_node`: the words that run a command there. The step's status is returned, 247 where it is 0 and a file
    cannot be brought back.
    """
    files = shlex.join(globs)
    given = f'"$sdee_results" "$sdee_others" "$sdee_begun" {_ELAPSED}'
    call = f"{on_each_node} /bin/sh -c {shlex.quote(_COLLECT)} sdee {given} {files}".lstrip()
    return _FINISH.strip("\n").replace(
        "@COLLECT@", f'{call} || [ "$sdee_status" -ne 0 ] || sdee_status=247' if files else ":"
    )


# Variables that decide on software are as recorded in a bundle. Where the script itself changes them (module load, .
# venv/bin/activate) its tasks take its own.
_CHANGED = "\n" + beside(__file__, "changed.sh")


def changed(globs: Sequence[str]) -> str:
    """Return functions that tell which variables the script has changed since; `globs` names those that count."""
    return _CHANGED.replace("@NAMES@", "|".join(glob.replace("*", "[A-Za-z0-9_]*") for glob in globs))


_PROGRAM = "\n" + beside(__file__, "program.sh")


def programs(wrapping: Wrapping, call: str) -> list[str]:
    """Return functions that run programs of a script in the bundle by `call`, on the node that the script runs on.

    Raises UsageError for what the script's shell does not take as a function's name.
    """
    names = wrapping.programs
    shell = shell_of(wrapping.text, wrapping.name)
    wide = shell in ("bash", "zsh")  # dash takes letters, digits and _ only
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][-A-Za-z0-9_.+]*" if wide else r"[A-Za-z_][A-Za-z0-9_]*", name):
            hint = "--program takes a name without directories: python3" + (
                "" if wide else "; let the script begin #!/bin/bash"
            )
            raise UsageError(f"{shell} cannot have a function {name!a} in place of the program", hint=hint)
    lines = [f'{name}() {{ sdee_here {name} "$@"; }}' for name in names]
    return [_PROGRAM.strip("\n").replace("@CALL@", call), *lines] if names else []
