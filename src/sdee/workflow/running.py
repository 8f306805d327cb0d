"""Run a bundle by the launcher from a program: the launcher's errors become exceptions, all else is the job's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdee.base.errors import OutputError, SdeeError
from sdee.packer.format.reader import open_bundle
from sdee.runtime.programs import launcher_path

if TYPE_CHECKING:
    from collections.abc import Sequence

_ERROR, _NODE, _TRIED, _HINT = "sdee: error: ", "  node: ", "  tried: ", "  hint: "


def launch(words: Sequence[str], **how: Any) -> subprocess.CompletedProcess[Any]:
    """Run the launcher with words of `sdee exec`; return as subprocess.run(**how), without `check`, does.

    Raises the launcher's own errors (docs/exit-codes.md), and what subprocess.run raises.
    """
    with tempfile.TemporaryFile() as file:
        command = [launcher_path(), f"--error-fd={file.fileno()}", *words]
        done = subprocess.run(command, pass_fds=[file.fileno()], check=False, **how)
        file.seek(0)
        said = file.read().decode(errors="backslashreplace")
    if said:
        raise error_of(said, done.returncode)
    return done


def error_of(said: str, status: int) -> SdeeError:
    """Return the exception of an error as the launcher writes it. `status`: its exit status, which tells the class.

    An error that came after a job that failed leaves the status to the job: then it is about the results.
    """
    kinds = {kind.exit_code: kind for kind in SdeeError.__subclasses__() if "exit_code" in vars(kind)}
    lines = said.splitlines()
    found: dict[str, list[str]] = {beginning: [] for beginning in (_ERROR, _NODE, _TRIED, _HINT)}
    for line in lines:
        beginning = next((b for b in found if line.startswith(b)), "")
        if beginning:
            found[beginning].append(line.removeprefix(beginning))
    message = "; ".join(found[_ERROR]) or said.strip()
    message += "".join(f" (node {name})" for name in found[_NODE][:1])
    return kinds.get(status, OutputError)(message, hint="; ".join(found[_HINT]), tried=tuple(found[_TRIED]))


@dataclass(frozen=True)
class Deployed:
    """A closure that is unpacked on this node. `bundle`: the bundle's absolute path, `identity`: its SHA-256."""

    bundle: str
    identity: str
    directory: str


def deploy(bundle: str, options: Sequence[str] = ()) -> Deployed:
    """Unpack a bundle on this node, for the runs that follow. `options`: more of the launcher's. Raises SdeeError."""
    with open_bundle(bundle) as opened:
        identity = opened.identity
    done = launch(["--deploy", *options, "--", bundle], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return Deployed(os.path.abspath(bundle), identity, os.fsdecode(done.stdout).removesuffix("\n"))


def undeploy(bundle: str, options: Sequence[str] = ()) -> None:
    """Remove what deploy() has unpacked. Raises SdeeError."""
    launch(["--undeploy", *options, "--", bundle], stdin=subprocess.DEVNULL)
