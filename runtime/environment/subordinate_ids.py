"""The user's subordinate ids (subuid(5)), where newuidmap(1) maps them: then files and processes have real owners."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess

from sdee.base.files import lines, text_of
from sdee.runtime.programs import env_path

ENOUGH = 65535  # ids, so that nobody (65534) is one of them


def range_of(text: str, user: str, uid: int) -> tuple[int, int] | None:
    """Return the first range (start, count) of a user that is large enough, None where there is none."""
    for line in lines(text):
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in (user, str(uid)) and fields[1].isdigit() and fields[2].isdigit():
            start, count = int(fields[1]), int(fields[2])
            if count >= ENOUGH:
                return start, count
    return None


def usable_ranges() -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the ranges of uids and gids that this machine maps for the user; None where ids have to be emulated."""
    uid = os.getuid()
    if not uid or not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    uids, gids = range_of(text_of("/etc/subuid"), user, uid), range_of(text_of("/etc/subgid"), user, uid)
    return (uids, gids) if uids and gids and _works(uids, gids) else None


def _works(uids: tuple[int, int], gids: tuple[int, int]) -> bool:
    """Try it: the set-user-ID bit may be off (nosuid), or the site's rule another."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "plan"), "w", encoding="ascii") as file:
            file.write(f"sdee-env 1\nrange\t{uids[0]} {uids[1]} {gids[0]} {gids[1]}\n")
        done = subprocess.run([env_path(), "root", directory, "/bin/true"], check=False, capture_output=True)
    return done.returncode == 0
