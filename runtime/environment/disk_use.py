"""How much of the disk environments take, by du(1).

That reads their directories: 33,000 names in a new one, 0.4 s of processor time (system), as much as a walk in Python
takes besides. So nobody waits for it who did not ask.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from sdee.base.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.runtime.environment.store import Environment


_OF_OVERLAYFS = re.compile(r"/work[^/]*/work'")  # a directory of mode 0 that the kernel makes in each layer, empty


class Size(NamedTuple):
    """Bytes on the disk; `whole`: nothing in it was closed to the user, as a directory of one of its own users is."""

    size: int
    whole: bool


def of(environments: Sequence[Environment]) -> dict[str, Size]:
    """Return the sizes of environments by their names, without those that were removed meanwhile.

    Raises KernelError where there is no du.
    """
    found = {}
    for environment in environments:
        try:
            done = subprocess.run(
                ["du", "-skx", environment.directory],
                env={**os.environ, "LC_ALL": "C"},
                capture_output=True,
                text=True,
                check=False,
                errors="replace",
            )
        except OSError as error:
            raise KernelError(f"cannot execute du: {error.strerror}", hint="leave out --sizes") from error
        kilobytes = done.stdout.partition("\t")[0]
        if kilobytes.isdecimal():
            closed = [line for line in done.stderr.splitlines() if not _OF_OVERLAYFS.search(line)]
            found[environment.name] = Size(int(kilobytes) << 10, not closed)
    return found
