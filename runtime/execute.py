"""`sdee exec`: find the launcher and become it. Imports next to nothing: its start is the job's start."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from sdee.runtime.programs import launcher_path


def main(arguments: list[str]) -> NoReturn:
    """Replace this process by the launcher, which parses `arguments` itself (execve(2))."""
    import signal  # noqa: PLC0415

    from sdee.base.errors import SdeeError  # noqa: PLC0415

    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and execve(2) would hand that on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(launcher_path(), ["sdee exec", *arguments])
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        sys.exit(error.exit_code)
