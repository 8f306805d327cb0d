"""`sdee exec --diagnose`: a job that fails on a node, and the files that it failed to find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, REPO, ROOT, ROOTS, USERS, built, late_text_of, open_directory, put, run, script

if TYPE_CHECKING:
    from collections.abc import Iterator

SDEE = [sys.executable, "-m", "sdee"]
HINT = "sdee:   hint: where this command works, run `sdee trace --append -- COMMAND`, then `sdee bundle`\n"
needs_python = pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="needs the system's Python")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_a_missing_file_its_program_and_the_option_are_named(work: str, root: str, uid: int) -> None:
    bundle = script("cat /opt/no-such/table.csv", programs=("cat",)).write(f"{work}/b.sdee")
    result = run([bundle], uid=uid, ROOT=root, DIAGNOSE="1")
    assert (result.stdout, result.returncode) == ("", 1)
    cat = os.path.realpath("/bin/cat")
    assert "sdee: diagnosis: the job ended with status 1. Missing here, though not in the traced run" in result.stderr
    wanted = f"  /opt/no-such/table.csv, wanted by {cat}: `sdee bundle --include /opt/no-such/table.csv` packs it\n"
    assert result.stderr.endswith(wanted + HINT)
    assert "diagnosis" not in run([bundle], uid=uid, ROOT=root).stderr


def test_a_job_that_succeeds_needs_no_explanation(work: str) -> None:
    bundle = script("test -e /opt/no-such; echo out").write(f"{work}/b.sdee")
    result = run([bundle], DIAGNOSE="1")
    assert (result.stdout, result.returncode) == ("out\n", 0)
    assert result.stderr == "sdee: diagnosis: the job ended with status 0, nothing to explain\n"


def test_what_the_job_looked_for_in_a_directory_that_it_made_and_removed_is_no_cause(work: str) -> None:
    """R's own temporary files, say. A directory that was never there is one."""
    text = f"mkdir {work}/own; test -e {work}/own/scratch; test -e {work}/none/file; rmdir {work}/own; exit 3"
    bundle = script(text, programs=("mkdir", "rmdir"), live=[work]).write(f"{work}/b.sdee")
    said = run([bundle], DIAGNOSE="1").stderr
    assert f"  {work}/none/file, wanted by" in said
    assert "scratch" not in said


def test_what_the_traced_run_missed_too_is_no_news(work: str) -> None:
    text = "test -e /opt/known/file; test -e /srv/known; exit 3"
    bundle = script(text, absent=["/opt/known", "/etc/ld.so.preload"], looked_for=["/srv/known"]).write(
        f"{work}/b.sdee"
    )
    result = run([bundle], DIAGNOSE="1")
    assert result.returncode == 3
    assert "every file it failed to find was also missing in the traced run" in result.stderr


def test_input_on_shared_storage_is_carried_by_with_data(work: str) -> None:
    bundle = script(f"cat {work}/gone", programs=("cat",), shared=f"{work}/gone", live=[work]).write(f"{work}/b.sdee")
    result = run([bundle], DIAGNOSE="1", QUIET="1")
    assert "input left on shared storage; `sdee bundle --with-data` packs it" in result.stderr
    other = run([bundle], DIAGNOSE="1", QUIET="1", COMMAND="sh", ENV="")
    assert other.returncode == 0


def test_a_program_that_no_directory_of_path_has_is_named_once(work: str) -> None:
    bundle = script("no-such-program").write(f"{work}/b.sdee")
    result = run([bundle], DIAGNOSE="1")
    assert result.returncode == 127
    assert "  no-such-program, wanted by " in result.stderr
    assert result.stderr.count("no-such-program, wanted by") == 1
    assert "places, /usr/local/bin/no-such-program first: `sdee bundle --include PATH`" in result.stderr


def test_a_script_whose_interpreter_is_missing_is_explained(work: str) -> None:
    path = put(f"{work}/job.py", "#!/opt/no-such/python\n", 0o755)
    bundle = script(path, live=[work]).write(f"{work}/b.sdee")
    result = run([bundle], DIAGNOSE="1")
    assert result.returncode in (126, 127)
    assert f"  /opt/no-such/python, wanted by {path}: `sdee bundle --include /opt/no-such/python`" in result.stderr


def loading(work: str) -> str:
    """Build a program that finds a library in the second directory of its search path; return its path."""
    source = put(f"{work}/mine.c", "int mine(void) { return 3; }\n")
    os.mkdir(f"{work}/first")
    os.mkdir(f"{work}/second")
    library = f"{work}/second/libmine.so.1"
    shared = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libmine.so.1", "-o", library, source]
    subprocess.run(shared, check=True)
    search = f"-Wl,-rpath,{work}/first:{work}/second"
    loads = os.path.join(REPO, "fixtures", "launcher", "loads.c")
    subprocess.run(["gcc", "-o", f"{work}/loads", loads, library, search], check=True)
    return f"{work}/loads"


@pytest.mark.parametrize("root", ROOTS)
def test_what_the_loader_asks_for_on_its_way_is_no_cause(work: str, root: str) -> None:
    program = loading(work)
    bundle = script(f"LD_LIBRARY_PATH=/opt/no-such/lib {program}; exit 3", live=[work]).write(f"{work}/b.sdee")
    result = run([bundle], ROOT=root, DIAGNOSE="1")
    assert result.returncode == 3
    assert "every file it failed to find was also missing in the traced run" in result.stderr
    assert "wanted by" not in result.stderr


@pytest.mark.parametrize("root", ROOTS)
def test_beside_the_loaders_own_probes_causes_are_named(work: str, root: str) -> None:
    program = loading(work)
    text = f"{program} libnone.so.5 /opt/no-such/table; exit 3"
    lines = run([script(text, live=[work]).write(f"{work}/b.sdee")], ROOT=root, DIAGNOSE="1").stderr.splitlines()
    named = [line.split(",")[0] for line in lines if "wanted by" in line]
    assert named == ["sdee:   libnone.so.5", "sdee:   /opt/no-such/table"]
    assert f"wanted by {program}" in lines[-2]


@needs_python
def test_a_directory_that_was_missing_as_a_whole_is_named(work: str) -> None:
    """Also where the traced run had looked in vain for something in it."""
    code = "import os; os.path.exists('/opt/set/extra'); os.listdir('/opt/set')"
    maker = script(f'/usr/bin/python3 -c "{code}" 2>/dev/null; exit 3', absent=["/opt/set/extra"])
    result = run([maker.write(f"{work}/b.sdee")], ROOT="merged", DIAGNOSE="1")
    assert "  /opt/set, wanted by /usr/bin/python3" in result.stderr


@needs_python
@pytest.mark.parametrize(
    "command",
    [
        "PATH=/opt/no-such/bin:/opt/no-such:/usr/bin env true",
        "PATH=/opt/no-such/bin:/usr/bin; true; cat /dev/null",
        "PYTHONPATH=/opt/no-such/lib /usr/bin/python3 -c 'import json, csv'",
        "PYTHONPATH=/opt/no-such/lib /usr/bin/python3 -c 'import json.tool'",
        "perl -e 'use POSIX; use Carp'",
    ],
)
def test_a_search_that_succeeds_names_nothing_of_its_way(work: str, command: str) -> None:
    bundle = script(f"{command}; exit 3").write(f"{work}/b.sdee")
    result = run([bundle], ROOT="merged", DIAGNOSE="1")
    assert result.returncode == 3
    wanted = [line.split(",")[0] for line in result.stderr.splitlines() if "wanted by" in line]
    assert not [path for path in wanted if any(word in path for word in ("no-such", "__init__", ".pm"))]


def test_what_is_found_in_the_end_or_made_is_not_named(work: str) -> None:
    """A search through directories misses nothing when it succeeds; a file that is to be created is not missed."""
    text = f"echo x >{work}/made; cat {work}/made; test -e {work}/later; echo y >{work}/later; exit 9"
    bundle = script(text, programs=("cat",), live=[work]).write(f"{work}/b.sdee")
    result = run([bundle], DIAGNOSE="1", ROOT="closed")
    assert (result.stdout, result.returncode) == ("x\n", 9)
    for name in ("made", "later", "/cat", "libc.so"):
        assert f"{name}, wanted by" not in result.stderr, name


@pytest.mark.skipif(not ROOT, reason="traces as root what traces itself")
def test_under_another_tracer_the_job_runs_undiagnosed(work: str) -> None:
    bundle = script("cat /opt/no-such/table.csv", programs=("cat",)).write(f"{work}/b.sdee")
    trace = [*SDEE, "trace", "--engine", "unotify", "-q", "-o", f"{work}/t", "--", bundle]
    result = run(trace, env=dict(os.environ), DIAGNOSE="1")
    assert result.returncode == 1
    assert "another tracer or container listens already" in result.stderr


def test_processes_that_outlive_the_job_go_on(work: str) -> None:
    text = f"(sleep 1; cat {work}/in >{work}/out) </dev/null >/dev/null 2>&1 & exit 4"
    put(f"{work}/in", "late\n")
    bundle = script(text, programs=("cat", "sleep"), live=[work]).write(f"{work}/b.sdee")
    assert run([bundle], DIAGNOSE="1").returncode == 4
    assert late_text_of(f"{work}/out") == "late\n"


def test_when_the_launcher_is_killed_the_others_go_on(work: str) -> None:
    text = f"setsid sh -c 'sleep 1; cat {work}/in >{work}/out' </dev/null >/dev/null 2>&1 & echo ready; read line"
    put(f"{work}/in", "late\n")
    bundle = script(text, programs=("cat", "sleep", "setsid"), live=[work]).write(f"{work}/b.sdee")
    env = PLAIN | {"SDEE_DIAGNOSE": "1"}
    with subprocess.Popen([bundle], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        time.sleep(0.2)
        job.kill()
    assert late_text_of(f"{work}/out") == "late\n"


def test_a_fifo_that_is_executed_does_not_stop_the_watch(work: str) -> None:
    os.mkfifo(f"{work}/fifo", 0o755)
    bundle = script(f"{work}/fifo; exit 6", live=[work]).write(f"{work}/b.sdee")
    assert run([bundle], DIAGNOSE="1").returncode == 6


def test_the_named_option_mends_a_real_bundle(work: str) -> None:
    """Traced with one input, run with another that needs a further file of the software."""
    job = put(f"{work}/job.sh", f"#!/bin/sh\ncat {work}/lib/$1.dat\n", 0o755)
    software = "/opt/sdee-test-diagnose" if ROOT else f"{work}/opt"
    os.makedirs(software, exist_ok=True)
    try:
        for name in ("a", "b"):
            put(f"{software}/{name}.dat", f"{name}\n")
        put(job, f"#!/bin/sh\ncat {software}/$1.dat\n", 0o755)
        subprocess.run([*SDEE, "trace", "-q", "-o", f"{work}/t", "--", job, "a"], check=True, cwd=work)
        make = [*SDEE, "bundle", "-q", "--minimal", f"{work}/t", "-o", f"{work}/b.sdee"]
        subprocess.run(make, check=True, cwd=work)
        shutil.move(f"{software}/b.dat", f"{work}/b.dat")  # the node does not have it
        result = run([f"{work}/b.sdee", "b"], DIAGNOSE="1", ROOT="closed")
        assert f"{software}/b.dat, wanted by {os.path.realpath('/bin/cat')}" in result.stderr
        shutil.move(f"{work}/b.dat", f"{software}/b.dat")
        subprocess.run([*make, "--include", f"{software}/b.dat"], check=True, cwd=work)
        os.unlink(f"{software}/b.dat")
        assert run([f"{work}/b.sdee", "b"], DIAGNOSE="1", ROOT="closed").stdout == "b\n"
    finally:
        subprocess.run(["rm", "-rf", software], check=True)


def test_the_option_is_known_to_the_command_too(work: str) -> None:
    bundle = script("exit 5").write(f"{work}/b.sdee")
    result = run([built("sdee-launcher"), "--diagnose", bundle])
    assert (result.returncode, "diagnosis: the job ended with status 5" in result.stderr) == (5, True)


@pytest.mark.parametrize(("option", "told"), [("", True), ("SDEE_QUIET", False), ("SDEE_DIAGNOSE", False)])
def test_at_a_terminal_a_job_that_failed_is_followed_by_where_to_look(work: str, option: str, *, told: bool) -> None:
    bundle = script("exit ${1:-0}").write(f"{work}/b.sdee")
    hint = f"the job ended with status 3; if it lacked a file, this names it: SDEE_DIAGNOSE=1 {bundle}"
    for status, said in (("3", told), ("0", False), ("143", False)):
        ours, theirs = os.openpty()
        env = PLAIN | ({option: "1"} if option else {})
        done = subprocess.run([bundle, "-c", f"exit {status}"], env=env, stderr=theirs, check=False)
        os.close(theirs)
        text = read_all(ours)
        assert done.returncode == int(status), text
        assert (hint in text) == said, text
    assert hint not in run([bundle, "-c", "exit 3"], env=env).stderr, "no terminal"


def test_an_option_of_sdees_after_the_bundle_is_told_where_it_belongs(work: str) -> None:
    bundle = script("exit 3").write(f"{work}/b.sdee")
    for words, told in ((["--diagnose"], True), (["--other"], False), (["x", "--diagnose"], False)):
        ours, theirs = os.openpty()
        subprocess.run([built("sdee-launcher"), bundle, *words], env=PLAIN, stderr=theirs, check=False)
        os.close(theirs)
        said = f"the job got --diagnose; options of sdee stand before the bundle: sdee exec --diagnose {bundle}"
        assert (said in read_all(ours)) == told, words


def read_all(terminal: int) -> str:
    """Return what is in a terminal whose other end is closed: reading ends with EIO (tty(4))."""
    found = b""
    try:
        while data := os.read(terminal, 4096):
            found += data
    except OSError:
        pass
    os.close(terminal)
    return found.decode()
