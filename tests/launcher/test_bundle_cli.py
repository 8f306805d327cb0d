"""`sdee bundle` as a user meets it: real traces, real bundles, what it says and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from glob import glob
from typing import TYPE_CHECKING

import pytest

from waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

JOB = """#!/bin/sh
cat data.txt
cat "$HOME/.netrc" >/dev/null
test -e /opt/nothing/here
date >/dev/null
"""


def sdee(*arguments: str, cwd: Path, check: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command line with the directory's home as $HOME; its exit status must be `check`."""
    env = {**os.environ, "HOME": str(cwd / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "sdee", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == check, done.stderr
    return done


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with sdee.trace of a shell script that reads data and a secret."""
    here = tmp_path_factory.mktemp("cli")
    (here / "home").mkdir()
    (here / "home" / ".netrc").write_text("machine example.org login me password hunter2\n")
    (here / "data.txt").write_text("some data\n")
    (here / "job.sh").write_text(JOB)
    (here / "job.sh").chmod(0o755)
    sdee("trace", "--", "./job.sh", cwd=here)
    return here


@pytest.fixture
def here(traced: Path, tmp_path: Path) -> Path:
    """A directory of its own with that trace."""
    shutil.copy(traced / "sdee.trace", tmp_path)
    return tmp_path


def test_the_default_is_an_executable_bundle_and_the_summary_says_what_comes_next(here: Path) -> None:
    done = sdee("bundle", cwd=here)
    assert sorted(os.listdir(here)) == ["bundle.sdee", "sdee.trace"]
    umask = os.umask(0)
    os.umask(umask)
    # pytest lets nobody else into its directories: tests/launcher/test_private_files.py has the other side
    assert stat.S_IMODE((here / "bundle.sdee").stat().st_mode) == 0o700 & ~umask
    for part in (
        "bundle.sdee:",
        "travels",
        "node's own",
        "refused",
        ".netrc",
        "--allow",
        "next: sdee exec bundle.sdee",
    ):
        assert part in done.stdout
    sdee("check", cwd=here)


def test_the_bundle_holds_the_programs_and_says_why(here: Path, traced: Path) -> None:
    sdee("bundle", "-q", cwd=here)
    listed = sdee("ls", cwd=here).stdout.splitlines()
    assert os.path.realpath("/bin/cat") in listed
    assert f"{traced}/home/.netrc" not in listed
    chain = sdee("why", os.path.realpath("/bin/cat"), cwd=here).stdout.splitlines()
    assert len(chain) >= 3
    assert "./job.sh" in chain[1]
    assert "secret" in sdee("why", f"{traced}/home/.netrc", cwd=here).stdout
    assert "did not exist" in sdee("why", "/opt/nothing/here", cwd=here).stdout


def test_quiet_prints_nothing_on_standard_output(here: Path) -> None:
    done = sdee("bundle", "-q", cwd=here)
    assert done.stdout == ""
    assert "left out as secret" in done.stderr


def test_json_is_one_object_with_everything(here: Path, traced: Path) -> None:
    said = json.loads(sdee("bundle", "--json", cwd=here).stdout)
    info = json.loads(sdee("info", "--json", cwd=here).stdout)
    assert said["bundle"]["identity"] == info["identity"]
    assert said["bundle"]["size"] == (here / "bundle.sdee").stat().st_size
    assert said["travels"]["files"] == said["bundle"]["files"]
    assert [s["path"] for s in said["secret"]] == [f"{traced}/home/.netrc"]


def test_dry_run_lists_every_path_and_writes_nothing(here: Path, traced: Path) -> None:
    lines = sdee("bundle", "--dry-run", cwd=here).stdout.splitlines()
    assert os.listdir(here) == ["sdee.trace"]
    verdicts = {line.split("  # ")[0].split()[-1]: line.split()[0] for line in lines if "  # " in line}
    assert verdicts[os.path.realpath("/bin/cat")] == "bundle"
    assert verdicts[f"{traced}/home/.netrc"] == "secret"
    plan = json.loads(sdee("bundle", "--dry-run", "--json", cwd=here).stdout)
    assert {item["path"]: item["verdict"] for item in plan["items"]} == verdicts
    assert os.listdir(here) == ["sdee.trace"]


def test_allow_include_exclude_and_with_data_change_what_travels(here: Path, traced: Path) -> None:
    secret, data, extra = f"{traced}/home/.netrc", f"{traced}/data.txt", os.path.realpath("/bin/date")
    asked = ("--allow", secret, "--with-data", "--include", "/etc/hostname", "--exclude", extra)
    sdee("bundle", "-o", "more.sdee", *asked, cwd=here)
    sdee("bundle", cwd=here)
    plain, more = (set(sdee("ls", name, cwd=here).stdout.splitlines()) for name in ("bundle.sdee", "more.sdee"))
    assert {secret, data, "/etc/hostname"} <= more
    assert plain.isdisjoint({secret, "/etc/hostname"})
    assert extra in plain
    assert extra not in more


def test_names_without_a_slash_in_front_are_taken_from_here(here: Path) -> None:
    (here / "extra").mkdir()
    for name in ("a.dat", "b.dat", "c.txt"):
        (here / "extra" / name).write_text(name)
    sdee("bundle", "--include", "extra/*.dat", "--exclude", "./extra/b*", "--exclude", "*/date", cwd=here)
    listed = sdee("ls", cwd=here).stdout.splitlines()
    assert [p for p in listed if p.startswith(f"{here}/extra/")] == [f"{here}/extra/a.dat"]
    assert os.path.realpath("/bin/date") not in listed


def test_an_option_that_names_nothing_is_told(here: Path) -> None:
    failed = sdee("bundle", "--include", "no-such-thing", cwd=here, check=246)
    assert f"--include '{here}/no-such-thing' matches nothing" in failed.stderr
    assert os.listdir(here) == ["sdee.trace"]
    done = sdee("bundle", "-q", "--exclude", "/opt/none", "--allow", "*/none", cwd=here)
    assert "warning: --exclude '/opt/none' matches nothing" in done.stderr
    assert "warning: --allow '*/none' matches nothing" in done.stderr


def test_a_run_that_failed_is_pointed_out_when_bundling_and_in_info(tmp_path: Path) -> None:
    sdee("trace", "--", "sh", "-c", "exit 3", cwd=tmp_path, check=3)
    said = "the traced run ended with status 3, so it may not have used all that the job needs: sh -c 'exit 3'"
    assert f"sdee: warning: {said}" in sdee("bundle", cwd=tmp_path).stderr
    assert said in sdee("info", cwd=tmp_path).stdout
    sdee("trace", "--", "sh", "-c", "kill -9 $$", cwd=tmp_path, check=-9)
    assert "ended with status 137 (signal SIGKILL)" in sdee("bundle", "-q", cwd=tmp_path).stderr


def test_minimal_is_a_part_of_the_whole(here: Path) -> None:
    whole, minimal = (
        {item["path"] for item in json.loads(sdee("bundle", "-n", "--json", *flags, cwd=here).stdout)["items"]
         if item["verdict"] == "bundle"}
        for flags in ((), ("--minimal",))
    )  # fmt: skip
    assert minimal < whole


def test_levels_trade_size_and_the_same_level_gives_the_same_bytes(here: Path) -> None:
    for name, level in (("a", "1"), ("b", "9"), ("c", "9")):
        sdee("bundle", "-o", name, "--level", level, cwd=here)
    assert (here / "b").stat().st_size < (here / "a").stat().st_size
    assert (here / "b").read_bytes() == (here / "c").read_bytes()
    assert b"level" in sdee("bundle", "--level", "99", cwd=here, check=2).stderr.encode()


def test_an_incomplete_trace_is_a_warning_not_a_failure(here: Path) -> None:
    lines = (here / "sdee.trace").read_text().splitlines(keepends=True)
    (here / "sdee.trace").write_text("".join(lines[:-1]))
    done = sdee("bundle", cwd=here)
    assert "warning: the trace is incomplete" in done.stderr
    assert "may be missing" in done.stdout
    assert json.loads(sdee("info", "--json", cwd=here).stdout)["incomplete"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nothing.trace",), 245, "nothing.trace"),
        (("-o", "/proc/nothing/b.sdee"), 247, "cannot be written"),
        (("-o", "."), 2, "is a directory"),
        (("--level", "0"), 2, "--level"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_right_status(
    here: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    failed = sdee("bundle", *arguments, cwd=here, check=status)
    assert said in failed.stderr
    assert os.listdir(here) == ["sdee.trace"]


def test_without_a_trace_it_says_how_to_make_one(tmp_path: Path) -> None:
    failed = sdee("bundle", cwd=tmp_path, check=245)
    assert "hint: record one: sdee trace -- COMMAND" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_bundle_leaves_the_older_one_and_nothing_else(here: Path, number: signal.Signals) -> None:
    (here / "noise").write_bytes(os.urandom(1 << 20) * 60)
    (here / "bundle.sdee").write_bytes(b"older")
    command = [sys.executable, "-m", "sdee", "bundle", "--level", "19", "--include", f"{here}/noise"]
    process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(name.startswith(".sdee-") for name in os.listdir(here)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate()
    # by the signal itself: a shell's loop ends, too
    assert process.returncode == (-number if number == signal.SIGINT else 128 + number), said
    assert "Traceback" not in said
    assert sorted(os.listdir(here)) == ["bundle.sdee", "noise", "sdee.trace"]
    assert (here / "bundle.sdee").read_bytes() == b"older"


@pytest.mark.parametrize("words", [("bundle",), ("bundle", "--dry-run"), ("diff", "sdee.trace", "sdee.trace")])
def test_ctrl_c_ends_a_command_before_it_writes_by_the_signal_and_without_a_traceback(
    here: Path, words: tuple[str, ...]
) -> None:
    lines = (here / "sdee.trace").read_text(encoding="ascii").splitlines(keepends=True)
    one = next(line for line in lines if '"t":"path"' in line)
    more = (one.replace('"path":"/', f'"path":"/x{number}/') for number in range(200_000))  # it is still being read
    (here / "sdee.trace").write_text("".join([*lines, *more]), encoding="ascii")
    process = subprocess.Popen([sys.executable, "-m", "sdee", *words], cwd=here, stderr=subprocess.PIPE, text=True)
    opened = f"/proc/{process.pid}/fd/*"
    wait_for(lambda: f"{here}/sdee.trace" in map(os.path.realpath, glob(opened)), "it does not read the trace")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == -signal.SIGINT, said
    assert "sdee: interrupted" in said
    assert "Traceback" not in said
    assert os.listdir(here) == ["sdee.trace"]


def test_a_home_that_is_written_oddly_is_the_same_one(tmp_path: Path) -> None:
    """HOME=/users//me is common; sdee bundle made a bundle of it that no launcher took."""
    (tmp_path / "home").mkdir()
    for name in ("home", "/home", "home/.", "home//"):
        env = {**os.environ, "HOME": f"{tmp_path}/{name}"}
        for words in (("trace", "-q", "--", "sh", "-c", "cd && pwd -P"), ("bundle", "-q"), ("exec", "bundle.sdee")):
            command = [sys.executable, "-m", "sdee", *words]
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (name, words, done.stderr)
        assert done.stdout == f"{tmp_path}/home\n"


def test_sdees_own_traces_are_no_input_of_a_job_that_looks_at_all_files(tmp_path: Path) -> None:
    """Octave does. The trace before this one is set aside during the run, and gone after it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "other.trace").write_text("somebody's\n")
    command = ("sh", "-c", 'for n in ./*; do test -e "$n"; stat "$n" >/dev/null; done')
    for _ in range(2):
        sdee("trace", "--", *command, cwd=tmp_path)
    sdee("bundle", cwd=tmp_path)
    stays = json.loads(sdee("bundle", "--dry-run", "--json", cwd=tmp_path).stdout)["shared"]
    assert [name for group in stays for name in group["first"] if "trace" in name] == ["other.trace"]
    for name in ("sdee.trace", "sdee.trace.old"):
        said = subprocess.run(
            [sys.executable, "-m", "sdee", "why", name], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert "stays on shared storage" not in said.stdout
    (tmp_path / "sdee.trace").unlink()
    done = subprocess.run(["./bundle.sdee"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
