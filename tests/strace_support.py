"""What strace saw of a program, as a set of paths: the independent witness against which the engines are tested."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# -ff: a file for each thread, so no line is cut by another; -xx: nothing in a string or in <…> needs parsing but hex;
# -y: the descriptor's path, the working directory for AT_FDCWD. Signals tell nothing here.
OPTIONS = ("-ff", "-y", "-xx", "-e", "trace=file,fchdir", "-e", "signal=none")

_HEX = r"((?:\\x[0-9a-f]{2})*)"
_DIRECTORY = rf"(?:AT_FDCWD|-?\d+)<{_HEX}>"
_LINE = re.compile(r"^(\w+)\((.*)(?:\)\s+= (\S+).*| <pid changed to \d+ \.\.\.>)$")
_AT = re.compile(rf'{_DIRECTORY}, "{_HEX}"')
_PLAIN = re.compile(rf'"{_HEX}"')
_NOT_PATHS = {"getcwd", "fchdir"}
_TWO = {"rename", "link", "renameat", "renameat2", "linkat"}


def _decode(text: str) -> str:
    return os.fsdecode(bytes.fromhex(text.replace("\\x", "")))


class Seen(NamedTuple):
    """What strace saw: the exit status, how often each path was executed, the paths that calls had success with."""

    status: int
    executed: Counter[str]
    paths: set[str]


def run_strace(command: list[str], cwd: str, env: Mapping[str, str], directory: str) -> Seen:
    """Run `command` under strace, whose output goes to `directory`."""
    prefix = os.path.join(directory, "strace")
    done = subprocess.run(
        ["strace", *OPTIONS, "-o", prefix, "--", *command],
        cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    executed: Counter[str] = Counter()
    paths: set[str] = set()
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), encoding="ascii") as file:
            for call, path in _succeeded(file.read(), cwd):
                paths.add(path)
                if call.startswith("exec"):
                    executed[os.path.normpath(path)] += 1
    return Seen(done.returncode if done.returncode >= 0 else 128 - done.returncode, executed, paths)


def _succeeded(text: str, cwd: str) -> Iterator[tuple[str, str]]:
    """Yield (call, absolute path) of each successful call of one thread; -y tells its working directory."""
    for line in text.split("\n"):
        match = _LINE.match(line)
        if match is None:
            continue
        call, arguments, result = match.groups()
        if result is not None and (result.startswith("-") or result == "?"):
            continue  # failed; a call without any result is one that the thread's end cut off
        here = re.search(rf"AT_FDCWD<{_HEX}>", arguments)
        if here:
            cwd = _decode(here[1])
        found = list(_paths(call, arguments, cwd))
        yield from ((call, path) for path in found)
        if call == "chdir":
            cwd = found[0]
        elif call == "fchdir":
            cwd = _decode(re.findall(_HEX, arguments)[0] or re.findall(rf"<{_HEX}>", arguments)[0])


def _paths(call: str, arguments: str, cwd: str) -> Iterator[str]:
    """Yield the paths that a call names: not links' texts, execve's arguments or what readlink returns."""
    if call in _NOT_PATHS:
        return
    pairs = [(_decode(directory), _decode(path)) for directory, path in _AT.findall(arguments)]
    if not pairs:
        strings = [_decode(text) for text in _PLAIN.findall(arguments)]
        pairs = [(cwd, text) for text in (strings[1:2] if call == "symlink" else strings)]
    for directory, path in pairs[: 2 if call in _TWO else 1]:
        if path:
            yield os.path.join(directory, path)
