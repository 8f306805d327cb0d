"""`sdee verify` on real programs: it finds what was removed on purpose, and nothing where nothing is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from launcher_tools import ROOT, TESTER, as_user

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE = ("--root", "closed", "--home", "here")  # one run is enough to see what is missing

# command, what is removed from its bundle, the path that verify must name, and by what
REMOVED = {
    "a program of a script": (["sh", "-c", "date -u -d @0 +%Y"], "*/bin/date", "/usr/bin/date", "program"),
    "a program that is the last of a pipeline": (["sh", "-c", "seq 3 | sort"], "*/bin/sort", "sort", "program"),
    "a linked library": (["zstd", "--version"], "*/liblz4.so*", "liblz4.so.1", "file"),
    "a Perl module": (["perl", "-MJSON::XS", "-e", "print 1"], "*/JSON/XS.pm", "JSON/XS.pm", "file"),
    "a module's shared object": (["perl", "-MJSON::XS", "-e", "print 1"], "*/XS/XS.so", "XS.so", "file"),
    "a Python module": (["python3", "-c", "import sqlite3"], "*/lib-dynload/_sqlite3*", "_sqlite3", "file"),
    "a data file": (["perl", "-e", 'open F, "/usr/share/common-licenses/GPL-3" or 1; print scalar <F>'],
                    "*/common-licenses/GPL-3", "GPL-3", "file"),
    "the interpreter of a script": (["./job.awk", "x"], os.path.realpath("/usr/bin/awk"), "awk", "program"),
    "a locale": (["env", "LOCPATH={home}", "LC_ALL=xx", "sort", "/dev/null"], "*/LC_COLLATE", "LC_COLLATE", "file"),
    "a helper in its own directory": (["gcc", "-x", "c", "-c", "-o", "/dev/null", "one.c"], "*/cc1", "cc1", "program"),
}  # fmt: skip


@pytest.fixture
def here() -> Iterator[str]:
    """A directory that is no temporary one for sdee, as a job's working directory is."""
    path = tempfile.mkdtemp(prefix="sdee-verify-", dir="/home" if ROOT else None)
    os.chmod(path, 0o777)
    os.mkdir(f"{path}/home", 0o777)
    yield path
    shutil.rmtree(path)


def sdee(*arguments: str, cwd: str, status: int = 0, user: bool = False) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": f"{cwd}/home", "LANG": "C.UTF-8"}
    before = as_user(TESTER) if user else []
    command = [*before, sys.executable, "-m", "sdee", *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def bundle(here: str, command: list[str], *options: str, status: int = 0) -> None:
    with open(f"{here}/job.awk", "w", encoding="ascii") as file:
        file.write("#!/usr/bin/awk -f\nBEGIN { print ARGV[1] }\n")
    os.chmod(f"{here}/job.awk", 0o755)
    with open(f"{here}/one.c", "w", encoding="ascii") as file:
        file.write("int one(void) { return 1; }\n")
    sdee(
        "trace",
        "-q",
        "--",
        *(word.replace("{home}", f"{here}/home/locales") for word in command),
        cwd=here,
        status=status,
    )
    sdee("bundle", "-q", *options, cwd=here)


@pytest.mark.parametrize("name", REMOVED)
def test_what_was_removed_on_purpose_is_found_and_nothing_else_before(name: str, here: str) -> None:
    command, pattern, missing, kind = REMOVED[name]
    if name == "a locale":
        made = ["localedef", "-i", "de_DE", "-f", "UTF-8", f"{here}/home/locales/xx"]
        os.mkdir(f"{here}/home/locales")
        subprocess.run(made, check=True)
    bundle(here, command)
    assert "nothing is missing" in sdee("verify", *ONE, cwd=here).stdout
    bundle(here, command, "--exclude", pattern)
    report = json.loads(sdee("verify", "--json", *ONE, cwd=here, status=1).stdout)
    assert not report["good"]
    named = {m["path"]: m for m in report["missing"]}
    assert any(path.endswith(missing) or missing in path for path in named), named
    wanted = next(m for path, m in named.items() if missing in path)
    assert wanted["kind"] == kind
    assert wanted["option"] == f"--include {wanted['path']}"


def test_the_options_that_it_names_mend_the_bundle(here: str) -> None:
    bundle(here, ["sh", "-c", "date -u -d @0 +%Y; exit 3"], "--exclude", "*/bin/date", status=3)
    text = sdee("verify", cwd=here, status=1).stdout
    assert "closed  here     3       as when it was traced, 1 path missing" in text
    assert "merged  here     3       as when it was traced, 1 path missing" in text
    option = next(line.split("sdee bundle ")[1] for line in text.splitlines() if "sdee bundle" in line)
    sdee("bundle", "-q", *option.split(), cwd=here)
    assert "nothing was missing until the job ended with status 3" in sdee("verify", cwd=here).stdout


def test_a_job_that_ends_otherwise_is_no_good(here: str) -> None:
    bundle(here, ["sh", "-c", "test -e /usr/bin/date"], "--exclude", "/usr/bin/date")
    text = sdee("verify", cwd=here, status=1).stdout
    assert "closed  here     1       0 when it was traced" in text


def test_what_the_job_writes_reaches_nothing_of_this_machine(here: str) -> None:
    with open(f"{here}/data", "w", encoding="ascii") as file:
        file.write("1\n")
    bundle(here, ["sh", "-c", "cat data; echo 2 >>data; echo made >new; echo x >$HOME/y"])
    before = sorted(os.listdir(here))
    with open(f"{here}/data", "w", encoding="ascii") as file:
        file.write("3\n")
    os.unlink(f"{here}/new")
    os.unlink(f"{here}/home/y")
    done = sdee("verify", cwd=here)
    assert done.stderr == "3\n", "what it prints goes to standard error"
    assert sorted(os.listdir(here)) == sorted(set(before) - {"new"})
    assert os.listdir(f"{here}/home") == [".cache"], "of what `sdee bundle` remembers"
    with open(f"{here}/data", encoding="ascii") as file:
        assert file.read() == "3\n"


def test_what_the_job_moves_removes_or_writes_beside_is_there(here: str) -> None:
    for name in ("y", "z"):
        with open(f"{here}/{name}", "w", encoding="ascii") as file:
            file.write(name)
    os.mkdir(f"{here}/out")
    bundle(here, ["sh", "-c", "rm y && mv z w && cat w && echo >out/f"])
    os.rename(f"{here}/w", f"{here}/z")
    with open(f"{here}/y", "w", encoding="ascii"):
        pass
    assert "as when it was traced" in sdee("verify", cwd=here).stdout


def test_other_arguments_are_tried_and_show_what_the_run_did_not(here: str) -> None:
    script = f"{here}/job.sh"
    with open(script, "w", encoding="ascii") as file:
        file.write("case $1 in a) date -u -d @0 +%Y;; b) s''eq 3;; esac\n")
    bundle(here, ["sh", "job.sh", "a"])
    assert sdee("verify", "bundle.sdee", "--", "a", cwd=here).returncode == 0
    text = sdee("verify", "bundle.sdee", "b", cwd=here, status=1).stdout
    assert "program /usr/bin/seq" in text
    assert "the traced run did not use it" in text


def test_two_hyphens_end_verifys_own_words_before_or_after_the_bundle_once(here: str) -> None:
    with open(f"{here}/job.sh", "w", encoding="ascii") as file:
        file.write('#!/bin/sh\nfor word; do echo "got <$word>"; done\n')
    os.chmod(f"{here}/job.sh", 0o755)
    bundle(here, ["./job.sh", "traced"])
    for words, got in (
        (["--", "a"], "<a>"),
        (["--", "bundle.sdee"], "<bundle.sdee>"),
        (["bundle.sdee", "--", "a"], "<a>"),
        (["bundle.sdee", "--", "--", "a"], "<--><a>"),
        (["bundle.sdee", "a", "--", "b"], "<a><--><b>"),
        (["--"], "<traced>"),
    ):
        done = sdee("verify", *ONE, *words, cwd=here)
        assert "".join(line[4:] for line in (done.stdout + done.stderr).splitlines() if line[:4] == "got ") == got


def test_of_other_arguments_that_fail_nothing_is_promised_and_compare_tells(here: str) -> None:
    bundle(here, ["sh", "-c", "exit ${1:-0}", "sh"])
    for status in (3, 125):
        command = ("bundle.sdee", str(status))
        text = sdee("verify", *ONE, *command, cwd=here, status=1).stdout
        assert text.splitlines()[1].split() == ["closed", "here", str(status), "failed"]
        assert f"nothing was missing until the job ended with status {status}\n  hint: sdee verify --compare" in text
        text = sdee("verify", *ONE, "--compare", *command, cwd=here).stdout
        assert f"ended with status {status}" in text
        assert "hint" not in text


def test_of_a_job_that_fails_as_when_it_was_traced_nothing_is_promised_past_its_end(here: str) -> None:
    bundle(here, ["sh", "-c", "exit 4"], status=4)
    text = sdee("verify", *ONE, cwd=here).stdout
    assert "as when it was traced" in text
    assert "nothing was missing until the job ended with status 4\n" in text


def test_bundle_verify_does_both(here: str) -> None:
    bundle(here, ["sh", "-c", "date -u -d @0 +%Y"])
    assert "nothing is missing" in sdee("bundle", "--verify", cwd=here).stdout
    done = sdee("bundle", "--verify", "--exclude", "*/bin/date", cwd=here, status=1)
    assert "program /usr/bin/date" in done.stderr


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_an_ordinary_user_can_verify(here: str) -> None:
    bundle(here, ["sh", "-c", "date -u -d @0 +%Y"])
    os.chmod(f"{here}/bundle.sdee", 0o755)
    assert "nothing is missing" in sdee("verify", cwd=here, user=True).stdout
