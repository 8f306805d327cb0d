"""What the launcher's tests share: built launchers, an open working directory, bundles of scripts, users, nodes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from typing import TYPE_CHECKING

import bundle_maker
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCES = os.path.join(REPO, "runtime", "native")
NODE = os.path.join(REPO, "fixtures", "launcher", "node.py")
TESTER = 1001  # any uid that is not root will do
ROOT = os.getuid() == 0
ROOTS = ("merged", "closed")
USERS = (0, TESTER) if ROOT else (os.getuid(),)
# what the outer environment may hold without changing what is tested
PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "USER": "someone"}
if "SDEE_TEST_UNPACK" in os.environ:  # all of the launcher's tests with a closure that is read lazily: test_lazy.py
    PLAIN["SDEE_UNPACK"] = os.environ["SDEE_TEST_UNPACK"]


@lru_cache
def built(target: str) -> str:
    """Return the path of a launcher, built once by make."""
    subprocess.run(["make", "-s", "-C", SOURCES, target], check=True)
    return os.path.join(SOURCES, target)


def open_directory() -> Iterator[str]:
    """Make a directory in which every user may write, unlike pytest's, and remove it at the end."""
    path = tempfile.mkdtemp(prefix="sdee-launcher-")
    os.chmod(path, 0o777)
    yield path
    shutil.rmtree(path)


def script(
    text: str, *arguments: str, programs: tuple[str, ...] = (), launcher: str = "", **conf: str | list[str]
) -> bundle_maker.Maker:
    """Return a bundle of `sh -c text`, with more programs of /usr/bin in it."""
    maker = bundle_maker.job(launcher or built("sdee-launcher"), ["/bin/sh", "-c", text, "sh", *arguments], **conf)
    for name in programs:
        program = shutil.which(name)
        assert program is not None, f"this machine has no {name}"
        for path in [program, *bundle_maker.needed(program)]:
            maker.host_file(path)
    return maker


def as_user(uid: int) -> list[str]:
    """Return the command in front that makes another user of root."""
    if uid == os.getuid():
        return []
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


_TABLE = 1 << 20  # bytes at a bundle's end in which its table of contents is, of what tests make


def traced_in(command: list[str]) -> str:
    """Return the recorded directory of the bundle in a command line, "/" where this machine lacks it."""
    for word in command:
        if not word.startswith("/") or not os.path.isfile(word):
            continue
        with open(word, "rb") as file:  # the end alone: reading a large bundle would keep a rank back
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TABLE))
            data = file.read()
        found = re.findall(rb"\0cwd\0(/[^\0]*)\0", data) if data[-120:-112] == b"SDEEBNDL" else []
        if found and os.path.isdir(os.fsdecode(found[-1])):
            return os.fsdecode(found[-1])
    return "/"


def run(
    command: list[str],
    *,
    uid: int | None = None,
    text: str | None = None,
    env: dict[str, str] | None = None,
    cwd: str = "",
    pass_fds: Sequence[int] = (),
    **more: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command with a plain environment; keywords in capitals are SDEE_* variables without the prefix.

    It runs where the bundle in it was traced, unless `cwd` says otherwise.
    """
    variables = PLAIN | (env or {}) | {f"SDEE_{key}": value for key, value in more.items()}
    prefix = [] if uid is None else as_user(uid)
    return subprocess.run(
        [*prefix, *command],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env=variables,
        cwd=cwd or traced_in(command),
        pass_fds=pass_fds,
        timeout=120,
        check=False,
    )


def on_node(
    command: list[str],
    *,
    uid: int = TESTER,
    binds: tuple[str, ...] = (),
    dirs: tuple[tuple[str, int], ...] = (),
    files: tuple[tuple[str, str], ...] = (),
    **more: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command on a node that has only these directories (and /proc, /dev, /tmp as here). Needs root."""
    spec = {"binds": ["/proc", "/dev", "/tmp", *binds], "dirs": dirs, "files": files, "cwd": traced_in(command)}
    return run([sys.executable, NODE, json.dumps(spec), str(uid), *command], **more)  # type: ignore[arg-type]


def mounts() -> str:
    """Return this namespace's mounts: nothing may be left there."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read()


def put(path: str, text: str, mode: int = 0o666) -> str:
    """Write a file and the directories above it; return its path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def text_of(path: str) -> str:
    """Return a file's text."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def late_text_of(path: str) -> str:
    """Return the text of a file that something writes that goes on after its job; waits for it."""
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 0, f"{path} stays empty")
    return text_of(path)


def listing(directory: str) -> dict[str, str]:
    """Return the files below a directory, by their names in it, and their texts."""
    found = sorted(os.path.join(top, name) for top, _, names in os.walk(directory) for name in names)
    return {os.path.relpath(path, directory): text_of(path) for path in found}
