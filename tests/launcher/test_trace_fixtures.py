"""Every trap of tracing: a fixture program prints the trace that it expects, and both engines must give it."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from trace_support import (
    ENGINES,
    FIXTURES,
    ORDINARY_USER,
    fixture_program,
    fixture_status,
    fresh,
    missing,
    run,
    scratch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = sorted(name for name in os.listdir(FIXTURES) if name.endswith((".c", ".sh", ".py")))
AS_ORDINARY_USER = (
    "execveat.c",
    "exec_from_thread.c",
    "i386.c",
    "overwrites.c",
    "own_filter.c",
    "proc_self.c",
    "sigstop.c",
    "namespaces.c",
    "set_user_id.c",
    "undumpable.c",
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    path = scratch()
    os.chmod(path, 0o777)
    yield path
    shutil.rmtree(path)


def compare(name: str, engine: str, base: str, user: int | None) -> None:
    """Run a fixture bare and traced in the same fresh directory; compare output, exit status and trace."""
    program, cwd = fixture_program(name), os.path.join(base, "work")
    fresh(cwd, user)
    bare = run([program, "argument"], cwd, user=user)
    assert bare.status == fixture_status(name), f"the fixture itself failed: {bare.stderr}"
    if bare.stdout.startswith(b"skip "):
        pytest.skip(bare.stdout.decode()[5:].strip())
    fresh(cwd, user)
    traced = run([program, "argument"], cwd, engine, user)
    assert traced.status == bare.status, traced.stderr
    assert traced.stdout == bare.stdout
    assert b"expect" in traced.stdout, "the fixture expects nothing"
    assert not missing(traced, engine, cwd), traced.stderr
    assert traced.trace is not None
    assert traced.trace.runs[0].status == bare.status
    assert traced.trace.runs[0].engine == engine


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_trap_is_traced_and_the_program_does_not_notice(name: str, engine: str, base: str) -> None:
    compare(name, engine, base, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", AS_ORDINARY_USER)
def test_an_ordinary_user_gets_the_same_without_any_privilege(name: str, engine: str, base: str) -> None:
    compare(name, engine, base, ORDINARY_USER)


def test_a_wrong_expectation_is_found() -> None:
    """The comparison itself can fail: each kind of line, turned into its opposite."""
    cwd = tempfile.mkdtemp()
    directory = os.path.join(cwd, "work")
    fresh(directory)
    result = run(["cat", "data.txt"], directory, "unotify")
    shutil.rmtree(cwd)
    for line in (
        *("read ./none", "absent ./data.txt", "untouched ./data.txt", "real /nowhere", "hop ./chain1 chain2"),
        *("executed /bin/none", "interpreter /bin/none", "setid /bin/cat", "socket ./none", "saved ./data.txt"),
        *("incomplete word", "processes 2", "stderr words", "write ./data.txt", "noread data.txt"),
    ):
        promise = type(result)(f"expect {line}\n".encode(), result.stderr, result.status, result.trace)
        assert len(missing(promise, "unotify", directory)) == 1, line
