"""Commands of `sdee env` that are killed, or meet each other: what is there then is whole, and nothing else is."""

# ruff: noqa: E501 - shell scripts read better whole

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import SDEE, User, a_user, needs_root
from sdee.runtime.environment import leftovers
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine", "--emulate")
        made.inside("mine", "echo x >/opt/mine; ln -s mine /opt/link; chown -h 5 /opt/link")
        made.sdee("env", "export", "mine", "-o", "mine.sdee-env")
        yield made


def hidden(user: User) -> list[str]:
    return [entry.name for entry in user.state("mine").parent.iterdir() if entry.name.startswith(".")]


COMMANDS = {
    "create": ("create", "cut"),
    "clone": ("clone", "mine", "cut"),
    "import": ("import", "mine.sdee-env", "cut"),
    "reset": ("reset", "cut"),
    "remove": ("remove", "cut"),
}


def killed(user: User, command: str, base: Path) -> None:
    """Start a command and kill it when more than its directory itself is there, if it does not end before."""
    there = user.state("cut").exists()
    if there != (command in ("reset", "remove")):
        user.sdee("env", *(("remove", "cut") if there else ("clone", "mine", "cut")))
    running = user.start(str(SDEE), "env", *COMMANDS[command])
    stat = Path(f"/proc/{running.pid}/stat")
    while running.poll() is None:  # it stands still while we look
        running.send_signal(signal.SIGSTOP)
        wait_for(lambda: stat.read_text().rpartition(") ")[2][0] in "TZ", stat.read_text, pause=0)
        if any(any((base / name).iterdir()) for name in hidden(user)):
            break
        running.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    running.kill()
    running.wait(timeout=30)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_leaves_nothing_that_the_next_one_does_not_remove(user: User, command: str) -> None:
    """Killed when its directory is there, which is then neither half an environment nor in anybody's way."""
    base = user.state("mine").parent
    for _ in range(10):  # a quick one may end between two looks at it
        killed(user, command, base)
        if hidden(user):
            break
    left = hidden(user)
    there = user.state("cut").exists()
    assert left, "it was quicker than the kill"
    assert there == (command == "reset")
    listed = user.sdee("env", "list")
    assert listed.stdout.startswith("cut ") == there, listed.stdout
    assert not listed.stderr
    assert not hidden(user), left
    if there:
        assert user.inside("cut", "cat /opt/mine; stat -c %u /opt/link").split() == ["x", "5"]
        user.sdee("env", "remove", "cut")


def test_what_is_being_made_is_nobodys_to_remove(user: User) -> None:
    """The failing side of the test above: a list while another command works."""
    running = user.start(str(SDEE), "env", "create", "slow")
    for _ in range(8):
        user.sdee("env", "list")
    said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert user.inside("slow", "id -u") == "0\n"
    user.sdee("env", "remove", "slow")


def test_a_directory_is_swept_only_when_its_lock_is_free(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    held = leftovers.begin(str(base))
    (base / ".gone-1-x").mkdir()
    (base / ".probe-x").mkdir()
    (base / ".mine").mkdir()
    leftovers.sweep(str(base))
    assert {entry.name for entry in base.iterdir()} == {held.directory.rpartition("/")[2], ".mine"}
    held.discard()
    assert [entry.name for entry in base.iterdir()] == [".mine"]


def test_commands_about_the_same_name_at_once_get_clear_answers(user: User) -> None:
    """Whoever loses is told so; nobody meets a half of an environment."""
    scripts = (
        "for i in 1 2; do sdee env reset --force many; done",
        "for i in 1 2 3 4 5 6 7 8; do sdee env enter many -- id -u; done",
        "sdee env remove --force many; sdee env create many",
        "for i in 1 2; do sdee env list; sdee env diff many; sdee env clone many other; sdee env remove other; done",
    )
    lost = (
        "in use",
        "no environment",
        "exists already",
        "removed or reset",
        "no longer there",
        "ended just now",
        "hint:",
    )
    known = (*lost, "ended while the command ran")
    user.sdee("env", "create", "many")
    running = [user.start("bash", "-c", script) for script in scripts]
    said = [one.communicate(timeout=200) for one in running]
    for _, errors in said:
        lines = errors.splitlines()
        # bash's own words of a command that ended by SIGTERM, and by SIGKILL
        shells = [line for line in lines if line == "Terminated" or " Killed  " in line]
        for line in lines:
            assert line in shells or any(word in line for word in known), errors
        # The shell tells of each that was ended in the midst, and so does sdee
        assert len(shells) == errors.count("ended while the command ran"), errors
    assert not hidden(user)


def test_terminals_that_are_the_first_ones_at_once_all_work(user: User) -> None:
    user.sdee("env", "clone", "mine", "first")
    running = [user.start(str(SDEE), "env", "enter", "first", "--", "id", "-u") for _ in range(8)]
    assert [one.communicate(timeout=60) for one in running] == [("0\n", "")] * 8
    user.sdee("env", "remove", "--force", "first")


def test_enter_of_what_is_removed_just_then_says_so(user: User) -> None:
    """`remove` holds the lock for which `enter` waits."""
    user.sdee("env", "clone", "mine", "short")
    state = user.state("short")
    lock = user.start("flock", str(state / "lock"), "sh", "-c", f"echo held; read line; mv {state} {state}-gone")
    assert lock.stdout is not None
    assert lock.stdout.readline() == "held\n"
    late = user.start(str(SDEE), "env", "enter", "short", "--", "id")
    wait_for(lambda: "->" in Path("/proc/locks").read_text(), "it does not wait for the lock")  # proc_locks(5)
    lock.communicate("\n", timeout=60)
    _, said = late.communicate(timeout=60)
    assert late.returncode != 0
    assert "environment short was removed or reset just now" in said
    user.sdee("env", "remove", "short-gone")


def test_a_command_that_is_ended_with_its_environment_says_so(user: User) -> None:
    """By the signal that it got; one that was killed alone says nothing."""
    user.sdee("env", "clone", "mine", "ended")
    alone = user.sdee("env", "enter", "ended", "--", "sh", "-c", "kill -9 $$", check=False)
    assert (alone.returncode, alone.stderr) == (-9, "")
    running = user.start(str(SDEE), "env", "enter", "ended", "--", "sh", "-c", "echo on; exec sleep 100")
    assert running.stdout is not None
    assert running.stdout.readline() == "on\n"
    user.sdee("env", "remove", "--force", "ended")
    errors = running.communicate(timeout=30)[1]
    assert running.returncode == -signal.SIGTERM
    assert "environment ended ended while the command ran" in errors


def test_what_has_just_been_left_is_not_in_use(user: User) -> None:
    """Its holder hears of the end a moment later than the shell."""
    script = "for i in 1 2 3 4 5 6; do sdee env enter left -- true & sdee env enter left -- true; wait; sdee env reset left || exit; done"
    user.sdee("env", "create", "left")
    done = user.run("bash", "-c", script)
    assert done.stdout.count("reset") == 6
    assert not done.stderr
    with user.start(str(SDEE), "env", "enter", "left", "--", "sh", "-c", "echo on; read line") as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "on\n"
        refused = user.sdee("env", "remove", "left", check=False)
        assert "environment left is in use: cannot remove it" in refused.stderr
        shell.kill()
    user.sdee("env", "remove", "left")
