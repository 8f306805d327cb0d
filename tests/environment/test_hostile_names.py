"""Names that others choose, of mounts, of what an archive holds, of packages in it: no line of theirs is forged."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from env_support import SDEE, needs_root
from sdee.base import mountinfo
from sdee.cli import env
from sdee.runtime.environment import changes, plan, private
from sdee.runtime.environment.archive import read as extraction
from sdee.tracer import host
from test_env_archive import member, pack, place

if TYPE_CHECKING:
    from pathlib import Path

ENDS = ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]  # where str.splitlines() ends a line
MOUNT = "99 1 0:99 / {} rw,relatime - fuse.sshfs other rw\n"


@pytest.mark.parametrize("end", ENDS)
def test_the_name_of_a_mount_ends_no_line(end: str) -> None:
    """Any user can mount a directory of the own by FUSE; each sdee of the machine reads its name."""
    name = f"/home/other/x{end}y"
    text = MOUNT.format(name) + MOUNT.format("/mnt")
    assert [mount.path for mount in mountinfo.parse(text)] == [name, "/mnt"]
    assert host.mounts(text) == [[name, "fuse.sshfs"], ["/mnt", "fuse.sshfs"]]
    assert not private.is_private("/mnt", text)
    step = plan.Step("bind", name)
    assert plan.read(plan.Plan((step,), None).text()).steps == (step,)


def test_a_directory_that_an_archive_shows_puts_no_line_into_the_plan(tmp_path: Path) -> None:
    bad = tmp_path / "x\nbind\t"
    (bad / "etc").mkdir(parents=True)
    good = tmp_path / "good"
    good.mkdir()
    made = plan.build((), str(tmp_path / "base"), "/", (str(bad / "etc"), str(good)))
    assert [step for step in made.steps if str(tmp_path) in step.path] == [plan.Step("bind", str(good))]
    assert plan.read(made.text()).steps == made.steps


@needs_root
@pytest.mark.parametrize("end", ["\r", "\x0c", "\u2028"])
def test_a_mount_of_another_user_is_nobodys_hindrance(tmp_path: Path, end: str) -> None:
    place = tmp_path / f"x{end}y"
    place.mkdir()
    text = 'mount -t tmpfs other "$1" && cd "$2" && exec "$3" trace -q -o t -- true'
    command = ["unshare", "-m", "sh", "-c", text, "sh", str(place), str(tmp_path), str(SDEE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_archive_holds_reaches_no_terminal_when_it_is_left_out(tmp_path: Path) -> None:
    names = ["root/home/\x1b[2J", "root/home/a\nforged", "root/home/plain", "root/home/\x9b2J"]
    archive = pack(tmp_path / "archive", [(member(name), b"") for name in names])
    said = extraction.read(place(tmp_path / "made"), str(archive))
    assert all(line.isprintable() for line in said)
    assert "left out, because the host provides it: /home/plain" in said
    assert len(said) == len(names)


def test_packages_of_an_environment_reach_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = "\x1b[2J\nforged"
    package = changes.PackageChange(bad, bad, bad, bad)
    file = changes.Change(f"/opt/{bad}", "added", package=bad)
    found = changes.Changes([package], [file], problem=bad)
    monkeypatch.setattr("sdee.cli.env.store.find", lambda _: None)
    monkeypatch.setattr("sdee.cli.env.store.present", lambda _: nullcontext())
    monkeypatch.setattr("sdee.cli.env.changes.find", lambda _: found)
    done = CliRunner().invoke(env.diff_, ["x", "--all"])
    assert done.exit_code == 0, done.output
    assert all(line.isprintable() for line in done.output.splitlines())
    assert not any(line.startswith("forged") for line in done.output.splitlines())
