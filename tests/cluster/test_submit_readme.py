"""The sessions of README.md and the manual that need a job manager: blocks `console slurm` and `console gridengine`.

All pages are run in one directory; `./solver` is compiled there from the manual's solver.c.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from gridengine import fixture
from submit_support import SDEE, GridEngineSide, Side, SlurmSide
from test_readme import MARK, commands, difference, files, manual, matches

if TYPE_CHECKING:
    from cluster.driver import Cluster
    from gridengine.driver import GridEngine

engine = fixture.engine
PAGES = {"slurm": ("README.md", "docs/slurm.md", "docs/environment.md"), "gridengine": ("docs/managers.md",)}


def blocks(page: str, manager: str) -> list[tuple[dict[str, str], list[tuple[str, str]]]]:
    """Return for each block of a job manager the variables that it wants, and (command, output) of its sessions."""
    found = []
    for options, block in re.findall(rf"^```console {manager}(.*)\n((?:.*\n)*?)```", manual()[page], re.MULTILINE):
        partition = options.strip().removeprefix("partition=")
        env = {"SLURM_PARTITION": partition} if partition else {}
        found.append((env, commands(block)))
    return found


def run(side: Side, manager: str) -> None:
    """Run all sessions of a job manager in one directory and compare."""
    side.enter("readme")
    for name, text in files().items():
        side.file(name, text)
    side.file("bin-sdee", f'#!/bin/sh\nexec {" ".join(SDEE)} "$@"\n')
    os.mkdir(f"{side.path}/bin")
    os.rename(f"{side.path}/bin-sdee", f"{side.path}/bin/sdee")
    path = f"{side.path}/bin:/usr/local/bin:/usr/bin:/bin"
    if manager == "slurm":
        done = side.run("mpicc", "-o", "solver", "solver.c", PATH=path)
        assert done.returncode == 0, done
    wrong = []
    for page in PAGES[manager]:
        for env, sessions in blocks(page, manager):
            script = "exec 2>&1\n" + "".join(f"echo '{MARK}'\n{command}\n" for command, _ in sessions)
            done = side.run("bash", "-c", script, PATH=path, **env)
            outputs = done.stdout.split(MARK + "\n")[1:]
            assert len(outputs) == len(sessions), done
            for (command, expected), output in zip(sessions, outputs, strict=True):
                if not matches(expected, output):
                    wrong.append(difference(page, command, expected, output))
    assert not wrong, "\n".join(wrong)


def test_each_page_with_such_sessions_is_run() -> None:
    for manager, pages in PAGES.items():
        assert {page for page in manual() if blocks(page, manager)} == set(pages)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_the_slurm_sessions_of_the_manual_print_what_it_shows(cluster: Cluster) -> None:
    side = SlurmSide(cluster)
    run(side, "slurm")
    assert side.read("mpi.out").count("of 4\n") == 4
    assert side.read("array-2.out") == "seed 2\n"


@pytest.mark.timeout(1800)
def test_the_grid_engine_session_of_the_manual_prints_what_it_shows(engine: GridEngine) -> None:
    run(GridEngineSide(engine), "gridengine")
