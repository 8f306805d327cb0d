"""The host's own commands of the job manager, as sdee-front calls them inside of a private environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from sdee.base import process
from sdee.runtime.environment.locations import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REAL = "SDEE_REAL"  # for sdee-front: the host's own command is meant
FRONT = os.path.join(COMMANDS, "sdee-front")


def set_environment(variables: Mapping[str, str]) -> None:
    """Let these be our variables, and no others."""
    os.environ.clear()
    os.environ.update(variables)


def become(name: str, arguments: Sequence[str]) -> NoReturn:
    """Become the host's own command, as the user (execve(2))."""
    process.become(FRONT, [name, *arguments])
