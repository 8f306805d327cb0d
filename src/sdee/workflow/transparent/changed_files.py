"""Find what was made or changed in the environment, and what that needs of the host.

A run that did not come to its end may have needed any of it, and in a shell anything may be typed.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.runtime.environment.locations import COMMANDS
from sdee.runtime.jobs.options import names as words
from sdee.workflow.transparent import host_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

SOFTWARE = ("usr", "etc", "opt", "srv", "var")  # layers of an environment
PLACES = (*(f"/{top}/" for top in SOFTWARE), "/bin/", "/sbin/", "/lib")  # as packages name them
# Where a file of the host's that the user may not read is empty inside
EMPTIED = ("/etc/", "/var/")
NOT_NEEDED = frozenset(
    words("""
    /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/help /usr/share/lintian
    /var/cache /var/log /var/tmp /var/lib/dpkg /var/lib/apt /var/lib/rpm
    /etc/apt /etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/ld.so.cache
""")
)


@dataclass(frozen=True)
class Changes:
    """Files, sorted, and how many bytes they are together."""

    paths: tuple[str, ...]
    size: int


NONE = Changes((), 0)


def inside() -> Changes:
    """Return the files that were made or changed in the environment, and those of the host that go with them.

    Left out are documentation, caches, and what package managers and accounts keep. A link to a directory is there as
    a file that is reached through it: by itself it would mean all that the directory holds, the host's files, too.
    """
    sizes: dict[str, int] = {}
    links: list[str] = []
    for path in (*_hosts(), *(path for top in SOFTWARE for path in _entries(top))):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):  # one of the host's
                continue
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                links.append(path)
            elif stat.S_ISREG(status.st_mode) and _is_readable(path, status):
                sizes[path] = status.st_size
    paths = sorted(sizes)
    through = (found for link in links if (found := _through(link, paths)))
    return Changes(tuple(sorted((*paths, *through))), sum(sizes.values()))


def _is_readable(path: str, status: os.stat_result) -> bool:
    if path.startswith(EMPTIED) and not status.st_size:
        return False
    return bool(status.st_mode & stat.S_IROTH) or os.access(path, os.R_OK)


def _hosts() -> Iterator[str]:
    """Yield what the host gives, directories among it."""
    for path in host_packages.files():
        above = path
        while above not in ("/", "") and above not in NOT_NEEDED:
            above = os.path.dirname(above)
        if above not in NOT_NEEDED and path.startswith(PLACES):
            yield path


def _entries(top: str) -> Iterator[str]:
    """Yield the paths, inside, of what is in a layer and is not a directory.

    Not by os.walk(): it asks of each of the skeleton's 20,000 directories whether it is a link, which stops inside.
    """
    todo = [f"/{top}"]
    while todo:
        here = todo.pop()
        with (
            contextlib.suppress(OSError),
            os.scandir(f"{COMMANDS}/layers/{top}/upper{here[len(top) + 1 :]}") as found,
        ):
            for entry in found:
                path = f"{here}/{entry.name}"
                if path in NOT_NEEDED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(path)
                else:
                    yield path


def _through(link: str, paths: list[str]) -> str:
    """Return a path of `paths`, which are sorted, as it is by way of a link to a directory; "": there lies none."""
    real = os.path.realpath(link)
    at = bisect.bisect(paths, real + "/")
    return link + paths[at][len(real) :] if at < len(paths) and paths[at].startswith(real + "/") else ""
