"""What a shell script names and the run did not come to: the other branch, what a trap cleans up with, a restart.

The words of a script are looked up as a shell would, wherever they stand: only a shell can tell commands from
arguments. A word too many costs a small program.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer import tables
from sdee.packer.filesystem import is_below_any
from sdee.packer.units.base import Unit, View, Widening
from sdee.packer.units.interpreters import core_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.tracer.model import Exec

_SHELLS = frozenset(("sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"))
_COMMENT = re.compile(r"(?m)^[ \t]*#.*$")
_WORD = re.compile(r"(?<![\w.$/+-])(?:/[\w.+-]+)*/?[A-Za-z_][\w.+-]*")
_SCRIPT_LIMIT = 64 << 10  # bytes: longer ones are programs (configure), not jobs
_LIMIT = 256 << 20  # bytes


class ScriptCommands(Unit):
    """Programs in PATH, and by absolute paths, that a script of the user's names; of a script its interpreter, too.

    Python and Perl are nothing without their standard libraries.
    """

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return a file of the library of each interpreter that a script names."""
        named = dict.fromkeys(view.fs.resolve(path).real for widening in self.widen(view) for path in widening.paths)
        return tuple(mark for path in named for mark in core_library(view, path))

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield those of each script and of each `sh -c` text that was run, each program once: builds run thousands."""
        texts: set[str] = set()
        words: set[str] = set()
        for execution in view.execs:
            run_by = (execution.path, *execution.interpreters)
            if _SHELLS.isdisjoint(map(os.path.basename, run_by)):
                continue
            for text in _texts(view, execution):
                if text in texts:
                    continue
                texts.add(text)
                named = [w for w in dict.fromkeys(_WORD.findall(_COMMENT.sub("", text))) if w not in words]
                words.update(named)
                found = [path for word in named if (path := _program(view, word))]
                paths = tuple(p for path in found for p in (path, *_interpreter(view, path)))
                if paths:
                    yield Widening("programs that a script names", execution.path, paths, _LIMIT, owned=False)


def _texts(view: View, execution: Exec) -> Iterator[str]:
    """Yield the script, if it is the user's own, and the words that it was called with: one may be the text."""
    if not is_below_any(execution.path, tables.SYSTEM_ROOTS):
        content = view.fs.read(execution.path, _SCRIPT_LIMIT + 1)
        if len(content) <= _SCRIPT_LIMIT and b"\0" not in content:
            yield os.fsdecode(content)
        yield from execution.argv[1:]
    elif any(re.fullmatch(r"-[a-z]*c", word) for word in execution.argv[1:3]):  # -c, -lc
        yield from execution.argv[2:]


def _program(view: View, word: str) -> str:
    """Return the program that a word names, "" where it names none."""
    if os.path.basename(word) in tables.OF_JOB_MANAGERS:
        return ""
    for directory in ("",) if word.startswith("/") else view.search:
        path = f"{directory}/{word}" if directory else word
        status = view.fs.resolve(path).status
        if status is not None and view.fs.is_file(path) and status.st_mode & 0o111:
            return path
    return ""


def _interpreter(view: View, path: str) -> tuple[str, ...]:
    match = re.match(rb"#![ \t]*(/[^\s\0]+)", view.fs.head(path))
    interpreter = os.fsdecode(match[1]) if match else ""
    return (interpreter,) if interpreter and view.fs.is_file(interpreter) else ()
