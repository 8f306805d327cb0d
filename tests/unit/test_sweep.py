"""Which commands are one sweep: those that differ in numbers, where these name no programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdee.runtime.jobs.slurm import inside
from sdee.workflow import serving, state, variants
from sdee.workflow.transparent import sweep


def are_one(cwd: Path, first: str, second: str) -> bool:
    found = {sweep.family("jobs", "job", str(cwd), ("text",), inside.words_of(text)) for text in (first, second)}
    return len(found) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("./app --seed 1", "./app --seed 22"),
        ("./app --seed=1 >out1.txt", "./app --seed=2 >out2.txt"),
        ("./app in-001.dat -n4", "./app in-017.dat -n4"),
        ("X=1 ./app", "X=2 ./app"),
        ("./app 1.5e-3", "./app 2.5e-4"),
    ],
)
def test_commands_that_differ_in_numbers_are_one_sweep(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "in-001.dat").touch()
    (tmp_path / "app").touch(0o755)
    assert are_one(tmp_path, first, second)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("import a; a.run(1)", "import a; a.run(22)", True),
        ("import m1; m1.run()", "import m2; m2.run()", False),
        ("./step1 && ls", "./step2 && ls", False),
        ("sleep 1; ls", "sleep 2; ls", True),
    ],
)
def test_in_code_numbers_of_their_own_count_and_names_do_not(first: str, second: str, same: bool) -> None:
    assert (variants.without_numbers(first, "/") == variants.without_numbers(second, "/")) == same


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("./app a", "./app b"),
        ("./app 1", "./app 1 1"),
        ("./app1 x", "./app2 x"),
        ("python3 step1.py", "python3 step2.py"),
        ("sha1sum x", "sha256sum x"),
    ],
)
def test_other_commands_and_other_programs_are_none(tmp_path: Path, first: str, second: str) -> None:
    for name in ("app", "app1", "app2"):
        (tmp_path / name).touch(0o755)
    for name in ("step1.py", "step2.py"):
        (tmp_path / name).touch()
    assert not are_one(tmp_path, first, second)


def run(family: str, cwd: Path, words: tuple[str, ...], seconds: float, text: str = "") -> None:
    """Leave what a run leaves."""
    chosen = sweep.choose(family, str(cwd), words, words, text=text)
    assert not chosen.stands_in
    os.makedirs(chosen.directory)
    trace = Path(chosen.directory, "trace")
    trace.touch()
    known = state.TraceState(
        ["./app", *words], str(cwd), state.decisive_environment(), 0, state.digest(str(trace)), {}, [], []
    )
    state.save(chosen.directory, state.State(known, None))
    sweep.note_seconds(chosen.directory, seconds)


@pytest.mark.parametrize(("seconds", "runs"), [(0.1, 3), (35.0, 2), (60.0, 1)])
def test_three_of_a_sweep_run_here_or_those_of_a_minute(tmp_path: Path, seconds: float, runs: int) -> None:
    family = sweep.family(str(tmp_path / "jobs"), "app", str(tmp_path), ("./app",), ("--seed", "1"))
    for number in range(runs):
        run(family, tmp_path, ("--seed", f"{number}"), seconds)
    other = sweep.choose(family, str(tmp_path), ("--seed", "99"), ("--seed", "99"))
    assert other.stands_in
    assert (other.directory, *other.arguments) in {
        (sweep.choose(family, str(tmp_path), ("--seed", f"{n}"), ("--seed", f"{n}")).directory, "--seed", f"{n}")
        for n in range(runs)
    }
    Path(other.directory, "trace").write_text("another")
    assert sweep.choose(family, str(tmp_path), ("--seed", "99"), ("--seed", "99")).stands_in == (runs > 1)


def test_scripts_that_differ_in_numbers_are_one_sweep_too(tmp_path: Path) -> None:
    def are_one(first: str, second: str) -> bool:
        return len({sweep.family("jobs", "job.sh", str(tmp_path), (), (), text=text) for text in (first, second)}) == 1

    script = "#!/bin/sh\n#SBATCH -n 4 --time=01:30:00\nsrun ./app --seed=1 -x 0.5 -y=-1e-3 2>err\n"
    assert are_one(script, "#!/bin/sh\n#SBATCH -n 16 --time=9:00:00\nsrun ./app --seed=22 -x 1.25 -y=7 2>err\n")
    for other in ("./app2", "--seeds=1", "-x $1", "-z 0.5", "--time=4"):
        assert not are_one(script, script.replace("./app", other))
    for first, second in (("python3.11", "python3.12"), ("load gcc/12", "load gcc/13"), ("f1", "f2"), ("$1", "$2")):
        assert not are_one(first, second)


def test_of_scripts_that_differ_in_numbers_the_first_are_run_and_each_is_kept(tmp_path: Path) -> None:
    texts = [f"./app --seed={number}" for number in range(3)]
    family = sweep.family(str(tmp_path / "jobs"), "job.sh", str(tmp_path), (), (), text=texts[0])
    first, *others = [sweep.choose(family, str(tmp_path), (), (), text=text) for text in texts]
    assert len({first.own, *(other.own for other in others)}) == 3
    run(family, tmp_path, (), 60.0, texts[0])
    for text, before in zip(texts[1:], others, strict=True):
        now = sweep.choose(family, str(tmp_path), (), (), text=text)
        assert (now.directory, now.own, now.stands_in) == (first.directory, before.own, True)
        os.makedirs(now.own)  # for its script: that is no run
    assert not sweep.choose(family, str(tmp_path), (), (), text=texts[0]).stands_in


def test_a_script_with_carriage_returns_is_kept_as_it_is_and_written_once(tmp_path: Path) -> None:
    path, text = tmp_path / "job.sh", "#!/bin/sh\nprintf 'a\rb'\r\n"
    serving.write_once(str(path), text)
    assert path.read_bytes() == text.encode()
    os.utime(path, ns=(5, 5))
    serving.write_once(str(path), text)
    assert path.stat().st_mtime_ns == 5, "a trace of it holds"
    serving.write_once(str(path), text.replace("\r", "\n"))
    assert path.stat().st_mtime_ns != 5


def test_words_of_what_is_no_simple_command_are_one() -> None:
    assert inside.words_of("echo 'it") == ("echo 'it",)
    assert inside.words_of("a 'b 1'>c") == ("a", "b 1", ">", "c")
