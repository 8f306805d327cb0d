"""The recorder: what a path means, and what is recorded for each kind of call, on real programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdee.tracer import saved, session
from sdee.tracer.engine import choose, memory
from sdee.tracer.programs import read_program
from sdee.tracer.resolve import Resolver
from sdee.tracer.tracefile.reader import read_traces

if TYPE_CHECKING:
    from sdee.tracer.tracefile.model import Trace

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(tmp_path)


def traced(*command: str, status: int = 0) -> Trace:
    """Run a command under the engine in this process and read its trace."""
    plan = session.plan(command, "t", append=False)
    result = session.run(plan, choose.load("unotify"), print)
    assert result.status == status
    trace = read_traces(["t"])
    assert trace.runs[0].status == status
    return trace


def sh(script: str, status: int = 0) -> Trace:
    return traced("sh", "-c", script, status=status)


def of_launcher(launcher: str) -> set[str]:
    """Trace a script that reads a file, runs a job that reads another in a child, and reads a third; give the names."""
    plan = session.plan(("env", "./launch"), "t", append=False)._replace(launcher=launcher)
    assert session.run(plan, choose.load("unotify"), print).status == 0
    trace = read_traces(["t"])
    return {os.path.basename(path) for path in trace.accesses if path.endswith(".txt")}


@pytest.mark.own_process
def test_of_a_launcher_only_the_job_is_recorded(here: str) -> None:
    for name in ("before.txt", "job.txt", "childs.txt", "after.txt"):
        write(name, "")
    write("job", "#!/bin/sh\n: <job.txt\n(: <childs.txt)\n", 0o755)
    # the launcher looked at what the job reads: to the job it is as new as anything
    write("launch", "#!/bin/sh\n: <before.txt; : <job.txt; ./job; : <after.txt\n", 0o755)
    assert of_launcher(f"{here}/launch") == {"job.txt", "childs.txt"}
    assert of_launcher("") == {"before.txt", "job.txt", "childs.txt", "after.txt"}


def write(path: str, text: str, mode: int = 0o644) -> None:
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def test_a_parent_after_a_link_is_the_parent_of_what_the_link_means(here: str) -> None:
    os.makedirs("real/deep")
    write("real/file", "")
    os.symlink("real/deep", "link")
    found = Resolver().resolve(f"{here}/link/../file", 1)
    assert found.path == f"{here}/real/file"
    assert found.hops == ((f"{here}/link", "real/deep"),)
    assert found.kind == "file"


def test_links_are_followed_through_links_and_each_is_named(here: str) -> None:
    os.makedirs("a/b")
    write("a/b/file", "")
    os.symlink("a", "one")
    os.symlink("../one/b/file", "a/two")
    found = Resolver().resolve(f"{here}//one/./two", 1)
    assert found.path == f"{here}/one/two"
    assert found.real == f"{here}/a/b/file"
    assert found.hops == ((f"{here}/one", "a"), (f"{here}/a/two", "../one/b/file"), (f"{here}/one", "a"))


def test_dangling_circular_and_missing_paths_do_not_exist(here: str) -> None:
    os.symlink("nothing", "dangling")
    os.symlink("loop", "loop")
    resolver = Resolver()
    assert resolver.resolve(f"{here}/dangling", 1).status is None
    assert resolver.resolve(f"{here}/dangling", 1).real == f"{here}/nothing"
    assert resolver.resolve(f"{here}/dangling", 1, follow=False).kind == "link"
    assert resolver.resolve(f"{here}/loop", 1).kind in (None, "link")
    assert resolver.resolve(f"{here}/no/such/file", 1).status is None


def test_proc_self_is_the_tracee(here: str) -> None:  # noqa: ARG001
    found = Resolver().resolve("/proc/self/status", 1)
    assert found.real == "/proc/1/status"
    assert ("/proc/self", "1") in found.hops


def test_memory_is_read_up_to_the_last_mapped_byte(here: str) -> None:
    program = f"{here}/calls"
    subprocess.run(["gcc", "-pthread", "-o", program, f"{FIXTURES}/calls/calls.c"], check=True)
    write("data", "")
    write("data2", "")
    trace = traced(program, "page-end", f"{here}/data")
    assert trace.accesses[f"{here}/data"].ops == {"read"}
    assert trace.accesses[f"{here}/data2"].ops == {"read"}


def test_memory_that_is_not_there_is_efault() -> None:
    with pytest.raises(OSError, match="Bad address"):
        memory.read_cstring(os.getpid(), 8)
    with pytest.raises(OSError, match="No such process"):
        memory.read(2**22 + 5, 8, 8)


def test_reading_probing_listing_and_changing_directory_are_told_apart(here: str) -> None:
    os.mkdir("dir")
    write("dir/file", "text")
    trace = sh("cd dir; test -e ../missing; cat file; ls . >/dev/null; test -x file", status=1)
    assert {"chdir", "list"} <= trace.accesses[f"{here}/dir"].ops
    assert trace.accesses[f"{here}/dir/file"].ops == {"read", "probe"}
    missing = trace.accesses[f"{here}/missing"]
    assert (missing.ops, missing.existed, missing.kind) == ({"probe"}, False, None)
    assert trace.accesses[f"{here}/dir"].order < trace.accesses[f"{here}/dir/file"].order


def test_what_the_job_makes_did_not_exist_and_is_not_saved(here: str) -> None:
    trace = sh(
        "mkdir new; echo text >new/file; echo more >>new/file; cat new/file >/dev/null; mv new/file new/moved; "
        "rm -r new"
    )
    made = trace.accesses[f"{here}/new/file"]
    assert not made.existed
    assert {"create", "read", "remove"} <= made.ops
    assert "rename" in trace.accesses[f"{here}/new/moved"].ops
    assert "create" in trace.accesses[f"{here}/new"].ops
    assert trace.saved == {}


@pytest.mark.parametrize(
    "change", ["echo new >data", "echo new >>data", "mv other data", "rm data", "truncate -s 0 data"]
)
def test_a_file_is_saved_before_the_job_changes_it(here: str, change: str) -> None:
    write("data", "before\n", 0o640)
    write("other", "other\n")
    trace = sh(f"cat data; {change}")
    saved = trace.saved[f"{here}/data"]
    assert saved.copy
    with open(saved.copy) as file:
        assert file.read() == "before\n"
    assert (saved.size, saved.mode & 0o777) == (7, 0o640)
    assert trace.accesses[f"{here}/data"].existed


@pytest.mark.parametrize(
    ("command", "replaced"),
    [
        ("sort other >data; cat data", True),
        ("rm data; cp other data; cat data", True),
        ("mv other data; cat data", True),
        ("cat data; sort other >data; cat data", False),
        ("cat other >>data; cat data", False),
        ("truncate -s 3 data; cat data", False),
    ],
)
def test_what_was_replaced_before_it_was_read_is_no_input(here: str, command: str, *, replaced: bool) -> None:
    write("data", "before\n")
    write("other", "other\n")
    access = sh(f"{{ {command}; }} >/dev/null").accesses[f"{here}/data"]
    assert "read" in access.ops
    assert (access.existed, access.replaced) == (True, replaced)


def test_what_is_replaced_unread_is_not_saved_and_takes_no_space(here: str) -> None:
    for name in ("one", "two", "three"):
        write(name, "before\n")
    trace = sh("rm one; echo new >two; mv -n two three; echo more >>two; cat two three")
    assert trace.saved == {}
    assert trace.accesses[f"{here}/three"].ops == {"probe", "read"}
    assert not trace.accesses[f"{here}/three"].replaced


def test_copies_leave_the_job_its_disk_space(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "SUM_LIMIT", 10)
    for name in ("one", "two"):
        write(name, "seven b\n")
    trace = sh("cat one two; echo x >>one; echo x >>two")
    assert trace.saved[f"{here}/one"].copy
    assert (trace.saved[f"{here}/two"].copy, trace.saved[f"{here}/two"].why) == (
        None,
        "copies would take disk space that the job needs",
    )


def test_proc_self_cwd_is_another_directory_for_each_process(here: str) -> None:
    for name in ("one", "two"):
        os.mkdir(name)
        write(f"{name}/f", name)
    trace = sh("cd one; cat /proc/self/cwd/f; cd ../two; cat /proc/self/cwd/f")
    reals = {access.real for access in trace.accesses.values()}
    assert {f"{here}/one/f", f"{here}/two/f"} <= reals


def test_a_link_that_changes_while_others_look_is_followed_to_where_it_leads(here: str) -> None:
    for number in range(40):
        os.mkdir(f"v{number}")
        write(f"v{number}/f", "x")
        write(f"v{number}/h{number}", "x")
    os.symlink("v0", "cur")
    changer = (
        "import os\nfor i in range(40):\n os.symlink(f'v{i}', 'new'); os.rename('new', 'cur'); open(f'cur/h{i}')\n"
    )
    looker = "import os\nwhile not os.path.exists('done'): os.stat('cur/f')\n"
    write("change.py", changer + "open('done', 'w')\n")
    write("look.py", looker)
    trace = sh("/usr/bin/python3 look.py & /usr/bin/python3 look.py & /usr/bin/python3 change.py; wait")
    wrong = [path for path, access in trace.accesses.items() if "/cur/h" in path and not access.existed]
    assert not wrong
    assert {f"{here}/v{number}/h{number}" for number in range(40)} <= {a.real for a in trace.accesses.values()}


def test_a_link_that_leads_through_itself_ends_as_in_the_kernel(here: str) -> None:
    os.symlink("a/../a", "a")
    os.symlink("b", "c")
    for name in ("a", "a/x", "a/../a"):
        assert Resolver().resolve(f"{here}/{name}", os.getpid()).status is None
    assert sh("cat a", status=1).accesses[f"{here}/a"].existed is False


def test_a_file_that_is_only_read_is_not_saved(here: str) -> None:
    write("data", "before\n")
    assert sh("cat data").saved == {}
    assert not os.path.exists(f"{here}/t.saved")


def test_a_link_that_the_job_moves_is_resolved_anew(here: str) -> None:
    for name in ("one", "two"):
        os.mkdir(name)
        write(f"{name}/file", name)
    os.symlink("one", "now")
    trace = sh("cat now/file; ln -s two next; mv -T next now; cat now/file; ls now/")
    assert trace.accesses[f"{here}/now/file"].hops == ((f"{here}/now", "one"),)
    assert trace.accesses[f"{here}/now"].ops >= {"rename"}
    with open("t") as lines:
        assert f'"real":"{here}/two"' in lines.read()


def test_the_interpreters_of_a_script_are_recorded_to_the_last(here: str) -> None:
    write("outer", "#!./inner with arguments\n", 0o755)
    write("inner", "#! /bin/sh\necho ran\n", 0o755)
    trace = traced("./outer", "x")
    program = trace.execs[0]
    assert program.path == f"{here}/outer"
    assert program.argv == ("./outer", "x")
    assert program.interpreters[:2] == (f"{here}/inner", "/bin/sh")
    assert "ld-linux" in program.interpreters[2]
    assert all("exec" in trace.accesses[path].ops for path in (program.path, *program.interpreters))


def test_env_finds_the_interpreter_through_its_own_exec(here: str) -> None:
    write("script", f"#!/usr/bin/env {os.path.basename(sys.executable)}\nprint('ran')\n", 0o755)
    programs = traced("./script").execs
    assert programs[0].interpreters[0] == "/usr/bin/env"
    assert programs[-1].argv[-1] == "./script"
    assert os.path.basename(programs[-1].path) == os.path.basename(sys.executable)
    assert here in programs[0].path


def test_the_library_path_is_that_of_the_new_program(here: str) -> None:  # noqa: ARG001
    trace = sh("LD_LIBRARY_PATH=/one:/two /bin/true; env -i /bin/true")
    assert [program.libpath for program in trace.execs if program.argv[0] == "/bin/true"] == ["/one:/two", None]


def test_long_arguments_and_odd_bytes_are_recorded_whole(here: str) -> None:  # noqa: ARG001
    long = "x" * 100_000
    odd = os.fsdecode(b"\xff\xfe\n\"'")
    assert traced("/bin/true", long, "", odd).execs[0].argv == ("/bin/true", long, "", odd)


def test_a_static_program_has_no_interpreter_and_a_damaged_one_is_survived(here: str) -> None:  # noqa: ARG001
    write("broken", "")
    with open("broken", "wb") as file:
        file.write(b"\x7fELF\x02\x01\x01" + b"\xff" * 60)
    assert read_program("broken", os.stat("broken")).interpreter is None
    linked = read_program("/bin/true", os.stat("/bin/true")).interpreter
    assert linked
    assert linked.startswith("/lib")


def test_a_program_that_would_raise_privilege_is_marked(here: str) -> None:  # noqa: ARG001
    write("plain", "")
    assert not read_program("plain", os.stat("plain")).setid
    os.chmod("plain", 0o4755)
    assert read_program("plain", os.stat("plain")).setid


def test_processes_form_a_tree_with_their_exit_statuses(here: str) -> None:  # noqa: ARG001
    trace = sh("(exit 5); sh -c 'exit 6'; exit 7", status=7)
    first = trace.processes[0]
    assert first.ppid == os.getpid()
    assert first.status == 7
    assert sorted(process.status or 0 for process in trace.processes) == [5, 6, 7] or len(trace.processes) == 2
    assert all(process.ppid == first.pid for process in trace.processes[1:])


def test_unix_sockets_connected_to_are_recorded(here: str) -> None:
    script = (
        "import socket; s=socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen();"
        "socket.socket(socket.AF_UNIX).connect('sock');"
        "a=socket.socket(socket.AF_UNIX); a.bind('\\0sdee-test'); a.listen();"
        "socket.socket(socket.AF_UNIX).connect('\\0sdee-test')"
    )
    trace = traced(sys.executable, "-c", script)
    assert set(trace.sockets) == {f"{here}/sock", "@sdee-test"}
    assert trace.accesses[f"{here}/sock"].ops == {"create", "probe"}


def test_a_file_that_may_not_be_written_or_read_is_only_probed(here: str) -> None:
    if os.getuid() == 0:
        pytest.skip("root may do everything")
    write("data", "x", 0o400)
    trace = sh("echo new >data", status=2)
    assert trace.accesses[f"{here}/data"].ops == {"probe"}


def test_a_process_with_another_root_makes_the_trace_incomplete(here: str) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root for chroot")
    os.makedirs("root/etc")
    write("root/etc/file", "x")
    trace = traced(sys.executable, "-c", "import os; os.chroot('root'); os.chdir('/'); os.stat('/etc/file')")
    assert "changed its root" in trace.incomplete[0]
    assert trace.accesses[f"{here}/root/etc/file"].existed


def test_a_stop_that_cannot_be_handled_lets_the_job_go_on(here: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("sdee.tracer.recorder.Recorder._on_probe", broken)
    trace = sh("test -e /etc/passwd && exit 8", status=8)
    assert "broken on purpose" in trace.incomplete[0]
