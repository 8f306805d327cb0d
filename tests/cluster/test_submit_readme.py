"""The sessions of README.md that need a job manager, as they stand: blocks `console slurm` and `console gridengine`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from gridengine import fixture
from submit_support import SDEE, GridEngineSide, Side, SlurmSide
from test_readme import MARK, README, files, matches

if TYPE_CHECKING:
    from cluster.driver import Cluster
    from gridengine.driver import GridEngine

engine = fixture.engine


def blocks(manager: str) -> list[tuple[dict[str, str], list[tuple[str, str]]]]:
    """Return for each block of a job manager the variables that it wants, and (command, output) of its sessions."""
    found = []
    for options, block in re.findall(rf"^```console {manager}(.*)\n((?:.*\n)*?)```", README.read_text(), re.MULTILINE):
        partition = options.strip().removeprefix("partition=")
        env = {"SLURM_PARTITION": partition} if partition else {}
        parts = [part.partition("\n") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
        found.append((env, [(command, expected.strip("\n")) for command, _, expected in parts]))
    return found


def scripts() -> dict[str, str]:
    """Return the batch scripts that the README shows, by the name in their second line."""
    found = re.findall(r"^```bash\n(#!.*\n# (\S+)\n(?:.*\n)*?)```", README.read_text(), re.MULTILINE)
    return {name: text for text, name in found}


def run(side: Side, manager: str) -> None:
    """Run all sessions of a job manager in one directory and compare."""
    side.enter("readme")
    for name, text in {**files(), **scripts()}.items():
        side.file(name, text)
    side.file("bin-sdee", f'#!/bin/sh\nexec {" ".join(SDEE)} "$@"\n')
    os.mkdir(f"{side.path}/bin")
    os.rename(f"{side.path}/bin-sdee", f"{side.path}/bin/sdee")
    for env, sessions in blocks(manager):
        script = "exec 2>&1\n" + "".join(f"echo '{MARK}'\n{command}\n" for command, _ in sessions)
        path = f"{side.path}/bin:/usr/local/bin:/usr/bin:/bin"
        done = side.run("bash", "-c", script, PATH=path, **env)
        outputs = done.stdout.split(MARK + "\n")[1:]
        assert len(outputs) == len(sessions), done
        for (command, expected), output in zip(sessions, outputs, strict=True):
            assert matches(expected, output), f"$ {command}\n--- README\n{expected}\n--- printed\n{output}"


def test_the_readme_has_such_sessions() -> None:
    assert len(blocks("slurm")) >= 3
    assert len(blocks("gridengine")) == 1
    assert list(scripts()) == ["job.sh"]


@pytest.mark.slow
@pytest.mark.cluster
def test_the_slurm_sessions_of_the_readme_print_what_it_shows(cluster: Cluster) -> None:
    run(SlurmSide(cluster), "slurm")


def test_the_grid_engine_session_of_the_readme_prints_what_it_shows(engine: GridEngine) -> None:
    run(GridEngineSide(engine), "gridengine")
