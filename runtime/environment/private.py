"""Which directories are the environment's own, so that no node sees them: asked inside, of /proc/self/mountinfo."""

from __future__ import annotations

import os

from sdee.base import mountinfo
from sdee.base.paths import is_in
from sdee.runtime.environment.locations import COMMANDS, STATE_COMMANDS

SOURCE = "sdee"  # of what sdee-env mounts itself: overlays and tmpfs


def is_private(path: str, text: str) -> bool:
    """Tell whether `path`, absolute and without links, is seen in the environment alone. `text`: a mountinfo file."""
    deepest, found, state = "", ("", "", ""), ("", "", "")
    for entry in mountinfo.entries(text):
        place, mount = entry.path, (entry.device, entry.root, entry.source)
        if place == COMMANDS:
            state = (entry.device, entry.root.removesuffix(f"/{STATE_COMMANDS}"), "")
        if (path == place or is_in(path, place)) and len(place) >= len(deepest):
            deepest, found = place, mount
    if not state[1]:
        return False
    return found[2] == SOURCE or (found[0] == state[0] and is_in(found[1], state[1]))


def here() -> bool:
    """Tell whether the current directory is private."""
    try:
        return is_private(os.path.realpath("."), mountinfo.own_text())
    except OSError:
        return False
