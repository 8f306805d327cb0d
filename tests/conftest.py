"""Tests marked `foreign` or `cluster` are skipped where their machines cannot be had; in CI that is a failure."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from typing import TYPE_CHECKING

import pytest

import workers
from cluster.driver import Cluster, check_possible
from cluster.spec import Spec
from foreign.roots import CannotBuildError, check_machine

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from xdist.remote import Producer

for _number in (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
):  # nohup(1), or a shell's `&`: a job's shell cannot trap them
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

TURNS = pytest.StashKey[workers.Turns]()
NEEDS = {"foreign": check_machine, "cluster": check_possible}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let a worker take turns with the others, and choose itself where in its /tmp its directories are."""
    if workers.is_worker(config):
        config.stash[TURNS] = workers.Turns(os.environ[workers.TURNS])
        if workers.PLACE:
            config.option.basetemp = None
    elif config.getoption("dist", "no") != "no":
        os.environ[workers.TURNS] = tempfile.mkdtemp(prefix="sdee-turns-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ[workers.TURNS]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> workers.Files:
    """Give each worker a file at a time, in the order of collection."""
    config.option.loadscopereorder = False
    return workers.Files(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Arrange a worker's tests, before pytest-xdist looks at their groups."""
    if workers.is_worker(config):
        workers.arrange(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let tests that need the machine for themselves have it."""
    if TURNS not in item.config.stash:
        return (yield)
    with item.config.stash[TURNS].wait(alone=workers.is_alone(item)):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run what says so in a process of its own."""
    if pyfuncitem.get_closest_marker("own_process") is None:
        return None
    workers.run_forked(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say how a failed test is run again, and where what it left is."""
    report = yield
    if report.failed:
        workers.keep_place()
        report.sections.append(("to run it again", workers.how_to_repeat(item)))
    return report


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
