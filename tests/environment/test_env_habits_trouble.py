"""What goes wrong around an environment: kills, full disks, races, odd homes and file systems, a host that changes meanwhile."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import OTHER_UID, SDEE, UID, User, a_user, becomes, needs_root, processes_of, skip_outside_of_ci
from rpm_system import Host, a_host
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine")
        yield made


def mine(uid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid and (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def as_root_here(user: User, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the host's root in a mount namespace of its own; $AS runs a command as the user in their home."""
    variables = {**user.environ, "AS": f"cd {user.home} && exec {' '.join(becomes(user.uid))}"}
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", f"set -e; mount --make-rprivate /; {script}"],
        capture_output=True, text=True, check=False, env=variables, cwd="/",
    )  # fmt: skip


def test_another_user_cannot_enter_even_through_open_directories(user: User) -> None:
    running = user.start(
        str(SDEE), "env", "enter", "mine", "--", "sh", "-c", "echo 1 >/tmp/private; echo ready; read line"
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    state, modes = user.state("mine"), {}
    for path in (*reversed([p for p in state.parents if user.home in (p, *p.parents)]), state):
        modes[path] = path.stat().st_mode & 0o7777
        path.chmod(0o755)
    try:
        with a_user(OTHER_UID) as other:
            variables = {"SDEE_ENV_DIR": str(state.parent)}
            done = other.sdee("env", "enter", "mine", "--", "id", variables=variables, check=False)
            assert done.returncode != 0
            assert "open to other users" in done.stderr
            for command in ("stop", "remove", "reset"):
                assert other.sdee("env", command, "mine", variables=variables, check=False).returncode != 0, command
            assert other.sdee("env", "clone", "mine", "stolen", variables=variables, check=False).returncode != 0
            for pid in mine(UID):
                for way in (
                    "root/tmp/private",
                    "root/etc/passwd",
                    "cwd/config.json",
                    "environ",
                    "fd",
                    "map_files",
                    "mem",
                ):
                    assert (
                        other.run(
                            "ls" if way in ("fd", "map_files") else "cat", f"/proc/{pid}/{way}", check=False
                        ).returncode
                        != 0
                    ), way
                assert (
                    other.run(
                        "nsenter", "-t", str(pid), "-U", "-m", "--preserve-credentials", "true", check=False
                    ).returncode
                    != 0
                )
                assert other.run("kill", "-9", str(pid), check=False).returncode != 0
                attached = other.run("gdb", "-batch", "-p", str(pid), check=False)
                assert "Operation not permitted" in attached.stdout + attached.stderr
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert running.poll() is None
    running.communicate("\n", timeout=60)
    assert state.is_dir()


def test_kill_9_in_random_order_while_packages_are_installed(user: User) -> None:
    if "Err:" in (output := user.inside("mine", "apt-get update", check=False)):
        skip_outside_of_ci(f"no package mirror: {output}")
    before = Path("/proc/self/mountinfo").read_text().count(str(user.home))
    chance = random.Random(5)
    user.leave_manuals_alone("mine")
    user.inside("mine", "cd ~; apt-get download -q cron cron-daemon-common hello bc")
    for delay in (0.3, 1.1):
        install = "DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades ~/*.deb; DEBIAN_FRONTEND=noninteractive dpkg -P bc hello"
        busy = user.start(
            str(SDEE),
            "env",
            "enter",
            "mine",
            "--",
            "bash",
            "-c",
            f"echo ready; while :; do {install}; done >~/log 2>&1",
        )
        assert busy.stdout is not None
        assert busy.stdout.readline() == "ready\n"
        time.sleep(delay)
        for _ in range(50):
            pids = mine(UID)
            chance.shuffle(pids)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                break
        busy.wait(timeout=60)
        wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))
        assert Path("/proc/self/mountinfo").read_text().count(str(user.home)) == before
        repaired = user.inside(
            "mine",
            "export DEBIAN_FRONTEND=noninteractive; dpkg --configure -a && apt-get install -y --reinstall --allow-downgrades ~/*.deb >/dev/null && dpkg --audit && hello && stat -c %a:%G /usr/bin/crontab; ls -A /usr/.sdee-own 2>/dev/null; true",
        )
        assert repaired.splitlines()[-2:] == ["Hello, world!", "2755:crontab"], repaired


def test_the_host_changes_while_a_session_runs(user: User) -> None:
    """What is new is seen at once, as in any overlay; packages are merged at the first enter after the last process has ended."""
    user.sdee("env", "create", "long")
    script = """
        echo one >/usr/local/sdee-test-of-host; mkdir -p /usr/local/sdee-test-dir/new; echo two >/usr/local/sdee-test-dir/new/file
        exec bash -c "$AS bash -c 'exec 2>&1; sdee env enter long -- bash -c \\"cat /usr/local/sdee-test-of-host /usr/local/sdee-test-dir/new/file; touch /usr/local/sdee-test-dir/new/mine || echo refused\\"'" """
    running = user.start(str(SDEE), "env", "enter", "long", "--", "sh", "-c", "echo ready; read line")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    stamp = user.state("long") / "stamp"
    status = Path("/var/lib/dpkg/status").stat()
    try:
        done = as_root_here(user, script)
        assert done.stdout.splitlines()[:2] == ["one", "two"], done.stdout + done.stderr
        stamp.write_text(stamp.read_text().replace(f"\t{status.st_mtime_ns}\t", "\t1\t"))
        noticed = user.sdee("env", "enter", "long", "--", "true")
        assert "adapts when its last shell has ended" in noticed.stderr
        running.communicate("\n", timeout=60)
        wait_for(lambda: "running" not in user.sdee("env", "list").stdout, "it runs on")
        adapted = user.sdee("env", "enter", "long", "--", "touch", "/usr/local/sdee-test-dir/new/mine")
        assert "adapted" in adapted.stderr
        assert user.inside("long", "ls /usr/local/sdee-test-dir/new") == "file\nmine\n"
        assert not Path("/usr/local/sdee-test-dir/new/mine").exists()
    finally:
        Path("/usr/local/sdee-test-of-host").unlink(missing_ok=True)
        shutil.rmtree("/usr/local/sdee-test-dir", ignore_errors=True)
        user.sdee("env", "remove", "--force", "long", check=False)


def test_of_two_creates_at_once_one_wins(user: User) -> None:
    both = [user.start(str(SDEE), "env", "create", "twin") for _ in range(3)]
    results = [(process.communicate(timeout=120)[1], process.returncode) for process in both]
    assert sorted(code for _, code in results) == [0, 246, 246]
    assert all("environment twin exists already" in error for error, code in results if code)
    assert not list(user.state("twin").parent.glob(".*"))
    assert user.inside("twin", "id -un") == "root\n"
    user.sdee("env", "remove", "twin")


@pytest.mark.parametrize(("options", "reason"), [("nr_inodes=2000", "No space left")])
def test_a_full_disk_at_create_leaves_nothing(user: User, options: str, reason: str) -> None:
    script = f"mkdir -p {user.home}/small; mount -t tmpfs -o {options},mode=0700,uid={UID},gid={UID} none {user.home}/small; "
    look = f"SDEE_ENV_DIR={user.home}/small/envs; export SDEE_ENV_DIR; sdee env create x; echo $?; find {user.home}/small -mindepth 2 | wc -l"
    done = as_root_here(user, f'{script} eval "$AS bash -c \\"{look.replace("$", chr(92) * 3 + "$")}\\""')
    assert done.stdout.split() == ["247", "0"], done.stdout + done.stderr
    assert reason in done.stderr
    assert re.search(r"cannot make a directory for /(usr|etc|var|opt|srv)\b", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_inside_is_told_and_nothing_is_broken(user: User) -> None:
    script = f"mkdir -p {user.home}/small; mount -t tmpfs -o size=300m,mode=0700,uid={UID},gid={UID} none {user.home}/small; "
    inside = "dd if=/dev/zero of=/usr/local/big bs=1M 2>&1 | grep -o 'No space left'; echo x >>/usr/bin/perl; cmp /usr/bin/perl /usr/share/sdee-perl; rm /usr/local/big; echo x >>/usr/bin/perl && tail -c 2 /usr/bin/perl; ls -A /usr/.sdee-own"
    (user.home / "full.sh").write_text(
        f'exec 2>&1; export SDEE_ENV_DIR={user.home}/small/envs; sdee env create x >/dev/null; sdee env enter x -- bash -c "cp /usr/bin/perl /usr/share/sdee-perl; {inside}"; sdee env remove x; ls -A small/envs'
    )
    done = as_root_here(user, f'{script} eval "$AS bash full.sh"')
    lines = done.stdout.splitlines()
    assert lines[0] == "No space left", done.stdout + done.stderr
    assert "No space left on device" in lines[1]
    assert lines[2:] == ["x"], lines  # cmp said nothing: the host's file was as it was, whole


@pytest.mark.parametrize("kind", ["tmpfs", "overlay", "ramfs"])
def test_file_systems_for_the_state_work_or_are_refused(user: User, kind: str) -> None:
    place = f"{user.home}/place"
    mount = {
        "tmpfs": f"mount -t tmpfs -o mode=0700,uid={UID},gid={UID} none {place}",
        "ramfs": f"mount -t ramfs none {place}; chown {UID}:{UID} {place}",  # no extended attributes, as NFS has none of these
        "overlay": f"mount -t tmpfs none /mnt; mkdir /mnt/l /mnt/u /mnt/w; mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w none {place}; chown {UID}:{UID} {place}",
    }[kind]
    (user.home / "place.sh").write_text(
        f"exec 2>&1; export SDEE_ENV_DIR={place}/envs; sdee env create x; echo code $?; sdee env enter x -- touch /usr/new && sdee env diff x; sdee env remove x; ls -A {place}/envs | wc -l"
    )
    done = as_root_here(user, f'mkdir -p {place}; {mount}; eval "$AS bash place.sh"')
    output = done.stdout + done.stderr
    if kind == "tmpfs":
        assert "code 0" in output
        assert "A /usr/new" in output
    else:
        assert "code 242" in output, output
        assert "set SDEE_ENV_DIR to a directory on a local disk" in output
    assert output.splitlines()[-1] == "0", output


@pytest.mark.parametrize("name", ["a b", "ä", "x;y", "a\nb", ".hidden", "a" * 65, "$(id)", "%s", "a/b", "..", ""])
def test_odd_names_are_refused(user: User, name: str) -> None:
    done = user.sdee("env", "create", "--", name, check=False)
    assert (done.returncode, "is not a valid name of an environment" in done.stderr) == (2, True)
    for command in ("enter", "stop", "diff", "reset", "remove"):
        assert user.sdee("env", command, "--", name, check=False).returncode == 2, command


def test_names_at_the_edge_work(user: User) -> None:
    for name in ("a" * 64, "con.d", "a+b_C-9"):
        user.sdee("env", "create", name)
        assert user.inside(name, "echo $SDEE_ENVIRONMENT; cat /etc/debian_chroot").split() == [name, name]
        user.sdee("env", "remove", name)


@pytest.fixture(scope="module")
def small() -> Iterator[Host]:
    """A host that a test may change, of a thousand directories: on a disk, 30,000 of them take a minute and more."""
    if not all(map(shutil.which, ("rpmbuild", "createrepo_c"))):
        pytest.skip("there is no rpmbuild")
    with a_host() as host:
        (host.root / "usr/local").mkdir(exist_ok=True)
        yield host


# Where the home lies, and what HOME says
HOMES = {
    "a link in /home's place": ("{top}/real", "{top}/link"),
    "a link in /usr": ("{top}/real", "/usr/local/test-home"),
    "below /usr": ("/usr/local/test-home/u", "/usr/local/test-home/u"),
    "below /var": ("/var/test-home/u", "/var/test-home/u"),
    "a name with blanks": ("{top}/a b", "{top}/a b"),
}


@pytest.mark.parametrize("case", HOMES)
def test_homes_in_odd_places_are_live(small: Host, case: str) -> None:
    real, home = (text.format(top=small.home) for text in HOMES[case])
    here, link = (Path(path if path.startswith(str(small.home)) else f"{small.root}{path}") for path in (real, home))
    subprocess.run(["install", "-d", "-o", str(UID), "-g", str(UID), here], check=True)
    if home != real:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real)

    def odd(*words: str) -> str:
        return small.run(str(SDEE), "env", *words, variables={"HOME": home}).stdout

    try:
        odd("create", "odd")
        script = "cd; pwd; echo here >note; getent passwd root | cut -d: -f6; touch /usr/local/new /var/new; ls -A ~/.local/share/sdee/environments | wc -l"
        assert odd("enter", "odd", "--", "bash", "-c", f"exec 2>&1; {script}").splitlines() == [home, home, "0"]
        assert (here / "note").read_text() == "here\n"
        assert not (small.root / "usr/local/new").exists()
        layers = here / ".local/share/sdee/environments/odd/layers"
        assert (layers / "usr/upper/local/new").exists()
        assert not list(layers.rglob("environments/odd")), "it has a copy of itself"
        odd("remove", "odd")
    finally:
        if home != real:
            link.unlink()
        shutil.rmtree(here, ignore_errors=True)


def test_environments_below_a_directory_of_the_system_do_not_copy_each_other(small: Host) -> None:
    base = Path("/srv/environments")
    here = Path(f"{small.root}{base}")
    subprocess.run(["install", "-d", "-o", str(UID), "-g", str(UID), "-m", "700", str(here)], check=True)

    def sdee(*words: str) -> str:
        return small.run(str(SDEE), "env", *words, variables={"SDEE_ENV_DIR": str(base)}).stdout

    for name in ("one", "two"):
        sdee("create", name)
    script = f"ls -A {base} | wc -l; touch /srv/new {base}/new && ls {base}"
    assert sdee("enter", "two", "--", "sh", "-c", script).split() == ["0", "new"]
    assert sorted(path.name for path in here.iterdir()) == ["one", "two"]
    copies = here / "two/layers/srv/upper" / base.name
    assert [path.name for path in copies.iterdir()] == ["new"]
    for name in ("one", "two"):
        sdee("remove", name)


def test_state_below_the_system_itself_works(small: Host) -> None:
    """SDEE_ENV_DIR in /var/tmp: overlayfs may not have its upper layer below the lower one."""
    base = Path("/var/tmp/environments")
    subprocess.run(["install", "-d", "-o", str(UID), "-g", str(UID), f"{small.root}{base}"], check=True)

    def sdee(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return small.run(str(SDEE), "env", *words, check=check, variables={"SDEE_ENV_DIR": str(base)})

    sdee("create", "deep")
    done = sdee("enter", "deep", "--", "sh", "-c", f"touch /var/lib/x; ls -A {base}", check=False)
    assert "No such file" in done.stderr
    assert Path(f"{small.root}{base}/deep/layers/var/upper/lib/x").exists()
    sdee("remove", "deep")


def test_a_home_that_lacks_is_told_and_another_place_serves(user: User) -> None:
    for variables in ({"HOME": "/no/such"}, {"HOME": ""}):
        done = subprocess.run(
            [*becomes(UID), "env", *([] if variables["HOME"] else ["-u", "HOME"]), str(SDEE), "env", "create", "x"],
            capture_output=True, text=True, check=False, env={**user.environ, **variables}, cwd="/",
        )  # fmt: skip
        assert (done.returncode, "hint: set SDEE_ENV_DIR" in done.stderr) == (247, True), done.stderr
        script = 'sdee env create x && cd / && sdee env enter x -- sh -c "pwd; getent passwd root" && sdee env remove x'
        done = subprocess.run(
            [*becomes(UID), "env", *([] if variables["HOME"] else ["-u", "HOME"]), f"SDEE_ENV_DIR={user.home}/elsewhere", "sh", "-c", script],
            capture_output=True, text=True, check=False, env={**user.environ, **variables}, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[2:] == ["/", f"root:x:0:0:root:{variables['HOME'] or '/'}:/bin/bash"]


@pytest.mark.alone
def test_a_closed_directory_with_mounts_in_it_is_no_hindrance(user: User) -> None:
    """As /var/lib/docker and /var/lib/containers are on many login nodes."""
    script = """
        mkdir -p /mnt && mount -t tmpfs none /var/lib/dpkg/alternatives/../../misc && mkdir /var/lib/misc/closed && mkdir /var/lib/misc/closed/in
        mount -t tmpfs none /var/lib/misc/closed/in; chmod 700 /var/lib/misc/closed
        mkdir /var/opt/sdee-test-closed && mkdir /var/opt/sdee-test-closed/in && chmod 700 /var/opt/sdee-test-closed && mount --bind /srv /var/opt/sdee-test-closed/in
        eval "$AS bash -c 'exec 2>&1; sdee env create closed; sdee env enter closed -- sh -c \\"ls -A /var/opt/sdee-test-closed; touch /var/opt/sdee-test-closed/x /var/opt/y && echo written\\"; sdee env remove closed'" """
    try:
        done = as_root_here(user, script)
    finally:
        shutil.rmtree("/var/opt/sdee-test-closed", ignore_errors=True)
    assert done.stdout.splitlines()[-1] == "written", done.stdout + done.stderr


def test_a_path_of_any_length_is_handed_on(user: User) -> None:
    long = ":".join(f"/opt/software/name-{number}/bin" for number in range(400))
    done = user.sdee(
        "env", "enter", "mine", "--", "sh", "-c", "echo $PATH", variables={"PATH": f"{user.environ['PATH']}:{long}"}
    )
    assert done.stdout == f"{user.environ['PATH']}:{long}:/usr/local/sbin:/usr/sbin:/sbin\n"
