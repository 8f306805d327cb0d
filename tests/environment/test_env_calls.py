"""Random file system calls over the host's files, in an environment and as as real root: the same answers, the same tree."""

# ruff: noqa: E501 - tables of calls read better whole

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from env_support import SDEE, User, a_user, becomes, needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root

COPIES = int(os.environ.get("SDEE_CALLS", "40")) * 8  # each example has a host tree of its own
PROGRAM = Path(__file__).parents[1] / "env_calls.py"


def make_tree(top: Path) -> None:
    """Files of the host: root's and others', all kinds."""
    top.mkdir()
    for name, mode, uid, gid in (
        ("f", 0o644, 0, 0), ("w", 0o644, 33, 33), ("s", 0o4755, 0, 0), ("g", 0o6775, 33, 34), ("ro", 0o444, 0, 0),
    ):  # fmt: skip
        (top / name).write_text(f"content of {name}\n")
        os.chown(top / name, uid, gid)
        (top / name).chmod(mode)
    for name, mode, uid, gid in (
        ("d", 0o755, 0, 0),
        ("set", 0o2775, 33, 34),
        ("sticky", 0o1777, 0, 0),
        ("set/d", 0o755, 33, 34),
    ):
        (top / name).mkdir()
        os.chown(top / name, uid, gid)
        (top / name).chmod(mode)
    for name in ("d/f", "set/f", "sticky/f"):
        (top / name).write_text("below\n")
    os.chown(top / "sticky/f", 7, 7)
    (top / "l").symlink_to("f")
    (top / "lw").symlink_to(top / "w")
    (top / "ld").symlink_to("d")
    (top / "loop").symlink_to("loop")
    (top / "dangling").symlink_to("absent")
    os.mkfifo(top / "p", 0o644)


@dataclass
class Sides:
    """The two processes that carry out calls, and where the host trees lie."""

    top: Path
    numbers: Iterator[int]
    running: tuple[subprocess.Popen[str], subprocess.Popen[str]]

    def ask(self, calls: list[list[Any]]) -> tuple[Any, Any]:
        text = json.dumps([str(self.top / str(next(self.numbers))), calls]) + "\n"
        for process in self.running:
            assert process.stdin
            process.stdin.write(text)
            process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for process in self.running if process.stdout]
        return answers[0], answers[1]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    top = Path(tempfile.mkdtemp(prefix="sdee-test-calls-", dir="/usr/share"))
    over = Path(tempfile.mkdtemp(prefix="sdee-test-calls-", dir="/var/tmp"))
    top.chmod(0o755)
    make_tree(top / "0")
    for number in range(1, COPIES):
        subprocess.run(["cp", "-a", top / "0", top / str(number)], check=True)
        (top / str(number) / "lw").unlink()
        (top / str(number) / "lw").symlink_to(top / str(number) / "w")
    try:
        with a_user() as user:
            yield from started(user, top, over)
    finally:
        shutil.rmtree(top)
        shutil.rmtree(over)


def started(user: User, top: Path, over: Path) -> Iterator[Sides]:
    user.sdee("env", "create", "mine", "--emulate")
    shutil.copy(PROGRAM, user.home)
    python = ["/usr/bin/python3", str(user.home / PROGRAM.name)]
    for name in ("upper", "work"):
        (over / name).mkdir()
    (over / "upper").chmod(0o755)
    mount = f"mount -t overlay -o lowerdir={top},upperdir={over}/upper,workdir={over}/work overlay {top}"
    real = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *python]
    inside = [*becomes(user.uid), str(SDEE), "env", "enter", "mine", "--", *python]
    running = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=user.home, env=user.environ
        )
        for command in (inside, real)
    ]
    yield Sides(top, iter(count(1)), (running[0], running[1]))
    for process in running:
        process.communicate(timeout=30)


NAMES = [
    "f",
    "w",
    "s",
    "g",
    "ro",
    "d",
    "set",
    "sticky",
    "d/f",
    "set/f",
    "set/d",
    "sticky/f",
    "l",
    "lw",
    "ld",
    "ld/f",
    "loop",
    "dangling",
    "p",
]
NEW = ["new", "d/new", "set/new", "sticky/new", "ld/new"]
ODD = ["f/", "d/", "ld/", "./d/../f", "d/..", "f/x", "absent/x", "new/", "l/"]
path = st.sampled_from([*NAMES * 3, *NEW * 2, *ODD])
follow = st.booleans()
uid = st.sampled_from([-1, 0, 0, 7, 33, 34, 60000])
mode = st.sampled_from([0o000, 0o200, 0o400, 0o644, 0o755, 0o1777, 0o2755, 0o4711, 0o6775, 0o7777])
flags = st.sampled_from(
    [
        os.O_RDONLY | os.O_NONBLOCK, os.O_RDWR | os.O_NONBLOCK, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK,
        os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, os.O_RDONLY | os.O_DIRECTORY, os.O_RDONLY | os.O_TRUNC | os.O_NONBLOCK,
        os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NONBLOCK, os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK,
    ]
)  # fmt: skip
time = st.sampled_from([0, 1, 5_000_000_001, 999_999_999_999_999_999])


def call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.just(name), *arguments).map(list)


LOOKS = [
    call("stat", path), call("lstat", path), call("access", path, st.integers(0, 7)), call("readlink", path), call("list", path),
    call("read", path), call("getxattr", path, follow), call("statat", path, path),
]  # fmt: skip
MADE = st.sampled_from(["sticky/made", "sticky/made2", "set/made", "sticky/f", "sticky/new"])
MAKES = [
    call("mkdir", MADE, mode), call("mkfifo", MADE, mode), call("symlink", path, MADE),
    call("open", MADE, st.sampled_from([os.O_CREAT | os.O_RDWR | os.O_EXCL, os.O_CREAT | os.O_RDONLY | os.O_EXCL]), mode), call("lstat", path),
]  # fmt: skip
CHANGES = [
    call("open", path, flags, mode), call("chmod", path, mode), call("chown", path, uid, uid), call("lchown", path, uid, uid),
    call("fchmod", path, mode), call("fchown", path, uid, uid), call("utime", path, time, follow), call("truncate", path, st.sampled_from([0, 3, 1000])),
    call("rename", path, path), call("link", path, path, follow), call("symlink", path, path), call("unlink", path), call("rmdir", path),
    call("mkdir", path, mode), call("mkfifo", path, mode), call("setxattr", path, st.just("v"), follow), call("removexattr", path),
    call("chdir", st.sampled_from(["d", "..", "set", "ld"])), call("umask", st.sampled_from([0, 0o022, 0o077])),
    call("as_user", st.just(33), st.just(33), st.lists(st.one_of(MAKES), max_size=3)),
]  # fmt: skip
calls = st.lists(st.one_of(*CHANGES, *CHANGES, *LOOKS), min_size=1, max_size=12)


@settings(
    max_examples=int(os.environ.get("SDEE_CALLS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(calls=calls)
def test_calls_give_what_they_give_real_root(sides: Sides, calls: list[list[Any]]) -> None:
    inside, real = sides.ask(calls)
    assume(
        not any(said in ("EACCES", "EPERM") for one in real[0] if isinstance(one, list) for said in one)
    )  # which binds no emulated user
    for asked, here, there in zip(calls, inside[0], real[0], strict=True):
        assert here == there, (asked, "environment", here, "real root", there)
    assert inside[1] == real[1]
