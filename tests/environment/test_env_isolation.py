"""Root in an environment gains nothing: each test tries what the user could not do outside, and fails; and does what the user could."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from env_support import OTHER_UID, SDEE, UID, User, a_user, becomes, needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine")
        yield made


@pytest.fixture
def playground(user: User) -> Iterator[Path]:
    """Files of root and of another user, in a directory that is shown live inside: the user's home."""
    root_file, other_file, locked = user.home / "of-root", user.home / "of-another", user.home / "locked"
    for path, uid, mode in ((root_file, 0, 0o644), (other_file, OTHER_UID, 0o600)):
        path.write_text("theirs\n")
        os.chown(path, uid, uid)
        path.chmod(mode)
    locked.mkdir()
    (locked / "file").write_text("secret\n")
    locked.chmod(0o700)
    yield user.home
    subprocess.run(["rm", "-rf", str(root_file), str(other_file), str(locked)], check=True)


ATTEMPTS = [
    "echo x >>of-root",
    "echo x >of-root",
    "truncate -s 0 of-root",
    "chmod 666 of-root",
    "chown 0 of-another",
    "chown root:root of-root && chmod 777 of-root",
    "touch -d @5 of-root",
    "ln of-another /home/stolen",
    "cat of-another",
    "cp of-another /tmp/copy",
    "ls locked",
    "cat locked/file",
    "chmod 777 locked",
    "chown 1 locked",
    "touch locked/new",
    'setfacl -m u:0:rw of-root || python3 -c \'import os; os.setxattr("of-root", "user.x", b"1")\'',
    "su -s /bin/sh daemon -c 'cat of-another'",
    "setpriv --reuid=63002 --clear-groups cat of-another",
    "python3 -c 'import os; os.setresuid(63002, 63002, 63002); open(\"of-another\").read()'",
    "python3 -c 'import os; os.setuid(63002); os.chmod(\"of-another\", 0o666)'",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_files_of_others_stay_theirs(user: User, playground: Path, attempt: str) -> None:
    before = [(p.name, p.stat().st_mode, p.stat().st_uid, p.read_text()) for p in playground.iterdir() if p.is_file()]
    done = user.sdee("env", "enter", "mine", "--", "bash", "-c", attempt, check=False)
    assert done.returncode != 0, done.stdout
    after = [(p.name, p.stat().st_mode, p.stat().st_uid, p.read_text()) for p in playground.iterdir() if p.is_file()]
    assert after == before


def test_the_users_own_files_are_still_the_users(user: User) -> None:
    """The passing side of the table above."""
    user.inside(
        "mine",
        "echo x >own && echo y >>own && chmod 600 own && chown 1234 own && touch -d @5 own && mkdir -p d/e && rm -r d",
    )
    own = user.home / "own"
    assert (own.read_text(), own.stat().st_uid, stat.S_IMODE(own.stat().st_mode), own.stat().st_mtime) == (
        "x\ny\n",
        UID,
        0o600,
        5,
    )


@pytest.mark.parametrize(
    "attempt",
    [
        "echo 1 >/proc/sys/vm/overcommit_memory",
        "echo 1 >/proc/sys/kernel/panic",
        "echo /tmp/x >/proc/sys/kernel/core_pattern",
        "echo h >/proc/sysrq-trigger",
        "for f in /sys/kernel/mm/transparent_hugepage/enabled /sys/power/state; do echo never >$f && exit 0; done; exit 1",
        "mknod /tmp/disk b 254 0",
        "mknod /usr/local/mem c 1 1",
        "su -s /bin/sh daemon -c 'mknod /tmp/null c 1 3'",
        "mount -t ext4 $(findmnt -no SOURCE / | head -1) /mnt",
        "mount /dev/vda /mnt",
        "mount -t debugfs none /mnt",
        "mount -o remount,suid,dev /home",
        "head -c 1 /dev/vda",
        "dmesg --clear",
        "date -s @0",
        "swapoff -a && false",
        "modprobe dummy",
        "sysctl -w kernel.hostname=x vm.swappiness=1",
        "nsenter -t 1 -m cat /of-the-host",
        "chroot /proc/1/root test -e /of-the-host",
        "ip link add dummy0 type dummy",
        "renice -n -19 $$",
        "kexec -l /boot/vmlinuz",
    ],
)
def test_the_machine_is_out_of_reach(user: User, attempt: str) -> None:
    mark = Path("/of-the-host")
    mark.touch()
    try:
        done = user.sdee("env", "enter", "mine", "--", "bash", "-c", attempt, check=False)
    finally:
        mark.unlink()
    assert done.returncode != 0, f"{done.stdout}{done.stderr}"


def test_processes_outside_cannot_be_seen_signalled_or_traced(user: User) -> None:
    outside: list[subprocess.Popen[Any]] = [user.start("sleep", "1000"), subprocess.Popen(["sleep", "1000"])]
    try:
        for process in outside:
            pid = process.pid
            tries = f"ls -d /proc/{pid}; kill -0 {pid}; strace -p {pid}; gdb -batch -p {pid}; cat /proc/{pid}/environ; nsenter -t {pid} -m true"
            for attempt in tries.split("; "):
                done = user.sdee("env", "enter", "mine", "--", "bash", "-c", attempt, check=False)
                assert done.returncode != 0 or "No such process" in done.stdout + done.stderr, attempt
            assert process.poll() is None
        comms = user.inside("mine", "cat /proc/[0-9]*/comm").split()
        assert "sdee-env-init" in comms
        assert "sleep" not in comms
    finally:
        for process in outside:
            process.kill()
            process.wait()


def test_set_user_id_programs_give_nothing(user: User) -> None:
    script = """
        cp /usr/bin/id ~/suid && chown root:root ~/suid && chmod 6755 ~/suid && stat -c '%u %a' ~/suid
        cp /usr/bin/id /usr/local/suid && chown 0 /usr/local/suid && chmod 4755 /usr/local/suid"""
    assert user.inside("mine", script) == "0 6755\n"
    for path in (user.home / "suid", user.state("mine") / "layers/usr/upper/local/suid"):
        assert path.stat().st_uid == UID
    # Another user outside who runs it becomes at most the environment's user, as with any file that this one makes
    user.home.chmod(0o755)
    done = subprocess.run(
        [*becomes(OTHER_UID), str(user.home / "suid"), "-u"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in (str(UID), str(OTHER_UID))
    # The host's set-user-ID programs do not make the user root of the host
    user.inside("mine", "su -c 'touch ~/by-su'")
    assert (user.home / "by-su").stat().st_uid == UID


def test_the_environment_is_closed_to_other_users(user: User) -> None:
    running = user.start(
        str(SDEE), "env", "enter", "mine", "--", "sh", "-c", "echo 1 >/tmp/private; echo ready; read line"
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    state = user.state("mine")
    holder = subprocess.run(
        ["pgrep", "-u", str(UID), "-f", "sdee-env enter"], capture_output=True, text=True, check=True
    ).stdout.split()
    with a_user(OTHER_UID) as other:
        subprocess.run(
            ["chmod", "755", str(user.home), str(user.home / ".local"), str(user.home / ".local/share")], check=False
        )
        for command in (
            ["ls", str(state)],
            ["cat", str(state / "tmp/private")],
            [
                "python3",
                "-c",
                f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('{state}/socket')",
            ],
            [
                str(SDEE.parent / "python"),
                "-c",
                f"import os; os.execv('{SDEE.parent.parent.parent}/runtime/native/sdee-env', ['x', 'enter', '{state}', 'mine'])",
            ],
            *(["ls", f"/proc/{pid}/root/tmp"] for pid in holder),
            *(["nsenter", "-t", pid, "-U", "-m", "true"] for pid in holder),
        ):
            assert other.run(*command, check=False).returncode != 0, command
        for line in (state / "x", state / "layers/usr/upper"):
            assert other.run("test", "-r", str(line), check=False).returncode != 0
    running.communicate("\n", timeout=60)


CONNECT = """
import os, socket, sys
end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
end.settimeout(20)
os.chdir(sys.argv[1])
end.connect("socket")
print(*(len(part) for part in socket.recv_fds(end, 1, 1)[:2]))
"""


def test_a_holder_speaks_with_its_own_user_only(user: User) -> None:
    """Even where the user has opened the environment's directory to all."""
    running = user.start(str(SDEE), "env", "enter", "mine", "--", "sh", "-c", "echo ready; read line")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    state = user.state("mine")
    modes = {path: path.stat().st_mode for path in (state, *state.parents) if user.home in (path, *path.parents)}
    try:
        for path, mode in modes.items():
            path.chmod(mode | 0o055)
        with a_user(OTHER_UID) as other:
            assert other.run("python3", "-c", CONNECT, str(state)).stdout == "0 0\n"
        assert user.run("python3", "-c", CONNECT, str(state)).stdout == "1 1\n"
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
        running.communicate("\n", timeout=60)


def test_secrets_of_the_host_are_not_inside(user: User) -> None:
    assert not any(line.split(":")[1].startswith("$") for line in user.inside("mine", "cat /etc/shadow").splitlines())
    assert "Permission denied" in user.run("cat", "/etc/shadow", check=False).stderr
    assert user.inside("mine", "ls -A /root") == ""
    assert user.inside("mine", f"ls -A {user.state('mine').parent}", check=False) == ""


def test_namespaces_are_its_own(user: User) -> None:
    kinds = ("mnt", "pid", "ipc", "uts", "user")
    inside = user.inside("mine", " ; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)).split()
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert not set(inside) & set(outside)
    name = os.uname().nodename
    user.inside(
        "mine", "hostname changed-inside; mount -t tmpfs none /mnt; touch /mnt/x /dev/shm/only-inside; ipcmk -M 4096"
    )
    assert os.uname().nodename == name
    assert not Path("/mnt/x").exists()
    assert not Path("/dev/shm/only-inside").exists()


def test_the_supervisor_survives_what_a_process_gives_it(user: User) -> None:
    """Wrong addresses, endless names, paths through descriptors: answers are the kernel's own errno, and others go on."""
    script = r"""
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    return errno.errorcode.get(ctypes.get_errno(), result)
print(call(4, 1, 1), call(4, b"/etc/passwd", 1), call(262, -100, 8, 8, 0), call(90, 0, 0o777), call(92, b"x" * 5000, 0, 0))
print(call(257, -100, b"a/" * 3000, 1), call(2, b"", 1), call(260, 99, b"x", 0, 0, 0), call(332, -100, b"/", 0, 0xfff, 1), call(116, 65537, 0))
print(call(437, -100, b"/etc/passwd", 1, 24), call(115, -1, 0), call(118, 1, 1, 1) if os.setgid(5) is None else 0)
"""
    (user.home / "hostile.py").write_text(script)
    inside, outside = (
        user.inside("mine", "python3 hostile.py").splitlines(),
        user.run("python3", "hostile.py", check=False).stdout.splitlines(),
    )
    assert inside[0] == "EFAULT EFAULT EFAULT EFAULT ENAMETOOLONG"
    assert inside[:1] == outside[:1]
    assert inside[1] == "ENAMETOOLONG ENOENT EBADF EFAULT EINVAL"
    assert inside[2].startswith("EFAULT ")
    assert user.inside("mine", "echo alive") == "alive\n"
