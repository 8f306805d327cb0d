"""`--way`: real jobs on nodes where each way to a root is the first that works, and what refuses it where none does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, TESTER, as_user, built, mounts, open_directory, put, run, script, text_of
from waiting import wait_for
from ways import Node, holder, leftovers, node, processes_of, refusing, setuid_bwrap, start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not ROOT, reason="makes nodes that refuse something")
WAYS = ("namespaces", "privileged", "join", "helper")
SDEE = str(Path(sys.executable).parent / "sdee")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


@pytest.fixture(params=WAYS)
def there(request: pytest.FixtureRequest) -> Iterator[Node]:
    with node(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def python_job() -> Iterator[str]:
    """A Python job that loads a library by ctypes, traced and bundled."""
    for place in open_directory():
        text = "import ctypes, json, sys\nprint(json.dumps([ctypes.CDLL('libm.so.6').abs(-4), sys.argv[1:]]))\n"
        put(f"{place}/job.py", text)
        command = [SDEE, "trace", "-o", f"{place}/t", "--", sys.executable, f"{place}/job.py", "3"]
        subprocess.run(command, check=True, capture_output=True, cwd=place)
        subprocess.run(
            [SDEE, "bundle", f"{place}/t", "-o", f"{place}/b.sdee"], check=True, capture_output=True, cwd=place
        )
        os.chmod(f"{place}/b.sdee", 0o755)
        yield f"{place}/b.sdee"


def test_auto_takes_it_and_says_why_none_before(work: str, there: Node) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    result = start(there, bundle)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ran\n", "")
    plan = start(there, bundle, DRY_RUN="1").stdout
    assert f"way: {there.way}\n" in plan
    before = WAYS[: WAYS.index(there.way)] if not there.root else ()
    assert re.findall(r"way: not (\w+): ", plan) == list(before)
    debug = start(there, bundle, DEBUG="1").stderr
    assert f"way: {there.way}\n" in debug
    asked = start(there, bundle, DRY_RUN="1", WAY=there.way).stdout
    assert f"way: {there.way}, as asked for\n" in asked


def test_both_roots_exit_status_and_signals(work: str, there: Node) -> None:
    for root in ("closed", "merged")[: 1 + there.merged]:
        bundle = script('echo "$1 $(id -u)"; exit 3', "word", programs=("id",)).write(f"{work}/b.sdee")
        result = start(there, bundle, ROOT=root)
        assert (result.returncode, result.stdout) == (3, f"word {0 if there.root else TESTER}\n"), result.stderr
        bundle = script("kill -TERM $$").write(f"{work}/b.sdee")
        assert start(there, bundle, ROOT=root).returncode == -signal.SIGTERM
        bundle = script(
            "cat /proc/self/status; cat /sys/kernel/mm/transparent_hugepage/enabled; echo x >/dev/null",
            programs=("cat",),
        ).write(f"{work}/b.sdee")
        assert "Name:\tcat\n" in start(there, bundle, ROOT=root).stdout


def test_nobody_gains_rights(work: str, there: Node) -> None:
    bundle = script("grep -E 'Cap(Eff|Prm|Inh|Amb)|^Uid' /proc/self/status", programs=("grep",)).write(f"{work}/b.sdee")
    bare = run([*there.front, "grep", "-E", "Cap(Eff|Prm|Inh|Amb)|^Uid", "/proc/self/status"], cwd="/").stdout
    assert start(there, bundle).stdout == bare


def test_a_python_job_loads_libraries(there: Node, python_job: str) -> None:
    result = start(there, python_job, cwd=os.path.dirname(python_job))
    assert (result.returncode, result.stdout) == (0, '[4, ["3"]]\n'), result.stderr


def test_results_come_back_and_others_are_named(work: str, there: Node) -> None:
    bundle = script(
        f"echo made >{work}/new; echo more >>{work}/old; mkdir {work}/d; echo deep >{work}/d/f; echo lost >/usr/lost",
        programs=("mkdir",),
    ).write(f"{work}/b.sdee")
    put(f"{work}/old", "old\n")
    result = start(there, bundle, ROOT="closed")
    assert (result.returncode, text_of(f"{work}/new"), text_of(f"{work}/old")) == (0, "made\n", "old\nmore\n")
    assert text_of(f"{work}/d/f") == "deep\n"
    assert "1 file written outside live directories and gone with the job: /usr/lost" in result.stderr
    saved = start(there, bundle, ROOT="closed", SAVE=f"{work}/saved")
    assert text_of(f"{work}/saved/usr/lost") == "lost\n", saved.stderr


def test_what_the_node_lacks_or_has_otherwise(work: str, there: Node) -> None:
    os.mkdir(f"{work}/live", 0o777)
    os.chmod(f"{work}/live", 0o777)
    put(f"{work}/live/node", "the node's\n")
    put(f"{work}/live/both", "the node's\n")
    text = f"cd {work}/live; cat node both own tree/in; ls; echo job >tree/new; echo job >>own; exit 5"
    maker = script(text, programs=("cat", "ls"), tree=[f"{work}/live/tree"])
    maker.add(f"{work}/live/both", "the bundle's\n").add(f"{work}/live/own", "own\n").add(
        f"{work}/live/tree/in", "in the tree\n"
    )
    result = start(there, maker.write(f"{work}/b.sdee"), ROOT="closed")
    lines = result.stdout.splitlines()
    assert (result.returncode, lines[:4]) == (5, ["the node's", "the bundle's", "own", "in the tree"]), result.stderr
    assert lines[4:] == ["both", "node", "own", "tree"]
    assert text_of(f"{work}/live/both") == "the node's\n"
    assert text_of(f"{work}/live/own") == "own\njob\n"
    assert not os.path.exists(f"{work}/live/tree/in")


def test_a_directory_of_which_both_have_a_part(work: str, there: Node) -> None:
    # a link of the bundle's can stand on no mount point: an overlay, or binds of all that the node has
    live = f"{work}/live"
    os.mkdir(live, 0o777)
    os.chmod(live, 0o777)
    os.mkdir(f"{live}/sub", 0o777)
    os.chmod(f"{live}/sub", 0o777)
    put(f"{live}/node", "the node's\n")
    put(f"{live}/changed", "before\n")
    text = f"cd {live}; cat link node; ls; echo new >made; echo after >changed; "
    text += "echo deep >sub/made; mkdir dir; echo in >dir/in"
    maker = script(text, programs=("cat", "ls", "mkdir")).add(f"{live}/own", "own\n").symlink(f"{live}/link", "own")
    result = start(there, maker.write(f"{work}/b.sdee"), ROOT="closed")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["own", "the node's", "changed", "link", "node", "own", "sub"]
    assert (text_of(f"{live}/made"), text_of(f"{live}/sub/made")) == ("new\n", "deep\n"), result.stderr
    assert (text_of(f"{live}/changed"), text_of(f"{live}/dir/in")) == ("after\n", "in\n"), result.stderr
    assert sorted(os.listdir(live)) == ["changed", "dir", "made", "node", "sub"]


def test_ranks_join_or_work_for_themselves(work: str, there: Node) -> None:
    bundle = script("echo $1; sleep 1", programs=("sleep",)).write(f"{work}/b.sdee")
    command = [*there.front, bundle]
    variables = PLAIN | {"SDEE_JOIN": "together", "SDEE_DEBUG": "1"}
    if not there.joins:
        result = run([*command], env=variables)
        assert result.returncode == 242
        assert "cannot be shared" in result.stderr
        return
    ranks = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 3
    assert sum("ranks: joined the first" in text for text in said) == 2, said


def kill_one(there: Node, bundle: str, work: str, victim: str) -> None:
    """Kill the launcher or the job, and see that nothing is left."""
    user = 0 if there.root else TESTER
    before, mounted, entries = processes_of(user), mounts(), leftovers()
    program = subprocess.Popen([*there.front, bundle], env=PLAIN, cwd=work)
    wait_for(lambda: os.path.exists(f"{work}/pid") and text_of(f"{work}/pid").strip() != "", "no job starts")
    job = int(text_of(f"{work}/pid"))
    if not there.root:  # the launcher and the job: what made the root has ended
        wait_for(lambda: len(processes_of(user) - before) == 2, "more than the launcher and the job run")
    os.kill(program.pid if victim == "launcher" else job, signal.SIGKILL)
    assert program.wait(30) == -signal.SIGKILL
    wait_for(lambda: not os.path.exists(f"/proc/{job}"), "the job lives on")
    wait_for(lambda: not processes_of(user) - before or there.root, "a process is left")
    assert mounts() == mounted
    assert leftovers() == entries
    os.unlink(f"{work}/pid")


@pytest.mark.parametrize("victim", ["launcher", "job"])
def test_kill_9_leaves_nothing(work: str, there: Node, victim: str) -> None:
    text = f"echo $$ >{work}/pid; exec sleep 300"
    bundle = script(text, programs=("sleep",)).add("/opt/sdee-test/in", "x").write(f"{work}/b.sdee")
    kill_one(there, bundle, work, victim)


def test_signals_reach_the_job_once(work: str, there: Node) -> None:
    text = "n=0; trap 'n=$((n+1)); echo got $n' USR1; trap 'exit 7' TERM; "
    text += f"echo $$ >{work}/pid; while :; do sleep 0.05; done"
    bundle = script(text, programs=("sleep",)).write(f"{work}/b.sdee")
    program = subprocess.Popen([*there.front, bundle], env=PLAIN, cwd=work, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: os.path.exists(f"{work}/pid"), "no job starts")
    assert program.stdout is not None
    program.send_signal(signal.SIGUSR1)
    assert program.stdout.readline() == "got 1\n"
    program.send_signal(signal.SIGSTOP)
    program.send_signal(signal.SIGCONT)
    program.send_signal(signal.SIGUSR1)
    assert program.stdout.readline() == "got 2\n"
    program.send_signal(signal.SIGTERM)
    assert (program.stdout.read(), program.wait(30)) == ("", 7)


def test_where_nothing_is_allowed_all_is_said(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    for options, words in (
        ("d", "unshare(CLONE_NEWUSER)"),
        ("a", "writing /proc/self/uid_map"),
        ("m", "making mounts private"),
    ):
        result = run([*refusing(options), bundle])
        assert result.returncode == 242
        assert f"this node does not allow user namespaces: {words}" in result.stderr
        assert "(this process is under a seccomp filter)" in result.stderr
        assert "tried: --way privileged: this process lacks CAP_SYS_ADMIN" in result.stderr
        assert "tried: --way join: no other process of yours" in result.stderr
        assert "sdee makes no network namespace, so that user.max_net_namespaces=0 may stay" in result.stderr
        shown = run([*refusing(options), bundle], DRY_RUN="1")
        assert (shown.returncode, re.findall(r"way: (?:not )?(\w+)", shown.stdout)) == (242, list(WAYS)), shown.stderr
        assert "plan: enter" in shown.stdout
        forced = run([*refusing(options), bundle], WAY="namespaces")
        assert forced.returncode == 242
        assert "tried: --way" not in forced.stderr


def test_without_a_network_namespace_it_runs(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    inner = f"echo 0 >/proc/sys/user/max_net_namespaces; setpriv --bounding-set=-sys_admin --inh-caps=-all {bundle}"
    result = run(["unshare", "-r", "sh", "-c", inner], uid=TESTER, cwd="/tmp")
    assert (result.stdout, result.stderr) == ("ran\n", "")


def test_the_sysctl_is_named_and_the_next_way_is_taken_without_a_probe_before(work: str) -> None:
    bundle = script("echo ran; id -u", programs=("id",)).write(f"{work}/b.sdee")
    drop = "setpriv --bounding-set=-sys_admin --inh-caps=-all"
    held = f"{drop} unshare -U --map-current-user sleep 60 >/dev/null 2>&1 & sleep 0.5; "
    off = f"echo 0 >/proc/sys/user/max_user_namespaces; {drop} {bundle}"
    alone = run(["unshare", "-r", "sh", "-c", off], uid=TESTER, cwd="/tmp")
    assert alone.returncode == 242
    assert "user.max_user_namespaces is 0" in alone.stderr
    assert (
        "hint: ask the administrator for: sysctl user.max_user_namespaces=15000; sdee makes no network" in alone.stderr
    )
    joined = run(["unshare", "-r", "sh", "-c", f"{held}{off}; kill $!"], uid=TESTER, cwd="/tmp")
    assert (joined.stdout, joined.stderr) == ("ran\n0\n", "")


def test_where_the_first_works_no_child_is_asked(work: str) -> None:
    bundle = script(":").write(f"{work}/b.sdee")
    command = ["strace", "-f", "-c", "-o", f"{work}/calls", *as_user(TESTER), bundle]
    assert run(command).returncode == 0
    counts = {
        line.split()[-1]: int(line.split()[3])
        for line in text_of(f"{work}/calls").splitlines()
        if re.match(r" *\d", line)
    }
    assert (
        counts.get("fork", 0) + counts.get("vfork", 0) + counts.get("clone", 0) + counts.get("clone3", 0) == 1
    )  # the job
    assert counts["unshare"] == 2


def test_another_bundle_s_namespace_serves(work: str) -> None:
    sleeper = script(f"echo >{work}/up; exec sleep 60", programs=("sleep",)).write(f"{work}/s.sdee")
    bundle = script("echo ran").write(f"{work}/b.sdee")
    first = subprocess.Popen([*as_user(TESTER), sleeper], env=PLAIN, cwd="/")
    wait_for(lambda: os.path.exists(f"{work}/up"), "no job starts")
    begun = time.monotonic()
    assert run([*refusing("u"), bundle]).stdout == "ran\n"
    assert time.monotonic() - begun < 20
    first.terminate()
    first.wait(30)
    assert run([*refusing("u"), bundle]).returncode == 242


def test_a_namespace_in_which_the_user_is_root_serves_with_a_word(work: str) -> None:
    bundle = script("id -u; grep CapEff /proc/self/status", programs=("id", "grep")).write(f"{work}/b.sdee")
    with holder(TESTER, "--map-root-user"):
        result = run([*refusing("u"), bundle])
    assert result.stdout == "0\nCapEff:\t0000000000000000\n"
    assert "warning: the job sees you as root (user 0), without root's rights" in result.stderr


def test_the_doctor_says_which_way_is_taken(there: Node) -> None:
    lines = [
        line.split("\t") for line in run([*there.front, built("sdee-launcher"), "--sdee-doctor"]).stdout.splitlines()
    ]
    ways = [line[:2] for line in lines if line[0].startswith("way ")]
    before = WAYS[: WAYS.index(there.way)] if not there.root else ()
    assert ways == [[f"way {way}", "no"] for way in before] + [[f"way {there.way}", "ok"]]
    assert ["private root", "ok"] in [line[:2] for line in lines]


def open_directory_in(parent: str) -> Iterator[str]:
    path = tempfile.mkdtemp(dir=parent)
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def noexec(*directories: str) -> Iterator[list[str]]:
    """Yield the command in front that mounts these directories noexec, as STIG asks for."""
    mounted = "; ".join(f"mount -t tmpfs -o noexec,mode=1777 none {directory}" for directory in directories)
    yield ["unshare", "-m", "sh", "-c", f'{mounted}; exec "$@"', "sh"]


def test_noexec_of_tmp_and_of_shared_memory_is_no_hindrance(there: Node) -> None:
    for work in open_directory_in("/var/tmp"):
        bundle = script("ls / >/dev/null && echo ran", programs=("ls",), cwd="/").write(f"{work}/b.sdee")
        with noexec("/dev/shm", "/run") as front:
            command = [*there.front, "sh", "-c", 'mount | grep -c noexec; exec "$1"', "sh", bundle]
            result = run([*front, *command], cwd="/")
        assert result.stdout.endswith("ran\n"), result.stderr


def test_a_node_without_ptrace_is_no_hindrance(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    assert run([*refusing("p"), bundle]).stdout == "ran\n"
    with setuid_bwrap() as directory:
        assert run([*refusing("up"), "env", f"PATH={directory}", bundle]).stdout == "ran\n"
    with holder():
        assert run([*refusing("up"), bundle]).stdout == "ran\n"


def test_a_diagnosis_names_what_is_missing(work: str, there: Node) -> None:
    bundle = script("cat /etc/sdee-missing.conf", programs=("cat",)).write(f"{work}/b.sdee")
    result = start(there, bundle, DIAGNOSE="1", ROOT="closed")
    assert result.returncode == 1
    assert "/etc/sdee-missing.conf" in result.stderr.replace("cat: /etc/sdee-missing.conf", "")


def test_what_a_helper_cannot_do_is_refused(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    with node("helper") as there:
        merged = start(there, bundle, ROOT="merged")
        assert merged.returncode == 242
        assert "bwrap can make no merged root, which needs overlayfs" in merged.stderr
        assert "hint: use --root closed (SDEE_ROOT=closed)" in merged.stderr
        named = start(there, bundle, JOIN="together")
        assert named.returncode == 242
        assert "a root that bwrap made cannot be shared (--join together)" in named.stderr
        rank = {"PMI_RANK": "0", "PMI_SIZE": "2"}
        ranks = start(there, bundle, env=rank)
        assert ranks.stdout == "ran\n"
        assert (
            "warning: a root that bwrap made cannot be shared: each rank on a node unpacks the closure" in ranks.stderr
        )


@pytest.mark.parametrize("uid", [0, TESTER])
def test_a_helper_without_privileges_serves_where_it_may(work: str, uid: int) -> None:
    bundle = script("id -u; echo made >made; kill -USR1 $$", programs=("id",), cwd=work).write(f"{work}/b.sdee")
    result = run([bundle], uid=uid, WAY="helper")
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGUSR1, f"{uid}\n", "")
    assert text_of(f"{work}/made") == "made\n"


@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
def test_podman_s_namespace_serves(work: str) -> None:
    bundle = script("id -u; echo made >made", programs=("id",), cwd=work).write(f"{work}/b.sdee")
    user = f"env HOME={work}/home XDG_RUNTIME_DIR={work}/run setpriv --reuid={TESTER} --regid={TESTER} --clear-groups"
    text = f"""
set -e
mkdir -p home run
chown {TESTER}:{TESTER} home run
for name in passwd group; do cp /etc/$name .; echo tester:x:{TESTER}:{TESTER}::{work}/home:/bin/sh >>$name; done
echo tester:200000:65536 >subuid
for name in passwd group subuid; do mount --bind $name /etc/$name; done
mount --bind subuid /etc/subgid
{user} podman unshare true 2>/dev/null
{" ".join(refusing("u", 0))} {user} {bundle}
"""
    front = ["unshare", "-m", "--pid", "--fork", "--kill-child", "--mount-proc"]
    result = run([*front, "sh", "-c", text], cwd=work)
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr
    assert "warning: the job sees you as root (user 0), without root's rights" in result.stderr
    assert text_of(f"{work}/made") == "made\n"
    assert os.stat(f"{work}/made").st_uid == TESTER
