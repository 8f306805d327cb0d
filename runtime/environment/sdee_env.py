"""Calls of the program sdee-env, and what it or the program below it says when it fails."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from sdee.base.errors import BundleError, KernelError, OutputError, SdeeError
from sdee.runtime.programs import env_path

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_helper(*arguments: str) -> None:
    """Run sdee-env. Raises KernelError or OutputError with its message."""
    run_helpers([arguments])


def run_helpers(calls: Sequence[tuple[str, ...]]) -> None:
    """Run sdee-env several times at once, and wait for all. Raises KernelError or OutputError as the first says."""
    running = [
        subprocess.Popen([env_path(), *arguments], stderr=subprocess.PIPE, text=True, errors="replace")
        for arguments in calls
    ]
    done = [(process.communicate()[1], process.returncode) for process in running]
    for (said, status), arguments in zip(done, calls, strict=True):
        if status:
            kind = OutputError if status == OutputError.exit_code else KernelError
            raise _failure(kind, said, f"sdee-env {arguments[0]}", status)


def as_root(directory: str, *command: str, given: bytes = b"") -> list[str]:
    """Run a command as root of the ids of the environment in `directory`, with standard input; return its lines.

    Raises OutputError, BundleError.
    """
    done = subprocess.run([env_path(), "root", directory, *command], check=False, capture_output=True, input=given)
    if done.returncode:
        kind = BundleError if done.returncode == BundleError.exit_code else OutputError
        raise _failure(kind, done.stderr.decode(errors="replace"), command[0], done.returncode)
    return done.stdout.decode(errors="replace").splitlines()


def _failure(kind: type[SdeeError], said: str, program: str, status: int) -> SdeeError:
    lines = [line for line in said.splitlines() if line.strip()]
    hint = next((line.removeprefix("  hint: ") for line in lines if line.startswith("  hint: ")), "")
    return kind(lines[0].removeprefix("sdee: error: ") if lines else f"{program} ended with status {status}", hint=hint)
