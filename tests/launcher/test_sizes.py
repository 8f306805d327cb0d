"""`sdee ls --du`: what makes a bundle large, and how to leave it out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MODULES = "venv/lib/python3.11/site-packages"
FILES = {
    f"{MODULES}/numpy/__init__.py": 3000,
    f"{MODULES}/numpy/core.py": 2000,
    f"{MODULES}/numpy.libs/libblas.so": 4000,
    f"{MODULES}/numpy-1.26.4.dist-info/RECORD": 100,
    f"{MODULES}/numpydoc/__init__.py": 50,
    f"{MODULES}/six.py": 500,
    "node_modules/@scope/one/index.js": 700,
    "node_modules/two/index.js": 600,
    "tool/share/table.txt": 9000,
}


def sdee(*words: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "sdee", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with sdee.trace of a job that reads all of FILES."""
    for name, size in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    sdee("trace", "-q", "--", "/bin/cat", *FILES, cwd=tmp_path)
    return tmp_path


def sizes(here: Path, *options: str) -> dict[str, tuple[str, int, int, str]]:
    """Bundle, and return name → kind, files, size, glob of the groups below `here`."""
    sdee("bundle", "-q", "--minimal", "--include", f"{here}/*", *options, cwd=here)
    groups = json.loads(sdee("ls", "--du", "--json", cwd=here))
    assert [group["size"] for group in groups] == sorted((group["size"] for group in groups), reverse=True)
    return {
        group["name"].removeprefix(f"{here}/"): (group["kind"], group["files"], group["size"], group["glob"])
        for group in groups
        if str(here) in group["name"] or str(here) in group["glob"]
    }


def test_files_are_grouped_by_module_and_directory_and_the_advised_glob_leaves_out_one_group(here: Path) -> None:
    found = sizes(here)
    assert {name: value[:3] for name, value in found.items() if value[0] == "module"} == {
        f"{MODULES}/numpy": ("module", 4, 9100),
        f"{MODULES}/numpydoc": ("module", 1, 50),
        f"{MODULES}/six": ("module", 1, 500),
        "node_modules/@scope/one": ("module", 1, 700),
        "node_modules/two": ("module", 1, 600),
    }
    # `numpy*` would take numpydoc as well: no single glob is advised for it
    assert found[f"{MODULES}/numpy"][3] == ""
    advised = {name: value for name, value in found.items() if value[3]}
    assert {f"{MODULES}/six", f"{MODULES}/numpydoc", "node_modules/two", "node_modules/@scope/one"} <= advised.keys()
    for name, (_, _, _, glob) in advised.items():
        left = sizes(here, "--exclude", glob)
        assert left.keys() == found.keys() - {name}, glob


def test_packages_are_named_and_the_largest_come_first_as_text(here: Path) -> None:
    sizes(here)
    text = sdee("ls", "--du", cwd=here).splitlines()
    assert any("package" in line and "coreutils" in line for line in text)
    assert any(line.endswith(f"{MODULES}/six.py") and "--exclude" in line for line in text)
    command = [sys.executable, "-m", "sdee", "ls", "--du", "bundle.sdee", "/usr"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert (done.returncode, "--du shows the whole bundle" in done.stderr) == (2, True)
