"""`sdee deploy`: a closure that stays on the node between the steps of a job, and goes with `sdee undeploy`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, ROOTS, USERS, as_user, built, open_directory, run, script
from sdee.packer.format.reader import open_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

SDEE = [sys.executable, "-m", "sdee"]


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def stage(work: str) -> str:
    """Return a directory for what is deployed, which a bind mount of /tmp will not hide."""
    path = f"{work}/node"
    os.mkdir(path)
    os.chmod(path, 0o1777)
    return path


def left(directory: str) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_what_is_deployed_runs_without_unpacking_and_stays_as_it_was(work: str, root: str, uid: int) -> None:
    text = "cat /opt/sdee-test/data; echo changed >/opt/sdee-test/data; rm /opt/sdee-test/other; ls /opt/sdee-test"
    maker = script(text, programs=("cat", "rm", "ls"))
    maker.add("/opt/sdee-test/data", "as bundled\n").add("/opt/sdee-test/other", "x")
    bundle = maker.directory("/opt/sdee-test/locked", 0o555).write(f"{work}/b.sdee")
    node = stage(work)
    made = run([bundle], uid=uid, DEPLOY="1", DEPLOY_DIR=node)
    assert (made.stderr, made.returncode) == ("", 0)
    (name,) = left(node)
    assert made.stdout == f"{node}/{name}\n"
    assert name.startswith(f"sdee-{uid}-")
    assert os.stat(f"{node}/{name}").st_mode & 0o777 == 0o700
    for _ in range(2):
        result = run([bundle], uid=uid, ROOT=root, DEPLOY_DIR=node, DEBUG="1", QUIET="1")
        assert (result.stdout, result.returncode) == ("as bundled\ndata\nlocked\n", 0), result.stderr
        assert f"plan: unpack    {node}/{name}/closure -> /  # closure, as it is deployed" in result.stderr
        assert "sdee: the deployed closure is used\n" in result.stderr
    gone = run([bundle], uid=uid, UNDEPLOY="1", DEPLOY_DIR=node)
    assert (gone.stdout, gone.stderr, gone.returncode, left(node)) == ("", "", 0, [])
    after = run([bundle], uid=uid, ROOT=root, DEPLOY_DIR=node, DEBUG="1", QUIET="1")
    assert after.stdout == result.stdout
    assert f"plan: unpack    {bundle} -> /  # closure, unpacked whole: auto\n" in after.stderr


def test_without_a_directory_named_the_first_with_room_is_taken(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    place = run([bundle], DEPLOY="1").stdout.strip()
    try:
        assert os.path.dirname(place) in ("/dev/shm", "/tmp", "/var/tmp")
        assert place in run([bundle], DEBUG="1").stderr
    finally:
        assert run([bundle], UNDEPLOY="1").returncode == 0
    assert not os.path.exists(place)


def test_a_step_can_be_deployed_twice_and_a_damaged_one_is_made_anew(work: str) -> None:
    maker = script("cat /opt/sdee-test/data", programs=("cat",))
    bundle = maker.add("/opt/sdee-test/data", "good\n").write(f"{work}/b.sdee")
    node = stage(work)
    first = run([bundle], DEPLOY="1", DEPLOY_DIR=node).stdout.strip()
    inode = os.stat(first).st_ino
    assert run([bundle], DEPLOY="1", DEPLOY_DIR=node).stdout.strip() == first
    assert os.stat(first).st_ino == inode
    with open(f"{first}/closure/opt/sdee-test/data", "a", encoding="utf-8") as file:
        file.write("spoilt")
    assert run([bundle], DEPLOY_DIR=node).stdout == "good\n"  # not used
    assert run([bundle], DEPLOY="1", DEPLOY_DIR=node).stdout.strip() == first
    with open(f"{first}/closure/opt/sdee-test/data", encoding="utf-8") as file:
        assert file.read() == "good\n"


def test_it_is_not_removed_while_a_job_uses_it(work: str) -> None:
    bundle = script("echo ready; read line").write(f"{work}/b.sdee")
    node = stage(work)
    run([bundle], DEPLOY="1", DEPLOY_DIR=node)
    env = PLAIN | {"SDEE_DEPLOY_DIR": node}
    pipe = subprocess.PIPE
    with subprocess.Popen([bundle], env=env, stdin=pipe, stdout=pipe, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        refused = run([bundle], UNDEPLOY="1", DEPLOY_DIR=node)
        assert refused.returncode == 243
        assert "is in use" in refused.stderr
        assert "hint: undeploy when the job's steps have ended" in refused.stderr
        job.communicate("go\n", timeout=60)
    assert run([bundle], UNDEPLOY="1", DEPLOY_DIR=node).returncode == 0
    assert left(node) == []


def begun(command: list[str], bundle: str, node: str) -> subprocess.Popen[str]:
    """Start a deploy that stands still once it has begun; one that ended before that was seen is undone."""
    variables = PLAIN | {"SDEE_DEPLOY": "1", "SDEE_DEPLOY_DIR": node, "SDEE_THREADS": "1"}
    for _ in range(20):
        process = subprocess.Popen(
            [*as_user(USERS[-1]), *command], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not left(node) and process.poll() is None:
            time.sleep(0.0001)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if any(name.startswith(".sdee-") for name in left(node)):
            return process
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        run([bundle], uid=USERS[-1], UNDEPLOY="1", DEPLOY_DIR=node)
    pytest.fail("each deploy was too fast for the test")


def test_a_deploy_that_was_killed_leaves_nothing_that_the_next_does_not_take_away(work: str) -> None:
    maker = script("true")
    for i in range(20):
        maker.add(f"/opt/ballast/{i}", os.urandom(4 << 20))
    bundle = maker.write(f"{work}/b.sdee")
    node = stage(work)
    with begun([bundle], bundle, node) as process:
        process.kill()
    (half,) = left(node)
    assert half.startswith(".sdee-")
    assert run([bundle], uid=USERS[-1], DEPLOY_DIR=node).returncode == 0
    assert run([bundle], uid=USERS[-1], DEPLOY="1", DEPLOY_DIR=node).returncode == 0
    (whole,) = left(node)
    assert whole == half[1:].rsplit(".", 1)[0]


@pytest.mark.skipif(len(USERS) < 2, reason="two users: needs root")
def test_another_users_deployment_is_not_used(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    node = stage(work)
    place = run([bundle], uid=0, DEPLOY="1", DEPLOY_DIR=node).stdout.strip()
    forged = place.replace("sdee-0-", f"sdee-{USERS[-1]}-")
    os.rename(place, forged)
    result = run([bundle], uid=USERS[-1], DEPLOY_DIR=node, DEBUG="1")
    assert result.returncode == 0
    assert "as it is deployed" not in result.stderr


def test_without_room_each_place_is_told(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    result = run([bundle], DEPLOY="1", DEPLOY_DIR=f"{work}/nowhere")
    assert result.returncode == 243
    assert f"tried: {work}/nowhere: No such file or directory" in result.stderr
    assert run([bundle], DEPLOY="1", DEPLOY_DIR="relative").returncode == 2
    assert run([bundle], UNDEPLOY="1", DEPLOY_DIR=f"{work}/nowhere").returncode == 0


def test_data_of_the_node_wins_over_what_is_deployed(work: str) -> None:
    os.mkdir(f"{work}/cwd")
    os.chmod(f"{work}/cwd", 0o777)
    maker = script("cat data only", programs=("cat",), cwd=f"{work}/cwd", live=[work], fallback=f"{work}/cwd/data")
    bundle = maker.add(f"{work}/cwd/data", "old\n").add(f"{work}/cwd/only", "only\n").write(f"{work}/b.sdee")
    node = stage(work)
    assert run([bundle], DEPLOY="1", DEPLOY_DIR=node).returncode == 0
    assert run([bundle], DEPLOY_DIR=node).stdout == "old\nonly\n"
    with open(f"{work}/cwd/data", "w", encoding="utf-8") as file:
        file.write("newer, the node's\n")
    assert run([bundle], DEPLOY_DIR=node).stdout == "newer, the node's\nonly\n"


def test_the_commands_are_those_of_the_launcher(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    node = stage(work)
    env = dict(os.environ) | {"SDEE_DEPLOY_DIR": node}
    assert run([*SDEE, "deploy", bundle], env=env).returncode == 0
    assert len(left(node)) == 1
    assert run([*SDEE, "exec", bundle], env=env).stdout == "ran\n"
    assert run([*SDEE, "undeploy", bundle], env=env).returncode == 0
    assert left(node) == []


def test_json_says_what_is_deployed_where(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    node = stage(work)
    done = run([*SDEE, "deploy", "--json", "--deploy-dir", node, "b.sdee"], cwd=work)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with open_bundle(bundle) as opened:
        identity = opened.identity
    (name,) = left(node)
    assert found == {"bundle": bundle, "identity": identity, "directory": f"{node}/{name}"}
    assert run([bundle], DEPLOY_DIR=node, UNDEPLOY="1").returncode == 0
    os.truncate(bundle, 1000)
    done = run([*SDEE, "deploy", "--json", "b.sdee"], cwd=work)
    assert (done.returncode, done.stdout) == (241, "")
    full = run([*SDEE, "deploy", "--json", "--deploy-dir=/nosuch", script("true").write(bundle)])
    assert (full.returncode, full.stdout) == (243, "")
    assert full.stderr.startswith("sdee: error: ")
    assert "  tried: /nosuch: " in full.stderr


@pytest.mark.parametrize("uid", USERS)
def test_what_was_not_there_stays_hidden_and_fallbacks_work_over_a_deployed_closure(work: str, uid: int) -> None:
    os.mkdir(f"{work}/cwd")
    os.chmod(f"{work}/cwd", 0o777)
    text = "test -e /etc/debian_version && echo seen; cat only"
    maker = script(text, programs=("cat",), cwd=f"{work}/cwd", live=[work], absent="/etc/debian_version")
    bundle = maker.add(f"{work}/cwd/only", "only\n").write(f"{work}/b.sdee")
    node = stage(work)
    assert run([bundle], uid=uid, DEPLOY="1", DEPLOY_DIR=node).returncode == 0
    for root in ("auto", *ROOTS):
        result = run([bundle], uid=uid, ROOT=root, DEPLOY_DIR=node)
        assert (result.stdout, result.stderr, result.returncode) == ("only\n", "", 0), root


def test_one_that_lost_its_mark_is_made_anew_and_removed_all_the_same(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    node = stage(work)
    place = run([bundle], DEPLOY="1", DEPLOY_DIR=node).stdout.strip()
    os.unlink(f"{place}/complete")
    assert "as it is deployed" not in run([bundle], DEPLOY_DIR=node, DEBUG="1").stderr
    assert run([bundle], DEPLOY="1", DEPLOY_DIR=node).stdout.strip() == place
    assert "as it is deployed" in run([bundle], DEPLOY_DIR=node, DEBUG="1").stderr
    os.unlink(f"{place}/complete")
    assert run([bundle], UNDEPLOY="1", DEPLOY_DIR=node).returncode == 0
    assert left(node) == []


def test_deploying_has_no_dry_run(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    node = stage(work)
    result = run([bundle], DEPLOY="1", DEPLOY_DIR=node, DRY_RUN="1")
    assert (result.returncode, left(node)) == (2, [])


@pytest.mark.skipif(os.getuid() != 0, reason="mounts an overlay: needs root")
def test_on_an_overlay_it_is_refused_with_the_reason(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    mount = f"cd {work}; mkdir l u w m; mount -t tmpfs t u; mkdir u/u u/w"
    mount += "; mount -t overlay o -o lowerdir=l,upperdir=u/u,workdir=u/w m"
    text = f"{mount} && SDEE_DEPLOY=1 SDEE_DEPLOY_DIR={work}/m {bundle}"
    result = run(["unshare", "-m", "sh", "-c", text])
    assert result.returncode == 243
    assert "it is on an overlay" in result.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: needs root")
def test_on_a_full_disk_it_is_refused_before_anything_is_written(work: str) -> None:
    bundle = script("true").add("/opt/sdee-test/ballast", os.urandom(4 << 20)).write(f"{work}/b.sdee")
    text = f"mkdir {work}/small && mount -t tmpfs -o size=1m t {work}/small && SDEE_DEPLOY=1"
    text += f" SDEE_DEPLOY_DIR={work}/small {bundle}; echo status $?; ls -A {work}/small"
    result = run(["unshare", "-m", "sh", "-c", text])
    assert result.stdout == "status 243\n"
    assert f"tried: {work}/small: {work}/small has 1 MB free, the closure needs" in result.stderr


@pytest.mark.skipif(USERS[0] != 0, reason="needs root to change what the node says of its memory")
@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_what_does_not_fit_into_memory_runs_from_a_disk_as_the_refusal_says(work: str, root: str, uid: int) -> None:
    maker = script("cat /opt/sdee-test/large | wc -c", programs=("cat", "wc"))
    bundle = maker.add("/opt/sdee-test/large", bytes(9_000_000)).write(f"{work}/b.sdee")
    with open(f"{work}/meminfo", "w", encoding="ascii") as file:
        file.write("MemTotal: 8000 kB\nMemAvailable: 8000 kB\n")
    node = stage(work)
    if subprocess.check_output(["stat", "-f", "-c", "%T", node], text=True) == "tmpfs\n":
        pytest.skip("temporary files are in memory here")
    small = f"mount --bind {work}/meminfo /proc/meminfo; exec {' '.join(as_user(uid))} sh -c"

    def on_small_node(command: str) -> subprocess.CompletedProcess[str]:
        return run(["unshare", "-m", "sh", "-c", f"{small} '{command}'"], cwd="/tmp", ROOT=root)

    refused = on_small_node(bundle)
    assert refused.returncode == 243
    assert f"export SDEE_DEPLOY_DIR=/local/disk; SDEE_DEPLOY=1 {bundle}; then run it" in refused.stderr
    steps = f"export SDEE_DEPLOY_DIR={node}; SDEE_DEPLOY=1 {bundle} >/dev/null && {bundle}"
    served = on_small_node(steps)
    assert (served.stdout, served.stderr, served.returncode) == ("9000000\n", "", 0)


@pytest.mark.skipif(not ROOT, reason="needs root to become two users")
def test_an_owner_who_changes_the_bundle_while_it_is_deployed_writes_nowhere_else(work: str) -> None:
    """The table that was checked is the one that is used: a path in it becomes one that leads out of the closure."""
    node, inside, outside = stage(work), b"/z2345/789abcdef", b"/../../../escape"
    maker = script("true")
    for number in range(20):
        maker.add(f"/opt/large/{number:02}", b"\0" * (8 << 20))
    bundle = maker.add(inside.decode(), "x" * 100).write(f"{work}/b.sdee")
    at = text_at(bundle, inside)
    # as `sdee exec`: what runs itself may not be written here
    with begun([built("sdee-launcher"), bundle], bundle, node) as deploy:
        with open(bundle, "r+b") as file:  # the bundle's owner is root here
            file.seek(at)
            file.write(outside)
        deploy.send_signal(signal.SIGCONT)
        said = deploy.communicate(timeout=60)[1]
    assert (said, deploy.returncode) == ("", 0)
    assert not os.path.exists(f"{work}/escape")
    assert len(left(node)) == 1
    assert os.path.exists(f"{node}/{left(node)[0]}/closure{inside.decode()}")


def text_at(path: str, text: bytes) -> int:
    """Return where a text ends a file's strings: the last place."""
    with open(path, "rb") as file:
        return file.read().rindex(text + b"\0")
