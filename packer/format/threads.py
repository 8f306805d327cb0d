"""How many threads compress and decompress."""

from __future__ import annotations

import os

# More threads than this only cost memory (some 20 MB each at level 9): reading and hashing feed no more of them.
MOST_THREADS = 32


def usable_cores() -> int:
    """Return the number of processors that this process may run on (sched_getaffinity(2)), at most MOST_THREADS."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))
