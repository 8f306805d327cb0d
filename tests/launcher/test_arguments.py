"""ARGS of a bundle take the place of the recorded arguments; the script of an interpreter is none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import open_directory, run, script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def work() -> Iterator[str]:
    """A directory for one test."""
    yield from open_directory()


def sdee(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line of sdee, which must succeed."""
    done = subprocess.run([sys.executable, "-m", "sdee", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


JOBS = {
    "python": (["python3", "-u", "a.py"], "a.py", "import sys; print(*sys.argv[1:])"),
    "module": (["python3", "-m", "a"], "a.py", "import sys; print(*sys.argv[1:])"),
    "perl": (["perl", "-w", "a.pl"], "a.pl", 'print "@ARGV\n"'),
    "shell": (["env", "X=1", "bash", "-eu", "a.sh"], "a.sh", 'echo "$@"'),
    "code": (["sh", "-c", 'echo "$@"', "name"], "a.sh", ""),
    "program": (["echo"], "a.sh", ""),
}


@pytest.mark.parametrize("name", JOBS)
def test_the_script_stays_and_its_arguments_are_replaced(name: str, tmp_path: Path) -> None:
    words, file, text = JOBS[name]
    (tmp_path / file).write_text(text)
    assert sdee("trace", "-q", "--", *words, "5", cwd=tmp_path).stdout == "5\n"
    sdee("bundle", "-q", "--minimal", cwd=tmp_path)
    for start in (
        ["exec", "bundle.sdee"],
        ["exec", "--root", "closed", "bundle.sdee"],
        ["exec", "--diagnose", "bundle.sdee"],
    ):
        assert sdee(*start, cwd=tmp_path).stdout == "5\n"
        assert sdee(*start, "10", "-x", cwd=tmp_path).stdout == "10 -x\n"
    shown = sdee("exec", "--dry-run", "bundle.sdee", "10", "a b", cwd=tmp_path).stdout
    kept = " ".join(f"'{word}'" if " " in word else word for word in words)
    assert f"sdee: runs: {kept} 10 'a b'\nsdee: in: {tmp_path}\n" in shown
    assert f"sdee: runs: {kept} 5\n" in sdee("exec", "--dry-run", "bundle.sdee", cwd=tmp_path).stdout
    other = sdee("exec", "--command", words[0], "--dry-run", "bundle.sdee", "all", "of", "it", cwd=tmp_path).stdout
    assert f"sdee: runs: {words[0]} all of it\n" in other


def test_verify_means_the_same_by_arguments(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import sys; print(*sys.argv[1:])")
    sdee("trace", "-q", "--", "python3", "a.py", "5", cwd=tmp_path)
    sdee("bundle", "-q", cwd=tmp_path)
    done = sdee("verify", "--root", "closed", "--compare", "--json", "bundle.sdee", "--", "10", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (report["good"], report["status"], report["when"]) == (True, 0, "here")


def test_a_bundle_that_does_not_say_what_stays_keeps_its_program_alone(work: str) -> None:
    maker = script("", programs=("echo",))
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", "/bin/echo"), ("arg", "echo"), ("arg", "a"), ("arg", "b"), ("arg", "c")]
    assert run([maker.write(f"{work}/old.sdee"), "x"]).stdout == "x\n"
    plain = list(maker.conf)
    for count, expected in (("1", "x\n"), ("3", "a b x\n"), ("4", "a b c x\n"), ("999999999", "a b c x\n")):
        maker.conf = [*plain, ("kept-args", count)]
        bundle = maker.write(f"{work}/b.sdee")
        assert (run([bundle, "x"]).stdout, run([bundle]).stdout) == (expected, "a b c\n")
    for wrong in ("", "0", "-1", "2 ", "1e3", "9999999999"):
        maker.conf = [*plain, ("kept-args", wrong)]
        refused = run([maker.write(f"{work}/b.sdee"), "x"])
        assert (refused.returncode, "must be a number from 1" in refused.stderr) == (241, True)
        info = subprocess.run(
            [sys.executable, "-m", "sdee", "info", f"{work}/b.sdee"], capture_output=True, check=False
        )
        assert info.returncode == 241
