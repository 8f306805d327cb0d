"""What the commands share in showing things: sentences, JSON, a progress bar."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int], None]


def say(sentence: str) -> None:
    """Say on standard error what is going on."""
    click.echo(f"sdee: {sentence}", err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON; bytes that are not UTF-8 become surrogate escapes, as Python's surrogateescape has it."""
    click.echo(json.dumps(value, indent=2))


@contextmanager
def ending() -> Iterator[None]:
    """Let a terminated or hung up command raise an exception: the writer removes its temporary file then."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) has it ignored, for the job too
            signal.signal(number, _stop)
    yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a terminated, hung up or interrupted command leave nothing that is half written, and say so."""
    try:
        with ending():
            yield
    except KeyboardInterrupt:
        say("interrupted, nothing was written")
        die_by(signal.SIGINT)


def die_by(number: int) -> NoReturn:
    """End by a signal as a program without sdee would, and without a core dump: a shell's loop ends at Ctrl-C."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # SIGKILL
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # where its disposition is another: init(8) of a container is not ended by a signal


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


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
