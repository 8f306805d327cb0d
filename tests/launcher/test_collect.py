"""What a job left in the nodes' own directories comes back, whatever happens to the clocks meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from sdee.runtime.jobs import scripts

if TYPE_CHECKING:
    from pathlib import Path

# In PATH before date(1): the clock is off by what the file `offset` says
DATE = '#!/bin/sh\nexpr $(/bin/date "$@") + $(cat {offset})\n'


SHELLS = ("bash", "dash")
# seconds by which the clock was ahead when the job began: files' times are those of the clock now
AHEAD = {"in-order": 0, "set-back": 3600, "set-forward": -3600}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give each case a directory, with a file of an earlier job. Nobody can set a ctime, which find(1) looks at."""
    top = tmp_path_factory.mktemp("nodes")
    for shell in SHELLS:
        for name in AHEAD:
            (top / shell / name).mkdir(parents=True)
            (top / shell / name / "old-1").write_text("of an earlier job")
    time.sleep(3.1)
    return top


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", AHEAD)
def test_results_come_back_when_the_clock_is_set_meanwhile(nodes: Path, tmp_path: Path, shell: str, name: str) -> None:
    node, kept, offset, before = nodes / shell / name, tmp_path / "kept", tmp_path / "offset", AHEAD[name]
    for directory in (kept, tmp_path / "bin"):
        directory.mkdir()
    (tmp_path / "bin/date").write_text(DATE.format(offset=offset))
    (tmp_path / "bin/date").chmod(0o755)
    job = f"""
sdee_results={kept}
{scripts.finish("", '"$sdee_results"', [f"{node}/*"])}
echo 0 >{offset}
echo new >{node}/new-1
sdee_finish 0
"""
    offset.write_text(f"{before}\n")
    variables = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    done = subprocess.run([shell, "-c", job], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted(os.listdir(f"{kept}{node}"))
    assert "new-1" in found
    if before == 0:
        assert found == ["new-1"], "what was there before the job is not its result"


@pytest.mark.parametrize("uptime", ["1.0 2", ""])
def test_a_node_without_an_uptime_has_its_clock(tmp_path: Path, uptime: str) -> None:
    text = scripts.finish("", '"$sdee_results"', ["/nowhere/*"]).replace("/proc/uptime", f"{tmp_path}/uptime")
    (tmp_path / "uptime").write_text(f"{uptime}\n" if uptime else "")
    done = subprocess.run(["dash", "-c", f"{text}\nsdee_finish 5"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (5, "")
