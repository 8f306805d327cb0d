"""An interpreter's own library, though the traced run loaded nothing of it: `perl -e 1` needs none, `use POSIX` does.

Ruby's, Lua's, Tcl's, PHP's and Guile's are a program's own directories (resources.py). Perl's and Python's are units of
their own, which this module tells where to begin.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening, interpreters_of
from sdee.packer.units.own_directories import named_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

_PYTHON = re.compile(r"(?:python|pypy)\d\.\d+t?")
_PERL = re.compile(r"perl[\d.]*")
_BIN = re.compile(r".*/s?bin/[^/]+$")


class Interpreters(Unit):
    """The core libraries of the interpreters that were executed, and of those that packages of executed programs need.

    VCFtools is a program in C++ and 25 Perl scripts, and its package depends on Perl: packages that have a script in an
    odd corner do not (samtools).
    """

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return a file of each."""
        programs = (*view.programs(), *(view.fs.resolve(path).real for path in _of_packages(view)))
        return tuple(dict.fromkeys(mark for program in programs for mark in core_library(view, program)))

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the interpreters of packages; StandardLibrary and PerlCore bring the libraries."""
        for interpreter, program in _of_packages(view).items():
            yield Widening("the interpreter of its package's scripts", program, (interpreter,))


def _of_packages(view: View) -> dict[str, str]:
    """Return the interpreters of programs in packages of executed ones, and which program, if these depend on them."""
    found: dict[str, str] = {}
    programs = view.programs()
    for program, package in sorted(view.packages.owners(programs).items()):
        needed = view.packages.depends(package)
        siblings = [p for p in view.packages.files(package) if _BIN.match(p)] if needed else []
        for interpreter in dict.fromkeys(name for path in siblings for name in interpreters_of(view, path)):
            library = core_library(view, view.fs.resolve(interpreter).real)
            if os.path.basename(interpreter) in needed and any(library):
                found.setdefault(interpreter, program)
    return found


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
