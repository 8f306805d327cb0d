"""Real programs under both engines and strace: nothing that strace saw succeed is missing, and the engines agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from foreign.jobs import VENV, make_venv
from strace_support import run_strace
from trace_support import ENGINES, fixture_program, fresh, run, scratch

if TYPE_CHECKING:
    from sdee.tracer.tracefile.model import Trace

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)")

PIPELINE = """
for i in $(seq 1 25); do
    head -n 3 /etc/passwd | sed "s/root/user$i/" | awk -F: '{print $1}' | sort > out.$i
done
cat out.* | sort | uniq -c | tail -n 2; rm out.*; test -e nothing || (cd dir && cat inner.txt)
"""
GIT = """
git init -q . && git add data.txt dir && git commit -qm first && echo more >> data.txt && git commit -qam second
git log --oneline | wc -l; git status --short; git gc -q; git show HEAD~1:dir/inner.txt
"""
GO = """cat > p.go <<'END'
package main

import (
    "fmt"
    "os"
    "sync"
)

func main() {
    var all sync.WaitGroup
    for i := 0; i < 8; i++ {
        all.Add(1)
        go func(i int) {
            defer all.Done()
            for j := 0; j < 50; j++ {
                os.ReadFile("data.txt")
                os.Stat(fmt.Sprint("none", i))
            }
        }(i)
    }
    all.Wait()
    fmt.Println("ok")
}
END
CGO_ENABLED=0 go build -o prog p.go
"""
PYTHON_CHILDREN = """
import multiprocessing, subprocess
print(subprocess.run(["cat", "data.txt"]).returncode)
pool = multiprocessing.get_context("fork").Pool(2)
print(pool.map(abs, [-1, 2]))
pool.close()
pool.join()
"""
MAIN = "echo 'int main(){return 7;}' > prog.c"
TAR = "tar czf t.tgz dir link && mkdir x && tar xzf t.tgz -C x && find x -type f | xargs ls | wc -l"


class Program(NamedTuple):
    """A real program. `build`: what is run before, untraced, in the fresh directory."""

    command: tuple[str, ...]
    build: tuple[str, ...] = ()
    needs: str = ""


PYTHON = "/usr/bin/python3"
PERL = (
    "/usr/bin/perl",
    "-MList::Util=sum",
    "-MPOSIX=floor",
    "-e",
    'open F, "data.txt"; print floor(sum 1, 2), <F>',
)
PROGRAMS = {
    "python with C extensions": Program((PYTHON, "-c", "import _ssl, sqlite3, json; sqlite3.connect(':memory:')")),
    "python with numpy": Program((sys.executable, "-c", "import numpy; print(numpy.linalg.inv([[2]]))"), (), "numpy"),
    "python with children": Program((PYTHON, "-c", PYTHON_CHILDREN)),
    "perl with XS modules": Program(PERL),
    "bash pipeline": Program(("/bin/bash", "-c", PIPELINE)),
    "gcc": Program(("/bin/sh", "-c", "gcc -O2 -o prog prog.c -lm && ./prog"), ("/bin/sh", "-c", MAIN)),
    "exec from a thread": Program(("exec_from_thread.c",)),
    "static binary": Program(("static_binary.c",)),
    "static Go binary": Program(("./prog",), ("/bin/sh", "-c", GO), "go"),
    "git": Program(("/bin/sh", "-c", GIT)),
    "tar": Program(("/bin/sh", "-c", TAR)),
}

# Names that differ from run to run: the compiler's, git's and the shell's temporary files, process numbers, times
_VARYING = [
    (re.compile(r"^/proc/(self|thread-self|\d+)(/task/\d+)?"), "/proc/N"),
    (re.compile(r"/cc[A-Za-z0-9]{6}(?=\.|$)"), "/ccXXXXXX"),
    (re.compile(r"(tmp_(?:obj|pack|idx|rev|bitmap|mtimes)_)\w{6}"), r"\1XXXXXX"),
    (re.compile(r"/\.tmp-\d+-pack"), "/.tmp-N-pack"),
    (re.compile(r"/(incoming|tmp_objdir-\w+)-\w{6}"), r"/\1-XXXXXX"),
    (re.compile(r"/(sh-thd)\.\w+"), r"/\1.N"),
    (re.compile(r"/pymp-[a-z0-9_]{8}"), "/pymp-X"),
    (re.compile(r"\.pyc\.\d+$"), ".pyc.N"),
    (re.compile(r"/sem\.(mp-)?\w+$"), "/sem.X"),
    (re.compile(r"/((?:refs|packs)_|t)[A-Za-z0-9]{6}$"), r"/\1XXXXXX"),
]


def steady(path: str) -> str:
    """Return `path` with what varies from run to run replaced."""
    for pattern, replacement in _VARYING:
        path = pattern.sub(replacement, path)
    return path


def environment(home: str) -> dict[str, str]:
    """Return a small environment, the same for every run, in which nothing depends on the time."""
    people = [f"GIT_{role}_{part}" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")]
    who = dict.fromkeys(people, "nobody@example.org")
    when = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "LC_ALL": "C.UTF-8", "TZ": "UTC", **who, **when}


def python_with_numpy() -> str:
    """Return an interpreter that has NumPy: as root the one of the foreign jobs, else one that happens to have it."""
    if os.geteuid() == 0:
        make_venv()
        return os.path.join(VENV, "bin", "python")
    for python in (sys.executable, os.path.join(sys.base_prefix, "bin", "python3"), PYTHON):
        if subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("no interpreter here has NumPy")


def facts(trace: Trace) -> dict[str, tuple[frozenset[str], bool]]:
    """Return path → (what was done to it, whether it existed before), of varying names' union."""
    found: dict[str, tuple[frozenset[str], bool]] = {}
    for path, access in trace.accesses.items():
        ops, existed = found.get(steady(path), (frozenset(), False))
        found[steady(path)] = (ops | access.ops, existed or access.existed)
    return found


def executions(trace: Trace) -> Counter[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return each execution's path, arguments and interpreters, as often as it was."""
    return Counter((made.path, tuple(steady(word) for word in made.argv), made.interpreters) for made in trace.execs)


def statuses(trace: Trace) -> Counter[int]:
    """Return the exit statuses of the processes of which one is known."""
    return Counter(process.status for process in trace.processes if process.status is not None)


def prepared(program: Program, directory: str, environ: dict[str, str]) -> list[str]:
    """Make the fresh directory of a run; return the command."""
    fresh(directory)
    if program.build:
        made = run(list(program.build), directory, env={**os.environ, **environ, "PATH": os.environ["PATH"]})
        assert made.status == 0, made.stderr
    first = program.command[0]
    return [fixture_program(first) if first.endswith(".c") else first, *program.command[1:]]


def known(trace: Trace) -> set[str]:
    """Return every path that the trace holds: as used, without links, and the links on the way."""
    paths = set(trace.accesses)
    for access in trace.accesses.values():
        paths.add(access.real)
        paths.update(link for link, _ in access.hops)
    return {steady(path) for path in paths}


def missing(seen: set[str], trace: Trace) -> list[str]:
    """Return what strace saw succeed and the trace lacks. `..` after a symbolic link is taken where the link leads."""
    holds = known(trace)
    lacking = []
    for path in seen:
        if steady(os.path.normpath(path)) in holds or steady(os.path.realpath(path)) in holds:
            continue
        lacking.append(path)
    return sorted(lacking)


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_engines_see_all_that_strace_sees_and_agree(name: str) -> None:
    program = PROGRAMS[name]
    if program.needs == "numpy":
        program = program._replace(command=(python_with_numpy(), *program.command[1:]))
    elif program.needs and shutil.which(program.needs) is None:
        pytest.skip(f"{program.needs} is not installed")
    base = scratch()
    directory, output, home = (os.path.join(base, part) for part in ("work", "strace", "home"))
    try:
        os.mkdir(output)
        os.mkdir(home)
        environ = environment(home)
        bare = run(prepared(program, directory, environ), directory, env=environ, input=b"")  # also warms .pyc caches
        seen = run_strace(prepared(program, directory, environ), directory, environ, output)
        assert seen.status == bare.status
        assert len(seen.paths) > 1, "strace's output was not understood"
        traces = {}
        for engine in ENGINES:
            traced = run(prepared(program, directory, environ), directory, engine, env=environ, input=b"")
            assert (traced.status, traced.stdout) == (bare.status, bare.stdout), traced.stderr
            trace = traced.trace
            assert trace is not None
            assert not trace.incomplete
            assert not missing(seen.paths, trace), engine
            assert Counter(made.path for made in trace.execs) == seen.executed, engine
            traces[engine] = trace
        agree(traces["unotify"], traces["ptrace"])
    finally:
        shutil.rmtree(base)


def agree(unotify: Trace, ptrace: Trace) -> None:
    """Both engines have the same paths, done and there alike, the same executions and the same exit statuses."""
    one, other = facts(unotify), facts(ptrace)
    assert {path: fact for path, fact in one.items() if other.get(path) != fact} == {}
    assert {path: fact for path, fact in other.items() if one.get(path) != fact} == {}
    assert executions(unotify) == executions(ptrace)
    # unotify learns of an end by its exit_group: not of ends by signals; and of processes only by their calls
    assert statuses(unotify) <= statuses(ptrace)
    assert unotify.runs[0].status == ptrace.runs[0].status


def test_the_bash_pipeline_has_more_than_a_hundred_processes() -> None:
    base = scratch()
    directory = os.path.join(base, "work")
    fresh(directory)
    result = run(list(PROGRAMS["bash pipeline"].command), directory, "ptrace", env=environment(base))
    shutil.rmtree(base)
    assert result.trace is not None
    assert len(result.trace.processes) > 100
    assert all(process.status == 0 for process in result.trace.processes if process.status is not None)


def test_a_path_missing_from_the_trace_is_found() -> None:
    base = scratch()
    directory, output = os.path.join(base, "work"), os.path.join(base, "strace")
    os.mkdir(output)
    environ = environment(base)
    fresh(directory)
    seen = run_strace(["/bin/cat", "dir/../link/leaf.txt"], directory, environ, output).paths
    trace = run(["/bin/cat", "dir/../link/leaf.txt"], directory, "unotify", env=environ).trace
    shutil.rmtree(base)
    assert trace is not None
    assert not missing(seen, trace)
    assert f"{directory}/dir/../link/leaf.txt" in seen
    for access in list(trace.accesses.values()):
        if access.real.endswith("leaf.txt"):
            del trace.accesses[access.path]
    assert missing(seen, trace) == [f"{directory}/dir/../link/leaf.txt"]
