"""What srun, sbatch and salloc do inside of a private environment: their job runs in a bundle of what it needs.

Not a command that users type: sdee-front (runtime/native/front/) stands in place of Slurm's own and comes here.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import click

from sdee.cli import output as show
from sdee.cli import prepare
from sdee.cli.inside import batch, front, refused, rehearse, sweep
from sdee.errors import InternalError, SdeeError
from sdee.runtime.jobs import slurm_inside
from sdee.runtime.jobs.slurm import Slurm
from sdee.tokens import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdee.runtime.jobs.model import Words


def main() -> None:
    """Run `NAME ARGUMENTS…`. Ends as the job manager's own command does."""
    name, *arguments = sys.argv[1:]
    caller = slurm_inside.shown(os.environ)
    front.set_environment(caller)
    os.environ[front.REAL] = "1"  # for all that we start; sdee-front takes it away from the host's own command
    for variable in ("PROMPT_COMMAND", "SDEE_ENVIRONMENT"):
        os.environ.pop(variable, None)
    try:
        with click.Context(click.Command(name), obj={}):
            if name == "salloc":
                salloc(arguments, caller)
            {"srun": srun, "sbatch": batch.sbatch}[name](arguments)
    except SdeeError as error:
        _end(name, error)
    except Exception as error:
        if os.environ.get("SDEE_DEBUG"):
            raise
        hint = f"this is a bug in sdee: report what SDEE_DEBUG=1 {name} … prints"
        _end(name, InternalError(f"{type(error).__name__}: {error}", hint=hint))
    except KeyboardInterrupt:
        click.echo(f"sdee: interrupted, {name} has submitted nothing", err=True)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)  # so that a loop of the shell's ends too


def _end(name: str, error: SdeeError) -> NoReturn:
    click.echo(f"{error.render()}\n  without a bundle: SDEE_TRANSPARENT=0 {name} …", err=True)
    sys.exit(error.exit_code)


def srun(arguments: Sequence[str]) -> NoReturn:
    """Run each task in a bundle of the command."""
    words = slurm_inside.split("srun", arguments)
    given = slurm_inside.names("srun", words.options)
    if not words.command or given.keys() & slurm_inside.ASKING:
        front.become("srun", arguments)
    if ":" in words.command or "multi-prog" in given:
        _say("srun: a step of several programs runs on the nodes themselves, not in a bundle")
        front.become("srun", arguments)
    if shutil.which(words.command[0]) is None:  # on the nodes it may be
        front.become("srun", arguments)
    cwd = os.path.abspath(given.get("chdir", given.get("D", ".")))
    stdin = rehearse.readable(given.get("input", given.get("i", "")))
    variables = Slurm().rehearsal_variables("interactive", ())
    rehearsal = _step(words, cwd, stdin, variables, interactive="pty" in given)
    launcher = _launcher(os.path.basename(words.command[0]))
    asked = partial(refused.end_if_refused, "srun", words.options, words.command, "")
    if launcher:
        rehearsal = _of_launcher(launcher, variables)
    with _heard(launcher):
        bundle = rehearse.ready(rehearsal, (), asked)
    program = os.path.join(rehearse.serve(rehearsal.directory, bundle)[-1], "srun")
    front.set_environment(slurm_inside.hidden(os.environ))
    front.execute("/bin/sh", ["sh", program, *words.options, *words.command])


def _step(words: Words, cwd: str, stdin: str, variables: dict[str, str], *, interactive: bool) -> rehearse.Rehearsal:
    program, *rest = words.command
    key = (program, *(("\0interactive",) if interactive else ()))
    family = sweep.family(rehearse.place(), os.path.basename(program), cwd, key, rest)
    chosen = sweep.choose(family, cwd, rest, rest)
    return rehearse.Rehearsal(
        "srun",
        (program, *chosen.arguments),
        shlex.join(redact(words.command)),
        chosen.directory,
        cwd,
        stdin,
        variables,
        interactive=interactive,
        stands_in=chosen.stands_in,
    )


def _launcher(daemon: str) -> int:
    """Return the process that has us start one of its daemons on the nodes, as mpirun does with orted; 0: none."""
    from sdee.packer import tables  # noqa: PLC0415

    with contextlib.suppress(OSError):
        program = os.path.basename(os.readlink(f"/proc/{os.getppid()}/exe"))
        if daemon in tables.COMPANIONS.get(program, ()):
            return os.getppid()
    return 0


def _of_launcher(pid: int, variables: Mapping[str, str]) -> rehearse.Rehearsal:
    """Return the rehearsal of a launcher's command: a daemon by itself does nothing, and the launcher shows it all."""
    command, told = (_words(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))
    own = dict(pair.split("=", 1) for pair in told if "=" in pair and not pair.startswith("SLURM_"))
    cwd = os.readlink(f"/proc/{pid}/cwd")
    directory = prepare.directory_of(rehearse.place(), os.path.basename(command[0]), cwd, *command)
    return rehearse.Rehearsal(
        "srun", command, shlex.join(redact(command)), directory, cwd, "", dict(variables), caller=own
    )


def _words(path: str) -> tuple[str, ...]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return tuple(file.read().split("\0")[:-1])


@contextlib.contextmanager
def _heard(launcher: int) -> Iterator[None]:
    """Let what we say go to a launcher's own standard error: srun's it reads, or throws away.

    Not to a file: it would have two positions to be written at.
    """
    stream, path = None, f"/proc/{launcher}/fd/2"
    with contextlib.suppress(OSError):  # a socket, another user's pipe
        if launcher and not os.path.isfile(path):
            stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
    with stream or contextlib.nullcontext(), contextlib.redirect_stderr(stream or sys.stderr):
        yield


def salloc(arguments: Sequence[str], caller: Mapping[str, str]) -> NoReturn:
    """Run a command here, as root of the environment, with `caller`'s variables and those of an allocation.

    The allocation is released after it.
    """
    words = slurm_inside.split("salloc", arguments)
    given = slurm_inside.names("salloc", words.options)
    if given.keys() & {*slurm_inside.ASKING, "no-shell"}:
        front.become("salloc", arguments)
    command = list(words.command) or [os.environ.get("SHELL") or "/bin/sh"]
    directory = tempfile.mkdtemp(prefix="sdee-salloc-")
    try:
        status = _allocated(directory, words.options, command, caller)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(status)


def _allocated(directory: str, options: Sequence[str], command: Sequence[str], caller: Mapping[str, str]) -> int:
    """Return how the command ended, or salloc where there is no allocation. salloc runs `sdee-front hold` meanwhile."""
    alive, told = (os.path.join(directory, name) for name in ("alive", "environment"))
    os.mkfifo(alive)
    held = ["salloc", *options, front.FRONT, "hold", directory]
    holder = subprocess.Popen(held, executable=front.FRONT, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's reaches salloc and the command as well
    while not os.path.exists(told):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return holder.wait(0.02)  # it got none, and said why
    writer = os.open(alive, os.O_WRONLY | os.O_CLOEXEC)
    with open(told, encoding="utf-8", errors="surrogateescape") as file:
        pairs = [pair.partition("=") for pair in file.read().split("\0") if pair.startswith("SLURM_")]
    allocation = {name: value for name, _, value in pairs}
    child = subprocess.Popen(command, env={**caller, **allocation}, preexec_fn=_normal_interrupt)  # noqa: PLW1509
    while child.poll() is None:
        if holder.poll() is not None:  # its time is over, or it was cancelled: salloc(1) sends SIGHUP then
            child.send_signal(signal.SIGHUP)
            child.wait()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
    os.close(writer)
    holder.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _normal_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _say(sentence: str) -> None:
    click.echo(f"sdee: {show.safe(sentence)}", err=True)
