"""Command lines that cannot be meant so: sdee says what may be meant."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdee import cli
from sdee.base.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


def sdee(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sdee", *words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["tarce", "--", "ls"], "did you mean `sdee trace`? sdee --help lists all commands"),
        (["run", "bundle.sdee"], "did you mean `sdee exec`? sdee --help lists all commands"),
        (["./b.sdee", "arg"], "sdee exec ./b.sdee"),
        (["my.trace"], "sdee bundle my.trace"),
        (["sh", "-c", "ls"], "sdee trace -- sh … runs a command under trace"),
        (["no-such-thing"], "sdee --help lists all commands"),
    ],
)
def test_a_word_that_is_no_command_may_be_meant_as_one(tmp_path: Path, words: list[str], hint: str) -> None:
    for name in ("b.sdee", "my.trace"):
        (tmp_path / name).touch()
    done = sdee(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sdee: error: there is no command {words[0]!a}\n  hint: {hint}\n"


def test_help_is_a_command_as_of_git_and_pip(tmp_path: Path) -> None:
    assert sdee("help", cwd=tmp_path).stdout == sdee("--help", cwd=tmp_path).stdout
    assert sdee("help", "bundle", cwd=tmp_path).stdout == sdee("bundle", "--help", cwd=tmp_path).stdout


def test_a_bundle_where_a_trace_is_wanted_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "bundle.sdee").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200) + b"\n")
    done = sdee("bundle", "bundle.sdee", cwd=tmp_path)
    assert done.returncode == ExitCode.TRACE
    assert "is a program or a bundle, not a trace\n  hint: of a bundle: `sdee info`" in done.stderr


def test_a_module_that_a_full_disk_cut_off_is_told_and_not_aborted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut_off(_name: str) -> None:
        raise EOFError("marshal data too short")

    monkeypatch.setattr(cli, "import_module", cut_off)
    with pytest.raises(SystemExit) as ended:
        cli.main(["info"])
    assert ended.value.code == ExitCode.INTERNAL
    said = capsys.readouterr().err
    assert "marshal data too short" in said
    assert "remove the directories __pycache__ below " in said
    assert "Abort" not in said
