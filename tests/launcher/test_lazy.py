"""`--unpack lazy`: a closure that is decoded as it is read shows what an unpacked one shows, and never anything else.

All of the launcher's tests run so with SDEE_TEST_UNPACK=lazy in the environment.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import bundle_maker
from launcher_tools import PLAIN, ROOT, ROOTS, USERS, as_user, built, open_directory, run, script
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundle_maker import Maker

needs_fuse = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="no /dev/fuse for this user")
HAS_FUSE = os.path.exists("/dev/fuse")
FUSE_USERS = [u for u in USERS if u == os.getuid() or (HAS_FUSE and os.stat("/dev/fuse").st_mode & 0o006 == 0o006)]
LOOK = (
    r"cd /opt/sdee-test; find . -type d -printf '%P %m %T@ %U %G\n' | sort;"  # of directories the size says nothing
    r" find . ! -type d -printf '%P %y %m %s %T@ %l %U %G\n' | sort;"
    r" find . -type f -printf '%P %n\n' | sort; find . -type f -exec sha256sum {} + | sort"
)
STEP = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def varied(frame_size: int = 2 << 20, launcher: str = "") -> Maker:
    """Return a bundle with one of each: names, kinds, modes, times, sizes, links."""
    maker = script(LOOK, programs=("find", "sort", "sha256sum"), launcher=launcher)
    maker.frame_size = frame_size
    top = "/opt/sdee-test"
    for number in range(300):
        maker.add(f"{top}/many/{number:03}.py", noise(number * 7, number), mtime_ns=1_600_000_000_000_000_000 + number)
    maker.add(f"{top}/large.so", noise(1_500_000) + bytes(3_000_001), 0o755).add(f"{top}/empty")
    maker.add(f"{top}/page", noise(4096)).add(f"{top}/page+1", noise(4097)).add(f"{top}/before 1970", "x", mtime_ns=-5)
    maker.add(f"{top}/name\nwith ünicode", "y", 0o444).add(f"{top}/{'n' * 255}", "z", 0o400)
    maker.hardlink(f"{top}/again", f"{top}/large.so").hardlink(f"{top}/deep/er/again", f"{top}/page")
    maker.symlink(f"{top}/link", "large.so").symlink(f"{top}/dangling", "n" * 4000)
    return maker.directory(f"{top}/nothing").directory(f"{top}/locked", 0o555).directory(f"{top}/sticky", 0o1777)


def serving() -> list[int]:
    """Return the processes that serve closures."""
    listed = subprocess.run(["ps", "-eo", "pid,stat,comm"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, state, name, *_ in rows if name == "sdee-lazy" and state[0] != "Z"]


def none_serves() -> None:
    wait_for(lambda: not serving(), lambda: f"left: {serving()}", 20)


class Started:
    """A job that waits for a line each time after it has said one."""

    def __init__(self, *words: str, uid: int | None = None, env: dict[str, str] | None = None) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*(as_user(uid) if uid is not None else []), *words]
        variables = PLAIN | {"SDEE_UNPACK": "lazy", "SDEE_ROOT": "closed", "SDEE_QUIET": "1"} | (env or {})
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            command, env=variables, text=True, cwd="/", start_new_session=True, **pipes
        )

    def line(self) -> str:
        return str(self.process.stdout.readline()).strip()

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> tuple[str, str, int]:
        out, err = self.process.communicate("\n\n", timeout=60)
        return str(out), str(err), self.process.returncode


def reading(size: int = 6 << 20, text: str = "") -> Maker:
    """Return a bundle of a job that reads a part of a large file, waits, then reads all of it."""
    text = text or "head -c 10 /opt/sdee-test/first | wc -c; read line; cat /opt/sdee-test/large | sha256sum"
    maker = script(text, programs=("head", "wc", "cat", "sha256sum", "sleep"))
    maker.frame_size = 512 << 10
    return maker.add("/opt/sdee-test/first", noise(9000, 2)).add("/opt/sdee-test/large", noise(size))


@needs_fuse
@pytest.mark.parametrize("uid", FUSE_USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_all_names_attributes_and_contents_are_those_of_an_unpacked_closure(work: str, root: str, uid: int) -> None:
    bundle = varied().write(f"{work}/b.sdee")
    eager, lazy = (run([bundle], uid=uid, ROOT=root, UNPACK=how, QUIET="1") for how in ("eager", "lazy"))
    assert (eager.stderr, eager.returncode, eager.stdout.count("\n") > 900) == ("", 0, True)
    assert (lazy.stdout, lazy.stderr, lazy.returncode) == (eager.stdout, "", 0)
    none_serves()


@needs_fuse
@pytest.mark.parametrize("frame_size", [700, 40_000, 16 << 20])
def test_frames_may_be_cut_anywhere(work: str, frame_size: int) -> None:
    bundle = varied(frame_size).write(f"{work}/b.sdee")
    eager, lazy = (run([bundle], ROOT="closed", UNPACK=how) for how in ("eager", "lazy"))
    assert (lazy.stdout, lazy.returncode) == (eager.stdout, 0), lazy.stderr


@needs_fuse
def test_under_sanitizers_it_is_the_same(work: str) -> None:
    reports = f"{work}/report"
    checks = {"ASAN_OPTIONS": f"detect_leaks=0:log_path={reports}", "UBSAN_OPTIONS": f"log_path={reports}"}
    bundle = varied(40_000, built("sdee-launcher-asan")).write(f"{work}/b.sdee")
    eager, lazy = (run([bundle], env=checks, ROOT="closed", UNPACK=how) for how in ("eager", "lazy"))
    assert (lazy.stdout, lazy.returncode) == (eager.stdout, 0), lazy.stderr
    none_serves()
    assert [name for name in os.listdir(work) if name.startswith("report")] == []


@needs_fuse
def test_the_plan_says_how_and_why(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    said = {how: run([bundle], UNPACK=how, DRY_RUN="1").stdout for how in ("auto", "lazy", "eager")}
    assert f"plan: unpack    {bundle} -> /  # closure, each part when it is first read: as asked for\n" in said["lazy"]
    assert f"plan: unpack    {bundle} -> /  # closure, unpacked whole: as asked for\n" in said["eager"]
    assert f"plan: unpack    {bundle} -> /  # closure, unpacked whole: auto\n" in said["auto"]
    wrong = run([bundle], UNPACK="later")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "SDEE_UNPACK cannot be 'later'\n  hint: it is one of auto, lazy, eager" in wrong.stderr


@needs_fuse
def test_what_is_deployed_is_whole_and_used_as_it_is(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    place = run([bundle], UNPACK="lazy", DEPLOY="1", DEPLOY_DIR=work).stdout.strip()
    assert os.path.getsize(f"{place}/closure/bin/sh") > 0
    used = run([bundle], UNPACK="lazy", DEPLOY_DIR=work, DEBUG="1")
    assert (used.returncode, "# closure, as it is deployed" in used.stderr) == (0, True)
    assert run([bundle], UNDEPLOY="1", DEPLOY_DIR=work).returncode == 0


@pytest.mark.skipif(not (ROOT and HAS_FUSE), reason="needs root, and a device to cover")
@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize(
    ("cover", "why"),
    [("mknod -m 600 $0 c 10 229", "Permission denied"), ("install -m 666 /dev/null $0", "refuses to mount FUSE")],
)
def test_where_fuse_cannot_be_had_it_is_refused_with_the_reason(work: str, cover: str, why: str, uid: int) -> None:
    if (uid, why) == (0, "Permission denied"):
        pytest.skip("root may open it")
    bundle = script("echo ran").write(f"{work}/b.sdee")
    text = f'{cover}; mount --bind $0 /dev/fuse; rm $0; exec "$@"'
    node = ["unshare", "-m", "sh", "-c", text, f"{work}/device", *as_user(uid), bundle]
    refused = run(node, UNPACK="lazy", cwd="/")
    assert (refused.stdout, refused.returncode) == ("", 244)
    assert "sdee: error: the closure cannot be read lazily on this node: " in refused.stderr
    assert why in refused.stderr
    assert "hint: --unpack eager (SDEE_UNPACK=eager) needs no FUSE\n" in refused.stderr
    assert "--way helper" in run(["sh", "-c", '"$0"; true', bundle], UNPACK="lazy", WAY="helper").stderr
    assert run(node, UNPACK="lazy", DRY_RUN="1", cwd="/").returncode == 244
    assert run(node, UNPACK="eager", cwd="/").stdout == "ran\n"


@pytest.mark.skipif(not (ROOT and HAS_FUSE), reason="needs root, and a device to cover")
def test_the_doctor_says_so_and_needs_it_for_nothing(work: str) -> None:
    text = 'install -m 666 /dev/null $0; mount --bind $0 /dev/fuse; exec "$@"'
    node = ["unshare", "-m", "sh", "-c", text, f"{work}/device", sys.executable, "-m", "sdee", "doctor"]
    done = run(node, cwd="/")
    said = r"NO  FUSE \(--unpack lazy\) +the kernel refuses to mount FUSE: .*\n +remedy: none needed"
    assert re.search(said, done.stdout)
    assert done.returncode == 0


def flipped(bundle: str, at: int) -> None:
    with open(bundle, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


@needs_fuse
def test_a_flipped_bit_of_the_payload_is_an_error_to_the_job_and_never_content(work: str) -> None:
    maker = reading(2 << 20, "sha256sum /opt/sdee-test/first; cat /opt/sdee-test/large | wc -c; echo end")
    bundle = maker.write(f"{work}/b.sdee")
    good = run([bundle], UNPACK="lazy", ROOT="closed")
    begin, end = maker.parts["payload"]
    whole = 2 << 20
    for part in (0.5, 0.8, 0.95):  # of the two files, which are last and do not compress
        shutil.copy(bundle, f"{work}/c.sdee")
        flipped(f"{work}/c.sdee", begin + int((end - begin) * part))
        bad = run([f"{work}/c.sdee"], UNPACK="lazy", ROOT="closed")
        if bad.returncode == 0:  # where what is damaged is not read
            assert bad.stdout == good.stdout
            continue
        assert bad.returncode == 241
        assert "Input/output error" in bad.stderr
        told = re.search(
            r"sdee: error: the job got an input/output error \(EIO\) from (.*): (.*) is damaged: frame \d+", bad.stderr
        )
        assert told, bad.stderr
        assert told[2] == f"{work}/c.sdee"
        assert bad.stderr.count("sdee: error") == 1
        size = int(bad.stdout.split("\n")[-3])
        assert size < whole
    assert bad.returncode == 241


@needs_fuse
@pytest.mark.parametrize("region", ["table", "footer"])
def test_a_flipped_bit_elsewhere_is_refused_before_the_job_begins(work: str, region: str) -> None:
    maker = reading()
    bundle = maker.write(f"{work}/b.sdee")
    begin, end = maker.parts[region]
    flipped(bundle, (begin + end) // 2)
    said = {how: run([bundle], UNPACK=how, ROOT="closed") for how in ("eager", "lazy")}
    assert said["lazy"].returncode == said["eager"].returncode == 241
    assert said["lazy"].stderr == said["eager"].stderr
    assert said["lazy"].stdout == ""


def truncate(bundle: str) -> None:
    os.truncate(bundle, os.path.getsize(bundle) // 3)


def replace_in_place(bundle: str) -> None:
    """As cp(1) does: another bundle of the same size, of whose frames some are as long."""
    maker = reading()
    maker.entries[-1].content = noise(6 << 20, 99)
    size = os.path.getsize(bundle)
    data = maker.build()
    assert len(data) == size
    with open(bundle, "r+b") as file:
        file.write(data)


@needs_fuse
@pytest.mark.parametrize("uid", FUSE_USERS)
@pytest.mark.parametrize(
    ("change", "why"),
    [(truncate, "was truncated while the job ran"), (replace_in_place, "was changed while the job ran")],
)
def test_a_bundle_that_changes_under_the_job_is_an_error_and_never_zeros(work: str, change, why: str, uid: int) -> None:  # type: ignore[no-untyped-def]
    bundle = reading().write(f"{work}/b.sdee")
    job = Started(built("sdee-launcher"), bundle, uid=uid)  # a file that is executed could not be written (ETXTBSY)
    assert job.line() == "10"
    change(bundle)
    out, err, status = job.end()
    assert status == 241, (out, err)
    assert why in err
    assert "Input/output error" in err


@needs_fuse
def test_a_bundle_that_is_unlinked_or_renamed_over_serves_on(work: str) -> None:
    maker = reading()
    bundle = maker.write(f"{work}/b.sdee")
    good = run([bundle], UNPACK="eager", ROOT="closed").stdout
    for change in ("rm", "mv", "touch"):
        bundle = maker.write(f"{work}/b.sdee")
        job = Started(bundle)
        first = job.line()
        if change == "rm":
            os.unlink(bundle)
        elif change == "touch":
            os.utime(bundle)
        else:
            with open(f"{work}/other", "wb") as file:
                file.write(b"another")
            os.rename(f"{work}/other", bundle)
        out, err, status = job.end()
        assert (f"{first}\n{out}", err, status) == (good, "", 0)


@needs_fuse
@pytest.mark.parametrize("uid", FUSE_USERS)
@pytest.mark.parametrize("victim", ["server", "launcher", "job"])
def test_whoever_is_killed_nobody_hangs_and_nothing_is_left(work: str, victim: str, uid: int) -> None:
    text = "echo $$; read line; cat /opt/sdee-test/large | sha256sum; exec cat /opt/sdee-test/first"
    job = Started(reading(text=text).write(f"{work}/b.sdee"), uid=uid)
    inside = int(job.line())
    (server,) = serving()
    os.kill({"server": server, "launcher": job.process.pid, "job": inside}[victim], signal.SIGKILL)
    if victim == "server":
        wait_for(lambda: server not in serving(), "it lives", 10)
    out, err, status = job.end()
    none_serves()
    assert status == {"server": 243, "launcher": -9, "job": -9}[victim], (out, err)
    if victim == "server":
        assert "sdee: error: the process that reads the closure (sdee-lazy) ended while the job ran" in err
    wait_for(lambda: not os.path.exists(f"/proc/{inside}"), "the job is left", 10)


@needs_fuse
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, 34, 64])
def test_signals_to_the_group_do_not_reach_the_server(work: str, number: int) -> None:
    text = f"trap : {int(number)}; echo $$; until read line; do :; done; cat /opt/sdee-test/large | sha256sum"
    job = Started(reading(text=text).write(f"{work}/b.sdee"))
    job.line()
    (server,) = serving()
    os.killpg(job.process.pid, number)
    time.sleep(0.2)
    assert serving() == [server]
    _out, err, status = job.end()
    assert (err, status) == ("", 0)
    none_serves()


@needs_fuse
def test_a_server_that_stands_still_holds_the_job_and_it_can_be_killed(work: str) -> None:
    job = Started(reading().write(f"{work}/b.sdee"))
    assert job.line() == "10"
    (server,) = serving()
    os.kill(server, signal.SIGSTOP)
    job.go()
    time.sleep(0.3)
    assert job.process.poll() is None
    job.process.kill()
    assert job.process.wait(10) == -9
    os.kill(server, signal.SIGCONT)
    none_serves()


@needs_fuse
@pytest.mark.parametrize("uid", FUSE_USERS)
def test_a_rank_that_joined_goes_on_when_the_first_has_ended(work: str, uid: int) -> None:
    text = 'echo "$SLURM_PROCID"; read line; [ $SLURM_PROCID = 0 ] || cat /opt/sdee-test/large | sha256sum'
    bundle = reading(text=text).write(f"{work}/b.sdee")
    first = Started(bundle, uid=uid, env=STEP | {"SLURM_PROCID": "0"})
    assert first.line() == "0"
    second = Started(bundle, uid=uid, env=STEP | {"SLURM_PROCID": "1"})
    assert second.line() == "1"
    assert len(serving()) == 1
    assert first.end() == ("", "", 0)
    out, err, status = second.end()
    assert (out.count("\n"), err, status) == (1, "", 0)
    none_serves()


@needs_fuse
def test_a_rank_that_joined_tells_of_damage_as_the_first_does(work: str) -> None:
    maker = reading(
        text='echo "$SLURM_PROCID"; read line; [ $SLURM_PROCID = 0 ] || cat /opt/sdee-test/large | sha256sum'
    )
    bundle = maker.write(f"{work}/b.sdee")
    _begin, end = maker.parts["payload"]
    flipped(bundle, end - (2 << 20))
    first = Started(bundle, env=STEP | {"SLURM_PROCID": "0"})
    assert first.line() == "0"
    second = Started(bundle, env=STEP | {"SLURM_PROCID": "1"})
    assert second.line() == "1"
    assert first.end() == ("", "", 0)
    _out, err, status = second.end()
    assert (status, "is damaged: frame" in err) == (241, True)


@needs_fuse
@pytest.mark.parametrize("uid", FUSE_USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_what_the_job_writes_over_the_closure_is_kept_or_named(work: str, root: str, uid: int) -> None:
    text = (
        "cd /opt/sdee-test; echo new >made; echo more >>data; rm other; mv data moved; chmod 600 large; mkdir d; ls;"
        " cat moved; sha256sum large"
    )
    maker = script(text, programs=("rm", "mv", "chmod", "mkdir", "ls", "cat", "sha256sum"))
    maker.add("/opt/sdee-test/data", "old\n").add("/opt/sdee-test/other", "x").add(
        "/opt/sdee-test/large", noise(3 << 20)
    )
    bundle = maker.write(f"{work}/b.sdee")
    said = {}
    for how in ("eager", "lazy"):
        os.mkdir(f"{work}/{how}", 0o777)
        os.chmod(f"{work}/{how}", 0o777)
        done = run([bundle], uid=uid, ROOT=root, UNPACK=how, SAVE=f"{work}/{how}")
        kept = {}
        for top, _, names in os.walk(f"{work}/{how}"):
            for name in names:
                with open(f"{top}/{name}", "rb") as file:
                    kept[f"{top}/{name}".removeprefix(f"{work}/{how}")] = file.read()
        said[how] = (done.stdout, done.stderr.replace(f"{work}/{how}", "SAVED"), done.returncode, kept)
    assert said["lazy"] == said["eager"]
    assert said["lazy"][2] == 0
    assert "/opt/sdee-test/made" in said["lazy"][3]


@needs_fuse
@pytest.mark.parametrize("uid", FUSE_USERS)
def test_eight_processes_map_execute_and_load_at_once(work: str, uid: int) -> None:
    """A Python of this machine: dlopen of large libraries, mmap, scripts with #!, pages read in any order."""
    top = f"{work}/job"
    os.mkdir(top)
    with open(f"{top}/script", "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nread line </opt/sdee-test/word; echo $line\n")
    os.chmod(f"{top}/script", 0o755)
    program = """
import ctypes, hashlib, mmap, os, random, subprocess, sys
def work(seed):
    import sqlite3, decimal, ssl, json, asyncio
    ctypes.CDLL("libcrypto.so.3"); ctypes.CDLL("libsqlite3.so.0")
    with open("/opt/sdee-test/large", "rb") as file:
        view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        order = list(range(0, len(view), 4096))
        random.Random(seed).shuffle(order)
        pages = {at: view[at:at + 4096] for at in order}
        digest = hashlib.sha256(b"".join(pages[at] for at in sorted(order))).hexdigest()
    said = subprocess.run(["/opt/sdee-test/script"], capture_output=True, text=True).stdout
    return f"{digest} {said.strip()} {sqlite3.sqlite_version != ''}"
children = []
for seed in range(8):
    r, w = os.pipe()
    if os.fork() == 0:
        os.write(w, work(seed).encode()); os._exit(0)
    os.close(w); children.append(r)
print(*sorted({os.read(r, 4096).decode() for r in children}), sep="\\n")
"""
    with open(f"{top}/job.py", "w", encoding="utf-8") as file:
        file.write(program)
    os.chmod(top, 0o755)
    imports = (
        "import sys, ssl, sqlite3, decimal, asyncio, ctypes, mmap, hashlib, random;"
        " print(*{m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)}, sep='\\n');"
        " print(*{l.split()[-1] for l in open('/proc/self/maps') if '.so' in l}, sep='\\n')"
    )
    command = ["/usr/bin/python3", "-c", imports]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    maker = script("exec /usr/bin/python3 /opt/sdee-test/job.py")
    maker.frame_size = 512 << 10
    needed = {path for name in ["/usr/bin/python3", *listed] for path in bundle_maker.needed(name)}
    for path in ["/usr/bin/python3", *sorted(needed), *listed]:
        maker.host_file(path)
    for base in ("encodings", "json", "asyncio", "email", "importlib"):
        for parent, _, names in os.walk(f"/usr/lib/python3.11/{base}"):
            for name in names:
                maker.host_file(f"{parent}/{name}")
    maker.host_file(f"{top}/job.py", "/opt/sdee-test/job.py").host_file(f"{top}/script", "/opt/sdee-test/script")
    maker.add("/opt/sdee-test/word", "hello\n").add("/opt/sdee-test/large", noise(8 << 20))
    bundle = maker.write(f"{work}/b.sdee")
    for root in ROOTS:
        lazy = run([bundle], uid=uid, ROOT=root, UNPACK="lazy", QUIET="1")
        assert (lazy.stderr, lazy.returncode) == ("", 0)
        (line,) = lazy.stdout.splitlines()
        assert line.endswith(" hello True")
    none_serves()


@needs_fuse
def test_the_job_inherits_nothing_of_the_server_and_holds_no_pipe_open(work: str) -> None:
    bundle = script("ls -l /proc/self/fd; sleep 60 >/dev/null 2>&1 &", programs=("ls", "sleep")).write(f"{work}/b.sdee")
    begin = time.monotonic()
    eager, lazy = (run([bundle], UNPACK=how, ROOT="closed") for how in ("eager", "lazy"))
    assert time.monotonic() - begin < 30  # a pipe that the server held would be open for 60 s
    assert lazy.returncode == 0
    assert len(lazy.stdout.splitlines()) == len(eager.stdout.splitlines())
    assert "fuse" not in lazy.stdout
    (server,) = serving()  # of the sleep, which goes on
    kinds = [os.readlink(f"/proc/{server}/fd/{fd}") for fd in os.listdir(f"/proc/{server}/fd")]
    assert sorted(k.partition(":")[0] for k in kinds)[:3] == ["/dev/fuse", "/dev/null", "/dev/null"]
    assert not [k for k in kinds if k.startswith(("pipe", "socket"))]
    with open(f"/proc/{server}/status", encoding="ascii") as file:
        assert "CapEff:\t0000000000000000\n" in file.read()
    subprocess.run(["pkill", "-x", "-P", "1", "sleep"], check=False)
    none_serves()


@needs_fuse
@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_a_tracer_sees_it_run(work: str) -> None:
    bundle = reading(text="cat /opt/sdee-test/large | sha256sum").write(f"{work}/b.sdee")
    plain = run([bundle], UNPACK="lazy", ROOT="closed")
    traced = run(["strace", "-f", "-o", f"{work}/log", bundle], UNPACK="lazy", ROOT="closed", cwd="/")
    assert (traced.stdout, traced.returncode) == (plain.stdout, 0), traced.stderr
