"""Packages in an environment with real ids (newuidmap and a range): no warning, and daemons' users own what they own on the host."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import UID, User, a_user, becomes, needs_root, skip_outside_of_ci

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[str], str]

pytestmark = needs_root

START = 1_400_000_000
LARGE = Path("/usr/local/lib/sdee-test-large")  # there when the environment is made: only then it is root's inside, too


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a script as a user who has a range, in a mount namespace where /etc says so; "inside:…" in their environment `real`."""
    etc = tmp_path_factory.mktemp("etc")
    LARGE.mkdir(exist_ok=True)
    with a_user() as user:
        for name in ("subuid", "subgid"):
            (etc / name).write_text(f"{UID}:{START}:65536\n")
        account = f"subtester:x:{UID}:{UID}::{user.home}:/bin/bash\n"
        (etc / "passwd").write_text(Path("/etc/passwd").read_text() + account)

        def run_(script: str) -> str:
            return with_ranges(user, etc, script)

        assert "real ids" in run_("sdee env create real")
        yield run_
        run_("sdee env stop real; sdee env remove real")
        assert run_("ls -A .local/share/sdee/environments") == ""
    shutil.rmtree(LARGE)


def with_ranges(user: User, etc: Path, script: str) -> str:
    if script.startswith("inside:"):
        script = f"sdee env enter real -- bash -c {shlex.quote('exec 2>&1;' + script.removeprefix('inside:'))}"
    binds = " && ".join(f"mount --bind {etc}/{name} /etc/{name}" for name in ("subuid", "subgid", "passwd"))
    whole = f"{binds} && cd {user.home} && exec {' '.join(becomes(UID))} bash -c {shlex.quote('exec 2>&1;' + script)}"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", whole], capture_output=True, text=True, check=False, env=user.environ
    )
    return done.stdout + done.stderr


def test_directories_have_the_owners_that_they_have_on_the_host(run: Run) -> None:
    paths = "/var/cache/man /var/mail/. /var/local /usr /etc /usr/share/doc /var/lib/apt/lists/partial"
    outside = subprocess.run(["stat", "-c", "%U:%G %a %n", *paths.split()], capture_output=True, text=True, check=True)
    assert run(f"inside:stat -c '%U:%G %a %n' {paths}") == outside.stdout
    assert "man:man" in outside.stdout


def test_files_that_the_user_may_not_read_have_the_owners_that_they_have_on_the_host(run: Run) -> None:
    paths = ["/etc/shadow", "/etc/gshadow", "/var/log/btmp"]
    owners = subprocess.run(["stat", "-c", "%U:%G %a %n", *paths], capture_output=True, text=True, check=True).stdout
    assert "root:shadow 640 /etc/shadow" in owners
    assert run(f"inside:stat -c '%U:%G %a %n' {' '.join(paths)}") == owners
    # Set-group-ID shadow, but the host's own copy, of a group that is not mapped, gains nothing
    assert "cannot open /etc/shadow" in run("inside:su man -s /bin/sh -c 'chage -l man'")
    assert "Last password change" in run("inside:chmod g+s /usr/bin/chage; su man -s /bin/sh -c 'chage -l man'")
    assert "Permission denied" in run("inside:su man -s /bin/sh -c 'cat /etc/shadow'")


def test_files_of_the_host_change_hands_and_mode(run: Run) -> None:
    script = """
        cd /usr/bin; chown 33:34 join && chmod 4750 join && stat -c %u:%g:%a join
        chown root:root paste && stat -c %u:%g paste && chown -h 5 awk && stat -c %u awk
        chgrp tty /usr/bin/wall; chmod g+s /usr/bin/wall; stat -c %G:%a /usr/bin/wall"""
    assert run(f"inside:{script}").splitlines() == ["33:34:4750", "0:0", "5", "tty:2755"]


def test_others_than_root_and_the_owner_may_not_change_mode_owner_or_times(run: Run) -> None:
    """The first change of a host's file is made by us, out of the namespace, where all of root's files are the user's."""
    script = """
        su daemon -s /bin/sh -c 'cd /usr/bin; chmod 4777 shuf; touch -d @5 tsort; chown daemon nl; test -w fold && echo writable'
        su daemon -s /bin/sh -c 'python3 -c "import os; os.fchmod(os.open(\\"/usr/bin/pr\\", 0), 0o4777)" 2>&1 | tail -1'
        stat -c '%a %u %n' /usr/bin/{shuf,tsort,nl,pr}; test -w /usr/bin/fold && echo writable"""
    lines = run(f"inside:{script}").splitlines()
    assert [line for line in lines if ": " not in line] == [
        *("755 0 /usr/bin/shuf", "755 0 /usr/bin/tsort", "755 0 /usr/bin/nl", "755 0 /usr/bin/pr", "writable"),
    ]
    assert sum("not permitted" in line or "denied" in line for line in lines) == 4, lines


def test_root_and_the_owner_may_also_by_a_descriptor(run: Run) -> None:
    script = """
        python3 -c 'import os; os.fchown(os.open("/usr/bin/unexpand", 0), 33, 34); os.fchmod(os.open("/usr/bin/expiry", 0), 0o2750)'
        stat -c %u:%g:%a /usr/bin/unexpand; stat -c %G:%a /usr/bin/expiry"""
    assert run(f"inside:{script}").splitlines() == ["33:34:755", "shadow:2750"]
    database = "/var/cache/man/CACHEDIR.TAG"  # the user's `man`
    assert run(
        f"inside:stat -c %U {database}; su man -s /bin/sh -c 'chmod 600 {database}'; stat -c %U:%a {database}"
    ).split() == ["man", "man:600"]


def test_a_copy_of_a_file_is_its_owners_and_others_may_not_write(run: Run) -> None:
    """Own-on-write: the first to change the host's file is the daemon to which it belongs."""
    if not Path("/var/cache/man/index.db").exists():
        subprocess.run(["mandb", "-q"], check=True)
    host = Path("/var/cache/man/index.db").read_bytes()
    script = """
        su man -s /bin/sh -c 'echo x >>/var/cache/man/index.db && stat -c %U:%a /var/cache/man/index.db && touch /var/cache/man/new && stat -c %U /var/cache/man/new'
        su daemon -s /bin/sh -c 'echo x >>/var/cache/man/index.db; touch /var/cache/man/more; echo x >>/etc/services'
        tail -c 2 /var/cache/man/index.db; chmod 600 /var/cache/man/index.db; stat -c %U:%a /var/cache/man/index.db
        for own in /var/.sdee-own /var/cache/.sdee-own; do [ ! -d $own ] || ls -A $own; done"""
    lines = run(f"inside:{script}").splitlines()
    assert lines[:2] == ["man:644", "man"]
    assert sum("Permission denied" in line for line in lines) == 3, lines
    assert lines[5:] == ["x", "man:600"]
    assert Path("/var/cache/man/index.db").read_bytes() == host


def test_packages_install_without_a_warning(run: Run) -> None:
    if "Err:" in (output := run("inside:apt-get update")):
        skip_outside_of_ci(f"no package mirror: {output}")
    output += run(
        "inside:export DEBIAN_FRONTEND=noninteractive; apt-get update; "
        "apt-get install -y hello cron openssh-server && apt-get install -y --reinstall man-db openssh-client && apt-get purge -y cron openssh-server; hello; dpkg --audit"
    )
    wrong = [
        line for line in output.splitlines() if line.startswith(("W:", "E:", "dpkg: ")) or "not permitted" in line or "denied" in line
    ]  # fmt: skip
    assert [line for line in wrong if "policy-rc.d denied" not in line and "not empty so not removed" not in line] == []
    assert "Hello, world!" in output


def test_copies_keep_owners_and_all_can_be_removed(run: Run) -> None:
    run("inside:mkdir -p /opt/of-man/deep && chown -R man:man /opt/of-man && chmod 700 /opt/of-man/deep")
    look = "stat -c %U:%a /opt/of-man/deep /var/cache/man"
    assert "a copy of real" in run("sdee env clone real copy")
    assert run(f"sdee env enter copy -- {look}") == "man:700\nman:755\n"
    assert run("sdee env reset copy; sdee env enter copy -- stat -c %U:%a /var/cache/man").endswith("man:755\n")
    run("sdee env remove copy")
    assert run("sdee env list").split()[0] == "real"


RACE = """
import os, sys, threading, time
path, call = sys.argv[1:]
fd = os.open(path, os.O_RDONLY)
def become_another():
    time.sleep(0.03)
    os.execv("/usr/local/bin/setuid-sleep", ["sleep", "60"])
threading.Thread(target=become_another, daemon=True).start()
os.fchmod(fd, 0o6777) if call == "chmod" else os.fchown(fd, os.getuid(), -1)
"""


@pytest.mark.parametrize("call", ["chmod", "chown"])
def test_a_number_that_has_become_another_process_gives_no_rights(run: Run, call: str) -> None:
    """A thread that waits for our answer is killed when another one of its process becomes a set-user-ID program, which gets its number."""
    for number in range(4):  # their copies take longer than execve(2) does
        (LARGE / f"{call}{number}").write_bytes(os.urandom(1 << 20) * 96)
    script = f"""
        echo {shlex.quote(RACE)} >/tmp/race.py; cp /usr/bin/sleep /usr/local/bin/setuid-sleep; chmod 4755 /usr/local/bin/setuid-sleep
        for i in 0 1 2 3; do su daemon -s /bin/sh -c "python3 /tmp/race.py {LARGE}/{call}$i {call}" & done
        for i in $(seq 100); do n=$(pgrep -u root -cx setuid-sleep); [ $n = 4 ] && break; sleep 0.1; done; echo $n
        pkill -x setuid-sleep; wait; stat -c %a:%u {LARGE}/{call}*"""
    lines = run(f"inside:{script}").splitlines()
    assert [line for line in lines if line[:1].isdigit()] == ["4", *["644:0"] * 4]  # all became it
