"""Which directories are the environment's own, so that no node sees them: asked inside, of /proc/self/mountinfo."""

from __future__ import annotations

import os
import re

from sdee import files
from sdee.runtime.environment.mounts import is_below

COMMANDS = "/run/sdee"  # plan.py binds STATE/commands there
SOURCE = "sdee"  # of what sdee-env mounts itself: overlays and tmpfs


def is_private(path: str, text: str) -> bool:
    """Tell whether `path`, absolute and without links, is seen in the environment alone. `text`: a mountinfo file."""
    deepest, found, state = "", ("", "", ""), ("", "", "")
    for line in files.lines(text):
        before, _, after = line.partition(" - ")
        device, root, point = before.split(" ")[2:5]
        place, mount = _plain(point), (device, _plain(root), after.split(" ")[1])
        if place == COMMANDS:
            state = (device, mount[1].removesuffix("/commands"), "")
        if (path == place or is_below(path, place)) and len(place) >= len(deepest):
            deepest, found = place, mount
    if not state[1]:
        return False
    return found[2] == SOURCE or (found[0] == state[0] and is_below(found[1], state[1]))


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def here() -> bool:
    """Tell whether the current directory is private."""
    try:
        return is_private(os.path.realpath("."), files.mountinfo())
    except OSError:
        return False
