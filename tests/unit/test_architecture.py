"""The invariants of ARCHITECTURE.md that can be read off the source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("src/sdee", "tracer", "packer", "runtime")


def name_of(path: Path) -> str:
    """Return the dotted name of a module of the product."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    dotted = ".".join(parts[1:] if parts[0] == "src" else ("sdee", *parts))
    return dotted.removesuffix(".__init__")


def product() -> dict[str, Path]:
    """Return every module by its name. The links in src/sdee lead to folders that are looked at themselves."""
    links = {path for path in (ROOT / "src/sdee").iterdir() if path.is_symlink()}
    paths = [path for part in PARTS for path in (ROOT / part).rglob("*.py") if links.isdisjoint(path.parents)]
    return {name_of(path): path for path in paths}


MODULES = product()
PRODUCT = list(MODULES.values())

# What a folder may import besides itself; the longest name that fits a module counts. `sdee` itself has the version
_PACKER = tuple(
    f"sdee.packer.{name}" for name in ("model", "knowledge", "filesystem", "contents", "packages", "command_words")
)
_TRACE = ("sdee.base", "sdee.tracer.tracefile")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "sdee.base": (),
    "sdee.tracer": ("sdee.base",),
    "sdee.tracer.tracefile": ("sdee.base",),
    "sdee.tracer.engine": ("sdee.base", "sdee.tracer.syscalls"),
    "sdee.packer": _TRACE,
    "sdee.packer.elf": (*_TRACE, *_PACKER),
    "sdee.packer.units": (*_TRACE, *_PACKER, "sdee.packer.elf"),
    "sdee.packer.format": (*_TRACE, *_PACKER),
    "sdee.packer.closure": (*_TRACE, *_PACKER, "sdee.packer.elf", "sdee.packer.units", "sdee.packer.format"),
    "sdee.packer.inspect": (*_TRACE, *_PACKER, "sdee.packer.format", "sdee.packer.closure"),
    "sdee.runtime": ("sdee.base",),
    "sdee.runtime.launch": ("sdee.base", "sdee.runtime.programs", "sdee.runtime.environment"),
    "sdee.runtime.environment": ("sdee.base", "sdee.runtime.programs"),
    "sdee.runtime.jobs": ("sdee.base",),
    "sdee.runtime.jobs.slurm": ("sdee.base", "sdee.runtime.jobs"),
    "sdee.runtime.jobs.gridengine": ("sdee.base", "sdee.runtime.jobs"),
    "sdee.workflow": ("sdee.base", "sdee.tracer", "sdee.packer", "sdee.runtime"),
    "sdee.cli": ("sdee.base", "sdee.tracer", "sdee.packer", "sdee.runtime", "sdee.workflow"),
    "sdee.__main__": ("sdee.base", "sdee.runtime", "sdee.cli"),
    "sdee.errors": ("sdee.base",),
    "sdee._api": ("sdee.errors", "sdee.base", "sdee.tracer", "sdee.packer", "sdee.runtime", "sdee.workflow"),
    "sdee": (),
}
# Closer than the folders: tracefile/ and the managers are below what is beside them
MAY_NOT_IMPORT = {
    "sdee._api": ("sdee.workflow.transparent", "click", "rich"),
    "sdee.workflow": ("sdee.workflow.transparent", "click", "rich"),
    "sdee.workflow.transparent": ("click", "rich", "sdee.runtime.jobs.slurm", "sdee.runtime.jobs.gridengine"),
    "sdee.runtime.jobs.slurm": ("sdee.runtime.jobs.registry", "sdee.runtime.jobs.gridengine"),
    "sdee.runtime.jobs.gridengine": ("sdee.runtime.jobs.registry", "sdee.runtime.jobs.slurm"),
}
# Processes of their own: for start time, or below `sdee-env root` and on a bare node, where there is no command line
PROCESSES = {
    "sdee.runtime.launch.execute",
    "sdee.runtime.launch.bare_node",
    "sdee.runtime.launch.rerun",
    "sdee.runtime.environment.enter",
    "sdee.runtime.environment.real_ids",
    "sdee.runtime.environment.archive.main",
}


def imports_of(source: str) -> set[str]:
    """Every module that the source imports, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_of(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def forbidden(module: str, source: str) -> set[str]:
    """What a module imports against the walls."""
    folder = max((top for top in MAY_IMPORT if is_of(module, (top,))), key=len)
    found = imports_of(source)
    may = (folder, *MAY_IMPORT[folder])
    wrong = {name for name in found if is_of(name, ("sdee",)) and name != "sdee" and not is_of(name, may)}
    if folder == "sdee.base":
        wrong |= {name for name in found if name == "sdee"}
    if folder == "sdee" and module != "sdee":
        wrong.add(f"{module} stands in no folder")
    closer = max((top for top in MAY_NOT_IMPORT if is_of(module, (top,))), key=len, default="")
    return wrong | {name for name in found if is_of(name, MAY_NOT_IMPORT.get(closer, ()))}


def test_every_folder_imports_only_what_stands_below_it() -> None:
    assert len(MODULES) > 190
    assert {name: wrong for name, path in MODULES.items() if (wrong := forbidden(name, path.read_text()))} == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sdee.tracer.session", "def f():\n    from sdee.packer.closure.build import build_closure"),
        ("sdee.packer.format.writer", "from sdee.packer.closure.verdicts import Builder"),
        ("sdee.packer.closure.build", "from sdee.tracer.engine.interface import Engine"),
        ("sdee.packer.units.shell", "from sdee.packer.closure.places import Site"),
        ("sdee.base.files", "import sdee"),
        ("sdee.runtime.jobs.scripts", "from sdee.workflow import state"),
        ("sdee.workflow.submitting", "import click"),
        ("sdee.workflow.transparent.step", "from sdee.runtime.jobs.slurm import inside"),
        ("sdee.workflow.wrapping", "if TYPE_CHECKING:\n    from sdee.cli.submit import PassingCommand"),
        ("sdee.new", ""),
    ],
)
def test_the_walls_would_stop(module: str, source: str) -> None:
    assert forbidden(module, source)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of names that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = arrows[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reach = {name: reached(name) for name in arrows}
    found = {
        frozenset(other for other in reach[name] if name in reach[other]) for name in arrows if name in reach[name]
    }
    return sorted(map(sorted, found))


def test_no_circle_of_files() -> None:
    arrows: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        named = imports_of(path.read_text())
        named |= {module.rpartition(".")[0] for module in named}  # from MODULE import NAME
        inner = {module for module in named if is_of(module, (name,))} if path.name == "__init__.py" else set()
        arrows[name] = {module for module in named - inner if module in MODULES} - {name}
    assert circles(arrows) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]


def writes(source: str) -> list[int]:
    """Return the lines that write to standard output or error."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        own = called in ("print", "click.echo", "click.secho")
        stream = re.fullmatch(r"sys\.(__)?(stdout|stderr)(__)?(\.buffer)?\.write(lines)?", called)
        number = called == "os.write" and node.args and ast.unparse(node.args[0]) in ("1", "2")
        found += [node.lineno] if own or stream or number else []
    return found


def test_only_the_command_line_and_processes_of_their_own_write_to_the_terminal() -> None:
    may = (*PROCESSES, "sdee.cli")
    assert {name for name in PROCESSES if not writes(MODULES[name].read_text())} == set()
    assert {n: found for n, path in MODULES.items() if not is_of(n, may) and (found := writes(path.read_text()))} == {}


def test_writing_in_any_way_is_seen() -> None:
    source = "print(1)\nsys.stderr.write('')\nsys.stdout.buffer.write(b'')\nos.write(2, b'')\nsys.stdout.flush()"
    assert writes(source) == [1, 2, 3, 4]


def test_no_string_holds_python_that_imports_sdee() -> None:
    """But one: own_module() starts a module by its name, which a move finds."""

    def strings(path: Path) -> list[str]:
        nodes = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))
        return [n.value for n in nodes if isinstance(n.value, str) and re.search(r"\b(from|import) sdee\b", n.value)]

    assert {name: found for name, path in MODULES.items() if (found := strings(path))} == {}


def test_nothing_is_left_to_do_later() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|NotImplemented" r"Error)\b")
    sources = [*PRODUCT, *ROOT.glob("runtime/native/**/*.[ch]")]
    assert [str(p) for p in sources if words.search(p.read_text())] == []


def modules_of(code: str) -> set[str]:
    """Return what a start imports, without what site has imported before."""
    code = f"import os, sys; os.execv = lambda *a: sys.exit(' '.join(sys.modules))\n{code}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    return set(done.stderr.split())


def test_exec_imports_neither_click_nor_lief_nor_the_packer() -> None:
    found = modules_of("from sdee.__main__ import main; main(['exec', 'x.sdee'])")
    assert "sdee.runtime.launch.execute" in found
    heavy = {"click", "lief", "rich", "zstandard", "elftools", "typing", "ctypes", "sdee.packer", "sdee.tracer"}
    heavy |= {"sdee.base.facts"}
    assert found.isdisjoint(heavy | {"sdee.cli", "sdee.workflow", "sdee._api", "sdee.runtime.environment"})


def test_the_python_api_is_imported_when_it_is_asked_for() -> None:
    ask = "print(*sys.modules, file=sys.stderr)"
    assert {name for name in modules_of(f"import sdee; {ask}") if is_of(name, ("sdee",))} == {"sdee"}
    code = f"import sdee, sys; sdee.errors; sdee.trace; sdee.bundle; sdee.verify; sdee.submit; {ask}"
    found = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())
    assert {"sdee._api.traces", "sdee._api.bundles", "sdee._api.submissions", "sdee.errors"} <= found
    assert found.isdisjoint({"click", "rich", "sdee.cli", "sdee.workflow.transparent"})


def test_every_public_name_is_there_and_documented() -> None:
    import sdee

    assert sorted(set(dir(sdee))) == sorted(sdee.__all__)
    for name in set(sdee.__all__) - {"__version__", "errors"}:
        public = getattr(sdee, name)
        assert public.__doc__, name
        methods = [m for key, m in vars(public).items() if key[0] != "_" and hasattr(m, "__doc__") and callable(m)]
        assert all(method.__doc__ for method in methods), name
    with pytest.raises(AttributeError, match="nosuch"):
        _ = sdee.nosuch


def test_entering_an_environment_imports_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/stamp").touch()
    now = "stamp.mount_points = lambda: []; open(f'{top}/mine/mounts', 'w').close()"
    enter = "from sdee.__main__ import main; main(['env', 'enter', 'mine'])"
    start = f"top = os.environ['SDEE_ENV_DIR'] = {str(tmp_path)!r}; from sdee.runtime.environment import stamp; {now}"
    first, found = (modules_of(f"{start}\n{enter}") for _ in range(2))  # the first one writes what stands for srun
    assert "sdee.runtime.environment.store" in first
    assert "sdee.runtime.environment.enter" in found
    heavy = {"click", "ctypes", "json", "sdee.base.facts"}
    assert found.isdisjoint(heavy | {"sdee.cli", "sdee.workflow", "sdee.runtime.environment.store"})


def test_every_module_is_of_a_size_that_one_can_read() -> None:
    sources = [*PRODUCT, *ROOT.glob("runtime/native/**/*.[ch]")]
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
    "launcher/lazy": {"lib", "launcher", "launcher/bundle"},
    "launcher/plan": {"lib", "launcher", "launcher/bundle", "launcher/node"},
    "launcher/keep": {"lib", "launcher", "launcher/bundle", "launcher/node", "launcher/plan"},
    "launcher/root": {"lib", "launcher"} | {f"launcher/{name}" for name in ("bundle", "node", "lazy", "plan", "keep")},
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
    if name in ON_TOP:
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
    rows = text.partition("## What sdee promises")[2].partition("\n## ")[0].splitlines()
    promises = [row.split(" | ")[1] for row in rows if row.startswith("| ") and "tests/" in row]
    assert len(promises) >= 13
    for tests in promises:
        path = ""
        for name in re.findall(r"(?:tests/\w+/\w+\.py)?::\w+", tests):
            path = name.partition("::")[0] or path
            assert f"def {name.partition('::')[2]}(" in (ROOT / path).read_text(), name


def test_each_file_that_a_text_names_is_there() -> None:
    """Files move, and what comments and documents say of them does not move by itself."""
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout
    texts = [ROOT / name for name in tracked.splitlines() if name.endswith((".md", ".c", ".h", ".py", ".toml", ".sh"))]
    place = r"(?:tests/[\w/*]*test_\w+\*?|(?:tracer|packer|runtime|src/sdee)/[\w/]+)\.(?:py|[ch]|sh|toml)\b"
    named = {
        (path.name, name)
        for path in texts
        if path.is_file()
        for name in re.findall(rf"(?<![\w./]){place}", path.read_text())
        if "NAME" not in name
    }
    assert len(named) > 60
    assert {(path, name) for path, name in named if not list(ROOT.glob(name))} == set()
