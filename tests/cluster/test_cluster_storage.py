"""The shared storage is left in peace: what a NumPy, SciPy and pandas job asks of it, bare and from a bundle.

The numbers for more ranks stand in docs/shared-storage.md: python -m cluster.counting.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cluster.counting import BARE, BUNDLE, counting_cluster, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.driver import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# what the job does of its own: it makes a directory, writes two files there and reads one; and the bundle's file
FEW = 60
LOOKED_AT = 16  # files of the working directory that the first rank compares with the bundle's (launcher/run/changed.c)


@pytest.fixture(scope="module")
def storage() -> Iterator[Cluster]:
    """Give a cluster whose storage counts."""
    with counting_cluster() as cluster:
        yield cluster


def test_bare_each_rank_opens_a_thousand_files_and_a_node_asks_for_thousands_of_names(storage: Cluster) -> None:
    one, four = (measure(storage, BARE, ranks) for ranks in (1, 4))
    assert one.metadata > 2000
    assert one.opens > 1000
    assert four.opens > 3.9 * one.opens
    assert four.metadata > one.metadata


@pytest.mark.parametrize("node", ["own1", "n2"])
def test_a_bundle_asks_for_its_own_file_and_what_the_job_writes(storage: Cluster, node: str) -> None:
    one, four = (measure(storage, BUNDLE, ranks, node=node, software=False) for ranks in (1, 4))
    size = os.path.getsize(f"{storage.spec.backing}/work/job.sdee")
    assert one.requests < FEW
    assert four.requests < 4 * FEW
    assert one.read_bytes < 1.1 * size
    assert four.read_bytes < 1.05 * one.read_bytes, "a node reads the bundle once"


def test_a_bundle_asks_no_more_where_its_software_lies_on_the_same_storage(storage: Cluster) -> None:
    asked = measure(storage, BUNDLE, 1)
    assert asked.requests < FEW + LOOKED_AT
