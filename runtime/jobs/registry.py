"""Which job managers there are, and which of them this machine submits to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdee.base.errors import CommandNotFoundError, InternalError, UsageError
from sdee.runtime.jobs.gridengine.manager import GridEngine
from sdee.runtime.jobs.slurm.inside import SlurmInside
from sdee.runtime.jobs.slurm.manager import Slurm

if TYPE_CHECKING:
    from sdee.runtime.jobs.model import Inside, JobManager

MANAGERS: dict[str, type[JobManager]] = {"slurm": Slurm, "gridengine": GridEngine}
_INSIDE: tuple[type[Inside], ...] = (SlurmInside,)


def choose(name: str) -> JobManager:
    """Return the job manager of that name; of `auto` the first one that this machine can submit to.

    Slurm first: its packages bring a qsub of their own. Raises CommandNotFoundError when there is none, UsageError for
    an unknown name.
    """
    if name not in ("auto", *MANAGERS):
        raise UsageError(f"there is no job manager {name!r}", hint=f"one of: auto, {', '.join(MANAGERS)}")
    tried = []
    for key, kind in MANAGERS.items():
        if name not in ("auto", key):
            continue
        manager = kind()
        lacking = manager.lacks()
        if not lacking:
            return manager
        tried.append(f"{manager.title}: {lacking}")
    raise CommandNotFoundError(
        "this machine has no job manager to submit to",
        tried=tuple(tried),
        hint="use a login node of the cluster, or load the module of its job manager",
    )


def waiting_scripts() -> list[str] | None:
    """Return the paths of this user's scripts that wait or run; None where no job manager that is here answers.

    One that is installed without a cluster does not answer, as on machines where packages of two managers are.
    """
    here = [manager for kind in MANAGERS.values() if not (manager := kind()).lacks()]
    answers = [scripts for manager in here if (scripts := manager.waiting_scripts()) is not None]
    return None if here and not answers else [script for scripts in answers for script in scripts]


def standing_for(name: str) -> Inside:
    """Return what the manager's command of that name means inside of a private environment."""
    for kind in _INSIDE:
        if name in (kind.step, kind.batch, kind.allocation):
            return kind()
    raise InternalError(f"no job manager has a command {name!r} that sdee replaces")
