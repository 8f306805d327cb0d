"""What is mounted on this machine: /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from sdee import files

# File systems of a disk of this machine. All others (NFS, Lustre, tmpfs, autofs, FUSE, rpc_pipefs) are shown live: they
# are not the system that a package manager works on, and a walk over them may never end.
LOCAL = frozenset(
    (
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "f2fs",
        "jfs",
        "bcachefs",
        "overlay",
        "squashfs",
        "erofs",
        "reiserfs",
    )
)


@dataclass(frozen=True)
class Mount:
    """One mount point, its file system's type, and what is mounted, as its maker has called it."""

    path: str
    kind: str
    source: str = ""

    @property
    def is_local(self) -> bool:
        """Tell whether it is part of the system itself."""
        return self.kind in LOCAL


def parse(text: str) -> tuple[Mount, ...]:
    """Return the mounts of a mountinfo file; the last on a path counts."""
    found: dict[str, Mount] = {}
    for line in files.lines(text):
        before, _, after = line.partition(" - ")
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        found[path] = Mount(path, *after.split(" ")[:2])
    return tuple(found.values())


def of_this_machine() -> tuple[Mount, ...]:
    """Return the mounts that this process sees."""
    return parse(files.mountinfo())


def is_below(path: str, directory: str) -> bool:
    """Tell whether `path` lies in `directory`, not being it."""
    return path.startswith(os.path.join(directory, "")) and path != directory
