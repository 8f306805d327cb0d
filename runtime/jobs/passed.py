"""Variables whose names no shell keeps, on their way through one: runtime/native/front/passed.c in Python."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdee.base.at_start import PASSED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping


def hidden(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables as they get through any shell: dash drops names that are none of its own (A.B, f%%)."""
    shells = re.compile(r"[A-Za-z_]\w*", re.ASCII)
    others = [name for name in environment if not shells.fullmatch(name)]
    kept = {name: value for name, value in environment.items() if name not in others}
    return kept | {f"{PASSED_PREFIX}{number}": f"{name}={environment[name]}" for number, name in enumerate(others)}


def shown(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables as they were before `hidden`."""
    passed = (value.partition("=") for name, value in environment.items() if name.startswith(PASSED_PREFIX))
    kept = {name: value for name, value in environment.items() if not name.startswith(PASSED_PREFIX)}
    return kept | {name: value for name, _, value in passed}
