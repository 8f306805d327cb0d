"""Where files of the closure appear, which are the node's, and what becomes of files that the job writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import zstandard

from launcher_tools import PLAIN, ROOT, ROOTS, TESTER, USERS, built, on_node, open_directory, put, run, script, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(not ROOT, reason="needs root to make another node")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_programs_and_data_outside_usr_run(work: str, root: str, uid: int) -> None:
    maker = script("/opt/tool/bin/run; cat /data/set/a /nix/store/x; cat /linked/file", programs=("cat",))
    maker.add("/opt/tool/bin/run", "#!/bin/sh\necho tool\n", 0o755).add("/nix/store/x", "x\n")
    maker.symlink("/data", "/mnt-d1/data").add("/mnt-d1/data/set/a", "a\n")
    maker.symlink("/linked", "opt/target").add("/opt/target/file", "linked\n")
    result = run([maker.write(f"{work}/b.sdee")], uid=uid, ROOT=root)
    assert (result.stdout, result.stderr) == ("tool\na\nx\nlinked\n", "")


@pytest.mark.parametrize("root", ROOTS)
def test_modes_times_and_links_are_carried(work: str, root: str) -> None:
    maker = script(
        'stat -c "%n %a %h %Y %y %F" /opt/t/*; cat /opt/t/ro/in; touch /opt/t/ro/new; readlink /opt/t/z',
        programs=("stat", "cat", "touch", "readlink"),
    )
    maker.directory("/opt/t").directory("/opt/t/ro", 0o555).add("/opt/t/ro/in", "inside\n", 0o444)
    maker.add("/opt/t/a", "content", 0o640).hardlink("/opt/t/b", "/opt/t/a").add("/opt/t/empty", "", 0o400).symlink(
        "/opt/t/z", "no/where"
    )
    maker.add("/opt/t/\udcff new\nline", "odd", 0o604)
    result = run([maker.write(f"{work}/b.sdee")], ROOT=root, uid=USERS[-1])
    lines = result.stdout.split("\n")
    assert lines[0].startswith("/opt/t/a 640 2 1600000000 2020-09-13 12:26:40.123456789")
    assert lines[1].startswith("/opt/t/b 640 2 ")
    assert lines[2].startswith("/opt/t/empty 400 1 1600000000")
    assert lines[2].endswith("regular empty file")
    assert lines[3].startswith("/opt/t/ro 555 ")
    assert lines[4].startswith("/opt/t/z 777 1 1600000000")
    assert "/opt/t/\udcff new" in result.stdout
    assert "inside\n" in result.stdout
    assert "no/where\n" in result.stdout
    assert USERS[-1] == 0 or "Permission denied" in result.stderr, "a read-only directory is read-only for the job"


def test_large_files_span_frames_and_are_whole(work: str) -> None:
    content = bytes(range(256)) * 40_000
    maker = (
        script("cksum /opt/big /opt/small", programs=("cksum",))
        .add("/opt/big", content)
        .add("/opt/small", b"s" * 5_000)
    )
    maker.frame_size = 1 << 20
    put(f"{work}/big", "")
    with open(f"{work}/big", "wb") as file:
        file.write(content)
    expected = subprocess.run(["cksum", f"{work}/big"], capture_output=True, text=True, check=True).stdout.split()[:2]
    bundle = maker.write(f"{work}/b.sdee")
    for threads in ("1", "7"):
        assert run([bundle], ROOT="closed", THREADS=threads).stdout.split()[:2] == expected


@pytest.mark.parametrize("root", ROOTS)
def test_a_live_directory_stays_real_and_the_closures_files_are_laid_over_it(work: str, root: str) -> None:
    put(f"{work}/cwd/input", "real\n")
    put(f"{work}/cwd/lib/a.txt", "the node's, older\n")
    maker = script(
        "cat input lib/a.txt; echo out >result; echo more >>input",
        programs=("cat",),
        cwd=f"{work}/cwd",
        live=[f"{work}/cwd"],
    )
    maker.add(f"{work}/cwd/lib/a.txt", "the closure's\n")
    result = run([maker.write(f"{work}/b.sdee")], ROOT=root)
    assert result.stdout == "real\nthe closure's\n"
    assert result.stderr.startswith("sdee: lib/a.txt here is newer than the bundle's; ")
    assert text_of(f"{work}/cwd/result") == "out\n"
    assert text_of(f"{work}/cwd/input") == "real\nmore\n"
    assert text_of(f"{work}/cwd/lib/a.txt") == "the node's, older\n"


# what is missing on the node: a file is mounted in the real directory, a link makes the directory an overlay
MISSING = ["file", "link"]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("software", [True, False])
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("uid", USERS)
def test_in_a_directory_that_lacks_closure_entries_new_files_are_still_real(
    work: str, root: str, uid: int, missing: str, *, software: bool
) -> None:
    put(f"{work}/cwd/input", "real\n")
    put(f"{work}/cwd/sub/deep", "deep\n")
    os.symlink("input", f"{work}/cwd/link")
    os.chmod(f"{work}/cwd", 0o777)
    text = """cat input link sub/deep venv/mod
        echo out >result; mkdir -p d/e; echo x >d/e/f; echo more >>input; echo c >venv/cache; echo s >sub/n; ls"""
    tree = [f"{work}/cwd/venv"] if software else []
    maker = script(text, programs=("cat", "mkdir", "ls"), cwd=f"{work}/cwd", live=[f"{work}/cwd"], tree=tree)
    maker.add(f"{work}/cwd/venv/mod", "module\n")
    if missing == "link":
        maker.symlink(f"{work}/cwd/venv2", "venv")
    os.chmod(f"{work}/cwd/sub", 0o777)
    result = run([maker.write(f"{work}/b.sdee")], uid=uid, ROOT=root)
    assert result.stdout == "real\nreal\ndeep\nmodule\n" + "d\ninput\nlink\nresult\nsub\nvenv\n" + (
        "venv2\n" if missing == "link" else ""
    )
    lost = f"1 file written outside live directories and gone with the job: {work}/cwd/venv/cache;"
    assert (lost in result.stderr) == software
    assert text_of(f"{work}/cwd/result") == "out\n"
    assert text_of(f"{work}/cwd/d/e/f") == "x\n"
    assert text_of(f"{work}/cwd/sub/n") == "s\n"
    assert text_of(f"{work}/cwd/input") == "real\nmore\n"
    made = ["d", "input", "link", "result", "sub", *([] if software else ["venv"])]
    assert sorted(os.listdir(f"{work}/cwd")) == made
    assert not os.path.exists(f"{work}/cwd/venv/mod"), "nothing of the closure is written back"
    assert os.stat(f"{work}/cwd/result").st_uid == uid


CHANGES = r"""
. ./state.sh; echo V=$((V+1)) >t; mv t state.sh; echo 2 >t; mv t out; rm old; sed -i s/1/3/ inplace; ln inplace hard
ln -sfn run2 latest; echo new >t; mv t data; mkfifo p; mkdir new; mv new moved; mv sub/x sub/y
"""


def changeable(directory: str) -> None:
    for name in ("old", "out", "inplace"):
        put(f"{directory}/{name}", "1\n")
    put(f"{directory}/state.sh", "V=7\n")
    put(f"{directory}/sub/x", "x\n")
    os.symlink("run1", f"{directory}/latest")
    os.symlink("x", f"{directory}/data")
    for path in (directory, f"{directory}/sub"):
        os.chmod(path, 0o777)


def listing(directory: str) -> dict[str, str]:
    found = {}
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = f"{parent}/{name}"
            kind = oct(os.lstat(path).st_mode >> 12)
            text = os.readlink(path) if os.path.islink(path) else text_of(path) if os.path.isfile(path) else ""
            found[os.path.relpath(path, directory)] = f"{kind} {text}"
    return found


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("uid", USERS)
def test_in_such_a_directory_a_job_can_change_all_that_it_could_outside(
    work: str, root: str, uid: int, missing: str
) -> None:
    for name in ("bare", "bundle"):
        changeable(f"{work}/{name}")
        subprocess.run(["chown", "-R", f"{uid}:{uid}", f"{work}/{name}"], check=True)
    bare = run(["/bin/sh", "-e", "-c", CHANGES], uid=uid, cwd=f"{work}/bare")
    assert (bare.stderr, bare.returncode) == ("", 0)
    programs = ("mv", "rm", "sed", "ln", "mkfifo", "mkdir")
    maker = script("set -e;" + CHANGES, programs=programs, cwd=f"{work}/bundle", live=[work])
    maker.add(f"{work}/bundle/job.sh", "only in the bundle\n")
    if missing == "link":
        maker.symlink(f"{work}/bundle/job", "job.sh")
    result = run([maker.write(f"{work}/b.sdee")], uid=uid, ROOT=root, QUIET="1")
    assert (result.stderr, result.returncode) == ("", 0)
    assert listing(f"{work}/bundle") == listing(f"{work}/bare")


def test_a_result_with_the_size_and_time_of_the_old_file_is_kept(work: str) -> None:
    for name, text in (("cur", "step=1\n"), ("next", "step=2\n")):
        os.utime(put(f"{work}/cwd/{name}", text), (1_700_000_000, 1_700_000_000))
    os.chmod(f"{work}/cwd", 0o777)
    maker = script("mv next cur; chmod 600 mode", programs=("mv", "chmod"), cwd=f"{work}/cwd", live=[work])
    put(f"{work}/cwd/mode", "m\n", 0o644)
    result = run([maker.symlink(f"{work}/cwd/only", "nowhere").write(f"{work}/b.sdee")], QUIET="1")
    assert (result.stderr, result.returncode) == ("", 0)
    assert text_of(f"{work}/cwd/cur") == "step=2\n"
    assert sorted(os.listdir(f"{work}/cwd")) == ["cur", "mode"]
    assert os.stat(f"{work}/cwd/mode").st_mode & 0o777 == 0o600


def test_a_directory_that_may_not_be_listed_goes_back_too(work: str) -> None:
    os.mkdir(f"{work}/cwd")
    os.chmod(f"{work}/cwd", 0o777)
    maker = script("mkdir d; echo x >d/f; chmod 311 d", programs=("mkdir", "chmod"), cwd=f"{work}/cwd", live=[work])
    maker.symlink(f"{work}/cwd/only", "nowhere").directory("/opt/locked", 0o311)
    result = run([maker.write(f"{work}/b.sdee")], QUIET="1", uid=USERS[-1])
    assert (result.stderr, result.returncode) == ("", 0)
    assert text_of(f"{work}/cwd/d/f") == "x\n"
    assert os.stat(f"{work}/cwd/d").st_mode & 0o777 == 0o311


def test_what_somebody_else_writes_meanwhile_is_not_overwritten(work: str) -> None:
    put(f"{work}/cwd/log", "start\n")
    os.chmod(f"{work}/cwd", 0o777)
    maker = script("echo job >>log; echo ready; read line", cwd=f"{work}/cwd", live=[work])
    bundle = maker.symlink(f"{work}/cwd/only", "nowhere").write(f"{work}/b.sdee")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([bundle], text=True, **pipes) as job:  # type: ignore[call-overload]
        assert job.stdout.readline() == "ready\n"
        with open(f"{work}/cwd/log", "a", encoding="utf-8") as file:
            file.write("another rank\n")
        _, said = job.communicate("go\n", timeout=60)
    assert job.returncode == 247
    assert f"{work}/cwd/log was changed on this node while the job ran" in said
    (beside,) = [name for name in os.listdir(f"{work}/cwd") if name.startswith("log.sdee-")]
    assert text_of(f"{work}/cwd/log") == "start\nanother rank\n"
    assert text_of(f"{work}/cwd/{beside}") == "start\njob\n"


@needs_root
def test_what_goes_back_follows_no_link_that_another_user_planted(work: str) -> None:
    os.mkdir(f"{work}/cwd", 0o1777)
    os.chmod(f"{work}/cwd", 0o1777)
    os.mkdir(f"{work}/victim", 0o777)
    maker = script(
        "mkdir out; echo x >out/f; echo ready; read line", programs=("mkdir",), cwd=f"{work}/cwd", live=[work]
    )
    bundle = maker.symlink(f"{work}/cwd/only", "nowhere").write(f"{work}/b.sdee")
    with subprocess.Popen(
        [bundle], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        os.symlink(f"{work}/victim", f"{work}/cwd/out")
        _, said = job.communicate("go\n", timeout=60)
    assert job.returncode == 247
    assert "cannot copy" in said
    assert os.listdir(f"{work}/victim") == []


def test_a_tree_of_directories_as_deep_as_a_path_goes_back(work: str) -> None:
    os.mkdir(f"{work}/cwd", 0o777)
    text = f"echo r >result; mkdir -p {'a/' * 900}; echo deep >{'a/' * 900}f"
    maker = script(text, programs=("mkdir",), cwd=f"{work}/cwd", live=[work])
    result = run([maker.symlink(f"{work}/cwd/only", "nowhere").write(f"{work}/b.sdee")], QUIET="1")
    assert (result.stderr, result.returncode) == ("", 0)
    assert text_of(f"{work}/cwd/result") == "r\n"
    assert text_of(f"{work}/cwd/{'a/' * 900}f") == "deep\n"


def test_a_bundle_that_is_overwritten_while_its_job_runs_loses_nothing(work: str) -> None:
    os.mkdir(f"{work}/cwd", 0o777)
    maker = script("echo ready; read line; echo r >result; exit 3", cwd=f"{work}/cwd", live=[work])
    bundle = maker.symlink(f"{work}/cwd/only", "nowhere").write(f"{work}/b.sdee")
    command = [built("sdee-launcher"), bundle]
    with subprocess.Popen(
        command,
        env=PLAIN | {"SDEE_QUIET": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        os.truncate(bundle, 1 << 18)
        _, said = job.communicate("go\n", timeout=60)
    assert (job.returncode, said) == (3, "")
    assert text_of(f"{work}/cwd/result") == "r\n"


@pytest.mark.parametrize("ground", ["plain", "synthetic"])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("root", ROOTS)
def test_a_file_that_the_job_writes_is_the_nodes_where_it_has_one(
    work: str, root: str, *, there: bool, ground: str
) -> None:
    if there:
        put(f"{work}/state", "the node's\n")
    text = f"cat {work}/state; echo more >>{work}/state"
    maker = script(text, programs=("cat",), cwd=work, live=[work], fallback=[f"{work}/state"])
    maker.add(f"{work}/state", "the bundle's\n", 0o666)
    if ground == "synthetic":
        maker.add(f"{work}/only-in-the-bundle", "x")
    result = run([maker.write(f"{work}/b.sdee")], ROOT=root, QUIET="1")
    before = "the node's\n" if there else "the bundle's\n"
    assert (result.stdout, result.stderr) == (before, "")
    assert text_of(f"{work}/state") == before + "more\n"


@pytest.mark.parametrize("root", ROOTS)
def test_files_written_elsewhere_are_listed_and_can_be_saved(work: str, root: str) -> None:
    text = """mkdir /opt/t/new; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i >/opt/t/new/$i; done
        echo changed >/opt/t/old; : </opt/t/same; exit 3"""
    maker = script(text, programs=("mkdir",)).add("/opt/t/old", "old\n").add("/opt/t/same", "same\n")
    bundle = maker.write(f"{work}/b.sdee")
    result = run([bundle], ROOT=root)
    assert result.returncode == 3
    assert "sdee: 13 files written outside live directories and gone with the job: " in result.stderr
    assert "/opt/t/new/" in result.stderr
    assert " and 3 more; keep them with --save DIR (SDEE_SAVE=DIR)" in result.stderr
    assert "/opt/t/same" not in result.stderr
    assert run([bundle], ROOT=root, QUIET="1").stderr == ""
    saved = run([bundle], ROOT=root, SAVE=f"{work}/kept")
    assert f"saved in {work}/kept" in saved.stderr
    assert text_of(f"{work}/kept/opt/t/new/12") == "12\n"
    assert text_of(f"{work}/kept/opt/t/old") == "changed\n"
    assert sorted(os.listdir(f"{work}/kept/opt/t")) == ["new", "old"]


def test_a_directory_to_save_in_that_cannot_be_written_is_an_error_before_the_job(work: str) -> None:
    put(f"{work}/file", "")
    result = run([script("echo ran").write(f"{work}/b.sdee")], SAVE=f"{work}/file/x")
    assert (result.stdout, result.returncode) == ("", 247)
    assert "the directory of --save" in result.stderr


def test_a_missing_program_and_a_missing_interpreter_are_told_apart(work: str) -> None:
    maker = (
        script("", programs=())
        .add("/opt/s", "#!/opt/no-such-interpreter\n", 0o755)
        .add("/opt/text", b"just\0binary\n", 0o755)
    )
    maker.add("/opt/not", "#!/bin/sh\n", 0o644)
    base = [c for c in maker.conf if c[0] != "program"]
    expected = {"/opt/missing": 127, "/opt/s": 127, "/opt/text": 126, "/opt/not": 126}
    for program, status in expected.items():
        maker.conf = [*base, ("program", program)]
        result = run([maker.write(f"{work}/b.sdee")], ROOT="closed")
        assert result.returncode == status
        assert result.stderr.startswith("sdee: error: ")
        assert ("no-such-interpreter" in result.stderr) == (program == "/opt/s")


@pytest.mark.parametrize("root", ROOTS)
def test_dry_run_prints_the_plan_and_changes_nothing(work: str, root: str) -> None:
    bundle = script(f"echo ran >{work}/ran").write(f"{work}/b.sdee")
    result = run([bundle], ROOT=root, DRY_RUN="1")
    assert result.returncode == 0
    assert f"sdee: root: {root}: as asked for" in result.stdout
    assert "plan: unpack" in result.stdout
    assert ("plan: overlay   /closure/usr:/oldroot/usr -> /usr" in result.stdout) == (root == "merged")
    assert result.stderr == ""
    assert os.listdir(work) == ["b.sdee"]
    debug = run([bundle], ROOT=root, DEBUG="1")
    assert debug.stderr == result.stdout
    assert os.path.exists(f"{work}/ran")


@needs_root
@pytest.mark.parametrize("uid", USERS)
def test_mounts_of_the_node_below_merged_directories_stay(work: str, uid: int) -> None:
    """In a user namespace overlayfs refuses a layer with mounts below it (EINVAL): such a directory is split."""
    lists = "ls /opt/m /var/lib | tr '\\n' ' '; ls -A /etc | wc -l"
    maker = script(f"cat /etc/hostname /opt/m/ours /opt/m/deep/node /etc/t/in; {lists}")
    maker = maker.add("/etc/t/in", "in\n").add("/opt/m/ours", "ours\n").directory("/opt/m/deep").directory("/var/lib/t")
    for name in ("ls", "tr", "wc", "cat"):
        maker.host_file(f"/usr/bin/{name}")
    bundle = maker.write(f"{work}/b.sdee")
    node = f"""mount -t tmpfs none /opt && mkdir /opt/m /opt/m/deep && mount -t tmpfs none /opt/m/deep
        echo node >/opt/m/deep/node; echo other >/opt/m/theirs; chmod -R a+rX /opt
        mkdir -p {work}/n && echo name >{work}/n/hostname && mount --bind {work}/n/hostname /etc/hostname
        mount -t tmpfs none /var/lib && mkdir /var/lib/node
        exec setpriv --reuid={uid} --regid={uid} --clear-groups {bundle}"""
    result = run(["unshare", "-m", "sh", "-c", node], cwd="/tmp", ROOT="merged")
    assert result.stderr == ""
    entries = len(os.listdir("/etc")) + 1  # /etc/t
    assert result.stdout.split("\n")[:4] == ["name", "ours", "node", "in"]
    assert " ".join(result.stdout.split()[4:]) == f"/opt/m: deep ours theirs /var/lib: node t {entries}"


def test_auto_takes_the_merged_root_on_the_same_system_only(work: str) -> None:
    here = script("test -e /usr/share/common-licenses/GPL-2 && echo merged || echo closed").write(f"{work}/here")
    elsewhere = script("test -e /usr/share/common-licenses/GPL-2 && echo merged || echo closed", os="other 1").write(
        f"{work}/elsewhere"
    )
    libc = script(
        "test -e /usr/share/common-licenses/GPL-2 && echo merged || echo closed",
        libc="/lib/x86_64-linux-gnu/libc.so.6 0123",
    )
    assert run([here]).stdout == "merged\n"
    assert run([elsewhere]).stdout == "closed\n"
    assert run([libc.write(f"{work}/libc")]).stdout == "closed\n"
    assert "the bundle was traced on 'other 1'" in run([elsewhere], DRY_RUN="1").stdout


@needs_root
def test_where_the_node_has_one_name_of_a_file_the_others_are_unpacked(work: str) -> None:
    """Two equal files are hard links in a bundle: a node with the one, as it is, needs the other's content."""
    top = "/opt/sdee-test-names"
    maker = script(f"cd {top}; cat a b c; stat -c '%a %h %s' b c d e", programs=("cat", "stat"))
    maker.add(f"{top}/a", "content\n", 0o644).add(f"{top}/none", "", 0o644)
    for name, target in (("b", "a"), ("c", "a"), ("d", "none"), ("e", "none")):
        maker.hardlink(f"{top}/{name}", f"{top}/{target}")
    bundle = maker.write(f"{work}/b.sdee")
    expected = "content\n" * 3 + "644 3 8\n" * 2 + "644 3 0\n" * 2
    assert run([bundle], ROOT="merged").stdout == expected
    mtime_ns = next(entry.mtime_ns for entry in maker.entries if entry.path == f"{top}/a")
    try:
        for name, text in (("a", "content\n"), ("none", "")):
            os.utime(put(f"{top}/{name}", text, 0o644), ns=(mtime_ns, mtime_ns))
        result = run([bundle], ROOT="merged")
    finally:
        shutil.rmtree(top)
    assert (result.stdout, result.stderr) == (expected.replace(" 3 ", " 2 "), "")


def test_an_argument_that_lies_here_and_not_where_the_job_runs_is_pointed_out(work: str) -> None:
    os.mkdir(f"{work}/traced")
    put(f"{work}/case/input.dat", "case 2\n")
    maker = script("", programs=("cat",), cwd=f"{work}/traced", live=[work])
    maker.conf = [c for c in maker.conf if c[0] not in ("arg", "program")]
    maker.conf += [("program", "/usr/bin/cat"), ("arg", "cat")]
    bundle = maker.write(f"{work}/b.sdee")
    wrong = run([bundle, "-n", "input.dat"], cwd=f"{work}/case")
    assert f"warning: input.dat is in {work}/case; running in {work}/traced, where it was traced" in wrong.stderr
    assert wrong.returncode == 1
    right = run([bundle, "-n", "input.dat"], cwd=f"{work}/case", CHDIR=".")
    assert (right.stdout.split(), right.stderr) == (["1", "case", "2"], "")
    put(f"{work}/traced/input.dat", "case 1\n")
    assert "warning" not in run([bundle, "input.dat"], cwd=f"{work}/case").stderr


def test_what_is_missing_is_said_once(work: str) -> None:
    shared = [f"{work}/input{n}" for n in range(7)]
    put(shared[0], "")
    bundle = script("echo ran", shared=shared, incomplete=["io_uring was used", "b"]).write(f"{work}/b.sdee")
    result = run([bundle])
    assert result.stdout == "ran\n"
    assert "warning: the trace was incomplete, something may be missing: io_uring was used\n" in result.stderr
    assert "warning: 6 inputs of the recorded command are not on this node: " in result.stderr
    assert result.stderr.count(f"{work}/input") == 5
    assert "are not on this node" not in run([bundle, "other", "arguments"]).stderr
    assert run([bundle], QUIET="1").stderr == ""


def test_another_machine_type_is_refused(work: str) -> None:
    result = run([script("", machine="riscv64").write(f"{work}/b.sdee")])
    assert result.returncode == 244
    assert "the bundle holds a job for riscv64 and this node is x86_64" in result.stderr


def test_a_closure_larger_than_memory_is_refused_before_unpacking(work: str) -> None:
    maker = script("").add("/opt/huge", "x")
    count = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") // (16 << 20)
    plain, frames, offsets = maker.payload()
    bomb = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(16 << 20))
    maker.payload = lambda: (plain + bomb * count, [*frames, *[(len(bomb), 16 << 20)] * count], offsets)  # type: ignore[method-assign]
    maker.entries[-1].size = count * (16 << 20)
    result = run([maker.write(f"{work}/b.sdee")], ROOT="closed")
    assert result.returncode == 243
    needed = re.search(r"needs (\d+) MB of memory", result.stderr)
    assert needed is not None, result.stderr
    assert 0 < int(needed[1]) - count * 16 < 40  # sh and its libraries, a frame of 16 MiB, a copy of what is decoded


@needs_root
@pytest.mark.parametrize("home", [[], [["/home", 0o755]], [["/home/other", 0o755]]])
def test_a_home_that_the_node_lacks_comes_from_the_bundle(work: str, home: list[list[object]]) -> None:
    maker = script(
        "cat /home/u/job/mod; echo x >/home/u/new; cat /home/u/new; ls /home",
        programs=("cat", "ls"),
        cwd="/home/u/job",
        live=["/home/u", "/home/u/job"],
    )
    maker.add("/home/u/job/mod", "module\n")
    bundle = maker.write(f"{work}/b.sdee")
    places = tuple((str(path), int(str(mode))) for path, mode in home)
    result = on_node([bundle], dirs=places, CHDIR="/tmp")
    names = "other\nu\n" if home and home[0][0] == "/home/other" else "u\n"
    assert result.stdout == f"module\nx\n{names}"
    assert "1 file written outside live directories and gone with the job: /home/u/new;" in result.stderr
    assert result.returncode == 0


@needs_root
def test_a_bare_node_needs_nothing_but_proc(work: str) -> None:
    maker = script(
        "echo $(cat /etc/passwd); while read a b; do :; done </etc/group; id -un",
        programs=("cat", "id"),
        env=["PATH=/usr/bin:/bin"],
    )
    bundle = maker.write(f"{work}/b.sdee")
    result = on_node([bundle])
    assert result.stdout.splitlines() == [f"someone:x:{TESTER}:{TESTER}:someone:/tmp:/bin/sh", "someone"]
    assert result.returncode == 0
    assert on_node([bundle], uid=0).returncode == 0


@needs_root
def test_the_parents_link_on_the_node_and_in_the_bundle(work: str) -> None:
    maker = script("cat /scratch/u/tool /scratch/real; echo x >/scratch/u/out; echo y >/scratch/out", programs=("cat",))
    maker.add("/scratch/u/tool", "tool\n")
    result = on_node([maker.write(f"{work}/b.sdee")], dirs=(("/scratch", 0o777),), files=(("/scratch/real", "real\n"),))
    assert result.stdout == "tool\nreal\n"
    assert result.stderr == ""


def test_a_limit_on_file_sizes_is_the_jobs_not_its_unpackings(work: str) -> None:
    bundle = script("echo hi; ulimit -f; : >>/tmp/x").write(f"{work}/b.sdee")
    done = run(["bash", "-c", f"ulimit -S -f 100; exec {bundle}"], ROOT="closed")
    assert (done.stdout, done.returncode) == ("hi\n200\n", 0), done.stderr  # dash counts in 512 bytes
    refused = run(["bash", "-c", f"ulimit -f 100; exec {bundle}"], ROOT="closed")
    assert refused.returncode == 243
    assert "File too large" in refused.stderr


@needs_root
def test_host_files_are_the_nodes(work: str) -> None:
    maker = script(
        "cat /etc/hosts /usr/lib/site/libx; cat /etc/missing",
        programs=("cat",),
        host=["/etc/hosts", "/usr/lib/site/libx", "/etc/missing"],
    )
    maker.add("/usr/lib/site/libx", "the closure's\n")
    bundle = maker.write(f"{work}/b.sdee")
    result = on_node([bundle], files=(("/etc/hosts", "node hosts\n"), ("/usr/lib/site/libx", "node lib\n")))
    assert result.stdout == "node hosts\nnode lib\n"
    assert "/etc/missing" in result.stderr


@needs_root
def test_without_user_namespaces_the_sysctl_is_named(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    inner = f"echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all {bundle}"
    result = run(["unshare", "-r", "sh", "-c", inner], uid=TESTER)
    assert (result.stdout, result.returncode) == ("", 242)
    assert "user.max_user_namespaces is 0" in result.stderr
    assert "hint: ask the administrator for: sysctl user.max_user_namespaces=" in result.stderr


@needs_root
def test_a_chroot_is_named(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    chroot = f"exec /usr/sbin/chroot --userspec={TESTER}:{TESTER}"
    plain = f"cd {work} && mkdir -p r/proc r/tmp && cp {bundle} r/b && mount --rbind /proc r/proc && {chroot} r /b"
    result = run(["unshare", "-m", "sh", "-c", plain])
    assert result.returncode == 242
    assert "this process is in a chroot, where the kernel refuses user namespaces" in result.stderr
    # onto a mount point: mountinfo looks as outside a chroot, so that it can only be suspected
    result = run(["unshare", "-m", "sh", "-c", f"mount --rbind / /mnt && {chroot} /mnt {bundle}"])
    assert result.returncode == 242
    assert "in a chroot the kernel does" in result.stderr


@needs_root
def test_without_proc_a_clear_error(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    result = run(["unshare", "-m", "sh", "-c", f"while umount -l /proc 2>/dev/null; do :; done; exec {bundle}"])
    assert result.returncode == 244
    assert "/proc is not mounted on this node" in result.stderr


def test_the_doctor_probes_and_answers_in_columns() -> None:
    result = run([built("sdee-launcher"), "--sdee-doctor"], uid=USERS[-1])
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [len(line) for line in lines] == [4] * 6
    assert {line[1] for line in lines} <= {"ok", "no"}
    assert {line[0]: line[1] for line in lines}["way privileged" if USERS[-1] == 0 else "way namespaces"] == "ok"
    if ROOT:
        drop = "exec setpriv --bounding-set=-all --inh-caps=-all"
        inner = f"echo 0 >/proc/sys/user/max_user_namespaces; {drop} {built('sdee-launcher')} --sdee-doctor"
        refused = run(["unshare", "-r", "sh", "-c", inner], uid=TESTER).stdout
        assert "way namespaces\tno\t" in refused
        assert "sysctl user.max_user_namespaces" in refused
