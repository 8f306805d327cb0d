"""Commands that differ in numbers alone: what one of them has shown serves the others."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from typing import TYPE_CHECKING

from sdee.base import mountinfo
from sdee.base.paths import is_below
from sdee.base.secrets.tokens import redact
from sdee.base.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Names of programs for an interpreter: `python step1.py` and `python step2.py` are no sweep
_SOURCES = re.compile(r"\.(py|pyc|pyz|ipynb|[Rr]|Rmd|jl|pl|rb|lua|m|tcl|m?js|[ck]?sh|bash|zsh|fish|awk|sed|jar)$")


# In text of programs: not of a word (python3.11, gcc/12), a path, a range or a parameter ($1)
NUMBER = re.compile(r"(?<![\w.+/$-])[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?(?![\w.+/-])", re.ASCII)
_OF_CODE = re.compile(r"[\s;(){}|&<>$`'\"]")  # the word after -c and -e: `sh -c './step1 && ./step2'`


def without_numbers(word: str, cwd: str) -> str:
    """Return a word of a command line with `#` for each number, unless it names a program."""
    if _OF_CODE.search(word) and not os.path.exists(os.path.join(cwd, word)):
        return NUMBER.sub("#", word)
    path = os.path.join(cwd, word)
    program = shutil.which(word) or (os.path.isfile(path) and (os.access(path, os.X_OK) or _SOURCES.search(word)))
    return word if program else re.sub(r"\d+", "#", word)


def key(words: Sequence[str], cwd: str) -> list[str]:
    """Return what a command has in common with those that its trace and bundle serve, too."""
    return [word if _may_travel(word, cwd) else without_numbers(word, cwd) for word in words]


def _may_travel(word: str, cwd: str) -> bool:
    """Tell whether a word names a file that nodes may not see: the bundle of another one would hold another file."""
    home = os.path.realpath(os.path.expanduser("~"))
    for name in dict.fromkeys((word, word.partition("=")[2])):  # --input=FILE
        path = os.path.realpath(os.path.join(cwd, name)) if name else ""
        if path and os.path.exists(path) and not any(is_below(path, os.path.realpath(top)) for top in (cwd, home)):
            mounts = [mount for mount in mountinfo.of_this_machine() if is_below(path, mount.path)]
            if max(mounts, key=lambda mount: len(mount.path)).is_local:
                return True
    return False


def say_of(traced: Sequence[str], typed: Sequence[str], say: Callable[[str], None]) -> None:
    """Say that another command's trace serves this one, where it does."""
    shown, asked = (shlex.join(redact(words)) for words in (traced, typed))
    if shown != asked:
        say(f"using the trace of {safe(shown)} for {safe(asked)}: they differ in numbers only (--retrace traces it)")
