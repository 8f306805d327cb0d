"""Runs whose writes are discarded. In an environment, with a job that comes after: tests/cluster/test_env_jobs.py."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from env_support import UID, becomes, needs_root
from sdee.runtime.environment.discard import REAL, SOURCE, Step, plan
from sdee.tracer import host

if TYPE_CHECKING:
    from pathlib import Path

# As in an environment of ~/.local/share/sdee, with /home and a home of its own mounted on the host
MOUNTS = """\
1 0 0:30 / / rw - tmpfs sdee rw
2 1 0:31 / /usr rw - overlay sdee rw
3 1 0:5 / /dev rw - devtmpfs udev rw
4 1 8:1 /home/u/.local/share/sdee/environments/mine/tmp /tmp rw - ext4 /dev/sda1 rw
5 1 8:1 /home /home rw - ext4 /dev/sda1 rw
6 5 0:40 / /home/u rw - nfs4 server:/u rw
7 6 0:41 / /home/u/.local/share/sdee/environments ro - tmpfs sdee rw
8 1 0:42 / /scratch rw - lustre mgs:/scratch rw
9 1 0:33 / /run rw - tmpfs sdee rw
10 9 8:1 /home/u/.local/share/sdee/environments/mine/commands /run/sdee rw - ext4 /dev/sda1 rw
"""


def test_live_directories_are_covered_and_what_is_the_environments_own_is_not() -> None:
    assert plan(MOUNTS, ["/home/u", "/scratch/u/run"]) == (
        Step("cover", "/home"),
        Step("cover", "/home/u"),
        Step("show", "/home/u/.local/share/sdee/environments"),
        Step("cover", "/scratch"),
        Step("else", "/scratch/u/run"),
    )


def test_a_trace_tells_of_the_file_systems_and_not_of_what_covers_them() -> None:
    covered = f"{MOUNTS}11 6 0:50 / /home/u rw - overlay {SOURCE} rw,userxattr\n"
    assert host.mounts(covered) == host.mounts(MOUNTS)
    assert ["/home/u", "nfs4"] in host.mounts(covered)


WRITE = """
import os, sys
from sdee.runtime.environment import discard
discard.writes("kept")
for name in ("new", "kept/new"):
    open(name, "w").close()
os.unlink("old")
print(sorted(os.listdir(".")))
"""


def written(tmp_path: Path, *enter: str) -> tuple[list[str], str]:
    """Run it in a directory; return what is there after it, and which directories it says to have written in."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "old").touch()
    for path in (tmp_path, tmp_path / "kept"):
        path.chmod(0o777)
    done = subprocess.run(
        [*enter, sys.executable, "-c", WRITE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "['kept', 'new']\n", done.stderr
    assert (tmp_path / "kept/new").exists()
    return sorted(path.name for path in tmp_path.iterdir()), (tmp_path / "kept" / REAL).read_text()


@needs_root
def test_what_is_written_is_gone_but_for_what_is_kept(tmp_path: Path) -> None:
    # what tests/apart mounts in root's home: no user namespace could cover that home with it
    uncovered = 'umount /root/.cache/sdee 2>/dev/null; exec unshare --user --map-root-user "$@"'
    assert written(tmp_path, "unshare", "--mount", "sh", "-c", uncovered, "sh") == (["kept", "old"], "")


@needs_root
def test_where_nothing_can_be_covered_writes_are_real_and_that_is_told(tmp_path: Path) -> None:
    for path in (*tmp_path.parents, tmp_path):
        if path.name.startswith(("pytest-", "test_")):
            path.chmod(0o755)
    names, told = written(tmp_path, *becomes(UID))
    assert names == ["kept", "new"]
    assert repr(str(tmp_path)) in told
