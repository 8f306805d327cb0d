"""`sdee env` on a login node of RPM packages (rpm_system.py): the host's database, dnf and rpm inside, and what diff says."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import json
import shutil
from difflib import unified_diff
from typing import TYPE_CHECKING

import pytest

from env_support import UID, needs_root
from rpm_system import Host, a_host
from sdee.runtime.environment import rpm

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    needs_root,
    pytest.mark.skipif(
        not all(map(shutil.which, ("rpmbuild", "createrepo_c", "dnf"))), reason="there is no rpmbuild, dnf"
    ),
]

# What packages leave: the database, files with their owners, what scriptlets and triggers wrote. But what `create` changes
LOOK = """
    rpm -qa | sort; rpm -V tool service coreutils bash sed passwd libc6 rpm sdee-release | grep -v -e shadow -e useradd -e bash.bashrc; cat /var/log/tool; getent passwd service; getcap /usr/bin/service
    stat -c '%n %U:%G %a %F %h %s' /usr/bin/tool* /usr/bin/alias /usr/bin/service /etc/service /etc/service/* /var/lib/service /var/lib/service/* /usr/share/tool/* /usr/bin/cat /usr/bin 2>&1 | sed 's/ directory .*/ directory/'
    cat /etc/tool.conf* 2>&1; cd /usr/share/tool && tail -n +1 file same/file 2>&1
    true;
"""
STEPS = {
    "rpm": (
        "rpm -i /srv/repository/service-1*",
        "rpm -U /srv/repository/tool-2*",
        "rpm -e service; rm /usr/bin/alias; echo mine >>/etc/tool.conf; rpm -U --oldpackage /srv/repository/tool-1*; rpm -U --force /srv/repository/coreutils-*",
        "rpm -e tool",
    ),
    "dnf": (
        "dnf -yq install service-1",
        "echo mine >/etc/tool.conf; echo ours >/etc/service/key; dnf -yq upgrade",
        "dnf -yq reinstall coreutils sed passwd libc6 rpm; dnf -yq downgrade tool",
        "dnf -yq remove tool; dnf check; dnf history list | grep -c -e Install -e Upgrade -e Removed",
    ),
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with a_host() as made:
        yield made


@pytest.mark.parametrize(("manager", "ids"), [("rpm", "emulated"), ("dnf", "emulated"), ("rpm", "real")])
def test_packages_are_installed_upgraded_and_erased_as_by_root_on_the_host(host: Host, manager: str, ids: str) -> None:
    if ids == "real":
        ids_of_user = f"for f in subuid subgid; do echo {UID}:200000:65536 >/etc/$f; done"
        host.run("bash", "-c", f"groupadd -g {UID} tester; useradd -M -u {UID} -g {UID} tester; {ids_of_user}", uid=0)
    before = host.run("bash", "-c", f"{LOOK} find /usr /etc /var -newer /usr/bin/sh | sort", uid=0).stdout
    assert ids in host.sdee("env", "create", manager).stdout
    inside = [host.inside(manager, f"({step}) >/dev/null 2>&1; echo $?; {LOOK}") for step in STEPS[manager]]
    assert host.run("bash", "-c", f"{LOOK} find /usr /etc /var -newer /usr/bin/sh | sort", uid=0).stdout == before
    with a_host(layered=True) as other:
        for step, seen in zip(STEPS[manager], inside, strict=True):
            outside = other.run("bash", "-c", f"exec 2>&1; ({step}) >/dev/null 2>&1; echo $?; {LOOK}", uid=0).stdout
            differences = [
                line for line in unified_diff(outside.splitlines(), seen.splitlines(), n=0) if line[:1] in "+-"
            ]
            assert differences == [], step
    assert "/usr/bin/service cap_net_raw=ep" in inside[0]
    assert "/var/lib/service/link service:service 777 symbolic link" in inside[0]
    assert "triggered by tool 2" in inside[1]
    if ids == "real":
        into_emulated(host, manager)
    host.sdee("env", "remove", manager)


def into_emulated(host: Host, name: str) -> None:
    """Owners of an environment with real ids are the same where they have to be emulated."""
    look = "stat -c '%n %u:%g %a' /opt/kinds /opt/kinds/*; getcap /opt/kinds/suid"
    host.inside(
        name,
        "mkdir /opt/kinds; cd /opt/kinds; ln -s x link; chown -h 1:8 link; cp /usr/bin/true suid; chown 12 suid; chmod 4711 suid; setcap cap_chown=ep suid; mkfifo p; chown 3:4 p; chgrp 12 .",
    )
    before = host.inside(name, look)
    assert "/opt/kinds/link 1:8 777" in before
    host.sdee("env", "clone", name, "copy")
    assert host.inside("copy", look) == before
    host.sdee("env", "export", name, "-o", "real.out")
    host.run("rm", "/etc/subuid", "/etc/subgid", uid=0)
    host.sdee("env", "import", "real.out", "emulated")
    assert host.inside("emulated", look) == before
    host.sdee("env", "remove", "copy", "emulated")


def test_diff_shows_rpm_packages_and_whose_a_file_is(host: Host) -> None:
    host.sdee("env", "create", "mine")
    assert host.sdee("env", "diff", "--all", "mine").stdout == ""
    host.inside("mine", "rpm -qa; dnf -q list installed")
    assert host.sdee("env", "diff", "mine").stdout.splitlines()[1:] == []  # what SQLite makes to read
    host.inside(
        "mine",
        "rpm -i /srv/repository/service-1*; rpm -U /srv/repository/tool-2*; rpm -e --nodeps mawk; chmod 711 /usr/bin/sed; echo >>/usr/bin/grep; rm /usr/bin/tar",
    )
    said = host.sdee("env", "diff", "mine").stdout.splitlines()
    assert [line for line in said if line[0] in "+-~"] == [
        "- mawk 1.3.4.20200120-1",
        "+ service 1:1-1",
        "~ tool 1-1 → 2-1",
    ]
    assert {"M /usr/bin/sed  (sed)  mode only", "M /usr/bin/grep  (grep)", "D /usr/bin/tar  (tar)"} <= set(said)
    assert not any(word in line for line in said for word in ("/usr/bin/service", "/usr/bin/tool", "rpmdb", "passwd-"))
    host.inside("mine", "echo mine >>/etc/tool.conf")
    assert "M /etc/tool.conf  (tool)  edited" in host.sdee("env", "diff", "mine").stdout.splitlines()
    content = json.loads(host.sdee("env", "diff", "--json", "mine").stdout)
    assert {"name": "tool", "before": "1-1", "after": "2-1", "architecture": "noarch", "manager": "rpm"} in content[
        "packages"
    ]
    files = {file["path"]: file for file in content["files"]}
    assert (files["/var/lib/service/link"]["package"], files["/var/lib/service/link"]["kind"]) == ("service", "added")
    assert files["/usr/share/tool/gone"] == {
        "path": "/usr/share/tool/gone",
        "kind": "removed",
        "package": "tool",
        "what": [],
        "edited": False,
    }
    assert files["/usr/share/tool/old"]["what"] == ["type"]
    host.sdee("env", "remove", "mine")


def test_diff_says_in_what_a_file_differs(host: Host) -> None:
    host.sdee("env", "create", "mine")
    changes = {
        "mode": "chmod 4755 /usr/bin/cat; chmod 700 /usr/share/tool/same",
        "owner": "chown mail /usr/bin/tac; chgrp mail /usr/share/tool; chown -h bin:mail /usr/bin/alias",
        "capabilities": "setcap cap_net_raw+ep /usr/bin/wc",
        "content": "cp /usr/bin/true /usr/bin/false; ln -sf elsewhere /usr/bin/sh",
        "type": "rm /usr/bin/yes; mkdir /usr/bin/yes; touch /usr/bin/yes/x",
        "nothing": "touch /usr/bin/od; chmod 755 /usr/bin/dd; mv /usr/bin/tool-one /usr/bin/x; mv /usr/bin/x /usr/bin/tool-one; chown 0 /usr/bin/ls; cp -a /usr/share/dnf5 /x 2>&1",
        "its own directory": "cd /usr/lib/sysimage; mv /usr/share/tool /usr/share/t; cp -a /usr/share/t /usr/share/tool; rm -r /usr/share/t; rm /usr/share/tool/gone",
    }
    host.inside("mine", "; ".join(changes.values()))
    said = set(host.sdee("env", "diff", "--all", "mine").stdout.splitlines())
    assert said == {
        "M /usr/bin/cat  (coreutils)  mode only",
        "M /usr/bin/tac  (coreutils)  owner only",
        "M /usr/bin/alias  (tool)  owner only",
        "M /usr/bin/wc  (coreutils)  capabilities only",
        "M /usr/bin/false  (coreutils)",
        "M /usr/bin/sh  (sdee-release)",
        "M /usr/bin/yes  (coreutils)  another type of file",
        "A /usr/bin/yes/x",
        "M /usr/share/tool  (tool)  owner only",
        "M /usr/share/tool/same  (tool)  mode only",
        "D /usr/share/tool/gone  (tool)",
    }
    host.sdee("env", "remove", "mine")


def test_diff_of_what_the_user_may_not_read(host: Host) -> None:
    closed = "cd /etc; echo x >secret; chmod 600 secret; mkdir -m 700 private; echo y >private/key; install -m 640 -g mail secret shared"
    host.run("bash", "-c", closed, uid=0)
    host.sdee("env", "create", "mine")
    host.inside("mine", "cat /etc/secret /etc/shared /etc/shadow; ls /etc/private; rpm -V tool")
    assert host.sdee("env", "diff", "mine").stdout.splitlines() in (
        [],
        ["and 1 files of these packages, caches and logs (--all lists them)"],
    )
    host.inside("mine", "echo z >/etc/secret; echo z >/etc/private/new; chmod 600 /etc/shared; passwd -d bin")
    assert host.sdee("env", "diff", "mine").stdout.splitlines()[:-1] == [
        "A /etc/private/new",
        "M /etc/secret",
        "M /etc/shadow  (sdee-release)",
        "M /etc/shared  mode only",
    ]
    host.sdee("env", "remove", "mine")
    host.run("rm", "-r", "/etc/secret", "/etc/private", "/etc/shared", uid=0)


def test_a_host_without_the_program_rpm_is_asked_through_the_environments(host: Host) -> None:
    host.sdee("env", "create", "mine")
    host.inside("mine", "rpm -i /srv/repository/service-1*; cp /usr/bin/rpm /usr/bin/own; mv /usr/bin/own /usr/bin/rpm")
    host.run("mv", "/usr/bin/rpm", "/srv/rpm", uid=0)
    try:
        assert "+ service 1:1-1" in host.sdee("env", "diff", "mine").stdout
        host.inside("mine", "rm /usr/bin/rpm")
        done = host.sdee("env", "diff", "mine")
        assert "neither the host nor the environment has rpm" in done.stderr
        assert "A /usr/bin/service" in done.stdout
    finally:
        host.run("mv", "/srv/rpm", "/usr/bin/rpm", uid=0)
    host.sdee("env", "remove", "mine")


def test_a_damaged_database_is_said_and_the_files_are_shown(host: Host) -> None:
    host.sdee("env", "create", "mine")
    host.inside("mine", "touch /usr/bin/new; head -c 100000 /dev/zero >/usr/lib/sysimage/rpm/rpmdb.sqlite")
    done = host.sdee("env", "diff", "mine")
    assert "the environment's RPM database cannot be read" in done.stderr
    assert [line for line in done.stdout.splitlines() if line[0] != "a"] == ["A /usr/bin/new"]
    host.sdee("env", "remove", "mine")


def test_a_host_upgraded_underneath_is_taken_over_or_refused() -> None:
    with a_host() as host:
        for name, change in {
            "unchanged": "rpm -qa | wc -l; chmod 640 /etc/tool.conf",
            "read": "chmod 644 /usr/lib/sysimage/rpm/rpmdb.sqlite; rpm -q tool",
            "changed": "rpm -i /srv/repository/service-1*",
            "killed": "echo log >/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",  # what is not in the database yet
        }.items():
            host.sdee("env", "create", name)
            host.inside(name, change)
        host.run("rpm", "-U", "/srv/repository/tool-2-1.noarch.rpm", uid=0)
        for name in ("unchanged", "read"):
            done = host.sdee(
                "env",
                "enter",
                name,
                "--",
                "bash",
                "-c",
                "rpm -q tool; tool; rpm -V --nomtime tool; rpm -i /srv/repository/service-2* && rpm -q service",
            )
            assert "the host's system has changed" in done.stderr
            # what is the environment's own stays as it was
            changed = ".M5......  c /etc/tool.conf\n" if name == "unchanged" else ""
            assert done.stdout == f"tool-2-1.noarch\ntool 2\n{changed}service-2-1.x86_64\n"
        for name in ("changed", "killed"):
            done = host.sdee("env", "enter", name, "--", "true", check=False)
            assert done.returncode == 246
            assert "cannot merge two RPM databases" in done.stderr
        assert {"+ service 1:1-1", "~ tool 2-1 → 1-1"} <= set(host.sdee("env", "diff", "changed").stdout.splitlines())


def test_an_export_with_rpm_packages_is_refused_over_other_packages() -> None:
    with a_host() as host:
        host.sdee("env", "create", "mine")
        host.inside("mine", "rpm -i /srv/repository/service-1*")
        host.sdee("env", "export", "mine")
        host.sdee("env", "import", "mine.sdee-env", "same")
        assert host.inside("same", "rpm -V service; rpm -q service") == "service-1-1.x86_64\n"
        host.run("rpm", "-U", "/srv/repository/tool-2-1.noarch.rpm", uid=0)
        done = host.sdee("env", "import", "mine.sdee-env", "other", check=False)
        assert (done.returncode, "cannot merge two RPM databases" in done.stderr) == (246, True)
        assert not host.state("other").exists()
        assert "`rpm -Va` inside" in host.sdee("env", "import", "--force", "mine.sdee-env", "other").stderr
        host.run("sed", "-i", "s/9.1/8.2/", "/etc/os-release", uid=0)
        done = host.sdee("env", "import", "mine.sdee-env", "elder", check=False)
        assert (done.returncode, "comes from Sdee Linux 9.1" in done.stderr) == (246, True)
        assert not host.state("elder").exists()


def test_what_rpm_prints_is_read() -> None:
    said = "P\tkernel\tx86_64\t5-1\nF\t/boot/k5\t0\tabc\nP\tkernel\tx86_64\t6-1\nF\t/boot/k6\t17\tdef\nP\tempty\tnoarch\t1:1-1\nF\t(none)\t(none)\t(none)\nP\tglibc\ti686\t2-1\nF\t/lib/ld.so\t2\t\n"
    found = rpm.parse(said)
    assert found.versions == {
        ("kernel", "x86_64"): ["5-1", "6-1"],
        ("empty", "noarch"): ["1:1-1"],
        ("glibc", "i686"): ["2-1"],
    }
    assert found.owners == {"/boot/k5": "kernel", "/boot/k6": "kernel", "/lib/ld.so": "glibc"}
    assert found.configuration == {"/boot/k6": "def"}
    assert rpm.parse("error: no database\n").versions == {}
