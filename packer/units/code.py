"""The user's own code in other languages than Python: the modules and files that it names as fixed texts.

`require` behind an `if` names a module that another option or input needs. A table says for each language what names
look like, which files they may mean, and where those lie. Regular expressions read what has no parser here: a name too
many costs a small file, and one that the program puts together at run time is not found.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.paths import ancestors, is_below_any
from sdee.packer import knowledge
from sdee.packer.command_words import code_of
from sdee.packer.units.base import Unit, View, Widening, first_line
from sdee.packer.units.own_directories import named_paths
from sdee.packer.units.perl import CORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE_LIMIT = 1 << 20  # bytes: larger ones are generated
_FILES_LIMIT = 5000


@dataclass(frozen=True)
class Language:
    """How one language names modules. `forms`: the files that a name may mean, below one of `places`, the best first.

    `programs` are the interpreters' names, in `#!` lines too; `follow` whether modules outside of the user's own
    directories are read, too: where they are no units that know what they need.
    """

    name: str
    suffixes: tuple[str, ...]
    programs: re.Pattern[str]
    names: re.Pattern[str]
    forms: Callable[[str], tuple[str, ...]]
    places: Callable[[View, str], list[str]]
    follow: bool = False
    whole: re.Pattern[str] = re.compile(r"(?!)")  # what travels as a whole anyway: not followed


def _own_and(*below: str) -> Callable[[str], list[str]]:
    def places(path: str) -> list[str]:
        directory = os.path.dirname(path)
        return [directory, *(os.path.normpath(f"{directory}/{name}") for name in below)] if path else []

    return places


_WITH_LIB = _own_and("lib", "../lib")


def _of_interpreters(view: View, program: re.Pattern[str]) -> list[str]:
    """Return the directories that the executed interpreters, and their libraries, name in their files."""
    interpreters = [path for path in view.programs() if program.fullmatch(os.path.basename(path))]
    stems = [re.split(r"[\d.]", os.path.basename(path))[0] for path in interpreters]
    starts = tuple(f"lib{stem}" for stem in stems)
    libraries = [p for p in view.seen if starts and os.path.basename(p).startswith(starts)]
    return [path for own in (*interpreters, *libraries) for path in named_paths(view.fs, own) if view.fs.is_dir(path)]


def _perl_places(view: View, path: str) -> list[str]:
    roots = (d.partition("/perl5")[0] + "/perl5" for d in map(os.path.dirname, view.seen) if "/perl5/" in f"{d}/")
    return [
        *_WITH_LIB(path),
        *view.paths_of("PERL5LIB"),
        *_of_interpreters(view, _PERL.programs),
        *dict.fromkeys(roots),
    ]


def _lua_places(view: View, path: str) -> list[str]:
    texts = ";".join(value for name, value in view.env.items() if name.startswith(("LUA_PATH", "LUA_CPATH")))
    own = [os.path.dirname(pattern.partition("?")[0] + "x") for pattern in texts.split(";") if pattern.startswith("/")]
    return [*_own_and()(path), view.cwd, *own, *_of_interpreters(view, _LUA.programs)]


def _ruby_places(view: View, path: str) -> list[str]:
    gems = [f"{home}/gems/{name}/lib" for home in _gem_homes(view) for name in view.fs.names(f"{home}/gems")]
    return [*_WITH_LIB(path), *view.paths_of("RUBYLIB"), *_of_interpreters(view, _RUBY.programs), *gems]


def _gem_homes(view: View) -> list[str]:
    asked = [os.path.dirname(d) for d in view.asked if d.endswith("/specifications")]
    return list(dict.fromkeys((*view.paths_of("GEM_HOME"), *view.paths_of("GEM_PATH"), *asked)))


def _r_places(view: View, path: str) -> list[str]:
    libraries = [d for d in view.asked if re.search(r"/(?:site-)?library$|-library/[\d.]+$", d)]
    named = [d for name in ("R_LIBS", "R_LIBS_USER", "R_LIBS_SITE") for d in view.paths_of(name)]
    return [*_own_and()(path), view.cwd, *named, *libraries]


def _node_places(view: View, path: str) -> list[str]:
    above = [f"{d}/node_modules" for d in ancestors(path)] if path else [f"{view.cwd}/node_modules"]
    return [*_own_and()(path), *above, *view.paths_of("NODE_PATH"), "/usr/share/nodejs", "/usr/lib/node_modules"]


def _perl_forms(name: str) -> tuple[str, ...]:
    return (name.replace("::", "/") + ".pm", name)


def _lua_forms(name: str) -> tuple[str, ...]:
    stem = name.replace(".", "/")
    return (f"{stem}.lua", f"{stem}/init.lua", f"{stem}.so", name)


def _node_forms(name: str) -> tuple[str, ...]:
    files = tuple(f"{name}{ending}" for ending in ("", ".js", ".mjs", ".cjs", ".json", ".node", "/index.js"))
    return files if name.startswith(".") else (f"{name}/package.json", f"{name}/index.js", f"{name}.js")


_QUOTED = r"""\(?\s*["']([\w.@/-]+)["']"""
_PERL = Language(
    "Perl",
    (".pl", ".pm", ".t"),
    re.compile(r"perl[\d.]*"),
    re.compile(
        r"""(?m)(?:^|[;{}])\s*(?:use|require)\s+(?:parent\s+|base\s+)?(?:-norequire\s*,\s*)?(?:qw\W\s*)?["']?([A-Za-z_][\w:/.]*)"""
    ),
    _perl_forms,
    _perl_places,
    follow=True,
    whole=CORE,
)
_LUA = Language(
    "Lua",
    (".lua",),
    re.compile(r"lua(?:jit)?[\d.-]*"),
    re.compile(rf"\b(?:require|dofile|loadfile)\s*{_QUOTED}"),
    _lua_forms,
    _lua_places,
    follow=True,
)
_RUBY = Language(
    "Ruby",
    (".rb", ".rake"),
    re.compile(r"ruby[\d.]*"),
    re.compile(rf"\b(?:require|require_relative|load|autoload\s*\(?\s*:\w+\s*,)\s*{_QUOTED}"),
    lambda name: (f"{name}.rb", f"{name}.so", name),
    _ruby_places,
    follow=True,
    whole=re.compile(r".*/lib/ruby/(?:\d|vendor_ruby/)"),
)
_R = Language(
    "R",
    (".R", ".r", ".Rmd", ".qmd"),
    re.compile(r"R|Rscript"),
    re.compile(
        r"""\b(?:(?:library|require|requireNamespace|loadNamespace|source)\s*\(\s*["']?|(?=[A-Za-z][\w.]{0,60}:::?[\w.]))([A-Za-z][\w./-]*)"""
    ),
    lambda name: (f"{name}/DESCRIPTION", name),
    _r_places,
)
_TCL = Language(
    "Tcl",
    (".tcl", ".tk", ".tm"),
    re.compile(r"(?:tclsh|wish|expect)[\d.]*"),
    re.compile(r"""\bsource\s+(?:\[.{0,120}?(?<![\w.-])([\w.-]{1,100}\.(?:tcl|tk))[^\n]*|["{]?([\w./-]+))"""),
    lambda name: (name,),
    lambda view, path: [*_own_and()(path), view.cwd],
)
_NODE = Language(
    "JavaScript",
    (".js", ".mjs", ".cjs", ".ts"),
    re.compile(r"node(?:js)?"),
    re.compile(rf"""(?:\brequire\s*|\bimport\s*){_QUOTED}|\b(?:from|import)\s*["']([\w.@/-]+)["']"""),
    _node_forms,
    _node_places,
)
LANGUAGES = (_PERL, _LUA, _RUBY, _R, _TCL, _NODE)


class NamedModules(Unit):
    """Modules and files that the user's own Perl, Lua, Ruby, R, Tcl and JavaScript name."""

    def counts_as_seen(self, view: View) -> tuple[str, ...]:
        """Return them: packages that are units travel whole by them."""
        own = _own_files(view)
        found = [path for language in LANGUAGES for path in _named(view, language, own)]
        return tuple(dict.fromkeys(p for path in found for p in (path, view.fs.resolve(path).real)))

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield them."""
        own = _own_files(view)
        for language in LANGUAGES:
            for path, source in _named(view, language, own).items():
                yield Widening(f"what {language.name} code names", source, (path,), owned=not _is_own(path))


def _own_files(view: View) -> list[str]:
    return [path for path in dict.fromkeys((*view.seen, *view.named, *view.code_named)) if _is_own(path)]


def _named(view: View, language: Language, files: list[str]) -> dict[str, str]:
    """Return the files that the user's code in a language names, and the code that names each first."""
    own = [path for path in files if _is_in(view, language, path)]
    texts = [(path, "") for path in own] + [("", text) for text in _given(view, language)]
    known, found = set(own), dict[str, str]()
    while texts and len(known) < _FILES_LIMIT:
        path, text = texts.pop(0)
        content = text or os.fsdecode(view.fs.read(path, _FILE_LIMIT))
        names = dict.fromkeys(next(filter(None, match.groups()), "") for match in language.names.finditer(content))
        places = language.places(view, path) if names else []
        for name in filter(None, names):
            named = _find(view, language, name, places)
            if not named:
                continue
            found.setdefault(named, path or view.execs[0].path)
            real = view.fs.resolve(named).real
            if real not in known and (_is_own(real) or (language.follow and not language.whole.match(real))):
                known.add(real)
                texts += [(real, "")] if real.endswith(language.suffixes) else []
    return found


def _find(view: View, language: Language, name: str, places: list[str]) -> str:
    """Return the file that a name means, "" for none; a name with a dot or slash before it begins beside the code."""
    relative = name.startswith(("./", "../"))
    for place in ("",) if name.startswith("/") else places[:1] if relative else places:
        for form in language.forms(name):
            path = os.path.normpath(f"{place}/{form}")
            if view.fs.is_file(path):
                return path
    return ""


def _is_own(path: str) -> bool:
    return not is_below_any(path, knowledge.SYSTEM_ROOTS) and "/node_modules/" not in path


def _is_in(view: View, language: Language, path: str) -> bool:
    if path.endswith(language.suffixes):
        return True
    return any(map(language.programs.fullmatch, map(os.path.basename, first_line(view, path))))


def _given(view: View, language: Language) -> Iterator[str]:
    """Yield what interpreters were given as text: `perl -MJSON -e`, `ruby -e`, `node -e`."""
    for execution in view.execs:
        if language.programs.fullmatch(os.path.basename(execution.path)):
            yield from code_of([execution.path, *execution.argv[1:]])
