"""Foreign root file systems: what compute nodes of other systems have on their disks.

    python tests/foreign/roots.py [NAME…]     builds the named roots, all without names, and prints their paths

Built once into a cache (SDEE_TEST_CACHE, default /var/tmp/sdee-test-cache) by mmdebstrap(1), from the archive that apt
on this machine uses. Each is built beside its final place and renamed, so that a killed build leaves no half root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreign import hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = os.environ.get("SDEE_TEST_CACHE") or "/var/tmp/sdee-test-cache"
USER = 1001

# Raise it when what a root holds changes: roots of an older recipe are built anew.
RECIPE = "2"
MOUNT_POINTS = ("dev", "home", "mnt", "opt", "proc", "run", "srv", "sys", "tmp", "var/tmp")
UNWANTED = ("doc", "info", "locale", "man", "lintian", "bash-completion", "zoneinfo")


@dataclass(frozen=True)
class Root:
    """A root file system: a suite of Debian in a variant of mmdebstrap(1); without a suite, only mount points."""

    name: str
    suite: str = ""
    variant: str = ""
    says: str = ""


ROOTS = {
    root.name: root
    for root in (
        Root("bookworm", "bookworm", "minbase", says="Debian 12, glibc 2.36"),
        Root("bullseye", "bullseye", "essential", says="Debian 11, glibc 2.31"),
        Root("trixie", "trixie", "essential", says="Debian 13, glibc 2.41"),
        Root("empty", says="mount points and nothing else"),
        Root("hidden", says="this machine without what was installed beyond a minimal system"),
    )
}


class CannotBuildError(Exception):
    """Why foreign roots cannot be had on this machine."""


def check_machine() -> None:
    """Raise CannotBuildError when this machine cannot build and enter foreign roots."""
    if os.geteuid() != 0:
        raise CannotBuildError(
            "foreign roots need root (mmdebstrap --mode=root, mount namespaces): run the tests as root"
        )
    for program in ("mmdebstrap", "apt-get"):
        if shutil.which(program) is None:
            raise CannotBuildError(f"{program} is not installed (.ci/install-packages .ci/packages.txt)")


def root_path(name: str) -> str:
    """Return the path of root `name`, built first if the cache lacks it.

    Raises CannotBuildError, with mmdebstrap's last words when it was that.
    """
    check_machine()
    root = ROOTS[name]
    here = hidden.stamp() if name == "hidden" else ""
    minimal = root_path("bookworm") if name == "hidden" else ""
    with cached(os.path.join("roots", name), f"{RECIPE} {root} {here}") as building:
        if building and minimal:
            hidden.build(building, minimal)
            _add_user(os.path.join(building, hidden.LAYER), "/")
        elif building:
            _build(root, building)
    return os.path.join(CACHE, "roots", name)


@contextlib.contextmanager
def cached(name: str, stamp: str) -> Iterator[str]:
    """Give `name` of the cache as an empty directory to fill, or "" when it is there, filled, with the same stamp.

    One process at a time (flock(2)). The stamp is written last, so that what a killed process leaves is not taken for
    the whole. Built in place rather than renamed: a virtual environment knows its own path.
    """
    path = os.path.join(CACHE, name)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _read(path + ".stamp") == stamp:
            yield ""
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + ".stamp")
        # mmdebstrap mounts within what it builds, in its own mount namespace: should one be left, do not follow it
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)
        os.mkdir(path, 0o755)
        yield path
        with open(path + ".stamp", "w", encoding="utf-8") as file:
            file.write(stamp)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _build(root: Root, path: str) -> None:
    if not root.suite:
        for name in MOUNT_POINTS:
            os.makedirs(os.path.join(path, name))
        return
    mirror = _mirror()
    command = ["mmdebstrap", "--quiet", "--mode=root", "--format=directory", f"--variant={root.variant}"]
    # an archive's release file ages: of a suite that gets no more updates it has run out
    command += ["--aptopt=Acquire::Check-Valid-Until false", "--aptopt=Acquire::Languages none"]
    command += ["--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNWANTED)]
    # cleaned here, below, and not by apt: `essential` has none
    command += [root.suite, path, f"deb {mirror} {root.suite} main"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().split("\n")[-15:])
        raise CannotBuildError(f"mmdebstrap of {root.suite} from {mirror} failed:\n{last}\n(has `apt-get update` run?)")
    for name in MOUNT_POINTS:
        os.makedirs(os.path.join(path, name), exist_ok=True)
    _add_user(path, path)
    _check_bare(root, path)


def _mirror() -> str:
    """Return the archive that apt uses here (`apt-get indextargets`, apt-get(8)), less its security updates."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    archives = [uri for uri in listed if "security" not in uri]
    if not archives:
        raise CannotBuildError("apt knows no archive here: run `apt-get update`")
    return archives[0]


def _add_user(path: str, original: str) -> None:
    """Let the node know the user, as all nodes of a cluster do: the files of `original` with a line more."""
    for name, line in (("passwd", f"tester:x:{USER}:{USER}::/home/tester:/bin/bash"), ("group", f"tester:x:{USER}:")):
        text = _read(os.path.join(original, "etc", name)) or ""
        os.makedirs(os.path.join(path, "etc"), exist_ok=True)
        with open(os.path.join(path, "etc", name), "w", encoding="utf-8") as stream:
            stream.write(f"{text.rstrip()}\n{line}\n")


def _check_bare(root: Root, path: str) -> None:
    """A root that has the job's software would prove nothing."""
    for unwanted in ("usr/bin/python3", "usr/bin/gcc", "usr/bin/java", "usr/bin/gmx", "usr/lib/locale/de_DE.utf8"):
        if os.path.lexists(os.path.join(path, unwanted)):
            raise CannotBuildError(f"{root.name} came with /{unwanted}")


def main(names: list[str]) -> None:
    """Build the named roots and say how long it took and how big they are."""
    for name in names or ROOTS:
        start = time.monotonic()
        path = root_path(name)
        size = subprocess.run(["du", "-sxm", path], capture_output=True, text=True, check=True).stdout.split()[0]
        print(f"{path}  {ROOTS[name].says}  {size} MB  {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CannotBuildError as error:
        sys.exit(f"error: {error}")
