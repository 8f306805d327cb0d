"""Tests marked `foreign` or `cluster` are skipped where their machines cannot be had; in CI that is a failure."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from typing import TYPE_CHECKING

import pytest

from cluster.driver import Cluster, check_possible
from cluster.spec import Spec
from foreign.roots import CannotBuildError, check_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

for _number in (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
):  # nohup(1), or a shell's `&`: a job's shell cannot trap them
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

NEEDS = {"foreign": check_machine, "cluster": check_possible}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests on the cluster last: it is a child of this process then, and tracers wait for all of theirs."""
    items.sort(key=lambda item: item.get_closest_marker("cluster") is not None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look at the machine before any fixture of the test is made."""
    for marker, check in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        try:
            check()
        except CannotBuildError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Give a running Slurm cluster, which ends with the tests, and with them when they are killed."""
    directory = tempfile.mkdtemp(prefix="sdee-cluster-", dir="/home")
    os.chmod(directory, 0o755)
    started = Cluster(Spec(directory))
    try:
        started.start(with_parent=True)
        yield started
    finally:
        started.stop()
        if not request.session.testsfailed:
            shutil.rmtree(directory)
