"""Owners of what the user makes in an environment with real ids, the skeleton above all: as on the host."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sdee.base.errors import OutputError, SdeeError
from sdee.base.interpreter import own_module
from sdee.runtime.environment import plan
from sdee.runtime.environment.sdee_env import as_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdee.runtime.environment.store import Environment


def listed(environment: Environment, made: plan.Plan) -> set[tuple[bytes, bytes]]:
    """Return all directories of the skeletons, and the empty files for those of the host that the user may not read.

    Each as the host's path, and that in the upper layer.
    """
    found: set[tuple[bytes, bytes]] = set()
    for step in made.layers:
        upper = environment.path(step.argument)
        try:
            with open(os.path.join(os.path.dirname(upper), "skeleton"), "rb") as file:
                names = file.read().split(b"\0")
        except FileNotFoundError:
            continue
        found.update((os.fsencode(step.path) + name, os.fsencode(upper) + name) for name in names if name)
        if plan.is_masked(step.path):
            for name in (b"", *filter(None, names)):
                found.update(_masked(os.fsencode(step.path) + name, os.fsencode(upper) + name))
    return found


def _masked(host: bytes, upper: bytes) -> Iterator[tuple[bytes, bytes]]:
    try:
        entries = list(os.scandir(upper))
    except OSError:  # what the environment has put in its place, or one of a range's user
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size == 0:
            path = os.path.join(host, entry.name)
            if os.path.lexists(path) and not os.access(path, os.R_OK):
                yield path, entry.path


def give_back(environment: Environment, made: plan.Plan, before: set[tuple[bytes, bytes]]) -> None:
    """Give what was made since `before` the owners that the host's have. Raises OutputError."""
    give(environment, made, listed(environment, made) - before)


def give(environment: Environment, made: plan.Plan, pairs: set[tuple[bytes, bytes]]) -> None:
    """Give directories and files of the upper layers the owners that the host's have. Raises OutputError."""
    assert made.ranges
    lines = []
    for host, upper in pairs:
        try:
            state = os.lstat(host)
        except OSError:
            continue
        uid = state.st_uid if 0 < state.st_uid <= made.ranges[0][1] and state.st_uid != os.geteuid() else 0
        gid = state.st_gid if 0 < state.st_gid <= made.ranges[1][1] and state.st_gid != os.getegid() else 0
        if uid or gid:
            lines.append(b"%d %d %s" % (uid, gid, upper))
    if not lines:
        return
    try:
        as_root(environment.directory, *own_module(__name__), given=b"\0".join(lines))
    except SdeeError as error:
        raise OutputError(f"cannot give directories and files their owners: {error}") from error


def main(_arguments: list[str]) -> None:
    """As root of the environment's ids: change the owners that standard input names."""
    for line in sys.stdin.buffer.read().split(b"\0"):
        uid, gid, path = line.split(b" ", 2)
        try:
            os.chown(path, int(uid), int(gid), follow_symlinks=False)
        except OSError as error:
            sys.stderr.write(f"sdee: error: {os.fsdecode(path)}: {error.strerror}\n")
            sys.exit(OutputError.exit_code)
