"""What an environment has changed: shown, copied, carried elsewhere, undone; and a host that changes underneath."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from env_support import SDEE, UID, User, a_user, becomes, needs_root
from env_terminal import terminal
from sdee.base import dpkg
from sdee.runtime.environment import accounts, merge, subordinate_ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHANGES = """
    set -e
    cd /usr/local/bin && echo x >tool && chown 33:34 tool && chmod 4755 tool && ln tool tool2
    mkdir /opt/made && ln -s nowhere /opt/made/l && touch /opt/made/closed && chmod 0 /opt/made/closed && mkdir -m 2711 /opt/made/d && mkfifo /opt/made/p
    echo added >>/etc/services; rm /usr/bin/tac; rm -r /usr/share/doc/bash; mkdir /usr/share/doc/bash; touch /usr/share/doc/bash/new
    mv /usr/share/doc/gzip /usr/share/doc/gzip2; chmod 700 /usr/share/doc/sed; chown 5 /usr/share/doc/tar; chown root /usr/bin/cat
    setcap cap_net_raw+ep /usr/bin/wc; touch -d '2001-02-03 04:05:06.123456789' /usr/local/bin/tool"""

LOOK = """
    cd /; stat -c '%n %u:%g %a %h %.Y' usr/local/bin/tool usr/local/bin/tool2 opt/made/d usr/share/doc/sed usr/share/doc/tar
    stat -c '%n %u:%g %a %F' opt/made/*; cat usr/local/bin/tool; readlink opt/made/l; tail -1 etc/services; getcap /usr/bin/wc
    ls usr/share/doc/bash usr/share/doc/gzip2; ls -d usr/bin/tac usr/share/doc/gzip"""


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine", "--emulate")
        made.inside("mine", CHANGES)
        yield made


@needs_root
def test_what_takes_a_while_shows_on_a_terminal_that_it_goes_on_and_elsewhere_does_not(user: User) -> None:
    with terminal(user, str(SDEE), "env", "clone", "mine", "copy", variables={"TERM": "xterm"}) as shown:
        shown.expect("copying mine")
        shown.expect("environment copy: a copy of mine")
        assert shown.status() == 0
    done = user.sdee("env", "clone", "copy", "copy2")
    assert (done.stdout, done.stderr) == ("environment copy2: a copy of copy\n", "")
    user.sdee("env", "remove", "copy", "copy2")


@needs_root
def test_list_says_why_it_shows_nothing(user: User) -> None:
    inside = user.sdee("env", "enter", "mine", "--", str(SDEE), "env", "list")
    assert inside.stdout == ""
    assert "you are in an environment" in inside.stderr
    empty = user.run("env", f"SDEE_ENV_DIR={user.home}/none", str(SDEE), "env", "list")
    assert (empty.stdout, empty.stderr) == ("", "sdee: no environments yet; create one: sdee env create NAME\n")


@needs_root
def test_diff_of_a_new_environment_is_empty(user: User) -> None:
    user.sdee("env", "create", "new")
    assert user.changes("new") == []
    user.inside("new", "cat /etc/services /usr/bin/tac >/dev/null; chmod 755 /usr/bin/cat; touch -c /usr/bin/tac")
    assert user.changes("new") == []
    user.sdee("env", "remove", "new")


@needs_root
def test_diff_shows_files_with_their_packages(user: User) -> None:
    lines = user.sdee("env", "diff", "mine").stdout.splitlines()
    assert {
        "A /opt/made",
        "A /opt/made/closed",
        "A /opt/made/p",
        "M /etc/services  (netbase)",
        "D /usr/bin/tac  (coreutils)",
        "A /usr/local/bin/tool",
        "A /usr/share/doc/bash/new",
        "D /usr/share/doc/bash/copyright  (bash)",
        "D /usr/share/doc/gzip  (gzip)",
        "A /usr/share/doc/gzip2",
    } <= set(lines)
    assert not any("/usr/bin/cat" in line or "debian_chroot" in line or "/.sdee" in line for line in lines)
    content = json.loads(user.sdee("env", "diff", "--json", "mine").stdout)
    assert {"path": "/usr/bin/tac", "kind": "removed", "package": "coreutils", "what": [], "edited": False} in content[
        "files"
    ]


@needs_root
def test_diff_shows_a_large_new_directory_as_one_line(user: User) -> None:
    user.inside(
        "mine",
        "mkdir -p /opt/site/large/sub /opt/site/small; touch /opt/site/small/one; cd /opt/site/large; touch {1..15} sub/{1..9}",
    )
    try:
        lines = [line for line in user.sdee("env", "diff", "mine").stdout.splitlines() if "/opt/site" in line]
        assert lines == ["A /opt/site", "A /opt/site/large/…  25 entries", "A /opt/site/small", "A /opt/site/small/one"]
        assert user.sdee("env", "diff", "--all", "mine").stdout.count("A /opt/site/large/") == 25
    finally:
        user.inside("mine", "rm -r /opt/site")


@needs_root
def test_diff_shows_packages(user: User) -> None:
    user.sdee("env", "create", "packages")
    status = "Package: invented\\nStatus: install ok installed\\nArchitecture: all\\nVersion: 1.2\\n"
    empty = "d41d8cd98f00b204e9800998ecf8427e"  # md5sum of nothing
    status += f"Conffiles:\\n /etc/mine.conf {empty}\\n /etc/edited.conf {empty} obsolete\\n"
    user.inside(
        "packages",
        f"printf '\\n{status}' >>/var/lib/dpkg/status; touch /usr/bin/invented /etc/mine.conf; echo x >/etc/edited.conf; printf '%s\\n' /usr/bin/invented /etc/mine.conf /etc/edited.conf >/var/lib/dpkg/info/invented.list",
    )
    # Directories of several packages: all of them new, and one new with one of the host's
    more = status.replace("invented", "more").partition("Conffiles")[0]
    user.inside(
        "packages",
        f"printf '\\n{more}' >>/var/lib/dpkg/status; mkdir /usr/share/of-both /usr/share/of-bash-too; cd /var/lib/dpkg/info; echo /usr/share/of-both >>invented.list; printf '%s\\n' /usr/share/of-both /usr/share/of-bash-too >more.list; echo /usr/share/of-bash-too >>bash.list",
    )
    lines = user.sdee("env", "diff", "packages").stdout.splitlines()
    assert lines[:2] == ["+ invented 1.2", "+ more 1.2"]
    assert not any("/usr/share/of-both" in line for line in lines)
    assert "A /usr/share/of-bash-too" in lines
    assert "A /etc/edited.conf  (invented)  edited" in lines
    assert not any("/usr/bin/invented" in line or "/etc/mine.conf" in line for line in lines)
    assert "A /usr/bin/invented  (invented)" in user.sdee("env", "diff", "--all", "packages").stdout.splitlines()
    user.sdee("env", "remove", "packages")


@needs_root
def test_a_clone_has_everything_and_is_its_own(user: User) -> None:
    user.sdee("env", "clone", "mine", "copy")
    assert user.inside("copy", LOOK, check=False) == user.inside("mine", LOOK, check=False)
    assert user.inside("copy", "cat /etc/debian_chroot") == "copy\n"
    user.inside("copy", "rm /usr/local/bin/tool")
    assert user.inside("mine", "ls /usr/local/bin/tool") == "/usr/local/bin/tool\n"
    assert "exists already" in user.sdee("env", "clone", "mine", "copy", check=False).stderr
    user.sdee("env", "remove", "copy")


@needs_root
def test_what_is_exported_is_imported_the_same(user: User) -> None:
    user.sdee("env", "export", "mine", "-o", "mine.out")
    assert (user.home / "mine.out").stat().st_mode & 0o777 == 0o600
    assert "exists already" in user.sdee("env", "export", "mine", "-o", "mine.out", check=False).stderr
    user.sdee("env", "import", "mine.out", "again")
    assert user.inside("again", LOOK, check=False) == user.inside("mine", LOOK, check=False)
    assert user.changes("again") == user.changes("mine")
    user.sdee("env", "remove", "again")
    names = subprocess.run(
        ["tar", "--zstd", "-tf", str(user.home / "mine.out")], capture_output=True, text=True, check=True
    ).stdout
    assert "root/usr/local/bin/tool\n" in names
    assert "root/usr/share/doc/coreutils" not in names  # the skeleton does not travel


@needs_root
def test_reset_makes_it_as_new(user: User) -> None:
    user.sdee("env", "clone", "mine", "undo")
    user.sdee("env", "reset", "undo")
    assert user.changes("undo") == []
    assert user.inside("undo", "ls /usr/bin/tac") == "/usr/bin/tac\n"
    user.sdee("env", "remove", "undo")


def in_a_changed_host(user: User, changes: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run `command` as the user where `changes` were made to copies of the host's files, in a mount namespace of its own."""
    script = (
        f"mount -t tmpfs none /mnt && {changes} && cd {user.home} && exec {' '.join(becomes(UID))} bash -c '{command}'"
    )
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False, env=user.environ
    )


@needs_root
def test_a_host_that_was_upgraded_underneath_is_noticed_and_merged(user: User) -> None:
    user.sdee("env", "clone", "mine", "old")
    own = "Package: own\\nStatus: install ok installed\\nArchitecture: all\\nVersion: 3\\n"
    user.inside("old", f"printf '\\n{own}' >>/var/lib/dpkg/status; groupadd ours")
    state = user.state("old")
    # The host as it was before: with a package less, an older one, without a directory and an account
    base = state / "base/var-lib-dpkg-status"
    stanzas = dpkg.stanzas(base.read_text())
    sed, grep = (next(key for key in stanzas if key.startswith(f"{name}:")) for name in ("sed", "grep"))
    now = dpkg.field(stanzas[sed], "Version")
    inside = state / "layers/var/upper/lib/dpkg/status"
    for file in (base, inside):
        records = dpkg.stanzas(file.read_text())
        records.pop(grep)
        records[sed] = records[sed].replace(f"Version: {now}", "Version: 0.1")
        file.write_text("\n\n".join(records.values()) + "\n\n")
    for path in (state / "base/etc-passwd", state / "layers/etc/upper/passwd"):
        path.write_text(
            "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("games:"))
        )
    shutil.rmtree(state / "layers/usr/upper/share/doc/coreutils")
    (state / "layers/usr/upper/share/doc/long-gone").mkdir()
    with (state / "layers/usr/skeleton").open("ab") as listing:
        listing.write(b"/share/doc/long-gone\0")
    stamp = state / "stamp"
    stamp.write_text(stamp.read_text().replace("/var/lib/dpkg/status\t", "/var/lib/dpkg/status\t1"))
    done = user.sdee(
        "env",
        "enter",
        "old",
        "--",
        "bash",
        "-c",
        f"{LOOK}; dpkg-query -W -f '${{Version}} ' sed grep own; getent passwd games; getent group ours; touch /usr/share/doc/coreutils/new; ls -d /usr/share/doc/long-gone",
        check=False,
    )
    assert "the host's system has changed since old was last used (/var/lib/dpkg/status): adapted" in done.stderr
    assert "long-gone': No such file" in done.stderr
    lines = done.stdout.splitlines()
    grep_version = dpkg.field(stanzas[grep], "Version")
    assert any(line.startswith(f"{grep_version} 3 {now} games:") for line in lines), lines
    assert any(line.startswith("ours:") for line in lines)
    assert "4755" in done.stdout
    assert user.sdee("env", "enter", "old", "--", "true").stderr == ""
    user.sdee("env", "remove", "old")


@needs_root
def test_another_release_of_the_host_is_refused(user: User) -> None:
    changes = "sed 's/12/99/g' /etc/os-release >/mnt/r && mount --bind /mnt/r $(readlink -f /etc/os-release)"
    done = in_a_changed_host(user, changes, f"{SDEE} env enter mine -- true")
    assert done.returncode == 246
    assert "was made over Debian GNU/Linux 12" in done.stderr
    assert "sdee env diff mine" in done.stderr


@needs_root
def test_what_is_mounted_on_the_host_later_is_no_hindrance(user: User) -> None:
    user.sdee("env", "clone", "mine", "later")
    changes = "mount -t tmpfs none /usr/share/doc/coreutils && mkdir -p /usr/share/doc/coreutils/live && mount -t tmpfs none /var/lib/apt && touch /var/lib/apt/live"
    look = f'{SDEE} env enter later -- bash -c "cat /usr/local/bin/tool; ls /usr/bin/tac; ls /usr/share/doc/coreutils /var/lib/apt; touch /usr/share/doc/new /usr/new /var/lib/new; tail -1 /etc/services" 2>&1'
    done = in_a_changed_host(user, changes, look)
    assert done.stdout.splitlines()[0] == "x", done.stdout
    assert "'/usr/bin/tac': No such file" in done.stdout
    assert "live" in done.stdout
    assert user.inside(
        "later",
        "ls /usr/new /usr/share/doc/new /var/lib/new /usr/share/doc/coreutils/copyright; cat /usr/local/bin/tool",
    ).splitlines() == [
        *("/usr/new", "/usr/share/doc/coreutils/copyright", "/usr/share/doc/new", "/var/lib/new", "x"),
    ]
    user.sdee("env", "remove", "later")


@needs_root
def test_a_mount_where_the_user_may_not_look_is_no_hindrance(user: User, tmp_path: Path) -> None:
    """As /var/lib/docker is, with the container engine's mounts in it: overlayfs refuses such a lower directory."""
    closed = tmp_path / "closed"  # of a disk
    (closed / "in").mkdir(parents=True)
    closed.chmod(0o700)
    user.sdee("env", "clone", "mine", "closed")
    changes = f"mount --bind {closed} /var/cache/ldconfig && mount -t tmpfs none /var/cache/ldconfig/in"
    look = f'{SDEE} env enter closed -- bash -c "ls -A /var/cache/ldconfig && touch /var/cache/ldconfig/new && echo made" 2>&1'
    assert in_a_changed_host(user, changes, look).stdout.splitlines() == ["made"]
    user.sdee("env", "remove", "closed")


def test_three_way_merges_keep_what_one_side_changed() -> None:
    base, host, own = (
        {"a": "1", "b": "1", "c": "1", "d": "1"},
        {"a": "2", "b": "1", "c": "2", "e": "1"},
        {"a": "1", "b": "3", "c": "3", "d": "1", "f": "1"},
    )
    assert merge.three_way(base, host, own) == ({"a": "2", "b": "3", "c": "3", "f": "1", "e": "1"}, ["c"])


def test_account_files_of_an_environment() -> None:
    text = "root:x:0:0:root:/root:/bin/bash\nmail:x:8:8::/var/mail:/bin/false\n"
    made = accounts.passwd(text, "/home/me", "/bin/zsh")
    assert made == "root:x:0:0:root:/home/me:/bin/zsh\nmail:x:8:8::/var/mail:/bin/false\n"
    assert accounts.shadow(made).splitlines()[1].startswith("mail:*:")
    assert accounts.gshadow("crew:x:5:a,b\n") == "crew:*::a,b\n"


def test_subordinate_ranges_are_read_as_newuidmap_reads_them() -> None:
    text = "other:100000:65536\nme:5000:10\nme:200000:65536\n1001:300000:70000\n"
    assert subordinate_ids.range_of(text, "me", 1001) == (200000, 65536)
    assert subordinate_ids.range_of(text, "nobody", 1001) == (300000, 70000)
    assert subordinate_ids.range_of(text, "you", 7) is None
