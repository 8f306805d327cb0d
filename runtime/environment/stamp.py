"""By what an environment notices that the host's system has changed. Imports next to nothing: entering asks."""

from __future__ import annotations

import os

from sdee.base.at_start import MOUNTS_APART
from sdee.base.files import lines, read_text

# Files of the host by which a change of its packages is noticed, and of which a copy is kept to merge with later
STAMPS = (
    "/etc/os-release",
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/etc/passwd",
    "/etc/group",
)
KEPT = ("/var/lib/dpkg/status", "/etc/passwd", "/etc/group")


def changed_files(directory: str) -> list[str]:
    """Return the host's files that are others than when the environment was made or last adapted."""
    noted = lines(read_text(os.path.join(directory, "stamp")))
    return [line.split("\t")[0] for line in noted if line != stamp_line(line.split("\t")[0])]


def stamp_line(path: str) -> str:
    """Return the line of `stamp` for one of the host's files: path, time and size, or zeros where there is none."""
    try:
        file = os.stat(path)
    except OSError:
        return f"{path}\t0\t0"
    return f"{path}\t{file.st_mtime_ns}\t{file.st_size}"


def mount_points() -> list[str]:
    """Return what is mounted below the system's directories, as mountinfo(5) writes it."""
    points = {line.split(" ", 5)[4] for line in lines(read_text("/proc/self/mountinfo"))}
    return sorted(point for point in points if not point.startswith(MOUNTS_APART))


def moved(directory: str) -> bool:
    """Tell whether other things are mounted there than when the plan was made."""
    return read_text(os.path.join(directory, "mounts")) != "\n".join(mount_points())


def keep_host(directory: str) -> None:
    """Note what the host's system is now, and keep what a later merge needs of it."""
    import shutil  # noqa: PLC0415 - 5 ms that entering need not pay

    for path in KEPT:
        if os.path.exists(path):
            shutil.copyfile(path, os.path.join(directory, "base", path.strip("/").replace("/", "-")))
    with open(os.path.join(directory, "stamp"), "w", encoding="utf-8") as file:
        file.writelines(stamp_line(path) + "\n" for path in STAMPS)
