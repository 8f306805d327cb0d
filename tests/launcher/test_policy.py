"""sdee.toml: what it changes, what overrides it, and how it complains."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def sdee(*arguments: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(cwd / "home"), "XDG_CONFIG_HOME": str(cwd / "config"), "SEED": "1"}
    command = [sys.executable, "-m", "sdee", *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "config" / "sdee").mkdir(parents=True)
    (tmp_path / "data.txt").write_text("data\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "one.sh").write_text("cat data.txt; date >/dev/null\n")
    sdee("trace", "-q", "--", "sh", "lib/one.sh", cwd=tmp_path)
    return tmp_path


def verdicts(here: Path, *options: str) -> dict[str, str]:
    plan = json.loads(sdee("bundle", "-n", "--json", *options, cwd=here).stdout)
    return {item["path"]: item["verdict"] for item in plan["items"]}


def test_the_file_beside_the_job_and_the_users_own_both_count(here: Path) -> None:
    (here / "config" / "sdee" / "sdee.toml").write_text('exclude = ["*/bin/date"]\nlevel = 3\n')
    (here / "sdee.toml").write_text('include = ["data.txt"]\nshared = ["lib"]\nlevel = 5\n')
    found = verdicts(here)
    assert found["/usr/bin/date"] == "host"
    assert found[f"{here}/data.txt"] == "bundle"
    assert found[f"{here}/lib/one.sh"] == "shared"
    shown = json.loads(sdee("config", "--json", cwd=here).stdout)
    assert shown["values"]["level"] == {"value": 5, "from": [f"{here}/sdee.toml"]}
    assert shown["values"]["exclude"]["from"] == [f"{here}/config/sdee/sdee.toml"]
    text = sdee("config", cwd=here).stdout
    assert f"level = 5  # from {here}/sdee.toml" in text
    assert "# minimal: only what the run used" in text


def test_options_of_the_command_line_add_to_it(here: Path) -> None:
    (here / "sdee.toml").write_text('exclude = ["*/bin/date"]\n')
    found = verdicts(here, "--exclude", "*/bin/cat")
    assert (found["/usr/bin/date"], found["/usr/bin/cat"]) == ("host", "host")


def test_variables_and_units_can_be_chosen(here: Path) -> None:
    (here / "sdee.toml").write_text(
        'fixed-environment = ["SEED"]\nlive-environment = ["PATH"]\nwithout-units = ["LibraryData"]\n'
    )
    plan = json.loads(sdee("bundle", "-n", "--json", cwd=here).stdout)
    pairs = [tuple(pair) for pair in plan["conf"]]
    assert ("fixed-env", "SEED") in pairs
    assert ("live-env", "PATH") in pairs
    assert ("env", "SEED=1") in pairs


def test_a_unit_that_is_none_is_named(here: Path) -> None:
    (here / "sdee.toml").write_text('without-units = ["Shel"]\n')
    failed = sdee("bundle", "-n", cwd=here, status=2)
    assert "without-units: there is no unit 'Shel'" in failed.stderr
    assert "StandardLibrary" in failed.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("include = 3\n", "line 1: include must be a list of strings"),
        ('# comment\nexclude = ["a", 2]\n', "line 2: exclude must be a list of strings"),
        ("\n\nexclud = []\n", "line 3: there is no key 'exclud'"),
        ("minimal = 1\n", "line 1: minimal must be true or false"),
        ("level = 99\n", "line 1: level must be from 1 to 19"),
        ("\npackage-limit = -1\n", "line 2: package-limit must be 0 or more"),
        ("software-limit = -1\n", "line 1: software-limit must be 0 or more"),
        ("\ninclude = = []\n", "at line 2, column 11"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(here: Path, text: str, said: str) -> None:
    (here / "sdee.toml").write_text(text)
    for command in (["bundle", "-n"], ["config"]):
        failed = sdee(*command, cwd=here, status=2)
        assert f"{here}/sdee.toml'" in failed.stderr
        assert said in failed.stderr, failed.stderr


def test_how_much_whole_packages_add_can_be_set_and_is_said(here: Path) -> None:
    sdee("trace", "-q", "--", "zstd", "-q", "data.txt", "-o", "data.zst", cwd=here)
    text = sdee("bundle", "-n", cwd=here).stdout
    assert "packages    completed: zstd (+" in text
    assert "of at most 128.0 MB; package-limit in sdee.toml)" in text
    (here / "sdee.toml").write_text("package-limit = 0\n")
    done = sdee("bundle", "-n", cwd=here)
    assert "completed:" not in done.stdout
    assert "whole packages add at most 0 MB (package-limit in sdee.toml)" in done.stdout
    assert "/usr/bin/zstdgrep" not in done.stdout
