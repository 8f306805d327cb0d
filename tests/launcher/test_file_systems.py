"""Which file systems are a network's: packer and launcher know the same ones, wekafs and DVS too."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from launcher_tools import REPO, SOURCES
from sdee.base import facts
from sdee.packer import knowledge

if TYPE_CHECKING:
    from pathlib import Path

SYSTEMS = facts.table("filesystems")["filesystem"]
UNKNOWN = 0x12345


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The launcher's own code for it, with the kernel's answers put in."""
    program = str(tmp_path_factory.mktemp("far") / "far")
    wrap = "-Wl,--wrap=statfs,--wrap=fopen"
    source = [os.path.join(REPO, "fixtures/launcher/far.c"), os.path.join(SOURCES, "launcher/node/storage.c")]
    subprocess.run(
        ["gcc", "-D_GNU_SOURCE", "-Wall", "-Werror", f"-I{SOURCES}", wrap, "-o", program, *source], check=True
    )
    return program


def asked(far: str, tmp_path: Path, magic: int, kind: str, options: str = "rw") -> str:
    """Return what the launcher says of a directory on a file system of this kind."""
    device = os.stat(tmp_path).st_dev
    line = f"30 22 {os.major(device)}:{os.minor(device)} / {tmp_path} rw - {kind} server:/x {options}\n"
    (tmp_path / "mountinfo").write_text("22 1 0:1 / / rw - ext4 /dev/sda rw\n" + line)
    done = subprocess.run(
        [far, hex(magic), tmp_path / "mountinfo", tmp_path], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("row", SYSTEMS, ids=lambda row: row["label"])
def test_packer_and_launcher_know_the_same_networks(far: str, tmp_path: Path, row: dict[str, object]) -> None:
    for name in row["names"]:  # type: ignore[attr-defined]
        network = name in knowledge.NETWORK_FILE_SYSTEMS
        assert network == (row["where"] == "network")
        by_name = asked(far, tmp_path, UNKNOWN, name)
        by_number = asked(far, tmp_path, row.get("magic", UNKNOWN), name)  # type: ignore[arg-type]
        assert {by_name.split()[0], by_number.split()[0]} == {"far" if network or row["where"] == "fuse" else "near"}


@pytest.mark.parametrize(
    ("kind", "options", "locks"),
    [
        ("lustre", "rw,flock", "locks"),
        ("lustre", "rw,localflock", "none"),
        ("nfs4", "rw,local_lock=none", "locks"),
        ("nfs", "rw,local_lock=all", "none"),
        ("gpfs", "rw", "locks"),
        ("beegfs", "rw", "none"),
        ("dvs", "rw", "none"),
        ("wekafs", "rw", "none"),
        ("xfs", "rw", "locks"),
        ("newfs", "rw", "locks"),
    ],
)
def test_whether_locks_reach_other_nodes(far: str, tmp_path: Path, kind: str, options: str, locks: str) -> None:
    assert asked(far, tmp_path, UNKNOWN, kind, options).split()[1] == locks
