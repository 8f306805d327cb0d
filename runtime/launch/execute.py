"""Find the launcher and execute it (`sdee exec`). It imports almost nothing: its start delays the job."""

from __future__ import annotations

import sys

from sdee.base.process import become
from sdee.runtime.programs import launcher_path

TYPE_CHECKING = False  # not typing's: importing that takes longer than all else here
if TYPE_CHECKING:
    from typing import NoReturn


def main(arguments: list[str]) -> NoReturn:
    """Replace this process by the launcher, which parses `arguments` itself (execve(2))."""
    from sdee.base.errors import SdeeError  # noqa: PLC0415

    try:
        become(launcher_path(), ["sdee exec", *arguments])
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        sys.exit(error.exit_code)
