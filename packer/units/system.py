"""Parts of the C library's and the system's world that programs choose from at run time."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_MB = 1 << 20


def _trees(view: View, pattern: re.Pattern[str], name: str, limit: int) -> Iterator[Widening]:
    """Yield, for each different `top` that the pattern finds among what was used, the tree below it."""
    done: set[str] = set()
    for path in view.seen:
        match = pattern.match(path)
        if match and match["top"] not in done:
            done.add(match["top"])
            yield Widening(name, path, view.tree(match["top"]), limit=limit)


class Gconv(Unit):
    """iconv's modules with their list: another input may need another character set."""

    _TOP = re.compile(r"(?P<top>.*/gconv)/[^/]+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each gconv directory that something was read of."""
        yield from _trees(view, self._TOP, "iconv's character sets (gconv)", 50 * _MB)


class Locales(Unit):
    """A locale's directory: its categories belong together. A locale-archive is one file and travels as such."""

    _TOP = re.compile(r"(?P<top>.*/(?:lib/locale|lib/musl/locales)/[^/]+)/.+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each locale of which a category was read."""
        yield from _trees(view, self._TOP, "the locale", 50 * _MB)


class Timezones(Unit):
    """zoneinfo, if a program looked a zone up by name; /etc/localtime's target alone is only that file."""

    _TOP = re.compile(r"(?P<top>.*/share/zoneinfo)/.+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each zoneinfo directory that the job itself named a file of."""
        named = View(view.fs, view.named, view.named, view.executed)
        yield from _trees(named, self._TOP, "the time zones", 20 * _MB)


class Terminfo(Unit):
    """terminfo: the node's TERM may be another than this terminal's."""

    _TOP = re.compile(r"(?P<top>.*/terminfo)/[^/]{1,2}/[^/]+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each terminfo directory that was used, unless it is one of the large ones."""
        yield from _trees(view, self._TOP, "the terminal descriptions", _MB)


class Certificates(Unit):
    """CA certificates: which of them is used depends on whom the job talks to."""

    _TOP = re.compile(r"(?P<top>/etc/ssl/certs|/etc/pki/(?:ca-trust|tls/certs)|/usr(?:/local)?/share/ca-certificates)/")
    _ALL = ("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the system's certificates if one of them, or their bundle, was used."""
        for path in (*view.named, *view.seen):
            match = self._TOP.match(path)
            if match:
                tops = dict.fromkeys((match["top"], *(self._ALL if "/pki/" not in path else ())))
                paths = tuple(p for top in tops if view.fs.is_dir(top) for p in view.tree(top))
                yield Widening("the system's CA certificates", path, paths, limit=20 * _MB)
                return


class CompilerSupport(Unit):
    """GCC's own directory less its large programs: start files, headers, small libraries are chosen by options."""

    _TOP = re.compile(r"(?P<top>.*/lib(?:64|exec)?/gcc/[^/]+/\d+[\d.]*)/.+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the small files of each GCC directory that was used; compilers travel when they ran."""
        done: set[str] = set()
        for path in view.seen:
            match = self._TOP.match(path)
            if match and match["top"] not in done:
                done.add(match["top"])
                tree = view.tree(match["top"], frozenset(("plugin", "install-tools")))
                paths = tuple(p for p in tree if self._small(view, p))
                yield Widening("GCC's own files", path, paths, limit=100 * _MB)

    @staticmethod
    def _small(view: View, path: str) -> bool:
        status = view.fs.status(path)
        return status is not None and (status.st_size <= _MB or os.path.isdir(path))
