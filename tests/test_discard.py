"""Which mounts a run gets whose writes are discarded. That they discard, tests/test_env_jobs.py shows."""

from __future__ import annotations

from sdee.runtime.environment.discard import Step, plan
from sdee.tracer import host

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
    covered = f"{MOUNTS}11 6 0:50 / /home/u rw - overlay sdee-discarded rw,userxattr\n"
    assert host.mounts(covered) == host.mounts(MOUNTS)
    assert ["/home/u", "nfs4"] in host.mounts(covered)
