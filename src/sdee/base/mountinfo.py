"""What is mounted on this machine: /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.at_start import LOCAL_FILE_SYSTEMS
from sdee.base.files import lines, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Mount:
    """One mount point, its file system's type, and what is mounted, as its maker has called it.

    `device`: MAJOR:MINOR; `root`: the directory of the file system that is seen there.
    """

    path: str
    kind: str
    source: str = ""
    device: str = ""
    root: str = "/"

    @property
    def is_local(self) -> bool:
        """Tell whether it is of a disk of this machine, and so may be part of the system itself.

        All others (NFS, Lustre, tmpfs, autofs, FUSE, rpc_pipefs) are shown live: they are not what a package manager
        works on, and a walk over them may never end.
        """
        return self.kind in LOCAL_FILE_SYSTEMS


def entries(text: str) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo file, in its order: one on the same path covers those before it."""
    for line in lines(text):
        before, _, after = line.partition(" - ")
        device, root, path = before.split(" ")[2:5]
        kind, source = after.split(" ")[:2]
        yield Mount(_plain(path), kind, source, device, _plain(root))


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def parse(text: str) -> tuple[Mount, ...]:
    """Return the mounts of a mountinfo file; the last on a path counts."""
    return tuple({mount.path: mount for mount in entries(text)}.values())


def own_text() -> str:
    """Return this process's mountinfo file. Raises OSError."""
    return read_text("/proc/self/mountinfo")


def of_this_machine() -> tuple[Mount, ...]:
    """Return the mounts that this process sees. Raises OSError."""
    return parse(own_text())
