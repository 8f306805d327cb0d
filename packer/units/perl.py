"""Perl: its core library whole, and of each other module that was used what belongs to it (perlmodlib(1))."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

# Debian's and Red Hat's core directories, and those of a perl built from source (perlbrew, conda, Spack)
CORE = re.compile(
    r"(?P<top>.*/(?:share|lib(?:64)?(?:/[^/]+-linux[^/]*)?)/(?:perl/5\.[\d.]+|perl-base)|.*/lib/(?:perl5/)?5\.[\d.]+|"
    r"/usr/(?:share|lib64)/perl5(?=/(?:strict|warnings|XSLoader|Config)\.p[ml]$))/"
)
_MODULES = re.compile(
    r"(?P<top>.*/(?:perl5(?:/5\.[\d.]+)?(?:/[^/]+-linux[^/]*)?|(?:site|vendor)_perl(?:/5\.[\d.]+)?(?:/[^/]+-linux[^/]*)?|"
    r"perl/5\.[\d.]+))/(?P<rest>.+\.p[ml])$"
)


_PART = re.compile(r".*/(?:perl5|(?:site|vendor)_perl)/.+")
_PARTS = re.compile(r"/(?:share|lib(?:64)?)/")
_ARCHITECTURE = re.compile(r"[^/]+-linux")
_NOT_RUN = frozenset(("pod", "CORE", "unicode", "CPAN"))  # documentation, C headers, the installer of modules


class PerlCore(Unit):
    """The core library: modules load each other by name at run time (unicore tables, encodings, POSIX)."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each core directory that a file was read of."""
        done: set[str] = set()
        for path in view.seen:
            match = CORE.match(path)
            if not match or match["top"] in done:
                continue
            for top in (match["top"], *self._beside(view, match["top"])):
                if top not in done:
                    done.add(top)
                    yield Widening("Perl's core library", path, view.tree(top, _NOT_RUN))

    @staticmethod
    def _beside(view: View, top: str) -> list[str]:
        """Return the other core directories of the same prefix: @INC names them in turn, a run reads only from some.

        Debian: PREFIX/share/perl/5.X, PREFIX/lib/ARCH/perl/5.X (each with a link from the version without its last
        part, which is what @INC has) and PREFIX/lib/ARCH/perl-base; Red Hat: PREFIX/share/perl5, PREFIX/lib64/perl5.
        """
        prefix = _PARTS.split(top)[0]
        architectures = [f"{prefix}/lib/{n}" for n in view.fs.names(f"{prefix}/lib") if _ARCHITECTURE.match(n)]
        homes = [f"{directory}/perl" for directory in (f"{prefix}/share", *architectures)]
        found = [f"{home}/{name}" for home in homes for name in view.fs.names(home) if name.startswith("5.")]
        found += [f"{directory}/perl-base" for directory in architectures]
        if top in (f"{prefix}/share/perl5", f"{prefix}/lib64/perl5"):
            found += [f"{prefix}/share/perl5", f"{prefix}/lib64/perl5"]
        return [path for path in found if view.fs.is_dir(path)]


class PerlModules(Unit):
    """A module's file, the directory of the same name beside it, and its auto/ directories below every library root.

    Of a distribution package all modules: they load each other by names made at run time (Text::CSV → Text::CSV_PP).
    """

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield what belongs to each module outside the core."""
        modules = [path for path in view.seen if _MODULES.match(path) and not CORE.match(path)]
        owners = view.packages.owners(modules) if modules else {}
        packages = {package: path for path in reversed(modules) if (package := owners.get(path, ""))}
        for package, path in packages.items():
            members = tuple(p for p in view.packages.files(package) if _PART.match(p))
            yield Widening(f"the Perl modules of {package}", path, members)
        roots = dict.fromkeys(m["top"] for p in view.seen if (m := _MODULES.match(p)))
        done: set[str] = set()
        for path in view.seen:
            match = _MODULES.match(path)
            if not match or CORE.match(path):
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
                yield Widening(name, path, tuple(paths))
