"""Units: what the user's own code names and the traced run did not come to."""

from __future__ import annotations

import sysconfig
from typing import TYPE_CHECKING

import pytest

from closure_support import TraceMaker, trace_for_units, verdict, why, write
from sdee.packer.units import shell
from sdee.packer.units.python_code import imported_names
from sdee.tracer.tracefile.model import Exec

if TYPE_CHECKING:
    from pathlib import Path

STDLIB = sysconfig.get_path("stdlib")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    return trace_for_units(tmp_path, monkeypatch)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "env" / "lib" / "python3.11" / "site-packages"


CODE = """
import os, sys
if len(sys.argv) > 1:
    import alone, far.away as distant
    from pkg.sub import name, deep
try:
    from . import beside
    from .other.part import x
except ImportError:
    pass
if TYPE_CHECKING:
    import only_typing
def f():
    importlib.import_module("by.name")
    __import__("dunder")
"""


def test_pythons_imports_are_found_wherever_they_stand() -> None:
    names = {"os", "sys", "alone", "far.away", "pkg.sub", "pkg.sub.name", "pkg.sub.deep", ".beside", ".other.part"}
    assert set(imported_names(CODE.encode())) == names | {".other.part.x", "by.name", "dunder"}
    assert imported_names(b"print 'old'\nimport one, two.x as y\n  from three.four import z\n") == (
        "one",
        "two.x",
        "three",
    )
    assert imported_names(b"\0") == ()


def test_what_the_users_python_code_imports_behind_an_if_travels(made: TraceMaker, tmp_path: Path, site: Path) -> None:
    work = tmp_path / "work"
    made.use(f"{STDLIB}/os.py")
    made.use(write(work / "main.py", "import sys\nif len(sys.argv) > 1:\n    import helper, dist.part, gone\n"))
    write(work / "helper.py", "def f():\n    from more import deeper\n")
    write(work / "more" / "__init__.py", "")
    travels = [
        work / "helper.py",
        write(work / "more" / "deeper.py", "import compiled\n"),
        write(work / "compiled.cpython-311-x86_64-linux-gnu.so"),
        write(site / "dist" / "__init__.py", ""),
        write(site / "dist" / "unseen.py", ""),
    ]
    write(site / "dist" / "part.py", "")
    stays = [write(work / "unrelated.py"), write(site / "unrelated" / "__init__.py")]
    write(site / "dist-1.dist-info" / "RECORD", "dist/__init__.py,,\ndist/part.py,,\ndist/unseen.py,,\n")
    made.use(site, "list")
    closure = made.closure()
    assert [verdict(closure, path) for path in travels] == ["bundle"] * 5
    assert [verdict(closure, path) for path in stays] == ["nothing"] * 2
    assert f"belongs to {work}/main.py what Python code imports" in why(closure, travels[0])
    assert verdict(made.closure(minimal=True), travels[0]) == "nothing"


def test_python_code_is_looked_for_in_pythonpath_and_in_what_c_is_given(made: TraceMaker, tmp_path: Path) -> None:
    made.use(f"{STDLIB}/os.py")
    module, other = write(tmp_path / "mine" / "module.py"), write(tmp_path / "mine" / "other.py")
    made.env["PYTHONPATH"] = f"relative:{tmp_path}/mine"
    made.use("/usr/bin/env", "exec")
    argv = ("python3", "-c", "import sys\nif len(sys.argv) > 1: import module", "1")
    made.execs.append(Exec(1, "/usr/bin/python3", argv, (), None, setid=False))
    closure = made.closure()
    assert [verdict(closure, path) for path in (module, other)] == ["bundle", "nothing"]


def test_parts_of_the_standard_library_that_stay_travel_when_the_users_code_imports_them(
    made: TraceMaker, tmp_path: Path
) -> None:
    made.use(f"{STDLIB}/os.py")
    script = made.use(write(tmp_path / "work" / "main.py", "import sys\n"))
    assert verdict(made.closure(), f"{STDLIB}/ensurepip/__main__.py") == "nothing"
    write(tmp_path / "work" / "main.py", "import sys\nif sys.argv[1:]:\n    import ensurepip\n")
    assert f"{script} what Python code imports" in why(made.closure(), f"{STDLIB}/ensurepip/__main__.py")


def test_perl_that_a_script_names_travels_with_what_it_needs_itself(made: TraceMaker, tmp_path: Path) -> None:
    work, other = tmp_path / "work", tmp_path / "perl5"
    text = "use strict;\nif (@ARGV) { require Named::One; }\neval { require 'old.pl'; };\n# use Commented::Out;\n"
    made.use(write(work / "main.pl", text))
    made.env["PERL5LIB"] = str(other)
    travels = [
        write(work / "lib" / "Named" / "One.pm", "package Named::One;\nuse parent -norequire, qw(Base::Two);\n1;\n"),
        write(other / "Base" / "Two.pm", "use Needs::Three;\n"),
        write(other / "Needs" / "Three.pm", ""),
        write(work / "old.pl", ""),
    ]
    stays = [write(work / "lib" / "Commented" / "Out.pm", ""), write(other / "Unrelated.pm", "")]
    closure = made.closure()
    assert [verdict(closure, path) for path in (*travels, *stays)] == ["bundle"] * 4 + ["nothing"] * 2
    assert f"belongs to {work}/main.pl what Perl code names" in why(closure, travels[0])


def test_lua_ruby_and_tcl_files_that_a_script_names_travel(made: TraceMaker, tmp_path: Path) -> None:
    work, mine = tmp_path / "work", tmp_path / "mine"
    made.env.update({"LUA_PATH": f"{mine}/?.lua;;", "RUBYLIB": str(mine)})
    made.use(write(work / "main.lua", "if arg[1] then local x = require('a.b') end\n"))
    made.use(
        write(
            work / "main",
            "#!/usr/bin/env ruby\nif ARGV[0]\n  require_relative 'own/c'\n  autoload :D, 'd'\nend\n",
            0o755,
        )
    )
    made.use(write(work / "main.tcl", "if {$argc} { source [file join [file dirname [info script]] e.tcl] }\n"))
    travels = [
        write(mine / "a" / "b.lua", 'return require "f"\n'),
        write(work / "f.lua", ""),
        write(work / "own" / "c.rb", ""),
        write(mine / "d.rb", ""),
        write(work / "e.tcl", ""),
    ]
    stays = [write(work / name, "") for name in ("g.lua", "g.rb", "g.tcl")]
    closure = made.closure()
    assert [verdict(closure, path) for path in (*travels, *stays)] == ["bundle"] * 5 + ["nothing"] * 3


def test_a_gem_is_whole_with_its_specification_and_what_it_depends_on(made: TraceMaker, tmp_path: Path) -> None:
    home = tmp_path / "gems-of-mine"
    made.use(write(tmp_path / "work" / "main.rb", "require 'one' if ARGV[0]\n"))
    needs = '  s.add_runtime_dependency(%q<two-more>.freeze, ["~> 2.0"])\n'
    for gem, text in (("one-1.0", needs), ("two-more-2.1", ""), ("other-3", "")):
        write(home / "specifications" / f"{gem}.gemspec", text)
        write(home / "gems" / gem / "lib" / f"{gem.partition('-')[0]}.rb", "")
    compiled = write(home / "extensions" / "x86_64-linux" / "3.1.0" / "one-1.0" / "one.so")
    untested = write(home / "gems" / "one-1.0" / "spec" / "one_spec.rb")
    made.use(home / "specifications", "probe")
    closure = made.closure()
    travels = [home / "gems/one-1.0/lib/one.rb", home / "gems/two-more-2.1/lib/two.rb", compiled]
    travels += [home / "specifications" / f"{gem}.gemspec" for gem in ("one-1.0", "two-more-2.1")]
    assert [verdict(closure, path) for path in travels] == ["bundle"] * 5
    assert [verdict(closure, path) for path in (untested, home / "gems/other-3/lib/other.rb")] == ["nothing"] * 2


def test_r_packages_that_a_script_names_travel_with_what_they_import(made: TraceMaker, tmp_path: Path) -> None:
    work, library = tmp_path / "work", tmp_path / "R" / "x86_64-pc-linux-gnu-library" / "4.2"
    text = 'if (length(commandArgs(TRUE))) { library(one); two::f(); requireNamespace("three"); source("more.R") }\n'
    made.use(write(work / "main.R", text))
    for name in ("one", "two", "three", "four", "other"):
        write(library / name / "DESCRIPTION", "Imports: four\n" if name == "one" else "")
        write(library / name / "libs" / f"{name}.so")
    more = write(work / "more.R", "")
    made.use(library, "probe")
    closure = made.closure()
    found = {n: verdict(closure, library / n / "libs" / f"{n}.so") for n in ("one", "two", "three", "four", "other")}
    assert found == {"one": "bundle", "two": "bundle", "three": "bundle", "four": "bundle", "other": "nothing"}
    assert verdict(closure, more) == "bundle"


def test_javascript_that_a_script_names_travels_with_its_packages(made: TraceMaker, tmp_path: Path) -> None:
    work = tmp_path / "work"
    text = "if (process.argv[2]) { require('./a'); import('dynamic').then(x => x); }\nimport y from \"./b.mjs\";\n"
    made.use(write(work / "main.mjs", text))
    travels = [
        write(work / "a" / "index.js", "const c = require('../c.json')\n"),
        write(work / "b.mjs", ""),
        write(work / "c.json", "{}"),
        write(work / "node_modules" / "dynamic" / "package.json", "{}"),
        write(work / "node_modules" / "dynamic" / "deep" / "unseen.js", ""),
    ]
    unrelated = write(work / "unrelated.js", "")
    closure = made.closure()
    assert [verdict(closure, path) for path in (*travels, unrelated)] == ["bundle"] * 2 + ["shared"] + [
        "bundle"
    ] * 2 + ["nothing"]


def test_what_interpreters_are_given_as_text_is_read(made: TraceMaker, tmp_path: Path) -> None:
    made.env["RUBYLIB"] = str(tmp_path / "mine")
    named, other = write(tmp_path / "mine" / "named.rb"), write(tmp_path / "mine" / "other.rb")
    made.use("/usr/bin/env", "exec")
    made.execs.append(Exec(1, "/usr/bin/ruby", ("ruby", "-e", "require 'named' if ARGV[0]"), (), None, setid=False))
    assert [verdict(made.closure(), path) for path in (named, other)] == ["bundle", "nothing"]


def test_code_that_a_job_script_names_in_a_branch_travels_with_what_it_imports(
    made: TraceMaker, tmp_path: Path, site: Path
) -> None:
    work, home = tmp_path / "work", tmp_path / "tools"
    made.env.update({"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": str(site.parents[2])})
    library = site.parent
    python = write(site.parents[2] / "bin" / "python3.11", b"\x7fELF", 0o755)
    write(library / "os.py", "")
    lines = f"[ $# -eq 0 ] || {python} analyse.py --fast\n# {python} commented.py\n[ $# -lt 2 ] || sh {home}/more.sh\n"
    script = write(work / "job.sh", lines)
    travels = [
        write(work / "analyse.py", "import dist\n"),
        write(site / "dist" / "__init__.py", ""),
        library / "os.py",
        write(home / "more.sh", "comm a b\n"),
    ]
    stays = [write(work / "commented.py", "import other\n"), write(site / "other" / "__init__.py", "")]
    made.use("/usr/bin/bash", "exec")
    made.execs.append(Exec(1, "/usr/bin/bash", ("bash", "job.sh"), (), None, setid=False))
    made.use(script)
    closure = made.closure()
    assert [verdict(closure, path) for path in (*travels, *stays)] == ["bundle"] * 4 + ["nothing"] * 2
    assert f"belongs to {script} code that a script names" in why(closure, travels[0])
    assert verdict(closure, "/usr/bin/comm") == "bundle"


def test_words_of_a_script_may_be_very_long() -> None:
    """GNU parallel tries how long a command line may be: looking for names in 83,000 letters took minutes each."""
    text = "c" * 2_000_000 + " job.py x=dir/other.sh"
    assert shell._FILE.findall(text) == ["job.py", "dir/other.sh"]
