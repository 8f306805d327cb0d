"""Units: what the user's own code names and the traced run did not come to."""

from __future__ import annotations

import sysconfig
from typing import TYPE_CHECKING

import pytest

from closure_support import TraceMaker, verdict, why, write
from sdee.packer import tables
from sdee.packer.units.python_code import imported_names
from sdee.tracer.model import Exec

if TYPE_CHECKING:
    from pathlib import Path

STDLIB = sysconfig.get_path("stdlib")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    monkeypatch.setattr(tables, "TEMPORARY_ROOTS", ())
    (tmp_path / "work").mkdir()
    maker = TraceMaker(str(tmp_path / "work"))
    maker.software_limit = 0  # test_software.py: here only what units bring
    return maker


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
