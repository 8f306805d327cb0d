"""Make a bare node on this machine: a root with mount points, what a job's node must have, and nothing else.

    own_module("sdee.runtime.launch.bare_node", SPEC, PROGRAM, [ARGS…])

SPEC is a file with what `Spec` says, as JSON. PROGRAM must be statically linked, as a bundle is: there is no /usr, no
/lib, no Python. Works as an ordinary user, by a user namespace, a tmpfs and pivot_root(2) (in a chroot the kernel
refuses user namespaces, which the bundle needs then); as root without a user namespace.

The job's directories are empty memory here and its inputs copies, or read-only where they are large: what it writes
reaches nothing of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from typing import NoReturn

from sdee.base.libc import MNT_DETACH, MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, mount, pivot_root, umount2
from sdee.runtime.launch.namespaces import own_namespaces

LOCKED = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME  # the same numbers as MS_*
# The kinds of nodes that `sdee verify` tries: roots that the launcher makes; where the job's home is
ROOTS = ("closed", "merged")
HOMES = ("here", "empty", "foreign")
PROGRAM = "/bundle.sdee"  # where the program lies on the node
COPIED = 64 << 20  # bytes: larger inputs are bound
CANNOT = 125  # exit status when the node cannot be made, as env(1) and nice(1) use it


@dataclass(frozen=True)
class Spec:
    """What the node has: `directories` are made empty, `inputs` (files, directories, links) are this machine's.

    `shared`: directories that are this machine's own, all that is in them, to be written to. `texts`: files by path
    and content. `report`: the number of an inherited socket that is sent the node's root directory, so that whoever
    holds the other end can see what the program left there; -1 for none.
    """

    directories: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    report: int = -1

    def text(self) -> str:
        """Return it as JSON: paths that are not UTF-8 keep their bytes (surrogateescape)."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Spec:
        """Return what text() wrote. Raises ValueError, TypeError, KeyError."""
        raw = json.loads(text)
        paths = {name: tuple(raw[name]) for name in ("directories", "inputs", "shared")}
        return cls(**paths, texts=tuple((path, content) for path, content in raw["texts"]), report=raw["report"])


def _bind(source: str, target: str) -> None:
    mount(source, target, "", MS_BIND | MS_REC)


def _provide(path: str, root: str) -> None:
    """Give the node an input of this machine: a link as a link, a directory empty, a file copied or read-only."""
    target = root + path
    if os.path.lexists(target) or not os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
    elif os.path.isdir(path):
        os.mkdir(target)
    elif os.path.isfile(path) and os.path.getsize(path) <= COPIED:
        shutil.copy2(path, target)
    else:
        with open(target, "w", encoding="ascii"):
            pass
        _bind(path, target)
        kept = os.statvfs(target).f_flag & LOCKED  # mount_namespaces(7): a user namespace may not clear them
        mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def assemble(root: str, spec: Spec, program: str) -> None:
    """Mount the node's file systems at `root`, with `program` bound to PROGRAM."""
    mount("tmpfs", root, "tmpfs", 0)
    for name in ("proc", "sys", "dev"):
        os.mkdir(f"{root}/{name}")
        _bind(f"/{name}", f"{root}/{name}")
    for name in ("tmp", "var/tmp"):
        os.makedirs(f"{root}/{name}")
        os.chmod(f"{root}/{name}", 0o1777)
    for name in ("run", "home", "mnt", "opt", "srv", "oldroot"):
        os.mkdir(f"{root}/{name}")
    for directory in spec.directories:
        os.makedirs(root + directory, exist_ok=True)
    for path in spec.inputs:
        _provide(path, root)
    for path, content in spec.texts:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
    for path in spec.shared:
        os.makedirs(root + path, exist_ok=True)
        _bind(path, root + path)
    with open(root + PROGRAM, "w", encoding="ascii"):
        pass
    _bind(program, root + PROGRAM)


def report(root: str, number: int) -> None:
    """Send the directory `root` through the inherited socket `number`, and close that."""
    with socket.socket(fileno=number) as end:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        socket.send_fds(end, [b"root"], [fd])
        os.close(fd)


def free_place(paths: tuple[str, ...]) -> str:
    """Return a directory that can be mounted over: none of `paths` lies there. Raises OSError when there is none."""
    for place in ("/mnt", "/srv", "/media", "/run", "/tmp", "/var/tmp", "/opt"):
        covered = any(os.path.realpath(path).startswith(place + "/") or path.startswith(place + "/") for path in paths)
        if os.path.isdir(place) and not os.path.islink(place) and not covered:
            return place
    raise OSError(0, "no directory is free to mount over: /mnt, /srv, /media, /run, /tmp, /var/tmp, /opt")


def enter(root: str) -> None:
    """pivot_root(2)."""
    pivot_root(root, f"{root}/oldroot")
    os.chdir("/")
    umount2("/oldroot", MNT_DETACH)
    os.rmdir("/oldroot")


def main(arguments: list[str]) -> NoReturn:
    """Make the node, enter it, become the program."""
    try:
        with open(arguments[0], encoding="utf-8") as file:
            spec = Spec.read(file.read())
        own_namespaces()
        held = os.path.realpath(arguments[1])
        root = free_place((held, *spec.inputs, *spec.shared))
        assemble(root, spec, held)
        if spec.report >= 0:
            report(root, spec.report)
        enter(root)
        os.execv(PROGRAM, [PROGRAM, *arguments[2:]])
    except OSError as error:
        sys.stderr.write(f"sdee: error: cannot make a bare node: {error}\n  hint: `sdee doctor` says what is missing\n")
        sys.exit(CANNOT)


if __name__ == "__main__":
    main(sys.argv[1:])
