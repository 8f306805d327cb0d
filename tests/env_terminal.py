"""A terminal of the test user: what they type in it, and what they see."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pexpect

from env_support import SDEE, User, becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTROL = re.compile(r"\x1b\[[0-9;?>=]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]|\x1b[=>]|[\r\x07\x0f]|.\x08")


class Terminal:
    """`type` sends keys, `expect` waits for text, `ask` runs a command line and returns what it printed."""

    def __init__(self, user: User, *command: str, variables: dict[str, str] | None = None) -> None:
        first, *rest = [*becomes(user.uid), *command]
        environment = {**user.environ, "TERM": "dumb", **(variables or {})}
        self.process: Any = pexpect.spawn(
            first, rest, cwd=str(user.home), env=environment, encoding="utf-8", timeout=30, dimensions=(24, 100)
        )

    def type(self, keys: str) -> None:
        self.process.send(keys)

    def expect(self, text: str) -> str:
        """Wait for `text` as it stands; return what came before it, without control sequences."""
        self.process.expect_exact(text)
        return plain(self.process.before)

    def ask(self, line: str) -> str:
        """Run a line in the shell that has the terminal."""
        self.type(f"echo be''gin; {line}; echo en''d\n")
        self.expect("begin\r\n")
        return self.expect("end\r\n")

    def settle(self, seconds: float = 0.5, first: float = 10) -> str:
        """Return what comes until nothing has come for so long; `first` s at most pass until the first of it.

        For programs that draw, of which nothing else can be said. Keys before the first of it would be lost: a program
        that takes the terminal over drops what was typed before.
        """
        seen = ""
        while self.process.expect([r"(?s).+", pexpect.TIMEOUT, pexpect.EOF], timeout=seconds if seen else first) == 0:
            seen += self.process.after
        return plain(seen)

    def settle_with(self, text: str) -> str:
        """As `settle`, once `text` has come or ten seconds are over."""
        seen = ""
        for _ in range(50):
            seen += self.settle(0.2, first=0.2)
            if text in seen:
                break
        return seen

    def status(self) -> int:
        """Wait for the end; return the exit status, or minus the signal."""
        self.process.expect(pexpect.EOF)
        self.process.close()
        return int(self.process.exitstatus if self.process.exitstatus is not None else -self.process.signalstatus)


def plain(text: str) -> str:
    """Return text without what moves the cursor or sets colours."""
    return _CONTROL.sub("", text)


@contextmanager
def terminal(user: User, *command: str, variables: dict[str, str] | None = None) -> Iterator[Terminal]:
    """Open one; closing it sends SIGHUP, as closing a window does."""
    opened = Terminal(user, *command, variables=variables)
    try:
        yield opened
    finally:
        opened.process.close(force=True)


def shell_in(user: User, name: str, *command: str) -> tuple[str, ...]:
    """Return the command line of a shell in an environment."""
    assert user.state(name).is_dir()
    return (str(SDEE), "env", "enter", name, *(("--", *command) if command else ()))
