"""Programs that a user may execute and not read (mode 0111), and commands that only a shell understands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, TESTER, as_user, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SDEE = [sys.executable, "-m", "sdee"]
needs_root = pytest.mark.skipif(not ROOT, reason="makes a program of another user's")


@pytest.fixture
def work() -> Iterator[str]:
    for path in open_directory():
        shutil.copy("/bin/true", f"{path}/closed")
        shutil.copy("/bin/cat", f"{path}/read")
        os.chmod(f"{path}/closed", 0o111)
        yield path


def user(work: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as an ordinary user."""
    return subprocess.run(
        [*as_user(TESTER), *command], cwd=work, env=PLAIN | {"HOME": work}, capture_output=True, text=True, check=False
    )


@needs_root
@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
@pytest.mark.parametrize("command", [("./closed",), ("sh", "-c", "./closed; ./read /dev/null")])
def test_a_program_that_cannot_be_read_must_be_on_the_node(work: str, engine: str, command: tuple[str, ...]) -> None:
    traced = user(work, *SDEE, "trace", "--engine", engine, "--", *command)
    assert traced.returncode == 0
    assert "a process hid its files: its program may be executed but not read" in traced.stderr
    bundled = user(work, *SDEE, "bundle")
    assert bundled.returncode == 0, bundled.stderr
    first = bundled.stderr.splitlines()[0]
    assert first.startswith(f"sdee: warning: you may execute '{work}/closed' but not read it: it does not travel")
    assert "so it does not travel" not in bundled.stderr + bundled.stdout
    why = json.loads(user(work, *SDEE, "why", "--json", f"{work}/closed").stdout)
    assert [item["verdict"] for item in why] == ["host"]
    assert user(work, "./bundle.sdee").returncode == 0, "the node has it"
    os.unlink(f"{work}/closed")
    without = user(work, "./bundle.sdee")
    assert f"{work}/closed was not found" in without.stderr or "./closed: not found" in without.stderr


@needs_root
def test_a_file_that_the_job_has_read_must_still_be_readable(work: str) -> None:
    shutil.copy("/bin/true", "/usr/local/lib/sdee-test-program")
    try:
        user(work, *SDEE, "trace", "sh", "-c", "cat /usr/local/lib/sdee-test-program >/dev/null")
        os.chmod("/usr/local/lib/sdee-test-program", 0o111)
        bundled = user(work, *SDEE, "bundle")
        assert bundled.returncode == 246
        assert "sdee cannot read files that the job read: '/usr/local/lib/sdee-test-program'" in bundled.stderr
    finally:
        os.unlink("/usr/local/lib/sdee-test-program")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ls | cat"], "a shell understands it: sh -c 'ls | cat'"),
        (["cd /; ls"], "a shell understands it: sh -c 'cd /; ls'"),
        (["ls -l"], "remove the quotes around the whole command: ls -l"),
        (["A=1", "env"], "env(1) sets a variable: env A=1 COMMAND"),
        (["cd", "/"], "cd is a shell builtin: run it first, or bash -c 'cd …; COMMAND'"),
        (
            ["module", "load", "x"],
            "module is a function of your shell: call it first, or bash -lc 'module …; COMMAND'",
        ),
        (["own", "x"], "own is a function of your shell: call it first, or bash -lc 'own …; COMMAND'"),
        (["job.py"], "name its interpreter: INTERPRETER job.py"),
        (["job.sh"], "it is in this directory: ./job.sh"),
        (["C:\\tools\\x.exe"], "separate directories by /"),
        (["pyhton3"], "did you mean 'python3'?"),
    ],
)
def test_what_a_command_that_is_not_found_may_be_meant_as_is_said(tmp_path: Path, words: list[str], hint: str) -> None:
    for name, mode in (("job.py", 0o644), ("job.sh", 0o755)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    env = {**os.environ, "PATH": "/usr/bin:/bin", "BASH_FUNC_own%%": "() {  true\n}"}
    result = subprocess.run(
        [*SDEE, "trace", *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 127
    assert result.stderr.splitlines()[-1] == f"  hint: {hint}"


def test_a_plain_name_and_a_file_with_a_blank_get_no_such_hint(tmp_path: str) -> None:
    plain = subprocess.run([*SDEE, "trace", "no-such"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "hint" not in plain.stderr
    shutil.copy("/bin/true", f"{tmp_path}/a | b")
    assert subprocess.run([*SDEE, "trace", "-q", "./a | b"], cwd=tmp_path, check=False).returncode == 0
