"""An interpreter's own library, though the traced run loaded nothing of it: `perl -e 1` needs none, `use POSIX` does.

Ruby's, Lua's, Tcl's, PHP's and Guile's are a program's own directories (resources.py). Perl's and Python's are units of
their own, which this module tells where to begin.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening
from sdee.packer.units.own_directories import named_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

_PYTHON = re.compile(r"(?:python|pypy)\d\.\d+t?")
_PERL = re.compile(r"perl[\d.]*")


class Interpreters(Unit):
    """The core libraries of the interpreters that were executed."""

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return a file of each."""
        return tuple(dict.fromkeys(mark for program in view.programs() for mark in core_library(view, program)))

    def widen(self, view: View) -> Iterator[Widening]:  # noqa: ARG002
        """Yield nothing: StandardLibrary and PerlCore do."""
        yield from ()


def core_library(view: View, program: str) -> Iterator[str]:
    """Yield a file of an interpreter's core library: by where it is installed, and by what it names itself (@INC)."""
    directory, name = os.path.split(program)
    prefix = os.path.dirname(directory).rstrip("/")
    marks = [f"{prefix}/{lib}/{name}/os.py" for lib in ("lib", "lib64") if _PYTHON.fullmatch(name)]
    if _PERL.fullmatch(name):
        libraries = [path for path in view.seen if os.path.basename(path).startswith("libperl.so")]
        marks += [f"{named}/strict.pm" for path in (program, *libraries) for named in named_paths(view.fs, path)]
        homes = (f"lib/{architecture}/perl-base" for architecture in view.fs.names(f"{prefix}/lib"))
        marks += [f"{prefix}/{home}/strict.pm" for home in (*homes, "share/perl5", "lib64/perl5")]
    yield from dict.fromkeys(view.fs.resolve(mark).real for mark in marks if view.fs.is_file(mark))
