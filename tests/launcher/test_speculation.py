"""Our filters leave speculation as it is (SECCOMP_FILTER_FLAG_SPEC_ALLOW), and work where a kernel has no such flag."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdee.cli import doctor
from sdee.runtime.programs import launcher_path
from sdee.tracer.engine import linux

if TYPE_CHECKING:
    from pathlib import Path

ALLOW, EINVAL = 0x7FFF0000, 0x00050000 | 22
_SYS_SECCOMP, _FLAGS = 317, 24  # x86_64; offset of the second argument in struct seccomp_data
# linux/filter.h: load, jump if equal, jump if a bit is set, return
AS_BEFORE_4_17 = b"".join(
    struct.pack("<HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),
        (0x15, 0, 3, _SYS_SECCOMP),
        (0x20, 0, 0, _FLAGS),
        (0x45, 0, 1, 1 << 2),
        (0x06, 0, 0, EINVAL),
        (0x06, 0, 0, ALLOW),
    )
)
UNDER = f"""
import os, sys
from sdee.base.libc import no_new_privileges
from sdee.tracer.engine import linux
no_new_privileges()
linux.seccomp_filter({AS_BEFORE_4_17!r}, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
LISTEN = """
from sdee.base.libc import no_new_privileges
from sdee.tracer.engine import linux
no_new_privileges()
linux.seccomp_filter(linux._LET_ALL_GO, linux.SECCOMP_FILTER_FLAG_NEW_LISTENER)
"""
pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers here are x86_64's")


def filters_of(tmp_path: Path, *command: str) -> list[tuple[str, str]]:
    """Return the flags, and what came of it, of each filter that a command installs: strace says it."""
    out = tmp_path / "strace"
    done = subprocess.run(
        ["strace", "-f", "-o", out, "-e", "trace=seccomp", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return re.findall(r"SECCOMP_SET_MODE_FILTER, ([\w|]+), .*\) += (.*)", out.read_text())


SDEE = (sys.executable, "-m", "sdee")


@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
def test_a_trace_under_a_kernel_that_knows_no_such_flag(tmp_path: Path, engine: str) -> None:
    trace = (*SDEE, "trace", "-q", "--engine", engine, "-o", f"{tmp_path}/t.trace", "--", "/bin/true")
    subprocess.run([sys.executable, "-c", UNDER, *trace], cwd=tmp_path, check=True)
    subprocess.run([*SDEE, "bundle", "-q", "--minimal", "--dry-run", f"{tmp_path}/t.trace"], cwd=tmp_path, check=True)


def test_the_filter_of_a_trace_has_the_flag_and_does_without(tmp_path: Path) -> None:
    found = filters_of(tmp_path, sys.executable, "-c", LISTEN)
    assert [flags for flags, _ in found] == ["SECCOMP_FILTER_FLAG_SPEC_ALLOW|SECCOMP_FILTER_FLAG_NEW_LISTENER"]
    refused = filters_of(tmp_path, sys.executable, "-c", UNDER, sys.executable, "-c", LISTEN)
    assert [(flags, said[:1]) for flags, said in refused[1:]] == [
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW|SECCOMP_FILTER_FLAG_NEW_LISTENER", "-"),
        ("SECCOMP_FILTER_FLAG_NEW_LISTENER", refused[-1][1][:1]),
    ]
    assert not refused[-1][1].startswith("-")


def test_the_launchers_filter_has_the_flag_and_does_without(tmp_path: Path) -> None:
    subprocess.run([*SDEE, "trace", "-q", "--", "/bin/true"], cwd=tmp_path, check=True)
    subprocess.run([*SDEE, "bundle", "-q", "--minimal"], cwd=tmp_path, check=True)
    job = (launcher_path(), "--diagnose", f"{tmp_path}/bundle.sdee")
    (flags,) = (flags for flags, _ in filters_of(tmp_path, *job))
    assert "SPEC_ALLOW" in flags
    assert "NEW_LISTENER" in flags
    refused = filters_of(tmp_path, sys.executable, "-c", UNDER, *job)[1:]
    assert refused[0][1].startswith("-1 EINVAL")
    assert "SPEC_ALLOW" not in refused[-1][0]
    assert not refused[-1][1].startswith("-1")


def test_doctor_says_whether_a_filter_slows_jobs_down(tmp_path: Path) -> None:
    done = subprocess.run([*SDEE, "doctor", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "speculation"]
    assert all(line["ok"] for line in lines)
    with open("/proc/self/status", encoding="ascii") as file:
        said = [line.split(":", 1)[1].strip() for line in file if line.startswith("Speculation_Store_Bypass")]
    assert [line["detail"].rpartition(": ")[2] for line in lines] == said


def test_doctor_says_so_where_a_filter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "speculation", lambda: ("thread vulnerable", "thread force mitigated"))
    (line,) = doctor._speed()
    assert not line.ok
    assert "4.17" in line.remedy
