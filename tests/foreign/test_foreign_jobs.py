"""Real jobs, traced and bundled here, run on systems of other distributions and on one that holds nothing.

Each must give the same bytes there as here. See tests/foreign/: roots.py builds the systems, node.py enters them,
jobs.py knows the jobs. A failed test keeps its directory under /home and says how to repeat it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from foreign.jobs import JOBS, Workshop
from foreign.node import NodeResult, run_on_node
from foreign.roots import ROOTS, root_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreign.jobs import Run

pytestmark = pytest.mark.foreign

# On the root of this very system auto means merged: there closed is asked for as well.
PLACES = [*((name, "auto") for name in ROOTS), ("bookworm", "closed"), ("bookworm", "merged")]


@pytest.fixture(scope="module")
def workshops(request: pytest.FixtureRequest) -> Iterator[Callable[[str], tuple[Workshop, Run]]]:
    """Give a job's workshop, with its bundle made, and what the job gave here without sdee. Each is made once."""
    base = tempfile.mkdtemp(prefix="sdee-foreign-", dir="/home")
    os.chmod(base, 0o755)
    failed_before = request.session.testsfailed
    made: dict[str, tuple[Workshop, Run]] = {}

    def give(name: str) -> tuple[Workshop, Run]:
        if name not in made:
            shop = Workshop(JOBS[name], os.path.join(base, name))
            bare = shop.run()
            assert bare.status == 0, bare
            assert set(bare.outputs) == set(JOBS[name].outputs), "the fixture does not write what it says"
            assert all(bare.outputs.values()), "nothing of an output is compared"
            traced = shop.trace_and_bundle()
            assert not bare.differences(traced), "the job ran otherwise under trace"
            made[name] = shop, bare
        return made[name]

    yield give
    if request.session.testsfailed == failed_before:
        shutil.rmtree(base)


def repeat(result: NodeResult) -> str:
    """Say how a run on a node can be repeated, and what it said."""
    return f"\nrepeat: {shlex.join(result.command)}\nstderr: {result.stderr}"


def assert_clean(result: NodeResult, leaves: tuple[str, ...] = ()) -> None:
    """Nothing may be left on a node but what the program itself leaves anywhere."""
    left = result.left
    assert not left.processes, f"processes are left: {left.processes}{repeat(result)}"
    assert not left.mounts, f"mounts are left: {left.mounts}{repeat(result)}"
    assert set(left.files) <= set(leaves), f"files are left: {left.files}{repeat(result)}"


@pytest.mark.parametrize(("root", "mode"), PLACES)
@pytest.mark.parametrize("name", JOBS)
def test_a_job_gives_the_same_bytes_on_a_foreign_system(
    name: str, root: str, mode: str, workshops: Callable[[str], tuple[Workshop, Run]]
) -> None:
    shop, bare = workshops(name)
    shop.renew()
    result = run_on_node(
        root_path(root),
        [shop.bundle],
        shared=(shop.directory,),
        cwd=shop.work,
        env={"LANG": "C.UTF-8", "SDEE_ROOT": mode},
    )
    there = shop.result(result.status, result.stdout, result.stderr)
    differences = bare.differences(there)
    assert not differences, "\n".join(differences) + repeat(result)
    assert_clean(result, JOBS[name].leaves)
