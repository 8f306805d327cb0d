"""What a run writes into live directories is discarded: overlays cover them, in a mount namespace of the run's own.

A job that is run once on the login node, to be traced, must not touch what real jobs work on: it would leave a
checkpoint from which the job itself went on, or clean up after one that is still running. Rejected: a copy of the
directory (terabytes), and Landlock, which refuses writes, and then the run shows nothing.

Asked inside of a private environment, where the caller is root of its user namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee import files
from sdee.runtime import namespaces
from sdee.runtime.environment import mounts, private

if TYPE_CHECKING:
    from collections.abc import Sequence

SPACE = "/run/sdee-discarded"  # a tmpfs holds what is written: the kernel drops it with the run's last process
SIZE = "1g"  # then writes fail with ENOSPC: memory of a login node is everybody's
SOURCE = "sdee-discarded"  # of these overlays; tracer/host.py looks past them
REAL = "writes-are-real"  # a file beside the trace: the directories that could not be covered
_KERNELS = ("/proc", "/sys", "/dev", "/run")
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 2, 4, 4096, 16384, 1 << 18  # mount(2)
_libc = ctypes.CDLL(None, use_errno=True)


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
    points = {mount.path for mount in mounts.parse(text)}
    steps: list[Step] = []
    for path in sorted({*points, *used}):
        if any(path == top or mounts.is_below(path, top) for top in _KERNELS):
            continue
        if not private.is_private(path, text):
            steps.append(Step("cover" if path in points else "else", path))
        elif any(mounts.is_below(path, step.path) for step in steps):
            steps.append(Step("show", path))
    return tuple(steps)


def writes(kept: str) -> None:
    """Discard from now on what this process and its children write into live directories, but for that in `kept`."""
    text = files.mountinfo()
    here = os.path.realpath(".")
    places = dict.fromkeys((here, os.path.realpath(os.path.expanduser("~"))))
    used = [path for path in places if os.path.isdir(path) and not private.is_private(path, text)]
    real = carry_out(plan(text, used), used, kept)
    with contextlib.suppress(OSError), open(os.path.join(kept, REAL), "w", encoding="utf-8") as file:
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
        namespaces.unshare(namespaces.CLONE_NEWNS)
        _mount("none", "/", "", _REC | _PRIVATE, "")
        for path in dict.fromkeys((*(step.path for step in steps), kept)):
            with contextlib.suppress(OSError):
                before[path] = os.open(path, os.O_PATH | os.O_CLOEXEC)
        os.makedirs(space, mode=0o700, exist_ok=True)
        _mount("sdee", space, "tmpfs", _NOSUID | _NODEV, f"mode=0700,size={SIZE}")
        for number, step in enumerate((*steps, Step("show", kept))):
            covered = _is_covered(step.path, now)
            if step.path not in before or (step.kind == "else" and covered):
                continue
            if step.kind != "show" and _cover(step.path, before[step.path], f"{space}/{number}", used):
                now[step.path] = True
            elif covered:
                _mount(_name(before[step.path]), step.path, "", _BIND | _REC, "")
                now[step.path] = False
    except OSError:
        return list(used)
    finally:
        for fd in before.values():
            os.close(fd)
    return [path for path in used if not _is_covered(path, now)]


def _is_covered(path: str, now: dict[str, bool]) -> bool:
    holders = [top for top in now if path == top or mounts.is_below(path, top)]
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
            for name in os.path.relpath(below, path).split("/") if mounts.is_below(below, path) else ():
                at = os.path.join(at, name)
                if not os.path.isdir(at):
                    os.mkdir(at)
                    os.chmod(at, stat.S_IMODE(os.stat(_name(fd) + at.removeprefix(upper)).st_mode))
        _mount(SOURCE, path, "overlay", _NODEV, f"userxattr,lowerdir={_name(fd)},upperdir={upper},workdir={work}")
    except OSError:  # Lustre, autofs, or others mounted in it
        return False
    return True


def _name(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """mount(2). Raises OSError."""
    words = [word.encode("utf-8", "surrogateescape") for word in (source, target, kind, options)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        raise OSError(ctypes.get_errno(), "mount", target)
