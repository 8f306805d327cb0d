"""The corpus of real jobs: its files, and its quick jobs (`ci = true`) on two systems. All of it: make corpus."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

from corpus.run import DOCUMENT, run_job
from corpus.spec import load, missing_packages, names
from foreign.roots import ROOTS

QUICK = [name for name in names() if load(name).ci]
PLACES = ["trixie", "hidden"]


@pytest.mark.parametrize("name", names())
def test_a_jobs_file_says_all_that_it_must(name: str) -> None:
    spec = load(name)
    assert spec.about
    assert spec.first.command != spec.second.command or spec.second_env, "the second run is no other"


def test_the_document_has_a_row_for_each_job_and_a_cell_for_each_system() -> None:
    with open(DOCUMENT, encoding="utf-8") as file:
        rows = {line.split(" | ")[0].strip("| "): line for line in file if line.startswith("| ")}
    assert set(names()) <= set(rows)
    assert all(rows[name].count(" | ") == 2 + len(ROOTS) for name in names())


@pytest.mark.foreign
@pytest.mark.parametrize("name", QUICK)
def test_a_quick_job_runs_elsewhere_on_its_own_input_and_on_another(name: str) -> None:
    spec = load(name)
    if missing := missing_packages([spec]):
        pytest.skip(f"not installed here: {' '.join(missing)} (make corpus JOB={name})")
    base = tempfile.mkdtemp(prefix="sdee-corpus-", dir="/home")
    os.chmod(base, 0o755)
    row = run_job(spec, PLACES, base)
    assert not row.here
    assert not any(row.failures.values()), "\n".join(text for failures in row.failures.values() for text in failures)
    shutil.rmtree(base)  # a failed test keeps its directory
