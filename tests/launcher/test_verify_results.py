"""`sdee verify` compares what runs leave: files, listings and standard output, whatever home a node has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from desk import Desk, desk
from launcher_tools import ROOT
from sdee.packer.closure.globs import Globs
from sdee.packer.format.reader import open_bundle
from sdee.packer.inspect.outcome import Expected, Observed, judge
from sdee.packer.inspect.report import lines
from sdee.packer.inspect.verify import option_for
from sdee.packer.model import Item, Reason, Verdict
from sdee.tracer.tracefile.reader import read_traces
from waiting import states_of, wait_for

__all__ = ["desk"]

ONE = ("--root", "closed", "--home", "here")


def different(report: dict[str, Any], home: str = "here", root: str = "closed") -> dict[str, dict[str, Any]]:
    run = next(run for run in report["runs"] if (run["root"], run["home"]) == (root, home))
    return {difference["path"]: difference for difference in run["differences"]}


def test_a_listing_that_came_out_shorter_is_a_difference(desk: Desk) -> None:
    for name in ("bin/tool", "lib/plug/a.conf", "lib/plug/b.conf"):
        desk.write(f"tool/{name}", f"echo {name}\n")
    job = ["sh", "-c", "sh ../tool/bin/tool; for f in ../tool/lib/plug/*; do . $f; done >out"]
    desk.bundle(job)
    desk.verify(*ONE, good=True)
    desk.bundle(job, "--exclude", "*/plug/b.conf")
    report = desk.verify(*ONE, good=False)
    assert report["status"] == report["expected"] == 0, "the job itself saw no fault"
    found = different(report)
    assert found[f"{desk.top}/tool/lib/plug"]["names"] == ["b.conf"]
    assert found[f"{desk.top}/tool/lib/plug"]["kind"] == "listing"
    assert found[f"{desk.work}/out"]["kind"] == "file"


def test_what_the_job_made_or_what_came_later_is_not_missed_in_a_listing(desk: Desk) -> None:
    for name in ("bin/tool", "lib/plug/a.conf"):
        desk.write(f"tool/{name}", "echo\n")
    desk.bundle(["sh", "-c", "sh ../tool/bin/tool; ls ../tool/lib/plug"])
    desk.write("tool/lib/plug/later.conf", "echo later\n")
    desk.verify(*ONE, good=True)


def test_a_file_that_came_out_otherwise_is_a_difference(desk: Desk) -> None:
    words = desk.write("home/.cache/words", "full\n")
    job = ["sh", "-c", "cat $HOME/.cache/words >out 2>/dev/null || echo half >out"]
    desk.bundle(job)
    report = desk.verify("--root", "closed", good=False)
    assert different(report) == {}
    found = different(report, "empty")[f"{desk.work}/out"]
    assert (found["kind"], found["what"]) == ("file", "has other content than when it was traced")
    assert report["in_home"] == [words]
    desk.sdee("verify", "--home", "here")
    text = desk.sdee("verify", "--ignore", "out").stdout
    assert "nothing is missing" in text


def test_a_file_that_was_not_written_is_a_difference(desk: Desk) -> None:
    desk.write("home/.cache/words", "full\n")
    desk.bundle(["sh", "-c", "test -e $HOME/.cache/words && echo 1 >out; mkdir -p d; ln -sf d l"])
    report = desk.verify(good=False)
    assert different(report, "empty")[f"{desk.work}/out"]["what"] == "this run did not write the file"
    assert different(report, "foreign")[f"{desk.work}/out"]["what"] == "this run did not write the file"
    assert len(different(report, "empty")) == 1, "directory and link are there"


def test_output_to_a_file_is_compared_and_a_cache_of_the_home_shows(desk: Desk) -> None:
    cache = desk.write("home/.cache/tool/c", "warm\n")
    job = ["sh", "-c", "cat $HOME/.cache/tool/c 2>/dev/null || echo cold"]
    desk.bundle(job)
    desk.verify(good=True)  # where standard output was a pipe nothing is known of it
    desk.bundle(job, out="printed")
    report = desk.verify(good=False)
    assert different(report) == different(report, root="merged") == {}
    assert set(different(report, "empty")) == set(different(report, "foreign")) == {"stdout"}
    assert report["in_home"] == [cache]
    text = desk.sdee("verify", status=1).stdout
    assert "stdout" in text
    assert "sdee trace --cold" in text
    desk.verify("--ignore", "stdout", good=True)


def test_what_differs_in_each_run_is_said_and_not_held_against_the_bundle(desk: Desk) -> None:
    desk.bundle(["sh", "-c", "date +%N; date +%N >time; echo >name-$(date +%N)"], out="printed")
    report = desk.verify(good=True)
    assert "stdout" in report["varies"]
    assert f"{desk.work}/time" in report["varies"]
    assert len(report["varies"]) == 3


def test_results_in_a_home_are_compared_wherever_it_is(desk: Desk) -> None:
    desk.bundle(
        ["sh", "-c", "echo 1 >$HOME/result && cat $HOME/result && mkdir -p ~/.cache/x && echo $$ >~/.cache/x/y"]
    )
    report = desk.verify(good=True)
    assert {(run["root"], run["home"]) for run in report["runs"]} == {
        ("closed", "here"),
        ("closed", "foreign"),
        ("merged", "here"),
    }
    assert os.listdir(desk.home) == [".cache", "result"]


def test_a_home_of_the_user_database_is_foreign_too(desk: Desk) -> None:
    desk.bundle([sys.executable, "-c", "import pwd, os; open('h', 'w').write(pwd.getpwuid(os.getuid()).pw_dir)"])
    report = desk.verify("--root", "closed", good=False)
    assert "has" in different(report, "foreign")[f"{desk.work}/h"]["what"]


def test_an_option_is_named_only_where_it_helps(desk: Desk) -> None:
    desk.write("home/data/a", "1\n")
    os.mkfifo(f"{desk.home}/pipe")
    desk.bundle(["sh", "-c", "test -p $HOME/pipe && ls $HOME/data"], out="printed")
    report = desk.verify("--home", "empty", good=False)
    options = {m["path"]: m["option"] for m in report["missing"]}
    assert options[f"{desk.home}/pipe"] == "", "no option carries a pipe"
    assert "sdee bundle \n" not in desk.sdee("verify", status=1).stdout
    os.unlink(f"{desk.home}/pipe")
    desk.bundle(["sh", "-c", "ls $HOME/data"], out="printed")
    report = desk.verify("--home", "empty", good=False)
    options = {m["path"]: m["option"] for m in report["missing"]}
    assert options == {f"{desk.home}/data": f"--include {desk.home}/data"}, "--with-data carries no directory"
    desk.bundle(["sh", "-c", "ls $HOME/data"], *options[f"{desk.home}/data"].split(), out="printed")
    desk.verify("--home", "here", "--home", "empty", good=True)
    report = desk.verify("--home", "foreign", good=False)
    assert report["missing"][0]["option"] == "", "what travels lies where it lay here, not in the home of that node"


def test_no_option_carries_what_the_kernel_makes_or_what_leads_nowhere(desk: Desk) -> None:
    os.symlink("nowhere", f"{desk.work}/link")
    file = desk.write("work/a b", "1\n")
    assert (
        option_for("/proc/self/status", None) == option_for("/sys/kernel", None) == option_for("/dev/null", None) == ""
    )
    assert option_for(f"{desk.work}/link", None) == option_for(f"{desk.work}/none", None) == ""
    assert option_for(file, None) == f"--include '{file}'"
    shared, secret = (Item(file, verdict, ()) for verdict in (Verdict.SHARED, Verdict.SECRET))
    assert option_for(file, shared) == "--with-data"
    assert option_for(file, secret) == f"--allow '{file}'"
    left_out = Item(file, Verdict.SHARED, (Reason("is left out by --exclude"),))
    assert option_for(file, left_out) == f"--include '{file}'", (
        "--with-data does not bring back what --exclude leaves out"
    )


def test_the_same_trace_gives_the_same_bundle_with_its_results(desk: Desk) -> None:
    desk.bundle(["sh", "-c", "date +%N | tee out"], out="printed")
    os.rename(f"{desk.work}/bundle.sdee", f"{desk.work}/first")
    desk.sdee("bundle", "-q")
    with open(f"{desk.work}/first", "rb") as one, open(f"{desk.work}/bundle.sdee", "rb") as two:
        assert one.read() == two.read()


def test_a_log_that_is_continued_and_temporary_files_are_not_compared(desk: Desk) -> None:
    desk.write("work/log", "before\n")
    desk.bundle(["sh", "-c", f"echo more >>log; echo $$ >/tmp/{os.path.basename(desk.top)}; echo 1 >out"])
    os.unlink(f"/tmp/{os.path.basename(desk.top)}")
    desk.verify(good=True)


def test_each_run_reads_the_same_input(desk: Desk) -> None:
    with open(desk.write("work/in", "1\n2\n"), encoding="ascii") as file:
        desk.stdin = file
        desk.bundle(["sh", "-c", "cat >out; echo done"], out="printed")
        file.seek(0)
        desk.verify("--compare", good=True)


def test_ctrl_c_ends_all_runs(desk: Desk) -> None:
    desk.bundle(["sh", "-c", 'test -n "$SLOW" && { sleep 6543; }; true'])
    desk.env["SLOW"] = "1"
    command = [sys.executable, "-m", "sdee", "verify"]
    with subprocess.Popen(
        command, cwd=desk.work, env=desk.env, stderr=subprocess.PIPE, start_new_session=True
    ) as begun:
        wait_for(lambda: states_of("sleep 6543") == ["S"], "the job does not begin")
        os.killpg(begun.pid, signal.SIGINT)
        assert begun.wait(timeout=60) == -signal.SIGINT
    wait_for(lambda: states_of("sleep 6543") == [], "the job goes on")


def test_a_root_that_cannot_be_made_is_said_and_no_failure(desk: Desk) -> None:
    desk.bundle(["true"])
    with open_bundle(f"{desk.work}/bundle.sdee") as bundle:
        trace = read_traces([f"{desk.work}/sdee.trace"])
        made = Observed("closed", "here", "", 0, "", trace, {}, None)
        refused = Observed("merged", "here", "", None, "overlayfs is refused", trace, {}, None)
        expected = Expected(0, None, {})
        report = judge(bundle, [made, refused], expected, Globs(()))
        assert report.passed
        assert "merged  here     not tried: overlayfs is refused" in lines(report)
        assert not judge(bundle, [refused], expected, Globs(())).passed, "nothing was tried"


def test_an_input_that_changed_since_is_named_where_results_differ(desk: Desk) -> None:
    desk.write("work/in", "1\n")
    desk.bundle(["sh", "-c", "cat in >out"])
    assert "changed" not in desk.sdee("verify", *ONE).stdout
    path = desk.write("work/in", "two\n")
    report = desk.verify(*ONE, good=False)
    assert report["changed"] == [path]
    assert different(report)[f"{desk.work}/out"]["what"] == "has 4 bytes, and had 2 when it was traced"
    assert "so that its results may differ: in" in desk.sdee("verify", *ONE, status=1).stdout


def test_what_no_node_keeps_is_said(desk: Desk) -> None:
    if not ROOT:
        pytest.skip("needs root to write there")
    path = f"/opt/{os.path.basename(desk.top)}"
    try:
        desk.bundle(["sh", "-c", f"mkdir -p {path}; echo 1 >{path}/result"])
    finally:
        shutil.rmtree(path)
    assert "gone when the job ends" in desk.sdee("verify", *ONE).stdout


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_an_ordinary_user_sees_the_same() -> None:
    top = tempfile.mkdtemp(prefix="sdee-verify-", dir="/home")
    os.chmod(top, 0o777)
    try:
        desk = Desk(top, user=True)
        desk.write("home/.cache/words", "full\n")
        desk.bundle(["sh", "-c", "cat $HOME/.cache/words >out 2>/dev/null || echo half >out"], out="printed")
        report = desk.verify(good=False)
        assert [run["good"] for run in report["runs"]] == [True, False, False, True]
    finally:
        shutil.rmtree(top)


def test_compare_runs_the_job_here_without_effect_and_compares_its_output(desk: Desk) -> None:
    cache = desk.write("home/.cache/tool/c", "warm\n")
    desk.bundle(["sh", "-c", 'eval "$1"', "sh", "cat $HOME/.cache/tool/c 2>/dev/null || echo cold"])
    report = desk.verify("--compare", "--root", "closed", good=False)
    assert different(report) == {}
    assert different(report, "empty")["stdout"]["what"] == "has other content than here"
    assert report["in_home"] == [cache]
    other = "ls; cat log; echo more >>log; echo 1 >new; rm -r $HOME/.cache; exit 3"
    desk.write("work/log", "before\n")
    before = sorted(os.listdir(desk.work))
    text = desk.sdee("verify", "--compare", *ONE, "bundle.sdee", "--", other, status=1).stdout
    assert "closed  here     3       as here, 2 paths missing, 1 difference" in text, "ls and rm, and what ls prints"
    assert sorted(os.listdir(desk.work)) == before
    assert os.path.exists(cache)
    with open(f"{desk.work}/log", encoding="ascii") as file:
        assert file.read() == "before\n"


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_an_ordinary_user_can_compare() -> None:
    top = tempfile.mkdtemp(prefix="sdee-verify-", dir="/home")
    os.chmod(top, 0o777)
    try:
        desk = Desk(top, user=True)
        desk.bundle(["sh", "-c", "cat in 2>/dev/null; echo 1 >>in; echo done"])
        os.unlink(f"{desk.work}/in")
        desk.verify("--compare", good=True)
        assert sorted(os.listdir(desk.work)) == ["bundle.sdee", "sdee.trace"]
    finally:
        shutil.rmtree(top)
