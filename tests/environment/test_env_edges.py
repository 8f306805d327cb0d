"""What few programs do and the supervisor has to get right all the same: roots and mounts of their own, odd arguments, odd files."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import SDEE, UID, User, a_user, needs_root, processes_of, skip_outside_of_ci
from sdee.runtime.programs import env_path

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root

PROJECT_GROUP = UID + 7  # one that the user is not in, and that the namespace does not map


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user(on_disk=True) as made:
        made.sdee("env", "create", "mine", "--emulate")
        yield made


def test_paths_in_a_chroot_do_not_lead_out_of_it(user: User) -> None:
    """`..` stops at the chroot, and links begin there: also where the call changes something."""
    user.inside(
        "mine",
        """set -e; mkdir -p /opt/root/etc /opt/root/usr; cd /opt/root; ln -s usr/bin usr/lib usr/lib64 .; ln -s /etc link; touch etc/services
        mount --bind /usr usr; chown 77 etc/services; echo 'set -e; cd /etc
        test $(stat -c %u ../../../etc/services) = 77; test $(stat -c %u ../link/services) = 77; cd /; test $(stat -c %u link/services) = 77
        chown 78 link/services; chown :79 ../../etc/services; test $(stat -c %u:%g /etc/services) = 78:79' >script
        chroot . /bin/sh /script; umount usr; test $(stat -c %u:%g /etc/services) = 0:0; test $(stat -c %u:%g etc/services) = 78:79""",
    )


def test_root_owns_files_whatever_their_group(user: User) -> None:
    """Directories of projects give their group by the set-group-ID bit: tar and cp -a work there."""
    project = user.home / "project"
    project.mkdir()
    os.chown(project, UID, PROJECT_GROUP)
    project.chmod(0o2775)
    (project / "of-another").touch()
    os.chown(project / "of-another", UID + 1, PROJECT_GROUP)
    said = user.inside(
        "mine",
        """set -e; mkdir /tmp/d; echo a >/tmp/d/a; chown 33:34 /tmp/d/a; tar -C /tmp -cf /tmp/d.tar d; cd ~/project; tar xf /tmp/d.tar; cp -a /tmp/d e
        stat -c %u:%g . d d/a e/a; chown 5 of-another""",
        check=False,
    )
    assert said.splitlines()[:4] == [f"0:{PROJECT_GROUP}", "0:0", "33:34", "33:34"], said
    assert "of-another': Operation not permitted" in said
    assert ((project / "d/a").stat().st_uid, (project / "d/a").stat().st_gid) == (UID, PROJECT_GROUP)


def test_holes_of_a_host_file_stay_holes(user: User) -> None:
    """/var/log/lastlog is as long as the largest uid says."""
    with tempfile.NamedTemporaryFile(dir="/var/log", prefix="sdee-test-") as file:
        file.truncate(2 << 30)
        file.seek(1 << 30)
        file.write(b"data")
        file.flush()
        os.chmod(file.name, 0o644)
        user.inside(
            "mine",
            f"""set -e; chmod 600 {file.name}; test $(du -k {file.name} | cut -f1) -lt 100
            test $(stat -c %s {file.name}) = {2 << 30}; test "$(tail -c +{(1 << 30) + 1} {file.name} | head -c 4)" = data""",
        )
        assert Path(file.name).stat().st_mode & 0o777 == 0o644


SERVER = Path(__file__).parents[2] / "fixtures/environment/fuse_server.py"


@pytest.fixture
def served(user: User) -> Iterator[tuple[Path, Path]]:
    """A tree, and where fuse_server.py shows it: the device is open to all on any machine with udev."""
    device = Path("/dev/fuse")
    if not device.exists():
        skip_outside_of_ci("the machine has no FUSE")
    mode = device.stat().st_mode & 0o777
    device.chmod(0o666)
    tree, shown = user.home / "tree", user.home / "shown"
    for directory in ("a", "b", "c"):
        (tree / directory).mkdir(parents=True)
        for number in range(100):
            (tree / directory / f"{number}").write_text(f"{directory}{number}")
    shown.mkdir()
    for path in (shown, tree, *tree.rglob("*")):
        os.chown(path, UID, UID)
    shutil.copy(SERVER, user.home / "fuse_server.py")
    yield tree, shown
    user.sdee("env", "stop", "mine", check=False)
    device.chmod(mode)
    shutil.rmtree(tree)
    shown.rmdir()


SERVE = "set -e; cd ~; python3 fuse_server.py ~/tree ~/shown"


def test_a_file_system_that_is_served_inside_never_waits_for_itself(user: User, served: tuple[Path, Path]) -> None:
    """The server's own calls stop, too: they are answered while others wait for it, however many these are."""
    before = time.monotonic()
    assert "Operation not permitted" not in user.inside(
        "mine", f"{SERVE}; timeout 60 diff -r tree shown; for i in 1 2 3 4 5 6; do timeout 60 ls -lR shown >$i & done; wait; umount shown; ls -lR tree >0; for i in 1 2 3 4 5 6; do test $(wc -l <$i) = $(wc -l <0); done"
    )  # fmt: skip
    assert time.monotonic() - before < 300  # 1,900 files: each waited for a second, and two readers for ever
    assert list(served[1].iterdir()) == []  # the mount was the environment's alone


@pytest.mark.usefixtures("served")
def test_a_file_system_whose_server_stopped_or_was_killed_hinders_nothing_else(user: User) -> None:
    said = user.inside(
        "mine",
        f"""{SERVE}; kill -STOP $(pgrep -f ^python3.fuse); for i in 1 2 3 4 5 6; do ls -lR shown >/dev/null 2>&1 & done; sleep 0.3
        timeout 5 stat /usr/bin/ls >/dev/null; kill -9 $(pgrep -f ^python3.fuse); wait; ls shown || umount shown
        exec >/dev/null 2>&1; python3 fuse_server.py ~/tree ~/shown; setsid ls -lR shown >/dev/null & sleep 0.1; setsid kill -STOP $(pgrep -f ^python3.fuse); setsid ls shown & sleep 0.3""",
    )
    assert "Transport endpoint is not connected" in said
    assert any("fuse_server" in line for line in processes_of(UID))
    user.sdee("env", "stop", "mine")
    assert processes_of(UID) == []
    assert user.inside("mine", "ls ~/shown") == ""


@pytest.mark.usefixtures("served")
def test_an_owner_given_on_a_file_system_that_is_served_inside_is_refused_and_never_anothers(user: User) -> None:
    """Its inode numbers are counted anew at each mount, and so is the number of its device."""
    said = user.inside("mine", f"{SERVE}; chown 33 shown/a/1 shown/a || true; find shown -not -uid 0; umount shown")
    assert said.count("Invalid argument") == 2, said
    assert len(said.splitlines()) == 2
    assert user.inside("mine", f"{SERVE}; find shown -not -uid 0; umount shown") == ""
    assert user.inside("mine", "cd ~; chown 33 tree/a/1; stat -c %u tree/a/1") == "33\n"


WRITER = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.2)
    pathlib.Path("kept").write_text("all of it")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.alone
def test_programs_are_asked_to_end_before_they_are_killed(user: User) -> None:
    """Databases, and file systems by FUSE that write their archive at the end (fuse-zip, archivemount), lose it else."""
    (user.home / "writer.py").write_text(WRITER)
    enter = [str(SDEE), "env", "enter", "mine", "--"]
    writer, shell = user.start(*enter, "python3", "writer.py"), user.start(*enter, "bash", "--norc", "-i")
    asleep = user.start(*enter, "sleep", "1000")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    before = time.monotonic()
    user.sdee("env", "stop", "mine")
    assert time.monotonic() - before < 4
    assert (user.home / "kept").read_text() == "all of it"
    assert (writer.wait(10), asleep.wait(10)) == (0, -signal.SIGTERM)
    shell.wait(10)
    assert asleep.stderr is not None
    assert "ended while the command ran" in asleep.stderr.read()
    for process in (writer, shell, asleep):
        process.communicate()


def test_what_does_not_end_is_killed_and_who_comes_meanwhile_waits(user: User) -> None:
    enter = [str(SDEE), "env", "enter", "mine", "--"]
    deaf = user.start(
        *enter, "bash", "-c", "trap 'echo asked' TERM; trap '' HUP; echo ready; while :; do sleep 1; done"
    )
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == "ready\n"
    before = time.monotonic()
    stop = user.start(str(SDEE), "env", "stop", "mine")
    assert deaf.stdout.readline() == "asked\n"
    assert user.inside("mine", "pgrep -c bash; echo inside") == "1\ninside\n"
    assert time.monotonic() - before > 3
    assert deaf.wait(60) == -signal.SIGKILL
    for process in (stop, deaf):
        process.communicate(timeout=60)
    assert stop.returncode == 0


ARGUMENTS = r"""
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "good"
room, here, strange = ctypes.create_string_buffer(256), -100, 0x10000
for number, arguments in ((262, (here, b"/etc/rpc", room, strange)), (332, (here, b"/etc/rpc", strange, 0xfff, room)), (439, (here, b"/etc/rpc", 2, strange)),
        (260, (here, b"/etc/rpc", 5, 5, strange)), (452, (here, b"/etc/rpc", 0o600, strange)), (280, (here, b"/etc/rpc", 0, strange))):
    print(number, call(number, *arguments))
only = os.open("/etc/rpc", os.O_PATH)
print(call(91, only, 0o600), call(93, only, 5, 5), call(280, only, 0, 0, 0), call(260, only, b"", 5, 5, 0x1000))
how = lambda flags, resolve: (ctypes.c_uint64 * 3)(flags, 0, resolve)
etc = os.open("/etc", os.O_PATH)
for path, resolve in ((b"services", 8), (b"../usr/bin/tac", 8), (b"/networks", 16), (b"/../../protocols", 16), (b"/absent", 16)):
    print(path, call(437, etc, path, how(os.O_RDWR, resolve), 24))
print(call(316, here, b"/usr/bin/tac", here, b"/usr/bin/nl", 2), call(316, here, b"/usr/bin/tac", here, b"/usr/bin/nl", 1))
os.close(os.open("/usr/bin/new", os.O_CREAT | os.O_WRONLY))
print(call(316, here, b"/usr/bin/new", here, b"/usr/bin/comm", 2), os.stat("/usr/bin/comm").st_size, os.stat("/usr/bin/new").st_size > 0)
"""


def test_odd_arguments_get_the_kernels_answer(user: User) -> None:
    """Unknown flags, descriptors of O_PATH, openat2's other roots, two names exchanged."""
    (user.home / "arguments.py").write_text(ARGUMENTS)
    lines = user.inside("mine", "python3 arguments.py; stat -c %u /etc/rpc").splitlines()
    assert lines[:6] == [f"{number} EINVAL" for number in (262, 332, 439, 260, 452, 280)]
    assert lines[6] == "EBADF EBADF EBADF good"
    assert [line.split()[-1] for line in lines[7:12]] == ["good", "EXDEV", "good", "good", "ENOENT"]
    assert lines[12:] == ["good EEXIST", "good 0 True", "5"]


def test_terminals_beyond_the_limit_of_descriptors_wait_and_cost_nothing(user: User) -> None:
    user.sdee("env", "stop", "mine")
    enter = f"{env_path()} enter {user.state('mine')} mine"
    script = f"""ulimit -n 130; for i in $(seq 40); do {enter} sh -c 'stat -c %u /etc/hosts; while test ! -e ~/go; do sleep 0.1; done' & done
        sleep 2; holder=$(pgrep -u {UID} sdee-env-hold | head -1); cut -d' ' -f14,15 /proc/$holder/stat >&2; ls /proc/$holder/fd | wc -l >&2; touch ~/go; wait"""
    done = user.run("bash", "-c", script)
    ticks, descriptors = done.stderr.splitlines()[-2:]
    assert done.stdout.split() == ["0"] * 40, done.stderr
    assert sum(map(int, ticks.split())) < 100, "the holder spins"
    assert int(descriptors) <= 130 - 32


def test_a_damaged_list_of_owners_loses_only_what_is_damaged(user: User) -> None:
    """Where the disk was full half of a line may stand in it."""
    user.inside("mine", "ln -s a /opt/one; ln -s a /opt/two; chown -h 5 /opt/one; chown -h 6 /opt/two")
    user.sdee("env", "stop", "mine")
    owners = user.state("mine") / "owners"
    lines = owners.read_text().splitlines()
    owners.write_text("\n".join([*lines[:-1], "0 12", lines[-1][:9] + lines[-1], lines[-1], ""]))
    assert user.inside("mine", "stat -c %u /opt/one /opt/two").split() == ["5", "6"]


def test_modes_that_close_files_to_their_owner_close_nothing_to_root(user: User) -> None:
    """The supervisor is an ordinary user out here; owners and own-on-write must not depend on what it may read."""
    user.inside(
        "mine",
        """set -e; mkdir -p /opt/closed/below; cd /opt/closed/below; echo x >f; chown 33:34 f; chmod 0 f; test $(stat -c %u:%g f) = 33:34
        chown 35 f; test $(stat -c %u:%g f) = 35:34; mkdir d; chown 36 d; chmod 0 d; test $(stat -c %u d) = 36; mkfifo p; chown 37 p
        chmod 0 /opt/closed; test $(stat -c %u f) = 35; test $(stat -c %u /opt/closed/below/d) = 36; chown 38 f; test $(stat -c %u f) = 38
        chmod 0 /usr/share/doc/sed; echo x >>/usr/share/doc/sed/copyright; test $(stat -c %u:%a /usr/share/doc/sed/copyright) = 0:644
        test $(python3 -c 'import os; print(os.fstat(os.open("p", os.O_RDWR)).st_uid)') = 37""",
    )


def test_directories_with_the_set_group_id_bit_give_their_group(user: User) -> None:
    """As /usr/local of Debian, of group staff, does."""
    user.inside(
        "mine",
        """set -e; mkdir -p /opt/group; cd /opt/group; chown 0:50 .; chmod 2775 .; echo x >f; mkdir d; ln -s f l; mkfifo p; umask 077; echo y >g
        test "$(stat -c %u:%g:%a f d l p g | xargs)" = '0:50:644 0:50:2755 0:50:777 0:50:644 0:50:600'; echo x >d/f; test $(stat -c %g d/f) = 50""",
    )


def test_mount_namespaces_inside_see_and_change_the_same_files(user: User) -> None:
    """As of unshare -m, bwrap, mmdebstrap: the mounts are others, the files are not."""
    user.inside(
        "mine",
        """set -e; touch /usr/local/one; chown 33 /usr/local/one; ln -s a /usr/local/link
        unshare -m sh -c 'set -e; test $(stat -c %u /usr/local/one) = 33; chown 34 /usr/local/one; chown -h 35 /usr/local/link; echo x >>/etc/issue.net; chmod 600 /usr/share/doc/tar/copyright'
        test $(stat -c %u /usr/local/one) = 34; test $(stat -c %u /usr/local/link) = 35; tail -1 /etc/issue.net | grep -qx x; test $(stat -c %a /usr/share/doc/tar/copyright) = 600
        mkdir /opt/bound; mount --bind /usr/local /opt/bound; test $(stat -c %u /opt/bound/one) = 34; chown 36 /opt/bound/one; test $(stat -c %u /usr/local/one) = 36; umount /opt/bound
        mount --bind /usr /opt/bound; echo x >>/opt/bound/share/doc/gzip/copyright; test $(tail -1 /usr/share/doc/gzip/copyright) = x; umount /opt/bound""",
    )


def test_a_tree_in_tmp_is_removed_however_deep_it_is(user: User) -> None:
    """At the next start, as the rest of /tmp is."""
    deep, source = user.home / "deep", Path(__file__).parents[2] / "fixtures/launcher/deep.c"
    subprocess.run(["gcc", "-static", source, "-o", deep], check=True)
    make = f"{deep} /tmp/tree 3000 && mkdir -p /tmp/closed/in && chmod 0 /tmp/closed && touch /tmp/last"
    user.inside("mine", make)
    user.sdee("env", "stop", "mine", check=False)
    try:
        assert not {"tree", "closed", "last"} & set(user.inside("mine", "ls -A /tmp").split())
    finally:
        subprocess.run(["rm", "-rf", user.state("mine") / "tmp/tree"], check=True)  # Python's own recurses
