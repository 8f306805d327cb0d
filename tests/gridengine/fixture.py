"""pytest's fixture of a Grid Engine: a module that wants it says `engine = fixture.engine`."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from foreign.roots import CannotBuildError
from gridengine import driver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def engine() -> Iterator[driver.GridEngine]:
    """Give a running Grid Engine."""
    try:
        driver.check_possible()
    except CannotBuildError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    directory = tempfile.mkdtemp(prefix="sdee-gridengine-", dir="/home")
    os.chmod(directory, 0o755)
    started = driver.GridEngine(directory)
    try:
        started.start()
        yield started
    finally:
        started.stop()
    shutil.rmtree(directory)
