"""Whatever lies in the current directory takes no part in sdee: another user may have put it there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from env_support import OTHER_UID, User, a_user, needs_root
from sdee.base.interpreter import own_python

TOP = Path(__file__).resolve().parents[2]
# What Python, sdee and its libraries import: whichever is looked for here first would be found
TRAPS = ("json", "ctypes", "zstandard", "tarfile", "struct", "io", "resource", "stat", "shutil", "runpy", "sdee")


def spawns(source: str) -> list[int]:
    """Return the lines that name Python's program, or build a command line of its options, without own_python()."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ("executable", "_base_executable"):
            found += [node.lineno] if isinstance(node.value, ast.Name) and node.value.id == "sys" else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            program = node.value.split(" ")[0].rpartition("/")[2]
            found += [node.lineno] if "python" in program and (" -m " in node.value or " -c " in node.value) else []
    return found


def test_every_start_of_python_goes_through_one_function() -> None:
    files = [path for top in ("src", "runtime", "packer", "tracer") for path in (TOP / top).rglob("*.py")]
    assert len(files) > 100
    found = [f"{path}:{line}" for path in files if path.name != "interpreter.py" for line in spawns(path.read_text())]
    assert not found


def test_a_start_without_it_is_found() -> None:
    assert spawns('run([sys.executable, "-m", "sdee.runtime.launch.bare_node"])') == [1]
    assert spawns('f"exec {sys.executable} -c"') == [1]
    assert spawns('"exec"\n"python3 -m sdee verify"') == [2]
    assert not spawns('run(own_python("import os"))\nprint("python makes files")')


@pytest.mark.parametrize("variables", [{}, {"PYTHONSAFEPATH": "1"}, {"PYTHONPATH": str(TOP / "src")}])
def test_only_the_current_directory_is_left_out(tmp_path: Path, variables: dict[str, str]) -> None:
    """Not what comes first where Python itself has left it out, and not where sdee may be installed."""
    (tmp_path / "json.py").write_text("raise SystemExit('ran')")
    show = "import json; print(sys.path)"
    environment = {**os.environ, **variables}
    ours, plain = (
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        for command in (own_python(show), [sys.executable, "-c", f"import sys; {show}"])
    )
    assert ours.returncode == 0, ours.stderr
    assert (plain.stderr == "ran\n") == ("PYTHONSAFEPATH" not in variables)
    everything = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.path)"],
        env=environment, capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert ast.literal_eval(ours.stdout) == [path for path in ast.literal_eval(everything.stdout) if path]


def set_traps(user: User) -> Path:
    """Let another user prepare a directory that the first one will work in; return where a trap would leave a mark."""
    other = User(user.home, OTHER_UID)
    shared, mark = user.home / "shared", user.home / "mark"
    shared.mkdir()
    mark.touch()
    mark.chmod(0o666)
    os.chown(shared, OTHER_UID, user.uid)
    shared.chmod(0o2775)
    for name in TRAPS:
        file = f"{shared}/{name}/__init__.py" if name == "sdee" else f"{shared}/{name}.py"
        trap = f"import os; open({str(mark)!r}, 'a').write('{name} %d\\n' % os.getuid()); os._exit(99)"
        other.run("sh", "-c", f'mkdir -p "$(dirname {file})" && printf "%s" "$1" >{file}', "sh", trap)
    return mark


@needs_root
def test_modules_of_another_in_the_current_directory_do_not_run() -> None:
    with a_user() as user:
        mark = set_traps(user)
        shared = user.home / "shared"

        def here(*words: str) -> str:
            done = user.run("sh", "-c", 'cd "$0" && exec "$@"', str(shared), *words, check=False)
            return done.stdout + done.stderr

        here(sys.executable, "-m", "sdee.runtime.launch.bare_node")
        assert mark.read_text(), "the trap is none: python -m runs it"
        mark.write_text("")
        kept = str(user.home / "env.tar.zst")
        said = here("sdee", "trace", "-o", f"{user.home}/trace", "--", "true")
        said += here("sdee", "bundle", "-o", f"{user.home}/b.sdee", f"{user.home}/trace")
        assert "nothing is missing" in here("sdee", "verify", f"{user.home}/b.sdee"), said
        for words in (["create", "one"], ["clone", "one", "two"], ["export", "one", "-o", kept], ["import", kept, "x"]):
            said = here("sdee", "env", *words)
            assert "error" not in said, said
        names = user.sdee("env", "list").stdout
        assert {line.split()[0] for line in names.splitlines()} >= {"one", "two"}, names
        assert not mark.read_text()
