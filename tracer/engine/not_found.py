"""What a command that was not found may have been meant as."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
from typing import TYPE_CHECKING

from sdee.base.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHELL_SYNTAX = re.compile(r"[|&;<>$`*?(){}]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|.*\\\w")
# Commands of sh and bash that are no programs (POSIX, 2.14 and "Intrinsic Utilities"; bash(1), SHELL BUILTIN COMMANDS)
_BUILTINS = """
    alias bg bind builtin cd command declare dirs enable eval exec exit export fc fg getopts hash history jobs let local
    popd pushd read readonly set shift shopt source suspend times trap type typeset ulimit umask unalias unset wait
"""
# Functions that start files of a cluster define, for shells that do not export them (BASH_FUNC_module%%)
_FUNCTIONS = frozenset(("module", "ml", "conda", "mamba", "spack"))
_LIKE = 0.75  # difflib's measure; at its default of 0.6 `sl` is like `sleep`


def hint(command: str, directories: Iterable[str], environment: Mapping[str, str]) -> str:
    """Return what may have been meant by `command`, which is no program in `directories`; "" when nothing comes near.

    `environment` tells the functions that bash has exported.
    """
    if _ASSIGNMENT.match(command):
        return f"env(1) sets a variable: env {shlex.quote(command)} COMMAND"
    if _WINDOWS.match(command):
        return "separate directories by /"
    if _SHELL_SYNTAX.search(command):
        return f"a shell understands it: sh -c {safe(shlex.quote(command))}"
    if " " in command.strip():
        return f"remove the quotes around the whole command: {safe(command.strip())}"
    if command in _BUILTINS.split():
        return f"{command} is a shell builtin: run it first, or bash -c '{command} …; COMMAND'"
    if command in _FUNCTIONS or f"BASH_FUNC_{command}%%" in environment:
        return f"{safe(command)} is a function of your shell: call it first, or bash -lc '{safe(command)} …; COMMAND'"
    if os.path.isfile(command) and "/" not in command:
        name = safe(shlex.quote(command))
        is_program = os.access(command, os.X_OK)
        return f"it is in this directory: ./{name}" if is_program else f"name its interpreter: INTERPRETER {name}"
    near = difflib.get_close_matches(command, _programs(directories), 1, _LIKE)
    return f"did you mean {near[0]!a}?" if near else ""


def _programs(directories: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for directory in directories:
        with contextlib.suppress(OSError):
            found.update(os.listdir(directory or "."))
    return found
