"""Slurm's commands that belong to a package: sdee-front in their place, by a diversion of dpkg's (dpkg-divert(1)).

Where they belong to none (/opt/slurm) it is mounted over them at each start (stand_ins.c). Mounting is no way for a
package's: dpkg can neither replace nor remove a file that is a mount point. With a diversion it puts a new version of
srun where the environment looks for the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from sdee.base import facts
from sdee.runtime.environment.locations import DIVERSIONS, DIVERTED, HOST_PROGRAMS, PROGRAMS
from sdee.runtime.programs import front_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.runtime.environment.store import Environment


def of_packages() -> list[str]:
    """Return the names of those that a Debian package owns."""
    names = facts.commands_of("slurm")
    there = [
        name for name in names if os.path.isfile(f"{PROGRAMS}/{name}") and not os.path.islink(f"{PROGRAMS}/{name}")
    ]
    if not there or not os.path.isdir("/var/lib/dpkg/info"):
        return []
    try:
        done = subprocess.run(
            ["dpkg-query", "--search", *(f"{PROGRAMS}/{name}" for name in there)],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return []
    owned = {line.rpartition(": ")[2] for line in done.stdout.splitlines() if not line.startswith("diversion ")}
    return [name for name in there if f"{PROGRAMS}/{name}" in owned]


def divert(environment: Environment, note: Callable[[str], None]) -> None:
    """Put sdee-front in the place of each. `note` receives every path written."""
    names = of_packages()
    upper, diverted, records = (environment.upper(path) for path in (PROGRAMS, DIVERTED, DIVERSIONS))
    if not names or upper is None or diverted is None or records is None:
        return
    os.makedirs(diverted, exist_ok=True)
    lines = []
    for name in names:
        lines += [f"{PROGRAMS}/{name}", f"{DIVERTED}/{name}", ":"]
        os.symlink(f"{HOST_PROGRAMS}/{name}", f"{diverted}/{name}")
        shutil.copyfile(front_path(), f"{upper}/{name}")
        os.chmod(f"{upper}/{name}", 0o755)
        note(f"{PROGRAMS}/{name}")
        note(f"{DIVERTED}/{name}")
    note(DIVERTED)
    with open(records, "w", encoding="utf-8") as file:
        file.write(_host_diversions() + "".join(f"{line}\n" for line in lines))
    note(DIVERSIONS)


def refresh(environment: Environment) -> None:
    """Put this sdee's sdee-front where divert() put an older one's: the two ends of a call must be of one version."""
    upper, diverted = environment.upper(PROGRAMS), environment.upper(DIVERTED)
    if upper is None or diverted is None or not os.path.isdir(diverted):
        return
    for name in facts.commands_of("slurm"):
        path = f"{upper}/{name}"
        if os.path.lexists(f"{diverted}/{name}") and os.path.isfile(path) and not os.path.islink(path):
            new = f"{path}.sdee-{os.getpid()}"  # terminals may come at once
            shutil.copyfile(front_path(), new)
            os.chmod(new, 0o755)
            os.replace(new, path)


def _host_diversions() -> str:
    try:
        with open(DIVERSIONS, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
