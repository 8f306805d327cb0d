"""What a run writes into live directories is discarded: overlays cover them, in a mount namespace of the run's own.

A job that is run once on the login node, to be traced, must not touch what real jobs work on: it would leave a
checkpoint from which the job itself went on, or clean up after one that is still running. Rejected: a copy of the
directory (terabytes), and Landlock, which refuses writes, and then the run shows nothing.

Asked inside of a private environment, where the caller is root of its user namespace.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base import libc, mountinfo, paths
from sdee.base.files import private_opener
from sdee.base.libc import CLONE_NEWNS, MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_REC, mount
from sdee.runtime.environment import private

if TYPE_CHECKING:
    from collections.abc import Sequence

SPACE = "/run/sdee-discarded"  # a tmpfs holds what is written: the kernel drops it with the run's last process
SIZE = "1g"  # then writes fail with ENOSPC: memory of a login node is everybody's
SOURCE = "sdee-discarded"  # of these overlays; tracer/host.py looks past them
REAL = "writes-are-real"  # a file beside the trace: the directories that could not be covered
_KERNELS = ("/proc", "/sys", "/dev", "/run")


@dataclass(frozen=True)
class Step:
    """One mount: `kind` is "cover" (an overlay over what is mounted there), "else" (one over a directory, where none
    above covers it) or "show" (what was mounted there before, again).
    """

    kind: str
    path: str


def plan(text: str, used: Sequence[str]) -> tuple[Step, ...]:
    """Return what to mount, directories before those below them. `text`: a mountinfo file.

    `used`: live directories, without links, that the run works in: a file system that has others mounted in it may
    not be coverable as a whole (mount_namespaces(7): they are locked).
    """
    points = {mount.path for mount in mountinfo.parse(text)}
    steps: list[Step] = []
    for path in sorted({*points, *used}):
        if any(path == top or paths.is_in(path, top) for top in _KERNELS):
            continue
        if not private.is_private(path, text):
            steps.append(Step("cover" if path in points else "else", path))
        elif any(paths.is_in(path, step.path) for step in steps):
            steps.append(Step("show", path))
    return tuple(steps)


def writes(kept: str) -> None:
    """Discard from now on what this process and its children write into live directories, but for that in `kept`."""
    text = mountinfo.own_text()
    here = os.path.realpath(".")
    places = dict.fromkeys((here, os.path.realpath(os.path.expanduser("~"))))
    used = [path for path in places if os.path.isdir(path) and not private.is_private(path, text)]
    real = carry_out(plan(text, used), used, kept)
    path = os.path.join(kept, REAL)
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8", opener=private_opener) as file:
        file.writelines(f"{path!a}\n" for path in real)
    os.chdir(here)


def carry_out(steps: Sequence[Step], used: Sequence[str], kept: str, space: str = SPACE) -> list[str]:
    """Mount, for this process and its children. Return those of `used` in which writes are real nevertheless.

    `space`: a directory that may be mounted over, or made.
    """
    before: dict[str, int] = {}
    now: dict[str, bool] = {}  # what we have mounted: is it an overlay?
    kept = os.path.realpath(kept)
    try:
        libc.unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        for path in dict.fromkeys((*(step.path for step in steps), kept)):
            with contextlib.suppress(OSError):
                before[path] = os.open(path, os.O_PATH | os.O_CLOEXEC)
        os.makedirs(space, mode=0o700, exist_ok=True)
        mount("sdee", space, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=0700,size={SIZE}")
        for number, step in enumerate((*steps, Step("show", kept))):
            covered = _is_covered(step.path, now)
            if step.path not in before or (step.kind == "else" and covered):
                continue
            if step.kind != "show" and _cover(step.path, before[step.path], f"{space}/{number}", used):
                now[step.path] = True
            elif covered:
                mount(_name(before[step.path]), step.path, "", MS_BIND | MS_REC)
                now[step.path] = False
    except OSError:
        return list(used)
    finally:
        for fd in before.values():
            os.close(fd)
    return [path for path in used if not _is_covered(path, now)]


def _is_covered(path: str, now: dict[str, bool]) -> bool:
    holders = [top for top in now if path == top or paths.is_in(path, top)]
    return bool(holders) and now[max(holders, key=len)]


def _cover(path: str, fd: int, space: str, used: Sequence[str]) -> bool:
    """Mount an overlay on `path`, over the directory that `fd` is; what is written goes to `space`-upper."""
    state = os.fstat(fd)
    if not stat.S_ISDIR(state.st_mode):
        return False
    upper, work = (f"{space}-{name}" for name in ("upper", "work"))
    try:
        os.mkdir(work)
        os.mkdir(upper)
        os.chmod(upper, stat.S_IMODE(state.st_mode))
        # As in skeleton.c: overlayfs copies no directory up whose owner is not mapped, as of a group's directory
        for below in used:
            at = upper
            for name in os.path.relpath(below, path).split("/") if paths.is_in(below, path) else ():
                at = os.path.join(at, name)
                if not os.path.isdir(at):
                    os.mkdir(at)
                    os.chmod(at, stat.S_IMODE(os.stat(_name(fd) + at.removeprefix(upper)).st_mode))
        mount(SOURCE, path, "overlay", MS_NODEV, f"userxattr,lowerdir={_name(fd)},upperdir={upper},workdir={work}")
    except OSError:  # Lustre, autofs, or others mounted in it
        return False
    return True


def _name(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
