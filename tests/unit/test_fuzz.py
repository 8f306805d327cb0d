"""The fuzzers' harnesses build, and take their seeds and all that was found before: tests/fuzz."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import python_targets
import run
import seeds

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fuzz")
if TYPE_CHECKING:
    from pathlib import Path

SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "UBSAN_OPTIONS": "halt_on_error=1"}
needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")


@pytest.fixture(scope="module")
def harnesses() -> str:
    """Return the directory of harnesses that only replay."""
    subprocess.run(["make", "-s", "-C", HERE, "-j2", "ENGINE=replay", "CC=gcc"], check=True)
    return os.path.join(HERE, "build", "replay")


@needs_compiler
@pytest.mark.parametrize("target", seeds.TARGETS)
def test_a_harness_takes_its_seeds_and_what_was_found(harnesses: str, tmp_path: Path, target: str) -> None:
    place = seeds.write(target, str(tmp_path / "seeds"))
    done = subprocess.run(
        [os.path.join(harnesses, target), place],
        env=os.environ | SANITIZERS,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{len(os.listdir(place))} inputs\n"


@pytest.mark.parametrize("target", python_targets.TARGETS)
def test_a_target_in_python_takes_its_seeds_and_what_was_found(tmp_path: Path, target: str) -> None:
    python_targets.write_seeds(target, str(tmp_path))
    command = [sys.executable, os.path.join(HERE, "python_targets.py"), target, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("input ") == len(os.listdir(tmp_path))


@needs_compiler
def test_every_harness_is_a_target_and_a_finding_ends_it(tmp_path: Path) -> None:
    found = {name[5:-2] for name in os.listdir(HERE) if name.startswith("fuzz_") and name.endswith(".c")}
    named = subprocess.run(["make", "-s", "-C", HERE, "names"], capture_output=True, text=True, check=True).stdout
    assert found == set(seeds.TARGETS) == set(named.split())
    (tmp_path / "x.c").write_text(
        '#include "fuzz.h"\nint LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)'
        "{ MUST(size == 0 || data[0] != 'x'); return 0; }\n"
    )
    command = [
        "gcc",
        "-D_GNU_SOURCE",
        f"-I{HERE}",
        str(tmp_path / "x.c"),
        f"{HERE}/replay.c",
        "-o",
        str(tmp_path / "x"),
    ]
    subprocess.run(command, check=True)
    for text, good in (("y", True), ("x", False)):
        (tmp_path / "input").write_text(text)
        done = subprocess.run([tmp_path / "x", tmp_path / "input"], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is good
        assert ("this must hold: size == 0" in done.stderr) is not good


def test_without_atheris_inputs_are_changed_at_random_and_a_finding_is_written_down(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {HERE!r}); import python_targets as p\n"
        "p.TARGETS['x'] = lambda data: [].pop() if b'/' in data else None\n"
        f"p.at_random('x', 20, [b'abc'], {str(tmp_path)!r} + '/')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    (finding,) = tmp_path.iterdir()
    assert (done.returncode, b"/" in finding.read_bytes()) == (1, True)
    assert "pop from empty list" in done.stderr


@needs_compiler
def test_where_there_is_no_clang_the_short_run_says_so_and_goes_on(
    harnesses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.path.isdir(harnesses)
    assert run.what_is_missing("replay") == ""
    monkeypatch.setenv("CLANG", "no-such-clang")
    assert "no-such-clang" in run.what_is_missing("libfuzzer")
    command = [sys.executable, os.path.join(HERE, "run.py"), "--where-possible", "--seconds=1", "table"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "not fuzzed here: table: libfuzzer's harnesses cannot be built" in done.stderr
