"""What root may do in an environment, though the kernel maps one id only: own-on-write, emulated owners and credentials."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import UID, User, a_user, needs_root, skip_outside_of_ci

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root

HOST_FILES = (
    "/etc/services",
    "/usr/bin/tac",
    "/usr/bin/cat",
    "/usr/bin/nl",
    "/etc/passwd",
    "/usr/share/common-licenses/GPL-3",
)


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """A user with an environment; the host's files are compared afterwards."""
    before = fingerprints()
    with a_user() as made:
        made.sdee("env", "create", "mine", "--emulate")
        yield made
    assert fingerprints() == before


def fingerprints() -> list[tuple[str, int, int, int, str]]:
    found = []
    for path in HOST_FILES:
        state = os.stat(path)
        found.append(
            (path, state.st_mode, state.st_uid, state.st_mtime_ns, hashlib.sha256(Path(path).read_bytes()).hexdigest())
        )
    return found


# Each changes a host file in place: without own-on-write the kernel refuses every one (the test below this table proves it)
CHANGES = {
    "open for appending": "echo x >>/etc/services && tail -1 /etc/services | grep -qx x",
    "open with truncation": "echo x >/etc/protocols && grep -qx x /etc/protocols",
    "truncate": "truncate -s 10 /usr/share/common-licenses/GPL-3 && test $(stat -c %s /usr/share/common-licenses/GPL-3) = 10",
    "hard link": "ln /usr/bin/cat /usr/bin/kat && /usr/bin/kat /etc/hostname >/dev/null",
    "rename": "mv /usr/bin/tac /usr/bin/tactac && test ! -e /usr/bin/tac && echo a | /usr/bin/tactac >/dev/null",
    "chmod": "chmod 4750 /usr/bin/sort && test $(stat -c %a /usr/bin/sort) = 4750",
    "chown": "chown 33:34 /usr/bin/join && test $(stat -c %u:%g /usr/bin/join) = 33:34",
    "utimes": "touch -d @5 /usr/bin/wc && test $(stat -c %Y /usr/bin/wc) = 5",
    "a link's own times": "touch -h -d @5 /usr/bin/awk && test $(stat -c %Y /usr/bin/awk) = 5",
    "extended attribute": 'python3 -c \'import os; os.setxattr("/usr/bin/cut", "user.a", b"1")\'',
    "fchmod of a descriptor": 'python3 -c \'import os; f = os.open("/usr/bin/nl", 0); os.fchmod(f, 0o700); os.utime(f, (7, 7)); '
    's = os.stat("/usr/bin/nl"); assert (s.st_mode & 0o777, s.st_mtime) == (0o700, 7)\'',
    "relative, through a link": "cd /var && ln -s /usr/bin l && echo x >>l/../share/common-licenses/BSD && tail -1 /usr/share/common-licenses/BSD | grep -qx x",
    "by /dev/fd": "exec 3</usr/bin/paste && chmod 700 /dev/fd/3 && test $(stat -c %a /usr/bin/paste) = 700",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_host_file_is_changed_in_place(user: User, change: str) -> None:
    assert user.inside("mine", CHANGES[change]) == ""


def test_without_the_supervisor_the_kernel_refuses_these() -> None:
    """The failing side: the same layers in a plain user namespace."""
    with a_user() as user:
        user.sdee("env", "create", "bare", "--emulate")
        mount = "mount -t overlay -o lowerdir=/etc,upperdir=layers/etc/upper,workdir=layers/etc/work,userxattr x /etc"
        script = f"cd {user.state('bare')} && mkdir -p layers/etc/work && {mount} && touch /etc/new && ! ln /etc/services /etc/s2 2>/dev/null && ! chown 33 /etc/new && stat -c %U /etc/services"
        assert user.run("unshare", "-Urm", "bash", "-c", script).stdout == "nobody\n"


def test_what_is_only_read_is_not_copied(user: User) -> None:
    user.inside(
        "mine",
        "cat /usr/bin/head >/dev/null; test -w /usr/bin/head; stat /usr/bin/head; chown root:root /usr/bin/head; exec 3<>/dev/null",
    )
    assert not (user.state("mine") / "layers/usr/upper/bin/head").exists()
    user.inside("mine", "chown 33 /usr/bin/head")
    assert (user.state("mine") / "layers/usr/upper/bin/head").exists()


def test_host_owners_are_shown_as_they_are(user: User) -> None:
    paths = ["/usr/bin/ls", "/etc", "/usr/bin/awk", "/dev/null", "/home"]
    outside = subprocess.run(["stat", "-c", "%u:%g %n", *paths], capture_output=True, text=True, check=True).stdout
    assert user.inside("mine", f"stat -c '%u:%g %n' {' '.join(paths)}") == outside
    assert user.inside("mine", "stat -c %u:%g ~") == "0:0\n"


def test_all_kinds_of_stat_agree(user: User) -> None:
    script = """
import os
os.chown("/usr/local/f", 33, 34)
fd = os.open("/usr/local/f", os.O_RDONLY)
directory = os.open("/usr/local", os.O_RDONLY)
for s in (os.stat("/usr/local/f"), os.lstat("/usr/local/f"), os.fstat(fd), os.stat("f", dir_fd=directory), os.stat(f"/proc/self/fd/{fd}")):
    print(s.st_uid, s.st_gid)
ls = os.stat("/usr/bin/comm"); fd = os.open("/usr/bin/comm", os.O_RDONLY)
assert ls == os.fstat(fd), (ls, os.fstat(fd))
"""
    (user.home / "stats.py").write_text(script)
    output = user.inside(
        "mine",
        "touch /usr/local/f; python3 stats.py; stat -c '%u %g' /usr/local/f; ls -n /usr/local/f | cut -d' ' -f3,4",
    )
    lines = output.splitlines()
    assert [line for line in lines if line != "33 34"] in ([], ["0 0"])  # /proc is the kernel's own
    assert lines.count("33 34") >= 6


def test_owners_live_as_long_as_the_file_and_move_with_it(user: User) -> None:
    script = """
        cd /usr/local && mkdir o && echo 1 >o/f && mkfifo o/p && ln -s f o/l && chown 33:34 o o/f o/p && chown -h 35 o/l
        mv o o2 && ln o2/f o2/g && cp -a o2/f o2/h && chmod 0444 o2/f && chown 36 o2/f"""
    assert user.inside("mine", script) == ""
    user.sdee("env", "stop", "mine")
    assert user.inside("mine", "cd /usr/local && stat -c '%n %u:%g %a' o2 o2/f o2/g o2/h o2/p o2/l").splitlines() == [
        "o2 33:34 755",
        "o2/f 36:34 444",
        "o2/g 36:34 444",
        "o2/h 33:34 644",
        "o2/p 33:34 644",
        "o2/l 35:0 777",
    ]
    assert (user.state("mine") / "layers/usr/upper/local/o2/f").stat().st_uid == UID


def test_accounts_and_daemons_become_other_users(user: User) -> None:
    script = r"""
        adduser --quiet --disabled-password --gecos '' bob && groupadd crew && usermod -aG crew bob
        su bob -c 'id -un; id -Gn; cd; pwd; touch made; mkdir dir; ln -s x link; mkfifo pipe; python3 -c "open(\"new\", \"x\").close()"'
        cd ~bob && stat -c '%n %U' made dir link pipe new .bashrc
        su bob -c 'chown root made' 2>&1 | grep -o 'Operation not permitted'
        runuser -u bob -- sh -c 'umask 077; echo >secret; stat -c %a secret'
        setpriv --reuid bob --regid bob --init-groups id -u"""
    output = user.inside("mine", script).splitlines()
    uid = output[-1]
    assert int(uid) >= 1000
    assert output == [
        *(
            "bob",
            "bob users crew",
            "/var/home/bob",
            "made bob",
            "dir bob",
            "link bob",
            "pipe bob",
            "new bob",
            ".bashrc bob",
        ),
        *("Operation not permitted", "600", uid),
    ]


def test_privileges_that_are_dropped_stay_dropped(user: User) -> None:
    script = """
import os
os.setgroups([4, 5]); os.setresgid(4, 4, 4); os.setresuid(33, 33, 33)
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()), flush=True)
for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chown("/tmp", 0, 0), lambda: os.setreuid(-1, 0)):
    try:
        call()
        print("regained")
    except PermissionError:
        pass
child = os.fork()
if not child:
    if not os.fork():
        print("grandchild", os.getuid(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
os.execlp("id", "id", "-u")
"""
    (user.home / "drop.py").write_text(script)
    output = user.inside("mine", "python3 drop.py; sleep 0.3").splitlines()
    assert output[0] == "(33, 33, 33) (4, 4, 4) [4, 5]"
    assert sorted(output[1:]) == ["33", "grandchild 33"]
    saved = "import os; os.setresuid(33, 33, 0); os.setuid(0); print(os.getuid(), os.geteuid())"
    assert user.inside("mine", f"python3 -c '{saved}'") == "33 0\n"


def test_peers_of_a_socket_see_the_emulated_user(user: User) -> None:
    script = """
import os, socket, struct
a = socket.socket(socket.AF_UNIX); a.bind("/tmp/s"); a.listen()
if not os.fork():
    os.setuid(33)
    c = socket.socket(socket.AF_UNIX); c.connect("/tmp/s"); c.recv(1); os._exit(0)
s, _ = a.accept()
pid, uid, gid = struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
print(uid, os.path.exists(f"/proc/{pid}"))
s.send(b"x")
"""
    (user.home / "peer.py").write_text(script)
    assert user.inside("mine", "python3 peer.py") == "33 True\n"


def test_tar_unpacks_as_root(user: User) -> None:
    script = """
        cd /tmp && mkdir d && echo 1 >d/f && chown 12:13 d/f && chmod 4755 d/f && chown 14 d && tar cpf t.tar d && rm -r d && tar xpf t.tar
        stat -c '%u:%g %a' d d/f; cd ~ && tar xpf /tmp/t.tar && stat -c %u:%g d/f"""
    assert user.inside("mine", script).splitlines() == ["14:0 755", "12:13 4755", "12:13"]
    assert (user.home / "d/f").stat().st_uid == UID
    assert os.listxattr(user.home / "d/f") == []  # the user's own files are not marked


def test_directories_of_the_host_are_removed_renamed_and_made_anew(user: User) -> None:
    script = """
        rm -r /usr/share/doc/bash && mkdir /usr/share/doc/bash && ls -A /usr/share/doc/bash
        mv /usr/share/doc/gzip /usr/share/doc/gz && ls /usr/share/doc/gz | grep -c . >/dev/null && ls -d /usr/share/doc/gzip"""
    assert "cannot access '/usr/share/doc/gzip'" in user.inside("mine", script, check=False)


def test_many_processes_at_once_own_the_same_files(user: User) -> None:
    script = """
        for i in $(seq 40); do (for f in $(find /usr/share/common-licenses -type f); do echo $i >>$f; touch $f; done) & done; wait
        for f in $(find /usr/share/common-licenses -type f); do tail -40 $f | sort -n | uniq | wc -l; done | sort -u; ls -A /usr/.sdee-own | wc -l"""
    user.sdee("env", "reset", "--force", "mine")
    assert user.inside("mine", script, check=False).split() == ["40", "0"]


def test_accounts_files_have_the_owners_that_they_have_on_the_host(user: User) -> None:
    user.sdee("env", "create", "accounts")
    owners = user.run("stat", "-c", "%U:%G %a", "/etc/passwd", "/etc/shadow", "/etc/gshadow").stdout
    assert "root:shadow 640" in owners
    assert user.inside("accounts", "stat -c '%U:%G %a' /etc/passwd /etc/shadow /etc/gshadow") == owners
    assert user.changes("accounts") == []
    user.sdee("env", "stop", "accounts")
    user.sdee("env", "remove", "accounts")


def test_device_nodes_are_refused_and_pipes_are_not(user: User) -> None:
    assert user.inside("mine", "mkfifo /usr/local/pipe && stat -c %F /usr/local/pipe") == "fifo\n"
    for kind in ("c 1 3", "b 8 0"):
        assert "Operation not permitted" in user.inside("mine", f"mknod /usr/local/node {kind}", check=False)


def test_ids_of_a_subordinate_range_are_real(tmp_path: Path) -> None:
    """With newuidmap the kernel itself knows other users, and nothing is emulated."""
    start = 1_400_000_000
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text(f"{UID}:{start}:65536\n")
    with a_user() as user:
        bind = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("subuid", "subgid"))
        passwd = tmp_path / "passwd"
        passwd.write_text(f"{Path('/etc/passwd').read_text()}subtester:x:{UID}:{UID}::{user.home}:/bin/bash\n")
        as_user = f"setpriv --reuid={UID} --regid={UID} --clear-groups"
        work = """sdee env create real && sdee env enter real -- bash -c '
            touch /usr/local/f && chown 33:34 /usr/local/f && stat -c %u:%g /usr/local/f && grep Uid /proc/self/status
            setpriv --reuid=33 --clear-groups sh -c "id -u; grep Uid /proc/self/status; echo x >/usr/local/no"; echo x >>/etc/services && echo written; chmod 700 /opt; chown 33 /opt/'
            stat -c %u:%g .local/share/sdee/environments/real/layers/usr/upper/local/f; sdee env stop real >/dev/null; sdee env remove real; ls -A .local/share/sdee/environments"""
        script = f"{bind} && mount --bind {passwd} /etc/passwd && cd {user.home} && exec {as_user} bash -c '{work.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'"
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False, env=user.environ
        )
        lines = done.stdout.split("\n")
        assert "real ids" in lines[0], done.stdout + done.stderr
        assert lines[2:] == [
            *("33:34", "Uid:\t0\t0\t0\t0", "33", "Uid:\t33\t33\t33\t33", "written", f"{start + 32}:{start + 33}", ""),
        ], done.stdout + done.stderr
        assert "Permission denied" in done.stderr


def test_debian_packages_install_upgrade_and_go(user: User) -> None:
    if "Err:" in (output := user.inside("mine", "apt-get update", check=False)):
        skip_outside_of_ci(f"no package mirror: {output}")
    script = """
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y hello cron >/dev/null && hello && stat -c %a:%G /usr/bin/crontab
        apt-get install -y --reinstall openssh-client >/dev/null && ssh -V && apt-get purge -y hello >/dev/null; test ! -e /usr/bin/hello; dpkg --audit"""
    lines = user.inside("mine", script, check=False).splitlines()
    assert [line for line in lines if "debconf" not in line and not line.startswith("OpenSSH")] == [
        "Hello, world!",
        "2755:crontab",
    ]
    assert stat.S_ISREG((user.state("mine") / "layers/usr/upper/bin/crontab").lstat().st_mode)
