"""What the command line shows while it works: on a terminal, gone when it ends, and nothing in a log."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pexpect

if TYPE_CHECKING:
    from pathlib import Path

BAR = """
from sdee.cli import output as show
with show.progress_bar("bundling") as progress:
    for done in range(0, 101, 10):
        progress and progress(done * 10**6, 10**8)
print("made")
"""
WORKING = """
import time
from sdee.cli import output as show
with show.working("making \\x1b[2Jmine"):
    time.sleep(1.2)
print("made")
"""


def on_a_terminal(*command: str) -> str:
    shown = pexpect.spawn(sys.executable, list(command), encoding="utf-8", dimensions=(24, 80))
    shown.expect(pexpect.EOF, timeout=60)
    assert isinstance(shown.before, str)
    return shown.before


def visible(text: str) -> list[str]:
    """Return the lines that are left on a terminal, which understands what we write: CR, erase in line, cursor up."""
    lines, at = [""], 0
    for piece in text.replace("\r\n", "\n").replace("\x1b[?25l", "").replace("\x1b[?25h", "").split("\x1b["):
        if piece[:1] in ("A", "K"):
            at -= piece[0] == "A"
            lines[at] = "" if piece[0] == "K" else lines[at]
            piece = piece[1:]  # noqa: PLW2901
        for number, line in enumerate(piece.split("\n")):
            at += number > 0
            lines += [""] * (at + 1 - len(lines))
            lines[at] = line.rpartition("\r")[2] or lines[at]
    return [line for line in lines if line]


def test_a_bar_is_shown_and_goes() -> None:
    shown = on_a_terminal("-c", BAR)
    assert "bundling" in shown
    assert " 50%  50.0 MB" in shown
    assert visible(shown) == ["made"]
    assert visible(shown.partition("made")[0].rpartition("\x1b[A")[0])[-1].endswith("100%  100.0 MB")


def test_what_has_no_known_end_shows_how_long_it_takes_and_goes() -> None:
    shown = on_a_terminal("-c", WORKING)
    assert "making \\033[2Jmine … 1 s" in shown
    assert visible(shown) == ["made"]


def test_a_log_has_none_of_it() -> None:
    for code in (BAR, WORKING):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("made\n", "")


def test_bundling_on_a_terminal_shows_a_bar(tmp_path: Path) -> None:
    trace, bundle = str(tmp_path / "t"), str(tmp_path / "b.sdee")
    subprocess.run([sys.executable, "-m", "sdee", "trace", "-q", "-o", trace, "--", "true"], check=True)
    shown = on_a_terminal("-m", "sdee", "bundle", "-o", bundle, trace)
    assert "100%" in shown
    assert visible(shown)[0].startswith(f"{bundle}: ")
