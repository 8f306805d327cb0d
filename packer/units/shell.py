"""What a shell script names and the run did not come to: the other branch, what a trap cleans up with, a restart.

The words of a script are looked up as a shell would, wherever they stand: only a shell can tell commands from
arguments. A word too many costs a small program.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from typing import TYPE_CHECKING

from sdee.base.paths import is_below_any
from sdee.packer import knowledge
from sdee.packer.command_words import script_of
from sdee.packer.units.base import Unit, View, Widening, first_line, interpreters_of
from sdee.packer.units.interpreters import core_library
from sdee.packer.units.own_directories import named_programs, prefix_of
from sdee.packer.units.resources import with_constants
from sdee.packer.units.system import compilers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.tracer.tracefile.model import Exec

_SHELLS = frozenset(("sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"))
_SUFFIXES = tuple(f".{shell}" for shell in sorted(_SHELLS))
_COMMENT = re.compile(r"(?m)^[ \t]*#.*$")
_WORD = re.compile(r"(?<![\w.$/+-])(?:/[\w.+-]+)*/?[A-Za-z_][\w.+-]*")
# The same where a shell takes it for a command, or for one that it keeps in a variable. It consumes no word: of
# `exec tool` the first is a command, and what stands before another. Bounded, or a line of 64 kB would take minutes
_COMMAND = re.compile(
    r"(?m)(?:^|[|;&(`{!]|=[\"']?|:-|\b(?:then|do|else|if|elif|while|until|exec|command|xargs|env|time|nohup)\b)[ \t]*"
    r"(?=((?:/[\w.+-]{1,255}){1,32}|[A-Za-z_][\w.+-]{0,255})(?![\w=/]))"
)
# A file of code: those of languages whose code is read (python_code.py, code.py), and shells'
_FILE = re.compile(r"(?<![\w.@+/-])[\w.@+/-]{0,400}\w\.(?:py|pl|pm|rb|lua|R|r|tcl|js|mjs|cjs|sh|bash)\b")
_SCRIPT_LIMIT = 64 << 10  # bytes: longer ones are programs (configure), not jobs
_LIMIT = 256 << 20  # bytes
_UNITS_LIMIT, _EACH_LIMIT = 32 << 20, 8 << 20  # bytes: what scripts name that only units brought, all and each


class ScriptCommands(Unit):
    """Programs in PATH, and by absolute paths, that a script of the user's names; of a script its interpreter, too.

    Python and Perl are nothing without their standard libraries.
    """

    def may_start(self, view: View) -> tuple[str, ...]:
        """Return the programs that scripts name."""
        return tuple(
            dict.fromkeys(view.fs.resolve(path).real for widening in self.widen(view) for path in widening.paths)
        )

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return a file of the library of each interpreter that a script names."""
        return tuple(mark for path in view.started for mark in core_library(view, path))

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield those of each script and of each `sh -c` text that was run, each program once: builds run thousands."""
        texts: set[str] = set()
        words: set[str] = set()
        files = view.code_named
        named = ((path, _content(view, path)) for path in files if _is_shells(view, path))
        for source, text in (*_texts(view), *named):
            if text not in texts:
                texts.add(text)
                paths = _named(view, text, words)
                if paths:
                    yield Widening("programs that a script names", source, paths, _LIMIT, owned=False)
        for path, source in files.items():
            yield Widening("code that a script names", source, (path,), owned=False)


def named_files(view: View) -> dict[str, str]:
    """Return the user's files of code that shell scripts name (`python3 other.py` in a branch), and the script.

    As seen from where the job began, or beside the script.
    """
    found: dict[str, str] = {}
    for source, text in dict.fromkeys(_texts(view)):
        for word in dict.fromkeys(_FILE.findall(_COMMENT.sub("", text))):
            for place in (view.cwd, os.path.dirname(source)):
                path = os.path.normpath(os.path.join(place, word))
                if view.fs.is_file(path) and not is_below_any(path, knowledge.SYSTEM_ROOTS):
                    found.setdefault(path, source)
                    break
    return found


class StartedByName(Unit):
    """Programs that an executed program, or a library that it loaded, has in it for execvp(3): kpathsea's mktexpk.

    Of packages that the run used, and of the file's own prefix where there are no packages: most words that are a
    program's name by chance (`time`, `java`) are another package's. What is essential on a system, scripts name.
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield those of each file, the cheapest first, until they are too large together."""
        left = _UNITS_LIMIT
        known = frozenset(name for directory in view.search for name in view.fs.names(directory))
        named = {source: _programs_in(view, source, known) for source in with_constants(view)}
        owners = view.packages.owners({*view.seen, *(path for paths in named.values() for path in paths)})
        used = {owners[path] for path in view.seen if path in owners}
        used -= {package for package in used if package.partition(" ")[0] in view.packages.essential}
        for source, paths in named.items():
            own = "" if prefix_of(source) == "/usr" else prefix_of(source)
            related = [p for p in paths if (owners[p] in used if p in owners else prefix_of(p) == own)]
            with_own = (p for path in related for p in (path, *interpreters_of(view, path)))
            wanted = [path for path in with_own if not _lacks_library(view, path)]
            fits, _, adds = view.costs.cheapest(wanted, min(left, _EACH_LIMIT))
            left -= adds
            if fits:
                yield Widening("programs that a program names", source, tuple(fits))


def _programs_in(view: View, source: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return the programs of PATH, whose names are `known`, that a program or a library has in it."""
    found = (_program(view, word) for word in named_programs(view.fs, source) if word in known)
    return tuple(dict.fromkeys(path for path in found if path))


class UnitScripts(Unit):
    """Programs that shell scripts name which a unit brought, or the system's that were executed: git-submodule's sed.

    To come after the units that bring scripts. Interpreters with a library of their own, of which the run used nothing,
    are left out: they are too large for a word that may be none.
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield those of each script, the cheapest first, until they are too large together."""
        words: set[str] = set()
        left = _UNITS_LIMIT
        for script in sorted({*view.claimed, *view.programs()}):
            if not _is_executable_text(view, script):
                continue
            named = _named(view, _content(view, script), words, _COMMAND)
            paths = [p for p in (*interpreters_of(view, script), *named) if not _lacks_library(view, p)]
            paths, _, adds = view.costs.cheapest(paths, min(left, _EACH_LIMIT))
            left -= adds
            if paths:
                yield Widening("programs that a script names", script, tuple(paths))


def _texts(view: View) -> Iterator[tuple[str, str]]:
    """Yield each script that a shell read, if it is the user's own, and the words that it was called with, and whose.

    The words may be the text. A shell reads a script as its first argument, or sources it: that is seen by its name and
    its first line only.
    """
    shells = [e for e in view.execs if not _SHELLS.isdisjoint(map(os.path.basename, (e.path, *e.interpreters)))]
    if not shells:
        return
    own = [path for path in view.named if not is_below_any(path, knowledge.SYSTEM_ROOTS)]
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in own:
        by_name[os.path.basename(path)].append(path)
    for execution in shells:
        if not is_below_any(execution.path, knowledge.SYSTEM_ROOTS):
            script = execution.path
            yield from ((script, text) for text in (_content(view, script), *execution.argv[1:]) if text)
        elif any(re.fullmatch(r"-[a-z]*c", word) for word in execution.argv[1:3]):  # -c, -lc
            yield from ((execution.path, text) for text in execution.argv[2:])
        elif script := _argument(by_name, execution):
            yield from ((script, text) for text in (_content(view, script), *execution.argv[2:]) if text)
    yield from ((path, text) for path in own if _is_shells(view, path) and (text := _content(view, path)))


def _argument(by_name: dict[str, list[str]], execution: Exec) -> str:
    """Return the file that a shell ran, among those that the run read: `bash -e ./t.sh`, "" for none."""
    words = (word for word in execution.argv[1:] if not word.startswith(("-", "+")))
    word = script_of(list(execution.argv), execution.path) or next(words, "")
    ending = "/" + os.path.normpath(word).lstrip("./")
    return next((path for path in by_name[os.path.basename(ending)] if word and path.endswith(ending)), "")


def _is_shells(view: View, path: str) -> bool:
    if path.endswith(_SUFFIXES):
        return True
    return not _SHELLS.isdisjoint(map(os.path.basename, first_line(view, path)))


def _is_executable_text(view: View, path: str) -> bool:
    status = view.fs.status(path)
    executable = status is not None and stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)
    return executable and not knowledge.SHARED_OBJECT.search(path) and _is_shells(view, path)


def _content(view: View, path: str) -> str:
    """Return a script's text, "" of what is none or too long for one."""
    content = view.fs.read(path, _SCRIPT_LIMIT + 1)
    return os.fsdecode(content) if len(content) <= _SCRIPT_LIMIT and b"\0" not in content else ""


def _named(view: View, text: str, words: set[str], pattern: re.Pattern[str] = _WORD) -> tuple[str, ...]:
    """Return the programs that a text names, with their interpreters; `words` are those looked up before."""
    named = [w for w in dict.fromkeys(pattern.findall(_COMMENT.sub("", text))) if w not in words]
    words.update(named)
    found = [path for word in named if (path := _program(view, word))]
    return tuple(p for path in found for p in (path, *interpreters_of(view, path)))


def _program(view: View, word: str) -> str:
    """Return the program that a word names, "" where it names none."""
    if os.path.basename(word) in knowledge.OF_JOB_MANAGERS:
        return ""
    for directory in ("",) if word.startswith("/") else view.search:
        path = f"{directory}/{word}" if directory else word
        status = view.fs.resolve(path).status
        if status is not None and view.fs.is_file(path) and status.st_mode & 0o111:
            return path
    return ""


def _lacks_library(view: View, program: str) -> bool:
    """Return whether it is an interpreter without its library, or a compiler's driver without the compiler."""
    real = view.fs.resolve(program).real
    marks = (*core_library(view, real), *compilers_of(view, real))
    return bool(marks) and not any(map(view.costs.travels, marks))
