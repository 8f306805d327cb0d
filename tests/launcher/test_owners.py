"""Root's files whose owner a program checks: ssh refuses its configuration's files where they look like nobody's."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from launcher_tools import ROOT, ROOTS, TESTER, as_user, open_directory, put, run, script

if TYPE_CHECKING:
    from collections.abc import Iterator

    import bundle_maker

pytestmark = pytest.mark.skipif(not ROOT, reason="makes a node with files of root's")
SHOW = "ssh -G far | grep -iE '^(hostname|port|user) '"
PLACES = ("/etc", "/etc/ssh")  # the second: /etc has mounts below, as in a container


class Node:
    """A node with root's files in /etc/ssh/ssh_config.d, one of which includes another by a link."""

    def __init__(self, work: str) -> None:
        self.work = work
        names = [
            f"/etc/{name}"
            for name in ("passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache", "alternatives", "ssh")
        ]
        os.mkdir(f"{work}/etc")
        subprocess.run(["cp", "-a", *names, f"{work}/etc"], check=True)
        self.put("ssh/ssh_config.d/50-site.conf", "Host far\n  HostName 192.0.2.7\n  Include /etc/site-policy/now\n")
        self.put("ssh/ssh_config.d/60-more.conf", "  User from-far\n")
        self.put("policies/one.txt", "Host far\n  Port 2222\n")
        self.put("private.conf", "Host far\n  User from-home\n")
        os.mkdir(f"{work}/etc/site-policy")
        os.symlink("../policies/one.txt", f"{work}/etc/site-policy/now")
        with open(f"{work}/etc/passwd", "a", encoding="utf-8") as file:
            file.write(f"tester:x:{TESTER}:{TESTER}:tester:{work}/home:/bin/sh\n")

    def put(self, name: str, text: str) -> str:
        """Write a file of root's below /etc."""
        return put(f"{self.work}/etc/{name}", text, 0o644)

    def run(
        self, command: str, *, uid: int = TESTER, at: str = "/etc", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there as an ordinary user."""
        bound = f"mount --bind {self.work}{at} {at}; [ {at} = /etc ] || mount --bind {self.work}/etc/passwd /etc/passwd"
        inner = f"{bound}; exec {' '.join(as_user(uid))} {command}"
        return run(["unshare", "-m", "sh", "-c", inner], env={"HOME": f"{self.work}/home"}, **more)  # type: ignore[arg-type]


@pytest.fixture
def node() -> Iterator[Node]:
    for work in open_directory():
        yield Node(work)


def holding_ssh(node: Node) -> bundle_maker.Maker:
    """Return a bundle with ssh and its configuration as on the node."""
    maker = script(SHOW, programs=("ssh", "grep"))
    for name in ("ssh/ssh_config", "ssh/ssh_config.d/50-site.conf", "policies/one.txt"):
        status = os.stat(f"{node.work}/etc/{name}")
        with open(f"{node.work}/etc/{name}", "rb") as file:
            maker.add(f"/etc/{name}", file.read(), 0o644, mtime_ns=status.st_mtime_ns)
    return maker.symlink("/etc/site-policy/now", "../policies/one.txt")


@pytest.mark.parametrize("at", PLACES)
def test_the_nodes_ssh_takes_the_nodes_configuration(node: Node, at: str) -> None:
    bare = node.run(f'sh -c "{SHOW}"', at=at)
    assert "hostname 192.0.2.7\n" in bare.stdout
    assert ("port 2222\n" in bare.stdout) == (at == "/etc")
    bundle = script(SHOW).write(f"{node.work}/b.sdee")
    result = node.run(bundle, at=at, ROOT="merged")
    assert (result.stdout, result.returncode) == (bare.stdout, 0), result.stderr


def test_what_is_no_configuration_of_ssh_still_looks_like_nobodys(node: Node) -> None:
    text = "cd /etc; stat -c %u ssh/ssh_config.d/50-site.conf policies/one.txt hosts; ls -l ssh/ssh_config.d | wc -l"
    bundle = script(text).write(f"{node.work}/b.sdee")
    result = node.run(bundle, ROOT="merged")
    assert result.stdout.split() == [str(TESTER), str(TESTER), "65534", "3"], result.stderr
    assert node.run(bundle, uid=0, ROOT="merged").stdout.split() == ["0", "0", "0", "3"], "real root keeps root's"


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("differs", [False, True])
def test_the_bundles_ssh_takes_its_own_configuration(node: Node, root: str, differs: bool) -> None:
    maker = holding_ssh(node)
    if differs:
        node.put("ssh/ssh_config.d/50-site.conf", "Host far\n  HostName other\n")
        node.put("policies/one.txt", "Host far\n  Port 3333\n")
    result = node.run(maker.write(f"{node.work}/b.sdee"), ROOT=root)
    assert result.returncode == 0, result.stderr
    assert "hostname 192.0.2.7\n" in result.stdout
    assert "port 2222\n" in result.stdout
    assert ("user from-far\n" in result.stdout) == (root == "merged"), "the node's own file is there as well"


def test_the_users_configuration_may_include_roots_files(node: Node) -> None:
    shutil.rmtree(f"{node.work}/etc/ssh/ssh_config.d")
    put(f"{node.work}/home/.ssh/config", 'Include="/etc/private.conf" # theirs\n', 0o644)
    os.chown(f"{node.work}/home/.ssh/config", TESTER, TESTER)
    bundle = script(SHOW).write(f"{node.work}/b.sdee")
    assert "user from-home\n" in node.run(f'sh -c "{SHOW}"').stdout
    result = node.run(bundle, ROOT="merged")
    assert "user from-home\n" in result.stdout, result.stderr


def test_a_wild_configuration_ends_the_search(node: Node) -> None:
    node.put(
        "ssh/ssh_config.d/50-site.conf",
        "Include /etc/ssh/ssh_config.d/*\nInclude /etc/none /dev/zero\nInclude\n" + "x" * 9000,
    )
    os.mkfifo(f"{node.work}/etc/ssh/ssh_config.d/fifo.conf")
    for number in range(400):
        node.put(f"ssh/ssh_config.d/more{number}.conf", f"Include /etc/ssh/ssh_config.d/more{number + 1}.conf\n")
    bundle = script("echo ran").write(f"{node.work}/b.sdee")
    assert node.run(bundle, ROOT="merged").stdout == "ran\n"
