"""Perl: its core library whole, and of each other module that was used what belongs to it (perlmodlib(1))."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

# Debian's and Red Hat's core directories, and those of a perl built from source (perlbrew, conda, Spack)
_CORE = re.compile(
    r"(?P<top>.*/(?:share|lib(?:64)?(?:/[^/]+-linux[^/]*)?)/(?:perl/5\.[\d.]+|perl-base)|.*/lib/(?:perl5/)?5\.[\d.]+|"
    r"/usr/(?:share|lib64)/perl5(?=/(?:strict|warnings|XSLoader|Config)\.p[ml]$))/"
)
_MODULES = re.compile(
    r"(?P<top>.*/(?:perl5(?:/5\.[\d.]+)?(?:/[^/]+-linux[^/]*)?|(?:site|vendor)_perl(?:/5\.[\d.]+)?(?:/[^/]+-linux[^/]*)?|"
    r"perl/5\.[\d.]+))/(?P<rest>.+\.p[ml])$"
)


class PerlCore(Unit):
    """The core library: modules load each other by name at run time (unicore tables, encodings, POSIX)."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each core directory that a file was read of."""
        done: set[str] = set()
        for path in view.seen:
            match = _CORE.match(path)
            if match and match["top"] not in done:
                done.add(match["top"])
                skip = frozenset(("pod", "CORE", "unicode"))  # documentation and C headers
                yield Widening("Perl's core library", path, view.tree(match["top"], skip), limit=200 << 20)


class PerlModules(Unit):
    """A module's file, the directory of the same name beside it, and its auto/ directories below every library root."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield what belongs to each module outside the core."""
        roots = dict.fromkeys(m["top"] for p in view.seen if (m := _MODULES.match(p)))
        done: set[str] = set()
        for path in view.seen:
            match = _MODULES.match(path)
            if not match or _CORE.match(path):
                continue
            stem = os.path.splitext(match["rest"])[0]
            paths: list[str] = []
            for root in roots:
                for directory in (f"{root}/{stem}", f"{root}/auto/{stem}"):
                    if directory not in done and view.fs.is_dir(directory):
                        done.add(directory)
                        paths += view.tree(directory)
            if paths:
                name = "the Perl module " + stem.replace("/", "::")
                yield Widening(name, path, tuple(paths), limit=100 << 20)
