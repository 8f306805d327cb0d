"""`sdee doctor` says what holds on this machine, and what does not where something is taken away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SDEE = Path(sys.executable).parent / "sdee"


def test_a_machine_that_can_do_all_is_told_so() -> None:
    done = subprocess.run([SDEE, "doctor", "--json"], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["ok"]
    assert {"engine unotify", "engine ptrace", "state directory"} <= {f["check"] for f in report["findings"]}


def test_where_no_environment_can_be_that_is_said_and_jobs_are_none_the_worse(tmp_path: Path) -> None:
    place = {**os.environ, "SDEE_ENV_DIR": "/proc/sdee/environments"}
    done = subprocess.run([SDEE, "doctor"], capture_output=True, text=True, check=False, env=place)
    assert done.returncode == 0
    assert re.search(r"NO  state directory +/proc: .*\n +remedy: set SDEE_ENV_DIR", done.stdout)
    there = subprocess.run(
        [SDEE, "doctor"], capture_output=True, text=True, check=False, env={**place, "SDEE_ENV_DIR": f"{tmp_path}/a/b"}
    )
    assert f"overlayfs takes {tmp_path}/a/b" in there.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to switch user namespaces off in a nested one")
def test_without_user_namespaces_the_sysctl_is_named() -> None:
    off = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all"
    nested = ["unshare", "-U", "--map-root-user", "bash", "-c", f'{off} "$0" doctor', str(SDEE)]
    done = subprocess.run(nested, capture_output=True, text=True, check=False)
    assert done.returncode == 242
    assert "user.max_user_namespaces" in done.stdout
    environment = done.stdout.partition("Private environments:")[2]
    assert "remedy: ask the administrator for: sysctl user.max_user_namespaces" in environment
    assert "`sdee doctor`" not in done.stdout
