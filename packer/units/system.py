"""Parts of the C library's and the system's world that programs choose from at run time."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.base.paths import is_below_any
from sdee.packer import knowledge
from sdee.packer.units.base import Unit, View, Widening
from sdee.packer.units.own_directories import names_time_zones

if TYPE_CHECKING:
    from collections.abc import Iterator

_MB = 1 << 20
_LOCALES_LIMIT = 20 * _MB


def _trees(view: View, pattern: re.Pattern[str], name: str, limit: int, *, whole: bool = False) -> Iterator[Widening]:
    """Yield, for each different `top` that the pattern finds among what was used, the tree below it."""
    done: set[str] = set()
    for path in view.seen:
        match = pattern.match(path)
        if match and match["top"] not in done:
            done.add(match["top"])
            yield Widening(name, path, view.tree(match["top"]), limit=limit, whole=whole)


class Gconv(Unit):
    """iconv's modules with their list: another input may need another character set."""

    _TOP = re.compile(r"(?P<top>.*/gconv)/[^/]+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each gconv directory that something was read of."""
        yield from _trees(view, self._TOP, "iconv's character sets (gconv)", 50 * _MB)


class Locales(Unit):
    """A locale's directory: its categories belong together, and a job may be run in another. A locale-archive is one
    file and travels as such.
    """

    _TOP = re.compile(
        r"(?P<top>.*/(?:lib/locale|lib/musl/locales)/[^/]+)/.+$|(?P<own>.*/[^/]+)/LC_[A-Z]+(?:/SYS_[^/]+)?$"
    )

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the locales beside each of which a category was read, those that $LOCPATH names too.

        Where they are too many only those that were used.
        """
        done: set[str] = set()
        for path in view.seen:
            match = self._TOP.match(path)
            top = (match["top"] or match["own"]) if match else ""
            if not top or top in done or "/share/locale/" in top:
                continue
            every = view.tree(os.path.dirname(top), frozenset(("locale-archive",)))
            one = view.size(every) > _LOCALES_LIMIT
            done |= {top} if one else set(every)
            yield Widening("the locale" if one else "the locales", path, view.tree(top) if one else every)


class Terminfo(Unit):
    """terminfo: the node's TERM may be another than this terminal's."""

    _TOP = re.compile(r"(?P<top>.*/terminfo)/[^/]{1,2}/[^/]+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each terminfo directory that was used, unless it is one of the large ones."""
        yield from _trees(view, self._TOP, "the terminal descriptions", _MB, whole=True)


class Certificates(Unit):
    """CA certificates: which of them is used depends on whom the job talks to."""

    _TOP = re.compile(r"(?P<top>/etc/ssl/certs|/etc/pki/(?:ca-trust|tls/certs)|/usr(?:/local)?/share/ca-certificates)/")
    _TLS = re.compile(r"/lib(?:ssl|gnutls|nss3|mbedtls)[.-][^/]*so")
    _ALL = (
        "/etc/ssl/certs",
        "/etc/ssl/openssl.cnf",
        "/usr/lib/ssl",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/etc/pki/tls",
        "/etc/pki/ca-trust",
    )

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the system's certificates if one of them, their bundle or a library for TLS was used."""
        for path in (*view.named, *view.seen):
            match = self._TOP.match(path)
            if match or self._TLS.search(path):
                tops = dict.fromkeys((*([match["top"]] if match else ()), *(self._ALL if "/pki/" not in path else ())))
                paths = [p for top in tops if view.fs.is_dir(top) for p in view.tree(top, frozenset(("private",)))]
                paths += [top for top in tops if view.fs.is_file(top)]
                yield Widening("the system's CA certificates", path, tuple(paths), limit=20 * _MB)
                return


class CompilerSupport(Unit):
    """GCC's own directory less its large programs: start files, headers, libraries (libgcc.a) are chosen by options.

    Where GCC's driver ran, or a script names it, its C and C++ compilers travel too, with C++'s headers: a build that
    began with C goes on, and a driver alone ends with "cannot execute 'cc1'".
    """

    DRIVER = re.compile(r"([\w.]+-)*(gcc|g\+\+|cc|c\+\+)-(?P<version>[\d.]+)")
    _TOP = re.compile(r"(?P<top>.*/lib(?:64|exec)?/gcc/[^/]+/\d+[\d.]*)/.+$")

    _OF_C = "include/stdio.h"  # below a driver's prefix: of the C library's development package

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return a file of GCC's own directory, and a header of the C library, of each driver that a script names."""
        found: list[str] = []
        for program in view.started:
            if match := self.DRIVER.fullmatch(os.path.basename(program)):
                prefix = os.path.dirname(os.path.dirname(program))
                homes = self.homes(view, prefix, match["version"])
                found += [f"{prefix}/{self._OF_C}", *(f"{home}/crtbegin.o" for home in homes)]
        return tuple(view.fs.resolve(path).real for path in found if view.fs.is_file(path))

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the small files of each GCC directory that was used; compilers travel when they ran or are named."""
        done: set[str] = set()
        for path in view.seen:
            match = self._TOP.match(path)
            if match and match["top"] not in done:
                done.add(match["top"])
                tree = view.tree(match["top"], frozenset(("plugin", "install-tools")))
                paths = tuple(p for p in tree if self._small(view, p))
                yield Widening("GCC's own files", path, paths, limit=500 * _MB)
        for program in dict.fromkeys((*view.programs(), *view.started)):
            match = self.DRIVER.fullmatch(os.path.basename(program))
            paths = tuple(self._compilers(view, program, match["version"])) if match else ()
            if paths:
                yield Widening("GCC's compilers", program, paths, limit=100 * _MB, with_libraries=True)

    @staticmethod
    def _compilers(view: View, program: str, version: str) -> Iterator[str]:
        """Yield what a driver PREFIX/bin/NAME-VERSION goes with: its names and C++'s, cc1, cc1plus, C++'s headers."""
        directory, name = os.path.split(program)
        prefix = os.path.dirname(directory)
        drivers = {program, f"{directory}/{name.replace('gcc', 'g++')}", f"{directory}/{name.replace('g++', 'gcc')}"}
        names = (f"{directory}/{n}" for n in view.fs.names(directory) if re.search(r"gcc|g\+\+|^c(c|\+\+)$", n))
        yield from (path for path in names if view.fs.resolve(path).real in drivers)
        yield from compilers_of(view, program)
        for home in CompilerSupport.homes(view, prefix, version):
            machine = os.path.basename(os.path.dirname(home))
            for top in (f"{prefix}/include/c++/{version}", f"{prefix}/include/{machine}/c++/{version}"):
                yield from view.tree(top) if view.fs.is_dir(top) else ()

    @staticmethod
    def homes(view: View, prefix: str, version: str) -> Iterator[str]:
        """Yield where GCC of that version has its own directories, one for each machine that it compiles for."""
        for home in (f"{prefix}/lib/gcc", f"{prefix}/libexec/gcc"):
            yield from (f"{home}/{machine}/{version}" for machine in view.fs.names(home))

    @staticmethod
    def _small(view: View, path: str) -> bool:
        status = view.fs.status(path)
        return status is not None and (status.st_size <= 4 * _MB or os.path.isdir(path))


def compilers_of(view: View, program: str) -> Iterator[str]:
    """Yield what GCC's driver PREFIX/bin/NAME-VERSION starts: cc1 and cc1plus; nothing of another program."""
    if match := CompilerSupport.DRIVER.fullmatch(os.path.basename(program)):
        prefix = os.path.dirname(os.path.dirname(program))
        for home in CompilerSupport.homes(view, prefix, match["version"]):
            yield from filter(view.fs.is_file, (f"{home}/{name}" for name in ("cc1", "cc1plus")))


class CxxHeaders(Unit):
    """C++'s standard headers: which of them a source includes is the source's choice."""

    _TOP = re.compile(r"(?P<top>.*/include/(?:[^/]+-linux-[^/]+/)?c\+\+/[^/]+)/.+$")

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each directory of C++ headers that was used: GCC has one for all machines and one for this."""
        yield from _trees(view, self._TOP, "C++'s standard headers", 100 * _MB)


class Headers(Unit):
    """What a compiler takes of a development package, headers, libraries, start files: source and options decide.

    With it those packages whose headers its own include: <limits.h> of the C library is nothing without the kernel's.
    """

    _HEADER = re.compile(r"(?P<root>.*/include(?:/[^/]+-linux-[^/]+)?)/.+$")
    _INCLUDE = re.compile(rb"^[ \t]*#[ \t]*include[ \t]*[<\"]([\w.+/-]+)[>\"]", re.MULTILINE)
    _LIMIT = 1 << 20  # bytes of a header that is read
    _MOST = 3000  # headers of a package that are read: who has more (Boost) includes its own

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each package of which a header was read or is included, less what people read."""
        read = [path for path in view.seen if self._HEADER.match(path)]
        done: set[str] = set()
        while read:
            owners = view.packages.owners(read)
            included: list[str] = []
            for path in read:
                package = owners.get(path, "")
                if package and package not in done:
                    done.add(package)
                    members = view.packages.files(package)
                    paths = tuple(p for p in members if not is_below_any(p, knowledge.FOR_PEOPLE))
                    yield Widening(f"the development package {package}", path, paths, limit=500 * _MB)
                    included += self._included(view, paths)
            read = included

    def _included(self, view: View, paths: tuple[str, ...]) -> Iterator[str]:
        """Yield the headers of other packages that headers include, as a compiler finds them from the same roots."""
        headers = [path for path in paths if self._HEADER.match(path) and view.fs.is_file(path)]
        roots = dict.fromkeys(match["root"] for path in headers if (match := self._HEADER.match(path)))
        texts = (view.fs.read(path, self._LIMIT) for path in headers[: self._MOST])
        names = {name for text in texts for name in self._INCLUDE.findall(text)}
        own = frozenset(paths)
        for name in sorted(map(os.fsdecode, names)):
            found = next((path for root in roots if view.fs.is_file(path := f"{root}/{name}")), "")
            if found and found not in own:
                yield found


class Fonts(Unit):
    """Fonts, if fontconfig or Java looked for one: which is taken depends on the text."""

    _USED = re.compile(r"/etc/fonts/|/usr/(?:local/)?share/(?:fonts|fontconfig)/")
    _TOPS = (
        "/etc/fonts",
        "/usr/share/fonts",
        "/usr/share/fontconfig",
        "/usr/local/share/fonts",
        "/var/cache/fontconfig",
    )

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield the system's fonts with their configuration and caches."""
        for path in view.seen:
            if self._USED.match(path):
                paths = tuple(p for top in self._TOPS if view.fs.is_dir(top) for p in view.tree(top))
                yield Widening("the system's fonts", path, paths, limit=500 * _MB)
                return


class LibraryData(Unit):
    """What the C library itself looks for when a program comes to that: system(3)'s shell, services, time zones.

    Zones, 600 files, travel where a time was asked for, and with languages in which another input may: the start of a
    bundle of one small program would take twice as long with them.
    """

    _DATA = ("/bin/sh", "/etc/localtime", "/etc/services", "/etc/protocols")
    _ZONES = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo")
    _ASKS = re.compile(
        r"/zoneinfo/|^/etc/(?:localtime|timezone)$|/lib(?:python|R|ruby|tcl|octinterp|lua|php|guile|julia|perl)[-.\d]*[^/]*\.so"
        r"|/(?:python\d[^/]*|perl[^/]*|R|ruby[^/]*|tclsh[^/]*|octave[^/]*|lua[^/]*|php[^/]*|julia|node)$"
    )

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield them if the job's programs use a C library, or name the zones: no job asks for them by name."""
        libc = next((path for path in view.seen if os.path.basename(path).startswith(("libc.so", "libc-2"))), "")
        named = next((path for path in view.programs() if names_time_zones(view.fs, path)), "")
        if not libc and not named:
            return
        asked = named or any(map(self._ASKS.search, view.seen))
        # posix/ and right/ are the same zones again, without and with leap seconds
        tops = [top for top in self._ZONES if view.fs.is_dir(top)] if asked else []
        zones = [path for top in tops for path in view.tree(top, frozenset(("posix", "right")))]
        found = [path for path in self._DATA if view.fs.is_file(path)]
        yield Widening("what the C library looks for", libc or named, (*found, *zones), limit=20 * _MB)
