"""Replace srun, sbatch and salloc inside a private environment: run their jobs in a bundle.

Not a command that users type: sdee-front (runtime/native/front/) stands in place of Slurm's own and comes here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from sdee.base.errors import InternalError, SdeeError
from sdee.cli import output as show
from sdee.runtime.environment import real_commands
from sdee.runtime.jobs import passed, registry
from sdee.runtime.jobs.model import RefusedError
from sdee.workflow.transparent import allocation, batch, step
from sdee.workflow.transparent.context import Context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def main(called: Sequence[str]) -> None:
    """Run `NAME ARGUMENTS…`. Ends as the job manager's own command does."""
    name, *arguments = called
    caller = passed.shown(os.environ)
    real_commands.set_environment(caller)
    os.environ[real_commands.REAL] = "1"  # for all that we start; sdee-front takes it away from the host's own command
    for variable in ("PROMPT_COMMAND", "SDEE_ENVIRONMENT"):
        os.environ.pop(variable, None)
    try:
        _run(name, arguments, caller)
    except RefusedError as refused:
        sys.stderr.write(refused.text)
        sys.exit(refused.status)
    except SdeeError as error:
        _end(name, error)
    except Exception as error:
        if os.environ.get("SDEE_DEBUG"):
            raise
        hint = f"this is a bug in sdee: report what SDEE_DEBUG=1 {name} … prints"
        _end(name, InternalError(f"{type(error).__name__}: {error}", hint=hint))
    except KeyboardInterrupt:
        show.say(f"interrupted, {name} submitted nothing")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)  # so that a loop of the shell's ends too


def _run(name: str, arguments: Sequence[str], caller: Mapping[str, str]) -> NoReturn:
    inside = registry.standing_for(name)
    context = Context(inside, show.say)
    if name == inside.allocation:
        sys.exit(allocation.start(arguments, caller, inside))
    with show.ending():
        if name == inside.step:
            step.start(arguments, context, _heard)
        batch.submit(arguments, context)


def _end(name: str, error: SdeeError) -> NoReturn:
    click.echo(f"{error.render()}\n  without a bundle: SDEE_TRANSPARENT=0 {name} …", err=True)
    sys.exit(error.exit_code)


@contextlib.contextmanager
def _heard(launcher: int) -> Iterator[None]:
    """Send our messages to a launcher's own standard error: it reads srun's, or throws that away.

    Not to a file: it would have two positions to be written at.
    """
    stream, path = None, f"/proc/{launcher}/fd/2"
    with contextlib.suppress(OSError):  # a socket, another user's pipe
        if launcher and not os.path.isfile(path):
            stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
    with stream or contextlib.nullcontext(), contextlib.redirect_stderr(stream or sys.stderr):
        yield
