"""Which manager's commands run inside a private environment, and who receives messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.runtime.jobs.model import Inside


@dataclass(frozen=True)
class Context:
    """`inside`: what the manager's commands mean here; `say`: takes a sentence for the user."""

    inside: Inside
    say: Callable[[str], None]
