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


NATIVE = ROOT / "runtime/native"
# What each folder may include beside itself. The launcher: from the file to the job, in this order.
BELOW = {
    "lib": set(),
    "launcher/bundle": {"lib", "launcher"},
    "launcher/node": {"lib", "launcher", "launcher/bundle"},
    "launcher/plan": {"lib", "launcher", "launcher/bundle", "launcher/node"},
    "launcher/keep": {"lib", "launcher", "launcher/bundle", "launcher/node", "launcher/plan"},
    "launcher/root": {"lib", "launcher"} | {f"launcher/{name}" for name in ("bundle", "node", "plan", "keep")},
    "launcher/run": {"lib", "launcher"} | {f"launcher/{name}" for name in ("bundle", "node", "plan", "root")},
    "env/supervisor": {"lib"},
    "env": {"lib", "env/supervisor"},
    "front": {"lib"},
}
# On the ground of launcher/: what every folder of it may ask. The others there use the folders, and none includes them.
GROUND = {"launcher/layout.h", "launcher/memory.h", "launcher/options.h"}
ON_TOP = {"launcher/main.c", "launcher/doctor.c", "launcher/help.c"}


def includes_of(path: Path) -> set[str]:
    """The headers of this project that a C file includes, as it names them."""
    return set(re.findall(r'^#include "(.+)"', path.read_text(), re.MULTILINE))


def not_allowed(name: str, included: set[str]) -> set[str]:
    """What the C file `name` includes against the order of the folders. Below the ground of launcher/ is only lib."""
    folder = name.rpartition("/")[0]
    if folder == "tests" or name in ON_TOP:
        return set()
    below = BELOW["lib" if folder == "launcher" else folder] | {folder, "lib"}
    found = {other for other in included if other.rpartition("/")[0] not in below}
    return found | {
        o for o in included if o.rpartition("/")[0] == "launcher" and folder != "launcher" and o not in GROUND
    }


def reached(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = arrows.get(todo.pop(), set()) - seen
        seen |= new
        todo += new
    return seen


def test_c_includes_follow_the_order_of_the_folders() -> None:
    sources = {str(p.relative_to(NATIVE)): includes_of(p) for p in NATIVE.glob("**/*.[ch]")}
    assert len(sources) > 100
    assert all((NATIVE / name).is_file() for included in sources.values() for name in included)
    assert {name: found for name, included in sources.items() if (found := not_allowed(name, included))} == {}


def test_the_rule_would_see_what_it_forbids() -> None:
    assert not_allowed("lib/mounts.c", {"lib/arena.h", "launcher/layout.h"}) == {"launcher/layout.h"}
    assert not_allowed("env/supervisor/threads.c", {"env/plan.h"}) == {"env/plan.h"}
    assert not_allowed("front/call.c", {"env/holder.h"}) == {"env/holder.h"}
    assert not_allowed("launcher/plan/live.c", {"launcher/root/points.h"}) == {"launcher/root/points.h"}
    assert not_allowed("launcher/bundle/table.c", {"launcher/doctor.h", "launcher/memory.h"}) == {"launcher/doctor.h"}


def test_no_c_file_includes_itself_by_way_of_others() -> None:
    arrows: dict[str, set[str]] = {}
    for path in NATIVE.glob("**/*.[ch]"):
        unit = str(path.relative_to(NATIVE))[:-2]  # a .c file and its header are one
        arrows.setdefault(unit, set()).update({name[:-2] for name in includes_of(path)} - {unit})
    assert {unit for unit in arrows if unit in reached(arrows, unit)} == set()
    assert "a" in reached({"a": {"b"}, "b": {"c"}, "c": {"a"}}, "a")


def test_include_guards_bear_the_path() -> None:
    for path in NATIVE.glob("**/*.h"):
        guard = "SDEE_" + re.sub(r"\W", "_", str(path.relative_to(NATIVE))).upper()
        assert re.search(rf"^#ifndef {guard}\n#define {guard}\n", path.read_text(), re.MULTILINE), path


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
