"""Print messages, JSON and a progress bar, for all commands."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sdee.base.text import safe, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[int, int], None]

_LINE_BEFORE, _ERASED = "\033[A", "\r\033[K"  # ECMA-48: cursor up, erase in line
_PAUSE = 0.5  # seconds until something that goes on is shown, and between the changes of it


def say(sentence: str) -> None:
    """Print a message on standard error."""
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
        say("interrupted, sdee wrote nothing")
        die_by(signal.SIGINT)


def die_by(number: int) -> NoReturn:
    """Die by a signal as a program without sdee would, but without a core dump: Ctrl-C then ends a shell's loop."""
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
    begun: list[Any] = []  # click has no public name for the type of its bars

    def show(done: int, total: int) -> None:
        if not begun:
            begun.append(click.progressbar(length=total, label=label, file=sys.stderr, item_show_func=_bytes))
            begun[0].render_progress()
        begun[0].update(done - begun[0].pos, done)

    try:
        yield show
    finally:
        for bar in begun:
            bar.render_finish()
            click.echo(_LINE_BEFORE + _ERASED, err=True, nl=False)


def _bytes(done: int | None) -> str:
    return size_text(done or 0)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that work without a known end goes on, and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    end, begun = threading.Event(), time.monotonic()

    def show() -> None:
        while not end.wait(_PAUSE):
            click.echo(f"{_ERASED}{safe(what)} … {time.monotonic() - begun:.0f} s", err=True, nl=False)

    shown = threading.Thread(target=show, daemon=True)
    shown.start()
    try:
        yield
    finally:
        end.set()
        shown.join()
        click.echo(_ERASED, err=True, nl=False)
