"""The closure as a value: every path with one verdict and its reasons. What `sdee bundle --dry-run` prints.

Paths are str with surrogateescape (os.fsdecode), absolute, lexically normalised, links not followed: a symbolic link
and what it points to are two items.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdee.tracer.tracefile.model import Result

STANDS_IN = "is sdee's own there: what a launcher starts with it on other nodes runs in the bundle, too"


class Verdict(str, Enum):
    """What happens to a path (design: ARCHITECTURE.md, closure)."""

    BUNDLE = "bundle"  # travels
    HOST = "host"  # the node provides it, live
    SHARED = "shared"  # stays on storage that nodes see too
    PRODUCED = "produced"  # the job made it
    SECRET = "secret"  # refused unless allowed
    ABSENT = "absent"  # was looked for and did not exist


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a path has its verdict. `source` is the path that asked for it, "" when the command itself did."""

    why: str
    source: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One path of the closure.

    For BUNDLE: `kind` is "file", "dir" or "link"; `target` a link's text; `origin` the file to read the content from
    (differs from `path` when the run overwrote it and the saved copy travels); size in bytes; mode as st_mode;
    `order` the rank of first access (None: not seen in the run).
    """

    path: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    kind: str = "file"
    target: str = ""
    origin: str = ""
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0
    order: int | None = None
    package: str = ""


@dataclass(frozen=True)
class Closure:
    """All that a bundle is made of: `items` by path, and `conf`, the CONF pairs of docs/bundle-format.md in order.

    `status` is that of the (first) traced run, None if it did not end. `notices`: what a user must look at again
    before anything else: a run that failed, options that matched nothing. `package_limit`: how much whole packages
    may add, in bytes, None where there is no limit. `results`, `stdout`: what that run left, for `sdee verify`
    (results.py); `home` is where it had its home.
    """

    items: dict[str, Item]
    conf: tuple[tuple[str, str], ...]
    command: tuple[str, ...]
    cwd: str
    host: dict[str, str]
    incomplete: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    status: int | None = None
    package_limit: int | None = None
    results: tuple[Result, ...] = ()
    stdout: Result | None = None
    home: str = ""

    def travelling(self) -> list[Item]:
        """Items that go into the payload, sorted by path."""
        return sorted((i for i in self.items.values() if i.verdict is Verdict.BUNDLE), key=lambda i: i.path)
