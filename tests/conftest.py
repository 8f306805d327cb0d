"""Tests marked `foreign` are skipped where foreign root file systems cannot be had; in CI that is a failure."""

from __future__ import annotations

import os

import pytest

from foreign.roots import CannotBuildError, check_machine


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look at the machine before any fixture of the test is made."""
    if item.get_closest_marker("foreign") is None:
        return
    try:
        check_machine()
    except CannotBuildError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
