"""`sdee exec`: find the launcher and become it. Imports next to nothing: its start is the job's start."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "native", "sdee-launcher")


def launcher_path() -> str:
    """Return the path of this installation's launcher.

    Raises sdee.errors.InternalError when the installation has none.
    """
    if not os.access(LAUNCHER, os.X_OK):
        from sdee.errors import InternalError  # noqa: PLC0415

        raise InternalError(
            f"this installation of sdee has no launcher at {LAUNCHER}",
            hint="in a checkout: make launcher (needs musl-tools, libzstd-dev); else reinstall sdee-hpc",
        )
    return LAUNCHER


def main(arguments: list[str]) -> NoReturn:
    """Replace this process by the launcher, which parses `arguments` itself (execve(2))."""
    import signal  # noqa: PLC0415 - 2 ms less where only launcher_path() is wanted

    from sdee.errors import SdeeError  # noqa: PLC0415

    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and execve(2) would hand that on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(launcher_path(), ["sdee exec", *arguments])
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        sys.exit(error.exit_code)
