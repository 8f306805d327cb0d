"""A FIFO, a socket or a device where a bundle or a trace is meant: said at once, by every command that opens one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {"FIFO": "fifo", "socket": "socket", "device": "/dev/zero"}
BUNDLES = (  # ODD is the file in question; real.sdee is a bundle, real.trace a trace
    ("info", "ODD"),
    ("ls", "ODD"),
    ("why", "ODD", "x"),
    ("why", "-b", "ODD", "x"),
    ("cat", "ODD", "x"),
    ("extract", "ODD"),
    ("verify", "ODD"),
    ("exec", "ODD"),
    ("exec", "--deploy", "ODD"),
    ("deploy", "ODD"),
    ("undeploy", "ODD"),
)
TRACES = (
    ("bundle", "ODD"),
    ("bundle", "real.trace", "ODD"),
    ("diff", "ODD", "real.trace"),
    ("diff", "real.trace", "ODD"),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("odd")
    os.mkfifo(path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path)
        server.bind("socket")
    sdee(path, "trace", "-o", "real.trace", "true")
    return path


def sdee(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line; a command that waits fails the test."""
    return subprocess.run(
        [sys.executable, "-m", "sdee", *arguments],
        cwd=here,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [*BUNDLES, *TRACES], ids=" ".join)
def test_what_is_no_regular_file_is_named_and_not_waited_for(here: Path, arguments: tuple[str, ...], kind: str) -> None:
    result = sdee(here, *(word.replace("ODD", KINDS[kind]) for word in arguments))
    assert result.returncode == (245 if arguments in TRACES else 241), result
    assert f"it is a {kind}, not a regular file" in result.stderr
    assert KINDS[kind] in result.stderr


def test_a_fifo_beside_a_bundle_is_a_path_of_the_job(here: Path, tmp_path: Path) -> None:
    assert sdee(here, "bundle", "real.trace", "-q", "-o", str(tmp_path / "bundle.sdee")).returncode == 0
    os.mkfifo(tmp_path / "fifo")
    for command in ("why", "ls", "cat"):
        result = sdee(tmp_path, command, "fifo")
        assert (result.returncode, result.stderr) == (1, "sdee: fifo: not in bundle.sdee\n")


def test_what_the_shell_has_opened_may_be_a_pipe(here: Path) -> None:
    diff = f"{sys.executable} -m sdee diff"
    script = f"cat real.trace | {diff} real.trace /dev/stdin && {diff} <(cat real.trace) real.trace"
    same = subprocess.run(["bash", "-c", script], cwd=here, capture_output=True, text=True, timeout=30, check=False)
    assert (same.stdout, same.stderr, same.returncode) == ("", "", 0)
