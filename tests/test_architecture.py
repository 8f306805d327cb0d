"""The invariants of ARCHITECTURE.md that can be read off the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = [
    *ROOT.glob("tracer/**/*.py"),
    *ROOT.glob("packer/**/*.py"),
    *ROOT.glob("runtime/**/*.py"),
    *ROOT.glob("src/sdee/*.py"),
]
CLI = list(ROOT.glob("src/sdee/cli/*.py"))


def imports_of(source: str) -> set[str]:
    """Every module that the source imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def forbidden(part: str, source: str) -> set[str]:
    """What `source`, a module of `part`, imports against the rule one-way."""
    others = {"tracer", "packer", "runtime", "cli"} - {part}
    found = {name for name in imports_of(source) if any(name.startswith(f"sdee.{other}") for other in others)}
    if part == "packer":
        found = {name for name in found if not name.startswith(("sdee.tracer.model", "sdee.tracer.tracefile"))}
    return found


@pytest.mark.parametrize("part", ["tracer", "packer", "runtime"])
def test_data_flows_one_way_between_the_parts(part: str) -> None:
    modules = list((ROOT / part).glob("**/*.py"))
    assert modules
    assert {m.name: f for m in modules if (f := forbidden(part, m.read_text()))} == {}


def test_the_rule_would_see_a_tracer_that_imports_the_packer() -> None:
    assert forbidden("tracer", "def f():\n    from sdee.packer.closure import build_closure") != set()
    assert forbidden("packer", "from sdee.tracer.engine import Engine") != set()


def test_only_the_cli_prints() -> None:
    def prints(path: Path) -> bool:
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        return any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls)

    assert [p for p in PRODUCT if prints(p)] == []


def test_nothing_is_left_to_do_later() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|NotImplemented" r"Error)\b")
    sources = [*PRODUCT, *CLI, *ROOT.glob("runtime/native/**/*.[ch]")]
    assert [str(p) for p in sources if words.search(p.read_text())] == []


def test_exec_imports_neither_click_nor_lief_nor_the_packer() -> None:
    code = (
        "import os, sys; sys.argv = ['sdee', 'exec', 'x.sdee']; os.execv = lambda *a: None\n"
        "from sdee.__main__ import main\n"
        "import sdee.runtime.execute as e; e.launcher_path = lambda: '/bin/true'\n"
        "try: e.main(['x.sdee'])\n"
        "finally: print(sorted(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    assert "sdee.runtime.execute" in out
    for heavy in ("click", "lief", "rich", "zstandard", "elftools", "sdee.packer", "sdee.tracer", "sdee.cli"):
        assert f"'{heavy}'" not in out


def test_every_module_is_of_a_size_that_one_can_read() -> None:
    sources = [*PRODUCT, *CLI, *ROOT.glob("runtime/native/**/*.[ch]")]
    assert {str(p.relative_to(ROOT)): n for p in sources if (n := p.read_text().count("\n")) > 450} == {}


def test_only_one_file_uses_the_number_of_a_thread_that_waits() -> None:
    """What is read by it may be another process's: waiting.h has the rule."""
    sources = {p.name: p.read_text() for p in (ROOT / "runtime/native/env").glob("**/*.c")}
    assert {name for name, text in sources.items() if re.search(r"stop(->|\.)tid", text)} == {"waiting.c"}


def test_each_promise_of_security_md_names_tests_that_there_are() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = text.partition("## What is promised")[2].partition("\n## ")[0].splitlines()
    promises = [row.split(" | ")[1] for row in rows if row.startswith("| ") and "tests/" in row]
    assert len(promises) >= 13
    for tests in promises:
        path = ""
        for name in re.findall(r"(?:tests/\w+\.py)?::\w+", tests):
            path = name.partition("::")[0] or path
            assert f"def {name.partition('::')[2]}(" in (ROOT / path).read_text(), name
