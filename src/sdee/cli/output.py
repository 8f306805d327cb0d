"""What the commands share in showing things: sizes, names that are safe on a terminal, JSON, a progress bar."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int], None]


def size_text(size: float) -> str:
    """Return a number of bytes in the unit (powers of 1000) that makes it readable."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def count_text(number: int, noun: str) -> str:
    """Return "1 file", "1,234 files"; `noun` in the singular."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "es" if noun.endswith("s") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def safe(text: str) -> str:
    r"""Return text with what could confuse a terminal or a line reader escaped, as `ls -b` does (\n, \033, \\)."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def _escape(char: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
    if char in named:
        return named[char]
    if char.isprintable():
        return char
    try:
        return "".join(f"\\{byte:03o}" for byte in os.fsencode(char))
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return f"\\u{ord(char):04x}"


def print_json(value: Any) -> None:
    """Print a value as JSON; bytes that are not UTF-8 become surrogate escapes, as Python's surrogateescape has it."""
    click.echo(json.dumps(value, indent=2))


@contextmanager
def progress_bar(label: str, *, hidden: bool = False) -> Iterator[Progress | None]:
    """Yield a function that takes bytes done and in all; None unless standard error is a terminal."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    # rich takes 30 to 50 ms to import: only where it shows
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something goes on, and for how long, where its end cannot be told beforehand: on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(what, total=None)
        yield
