"""`sdee trace --cold`: a home without caches and settings, so that what it takes to make them is in the trace."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from typing import TYPE_CHECKING

import pytest

from desk import Desk, desk
from launcher_tools import ROOT
from sdee.runtime.launch.cold_home import Step, plan

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["desk"]

# A program that compiles its tables once and keeps them, as JIT compilers and font libraries do
JOB = """
test -f $HOME/.cache/x/c || { mkdir -p $HOME/.cache/x && tr a-z A-Z <$TABLES/source >$HOME/.cache/x/c; } || exit 7
tee out <$HOME/.cache/x/c
"""


def compiling(desk: Desk) -> list[str]:
    desk.write("lib/source", "table\n")
    desk.env["TABLES"] = f"{desk.top}/lib"
    return ["sh", "-c", JOB]


def test_a_warm_cache_hides_its_source_and_verify_says_so(desk: Desk) -> None:
    job = compiling(desk)
    cache = desk.write("home/.cache/x/c", "TABLE\n")
    desk.bundle(job)
    report = desk.verify(good=False)
    assert [(run["root"], run["home"], run["status"]) for run in report["runs"]] == [
        ("closed", "here", 0),
        ("closed", "empty", 7),
        ("closed", "foreign", 7),
        ("merged", "here", 0),
    ]
    missing = {m["path"]: m["option"] for m in report["missing"]}
    assert missing == {f"{desk.top}/lib/source": f"--include {desk.top}/lib/source", cache: "--with-data"}
    assert report["in_home"] == [cache]
    assert "sdee trace --cold" in desk.sdee("verify", status=1).stdout


def test_a_cold_trace_has_the_source_and_the_bundle_needs_no_cache(desk: Desk) -> None:
    job = compiling(desk)
    cache = desk.write("home/.cache/x/c", "STALE\n")
    desk.bundle(job, trace=["--cold"])
    with open(f"{desk.work}/out", encoding="ascii") as file:
        assert file.read() == "TABLE\n", "what is written in the working directory is real"
    with open(cache, encoding="ascii") as file:
        assert file.read() == "STALE\n", "what is written in the home is not"
    desk.verify(good=True)


def test_a_cold_run_added_to_a_warm_one_brings_the_source(desk: Desk) -> None:
    job = compiling(desk)
    desk.write("home/.cache/x/c", "TABLE\n")
    desk.sdee("trace", "-q", "--", *job)
    desk.sdee("trace", "-q", "--append", "--cold", "--", *job)
    desk.sdee("bundle", "-q")
    desk.verify(good=True)


def test_the_home_of_the_user_database_is_cold_as_well_and_software_in_it_is_there(desk: Desk) -> None:
    for name in (".config/tool/settings", ".cache/poetry/venv/bin/run", ".local/share/pipx/a/pyvenv.cfg", "data/x"):
        desk.write(f"home/{name}", "#!/bin/sh\necho $0\n")
    os.chmod(desk.write("home/.tool/bin/run", "#!/bin/sh\necho tool\n"), 0o755)
    desk.env["PATH"] += f":{desk.home}/.cache/poetry/venv/bin"
    out = desk.sdee("trace", "-q", "--cold", "--", "sh", "-c", "cd $HOME && find . -type f | sort").stdout
    assert out.split() == [
        "./.cache/poetry/venv/bin/run",
        "./.local/share/pipx/a/pyvenv.cfg",
        "./.tool/bin/run",
        "./data/x",
    ]


def test_results_in_the_cold_home_are_lost_with_a_word(desk: Desk) -> None:
    done = desk.sdee(
        "trace", "-q", "--cold", "--", "sh", "-c", "echo 1 >$HOME/result; mkdir $HOME/.config; exit 3", status=3
    )
    assert done.stderr == f"sdee: warning: --cold discards what the command wrote into your home: {desk.home}/result\n"
    assert os.listdir(desk.home) == []


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_an_ordinary_user_keeps_name_and_rights() -> None:
    top = tempfile.mkdtemp(prefix="sdee-cold-", dir="/home")
    os.chmod(top, 0o777)
    try:
        desk = Desk(top, user=True)
        desk.write("home/.cache/x", "1\n")
        out = desk.sdee("trace", "-q", "--cold", "--", "sh", "-c", "id -u; ls -A $HOME; pwd; echo 1 >made").stdout
        assert out.split() == ["1001", desk.work]
        assert os.stat(f"{desk.work}/made").st_uid == 1001
    finally:
        shutil.rmtree(top)


def test_a_working_directory_that_is_the_home_stays_and_its_caches_are_covered(desk: Desk) -> None:
    desk.write("home/.cache/x", "1\n")
    desk.write("home/input", "2\n")
    desk.work = desk.home
    out = desk.sdee(
        "trace", "-q", "--cold", "--", "sh", "-c", "ls .cache; cat input; echo 1 >.cache/y; echo 1 >made"
    ).stdout
    assert out == "2\n"
    assert os.listdir(f"{desk.home}/.cache") == ["x"]
    assert os.path.exists(f"{desk.home}/made")


def test_caches_elsewhere_are_covered_where_variables_name_them(tmp_path: Path) -> None:
    home, cache, config = (tmp_path / name for name in ("home", "cache", "config"))
    for path in (home / ".triton/cache", cache / "x", config / "a"):
        path.mkdir(parents=True)
    (home / ".triton/cache/kernel.so").touch(0o755)
    variables = {"NUMBA_CACHE_DIR": f"{cache}", "XDG_CONFIG_HOME": f"{config}", "LIBS": f"{config}/a"}
    steps = plan(f"{home}", [f"{tmp_path}/work"], variables)
    assert steps == (
        Step("cover", f"{home}"),
        Step("cover", f"{cache}"),
        Step("cover", f"{config}"),
        Step("show", f"{config}/a"),
    )


def test_caches_in_what_is_shown_are_covered_and_the_working_directory_never(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for path in (home / "work/cache/job", home / ".tool/bin", home / ".tool/kept"):
        path.mkdir(parents=True)
    (home / ".tool/bin/run").touch(0o755)
    variables = {"XDG_CACHE_HOME": f"{home}/work/cache", "TOOL_CACHE_DIR": f"{home}/.tool/kept"}
    assert plan(f"{home}", [f"{home}/work/cache/job"], variables) == (
        Step("cover", f"{home}"),
        Step("show", f"{home}/work"),
        Step("show", f"{home}/.tool/bin"),
        Step("cover", f"{home}/work/cache"),
        Step("show", f"{home}/work/cache/job"),
    )


def test_hidden_links_lead_to_software_or_are_not_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for path in (home, tmp_path / "conda/envs/a/conda-meta", tmp_path / "cache/x"):
        path.mkdir(parents=True)
    (home / ".conda").symlink_to(tmp_path / "conda")
    (home / ".cache").symlink_to(tmp_path / "cache")
    steps = plan(f"{home}", [], {})
    assert steps == (Step("cover", f"{home}"), Step("link", f"{home}/.conda"), Step("cover", f"{tmp_path}/cache"))


def test_links_and_modes_of_the_home_are_as_before(desk: Desk) -> None:
    desk.write("home/data/x", "1\n")
    os.symlink("data", f"{desk.home}/link")
    os.chmod(desk.home, 0o750)
    out = desk.sdee(
        "trace", "-q", "--cold", "--", "sh", "-c", "cat $HOME/link/x; readlink $HOME/link; stat -c %a $HOME"
    ).stdout
    assert out.split() == ["1", "data", f"{stat.S_IMODE(os.stat(desk.home).st_mode):o}"]
