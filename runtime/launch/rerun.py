"""Run the bare job again on this machine and discard what it writes.

    own_module("sdee.runtime.launch.rerun", KEPT, SPACE, CWD, UMASK, PROGRAM, ARGV0, [ARGS…])

KEPT is a directory in which writes are real, SPACE one to mount over. Overlays cover the working directory, the home
and what is mounted besides (runtime/environment/discard.py); where the kernel refuses that, the job is not run.
Works as an ordinary user, by a user namespace, as bare_node.py does.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

from sdee.base import mountinfo
from sdee.runtime.environment import discard
from sdee.runtime.launch.bare_node import CANNOT
from sdee.runtime.launch.namespaces import own_namespaces


def main(arguments: list[str]) -> NoReturn:
    """Cover the directories, become the program."""
    kept, space, cwd, umask, program, *argv = arguments
    try:
        own_namespaces()
        _discard((cwd, os.path.expanduser("~")), kept, space)
        os.chdir(cwd)
        os.umask(int(umask, 8))
        os.execv(program, argv)
    except OSError as error:
        sys.stderr.write(f"sdee: error: cannot run the job here with its writes discarded: {error.strerror or error}\n")
        sys.exit(CANNOT)


def _discard(places: tuple[str, ...], kept: str, space: str) -> None:
    """Discard what is written from now on. Raises OSError when that cannot be in one of `places`."""
    text = mountinfo.own_text()
    used = [p for p in dict.fromkeys(map(os.path.realpath, places)) if os.path.isdir(p) and p != "/"]
    # What is mounted on / would not be this process's root
    steps = [step for step in discard.plan(text, used) if step.path != "/"]
    if real := discard.carry_out(steps, used, kept, space):
        raise OSError(errno.EOPNOTSUPP, f"the kernel lets no overlay cover {', '.join(map(ascii, real))}")
