"""Few namespaces: starts right after one another, and the message when a limit is really reached."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from launcher_tools import ROOT, TESTER, built, open_directory, run, script

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not ROOT, reason="becomes another user, root of a namespace")
ORDINARY = "setpriv --bounding-set=-sys_admin --inh-caps=-all"  # uid 0 as it may be in a container
UNSHARED = "from sdee.base import libc; libc.unshare(libc.CLONE_NEWUSER)"


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def limited(kind: str, limit: int, text: str) -> subprocess.CompletedProcess[str]:
    """Run a script as root of a user namespace with a limit of namespaces in it (namespaces(7))."""
    inner = f"echo {limit} >/proc/sys/user/max_{kind}_namespaces\n{text}"
    return run(["unshare", "-r", "sh", "-c", inner], uid=TESTER, cwd="/tmp")


def failures(command: str, more: str = "") -> str:
    """Return a script that runs a command 30 times right after one another and counts failures."""
    return f"bad=0; for i in $(seq 30); do {ORDINARY} {command} {more} || bad=$((bad + 1)); done; echo $bad failed"


@pytest.mark.parametrize("limit", [1, 3])
def test_starts_right_after_one_another_need_no_more_namespaces_than_one(work: str, limit: int) -> None:
    # the trigger is there: what does not wait fails
    assert limited("user", limit, failures("unshare -U true")).stdout != "0 failed\n"
    bundle = script("true").write(f"{work}/b.sdee")
    result = limited("user", limit, failures(bundle))
    assert (result.stdout, result.stderr) == ("0 failed\n", "")


def test_bare_nodes_and_environments_wait_too(work: str) -> None:
    result = limited("user", 1, failures(f"{sys.executable} -c '{UNSHARED}'"))
    assert (result.stdout, result.stderr) == ("0 failed\n", "")
    program = os.path.join(os.path.dirname(built("sdee-launcher")), "..", "environment", "sdee-env")
    probed = limited("user", 1, failures(f"{program} probe {work}", "2>&1 | grep 'cannot make a user'"))
    assert probed.stdout == "30 failed\n"  # grep's: it finds no such message


@pytest.mark.parametrize(("kind", "holds"), [("user", "unshare -U"), ("mnt", "unshare -Urm")])
def test_a_limit_that_stays_reached_is_named_with_its_value(work: str, kind: str, holds: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    holder = f'for i in 1 2 3; do {ORDINARY} {holds} sleep 60 >/dev/null 2>&1 & held="$held $!"; done; sleep 0.5\n'
    begun = time.monotonic()
    result = limited(kind, 3, f"{holder}{ORDINARY} {bundle}; echo $?; kill $held")
    assert result.stdout == "242\n"
    assert time.monotonic() - begun > 10
    assert "error: cannot make a user namespace and a mount namespace: " in result.stderr
    assert f"the limit user.max_{kind}_namespaces is 3" in result.stderr
    assert "hint: start fewer jobs at a time on this node, or ask the administrator for: sysctl user." in result.stderr


def test_a_limit_of_none_is_not_waited_for(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    begun = time.monotonic()
    result = limited("mnt", 0, f"{ORDINARY} {bundle}; echo $?")
    assert result.stdout == "242\n"
    assert "the kernel allows you none (the limit user.max_mnt_namespaces is 0)" in result.stderr
    assert time.monotonic() - begun < 8, "it waited"
