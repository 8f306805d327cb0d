"""Caches that a job leaves where it may not, or where nothing is kept: they are made again, so that nobody is told."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from launcher_tools import ROOT, ROOTS, TESTER, USERS, open_directory, put, run, script, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TAG = "Signature: 8a477f597d28d172789f06886806bc55"
needs_root = pytest.mark.skipif(not ROOT, reason="makes a home of another user's")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def mark(directory: str) -> str:
    """Return a shell command that makes a tagged cache."""
    return f"mkdir -p {directory}/sub; echo {TAG} >{directory}/CACHEDIR.TAG; echo entry >{directory}/sub/entry"


def home_with_module(work: str, mode: int) -> str:
    """Make a home that the node has without the bundle's module in it; root's."""
    os.makedirs(f"{work}/home/app")
    os.chmod(f"{work}/home/app", mode)
    os.chmod(f"{work}/home", mode)
    return f"{work}/home"


@needs_root
@pytest.mark.parametrize("writable", [True, False])
def test_python_caches_are_copied_back_where_they_can_be_and_are_no_error_elsewhere(work: str, writable: bool) -> None:
    home = home_with_module(work, 0o777 if writable else 0o755)
    python = "/usr/bin/python3 -c 'import mod; print(mod.__cached__)'"
    text = f"export PYTHONPATH={home}/app; {python}; {mark(f'{home}/app/tagged')}"
    maker = script(text, programs=("mkdir",), live=[work]).add(f"{home}/app/mod.py", "x = 1\n")
    bundle = maker.write(f"{work}/b.sdee")
    result = run([bundle], uid=TESTER, env={"HOME": home}, ROOT="merged")
    cached = result.stdout.strip()
    assert cached.startswith(f"{home}/app/__pycache__/mod."), result.stderr
    assert (result.stderr, result.returncode) == ("", 0)
    assert os.path.exists(cached) == os.path.exists(f"{home}/app/tagged/sub/entry") == writable


@needs_root
def test_a_result_that_cannot_be_copied_back_still_is_an_error(work: str) -> None:
    home = home_with_module(work, 0o755)
    text = f"mkdir {home}/app/__pycache__; echo x >{home}/app/__pycache__/m.pyc; echo y >{home}/app/result"
    bundle = script(text, programs=("mkdir",), live=[work]).add(f"{home}/app/mod.py", "x = 1\n").write(f"{work}/b.sdee")
    result = run([bundle], uid=TESTER, env={"HOME": home}, ROOT="merged")
    assert result.returncode == 247
    assert f"cannot copy {home}/app/result to the node" in result.stderr
    assert "pyc" not in result.stderr


@pytest.mark.parametrize("root", ROOTS)
def test_caches_are_no_losses_and_results_are(work: str, root: str) -> None:
    text = ";".join(
        [
            "mkdir -p /opt/t/__pycache__ /var/cache/own /opt/h/.cache/x /opt/c",
            "for file in t/__pycache__/a.cpython-311.pyc t/old.pyc h/.cache/x/y; do echo 1 >/opt/$file; done",
            "echo 1 >/var/cache/own/a",
            mark("/opt/fonts"),
            mark("/opt/no").replace("8a47", "9b58"),
            "echo 1 >/opt/t/.pyc; echo 1 >/opt/t/a.pycx; echo 1 >/opt/c/.cache",
        ]
    )
    bundle = script(text, programs=("mkdir",)).add("/opt/t/x", "x").add("/var/cache/x", "x").write(f"{work}/b.sdee")
    result = run([bundle], uid=USERS[-1], env={"HOME": "/opt/h"}, ROOT=root)
    said = result.stderr.removeprefix("sdee: 5 files written outside live directories and gone with the job: ")
    named = sorted(said.split(";")[0].split(", "))
    assert named == ["/opt/c/.cache", "/opt/no/CACHEDIR.TAG", "/opt/no/sub/entry", "/opt/t/.pyc", "/opt/t/a.pycx"]
    moved = run([bundle], uid=USERS[-1], env={"HOME": "/opt/h", "XDG_CACHE_HOME": "/opt/c"}, ROOT=root)
    assert "/opt/h/.cache/x/y" in moved.stderr
    assert "/opt/c/.cache" not in moved.stderr


def test_a_directory_for_all_that_is_written_gets_caches_too(work: str) -> None:
    bundle = script("mkdir -p /opt/a/__pycache__; echo 1 >/opt/a/__pycache__/m.pyc", programs=("mkdir",)).write(
        f"{work}/b.sdee"
    )
    result = run([bundle], uid=USERS[-1], ROOT="closed", SAVE=f"{work}/saved")
    assert (result.stderr, result.returncode) == ("", 0)
    assert text_of(f"{work}/saved/opt/a/__pycache__/m.pyc") == "1\n"


@needs_root
def test_a_cache_that_was_there_before_is_one(work: str) -> None:
    home = home_with_module(work, 0o755)
    put(f"{home}/app/fonts/CACHEDIR.TAG", TAG + "\n", 0o644)
    bundle = (
        script(f"echo 1 >{home}/app/fonts/new || echo cannot", live=[work])
        .add(f"{home}/app/fonts/data", "x")
        .write(f"{work}/b.sdee")
    )
    result = run([bundle], uid=TESTER, env={"HOME": home}, ROOT="merged")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert stat.S_IMODE(os.stat(f"{home}/app/fonts").st_mode) == 0o755
