"""Run the job manager's srun outside of a bundle for the job in it, to start more of the job on other nodes.

A batch script becomes `sdee-front serve DIRECTORY BUNDLE` (native/front/): in the bundle srun is sdee-front, too, and
hands its call over to that, which runs DIRECTORY/srun: the node's own, with each task in the same bundle.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from sdee.base import trust
from sdee.base.errors import OutputError
from sdee.base.files import private_opener, write_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.runtime.jobs.model import Inside

_NAMES = frozenset(("mpirun", "mpiexec"))  # in MPICH and Open MPI 5 they start what has another name


def words(directory: str, bundle: str) -> tuple[str, ...]:
    """Return the words that stand before a bundle that is served from a directory; nothing is made."""
    there, name = os.path.split(bundle)
    if there != directory and os.path.dirname(there) == os.path.dirname(directory):  # one for several commands
        name = f"{os.path.basename(there)}-{name}"
    outside = name.removesuffix(".sdee") + ".outside"
    return (os.path.join(directory, "sdee-front"), "serve", os.path.join(directory, outside))


def prepare(
    directory: str, bundle: str, front: str, inside: Inside, *, broadcast: str = "auto", results: str = ""
) -> tuple[str, ...]:
    """Make the missing files that serve a bundle; return the words to put before it.

    `directory`: where the nodes see it; `front`: sdee-front, to be copied there; `inside`: whose step it starts;
    `broadcast`, `results`: as of model.Request, for what is started. Raises OutputError.
    """
    from sdee.packer import knowledge  # noqa: PLC0415

    served = words(directory, bundle)
    directory = served[-1]
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o755)  # what lies there runs as the user: nobody else may write, whatever the umask is
    except OSError as error:
        raise OutputError(f"cannot make {directory!a}: {error.strerror}") from error
    if why := trust.distrusted(directory):
        raise OutputError(f"sdee does not use {directory!a}: {why}", hint="remove it, if it is yours")
    _keep(front, served[0])
    program = inside.step_program(bundle, knowledge.FIXED_ENVIRONMENT, served, broadcast=broadcast, results=results)
    write_once(os.path.join(directory, inside.step), program)
    return served


def _keep(front: str, path: str) -> None:
    try:
        if not os.path.exists(path) or os.path.getmtime(path) != os.path.getmtime(front):
            with open(front, "rb") as source, open(f"{path}.new", "wb", opener=private_opener) as copy:
                shutil.copyfileobj(source, copy)
                times = os.fstat(source.fileno())
                os.fchmod(copy.fileno(), 0o755)  # not a group installation's, which the group may write to
            os.utime(f"{path}.new", ns=(times.st_atime_ns, times.st_mtime_ns))
            os.replace(f"{path}.new", path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a part of it, on a full disk
            os.unlink(f"{path}.new")
        raise OutputError(f"cannot write {path!a}: {error.strerror}") from error


def write_once(path: str, text: str) -> None:
    """Write a script, executable, unless it is there with that text: then its trace holds. Raises OutputError."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        if file.read() == text:
            return
    write_script(path, text)


def is_needed(bundle: str) -> bool:
    """Tell whether the job in a bundle starts more of itself by srun. Raises BundleError."""
    from sdee.packer.format.reader import open_bundle  # noqa: PLC0415
    from sdee.packer.model import STANDS_IN  # noqa: PLC0415

    with open_bundle(bundle) as opened:
        return any(reason.why == STANDS_IN for item in opened.items.values() for reason in item.reasons)


def may_be_needed(command: Sequence[str]) -> bool:
    """Tell by its name whether a command starts more of itself by srun: what is known before it is traced."""
    from sdee.packer import knowledge  # noqa: PLC0415

    path = shutil.which(command[0]) if command else None
    names = {os.path.basename(path), os.path.basename(os.path.realpath(path))} if path else set()
    return not names.isdisjoint(_NAMES | knowledge.COMPANIONS.keys())
