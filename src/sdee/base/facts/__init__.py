"""Facts about the outside world that several parts need, each in one table beside this module.

`.ci/generate` writes C from them (runtime/native/lib/facts.h). They are read when asked for: `sdee exec` and `sdee env
enter` ask for none.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sdee.base.files import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def table(name: str) -> dict[str, Any]:
    """Return the table NAME.toml."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - this module is imported where no table may be asked for
    else:
        import tomli as tomllib  # noqa: PLC0415
    return tomllib.loads(read_text(os.path.join(os.path.dirname(__file__), f"{name}.toml")))


def rows(name: str) -> list[list[str]]:
    """Return the words of each line of the table NAME.txt."""
    text = read_text(os.path.join(os.path.dirname(__file__), f"{name}.txt"))
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


@cache
def system_directories(part: str) -> tuple[str, ...]:
    """Return the directories that a part takes for the system: system_directories.toml says which part and why."""
    return tuple(path for path, parts in table("system_directories")["directories"].items() if part in parts)


@cache
def network_file_systems() -> frozenset[str]:
    """Return the names, as in mountinfo, of file systems that other nodes see."""
    found = (row["names"] for row in table("filesystems")["filesystem"] if row["where"] == "network")
    return frozenset(name for names in found for name in names)


@cache
def cluster_file_systems() -> frozenset[str]:
    """Return the names of those whose servers keep locks and times for all nodes (no SMB, no FUSE)."""
    rows = (row for row in table("filesystems")["filesystem"] if row["where"] == "network" and "locks" in row)
    return frozenset(name for row in rows for name in row["names"])


def commands_of(manager: str) -> tuple[str, ...]:
    """Return a job manager's commands, those that submit first."""
    commands = table("job_manager_commands")[manager]
    return (*commands["submits"], *commands["others"])


@dataclass(frozen=True)
class RankLauncher:
    """One row of ranks.toml: the variables that a launcher gives each rank; "" for what it does not tell."""

    name: str
    rank: str
    mark: str = ""
    local_rank: str = ""
    size: str = ""
    local_size: str = ""
    step: tuple[str, ...] = ()
    protocol: bool = False

    @property
    def variables(self) -> tuple[str, ...]:
        """Return all variables that say something of the one rank."""
        names = (self.mark, self.rank, self.local_rank, self.size, self.local_size)
        return tuple(dict.fromkeys(name for name in names if name))


@cache
def rank_launchers() -> tuple[RankLauncher, ...]:
    """Return what starts ranks, the nearest to the rank first."""
    rows = ({key.replace("-", "_"): value for key, value in row.items()} for row in table("ranks")["launcher"])
    return tuple(RankLauncher(**{**row, "step": tuple(row.get("step", ()))}) for row in rows)


def rank_of(variables: Mapping[str, str]) -> str:
    """Return the rank that a process's variables tell, "0" for none."""
    for launcher in rank_launchers():
        marked = variables.get(launcher.mark or launcher.rank)
        if marked and (rank := variables.get(launcher.rank, "")).isdecimal() and rank.isascii():
            return rank
    return "0"
