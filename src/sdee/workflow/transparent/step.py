"""A step (srun) from inside of a private environment: each task runs in a bundle of the command."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from sdee.base.process import become
from sdee.base.secrets.tokens import redact
from sdee.packer import knowledge
from sdee.runtime.environment import real_commands
from sdee.runtime.jobs import passed
from sdee.workflow import preparation
from sdee.workflow.transparent import rehearsal, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sdee.runtime.jobs.model import Call
    from sdee.workflow.transparent.context import Context


def start(arguments: Sequence[str], context: Context, heard: Callable[[int], AbstractContextManager[None]]) -> NoReturn:
    """Run each task in a bundle of the command.

    `heard`: shows our messages where a launcher (a process id, 0 for none) has us start one of its daemons.
    """
    inside = context.inside
    call = inside.call(inside.step, arguments)
    command = call.words.command
    if not command or call.asks:
        real_commands.become(inside.step, arguments)
    if call.several:
        context.say(f"{inside.step}: a step of several programs runs on the nodes themselves, not in a bundle")
        real_commands.become(inside.step, arguments)
    if shutil.which(command[0]) is None:  # on the nodes it may be
        real_commands.become(inside.step, arguments)
    todo = _step(call, context)
    launcher = _launcher(os.path.basename(command[0]))
    if launcher:
        todo = _of_launcher(launcher, todo.variables, context)
    asked = partial(inside.check, inside.step, call.words, "", real_commands.FRONT)
    with heard(launcher):
        bundle = rehearsal.ready(todo, (), asked, context)
    program = os.path.join(rehearsal.serve(todo.directory, bundle, inside)[-1], inside.step)
    real_commands.set_environment(passed.hidden(os.environ))
    become("/bin/sh", ["sh", program, *call.words.options, *command])


def _step(call: Call, context: Context) -> rehearsal.Rehearsal:
    program, *rest = call.words.command
    cwd = os.path.abspath(call.cwd or ".")
    key = (program, *(("\0interactive",) if call.interactive else ()))
    family = sweep.family(rehearsal.place(context.say), os.path.basename(program), cwd, key, rest)
    chosen = sweep.choose(family, cwd, rest, rest)
    return rehearsal.Rehearsal(
        context.inside.step,
        (program, *chosen.arguments),
        shlex.join(redact(call.words.command)),
        chosen.directory,
        cwd,
        rehearsal.readable(call.stdin),
        context.inside.rehearsal_variables(None),
        interactive=call.interactive,
        stands_in=chosen.stands_in,
    )


def _launcher(daemon: str) -> int:
    """Return the process that has us start one of its daemons on the nodes, as mpirun does with orted; 0: none."""
    with contextlib.suppress(OSError):
        program = os.path.basename(os.readlink(f"/proc/{os.getppid()}/exe"))
        if daemon in knowledge.COMPANIONS.get(program, ()):
            return os.getppid()
    return 0


def _of_launcher(pid: int, variables: Mapping[str, str], context: Context) -> rehearsal.Rehearsal:
    """Return the rehearsal of a launcher's command: a daemon by itself does nothing, and the launcher shows it all."""
    command, told = (_words(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))
    of_allocation = context.inside.variables
    own = dict(pair.split("=", 1) for pair in told if "=" in pair and not pair.startswith(of_allocation))
    cwd = os.readlink(f"/proc/{pid}/cwd")
    directory = preparation.directory_of(rehearsal.place(context.say), os.path.basename(command[0]), cwd, *command)
    shown = shlex.join(redact(command))
    return rehearsal.Rehearsal(context.inside.step, command, shown, directory, cwd, "", dict(variables), caller=own)


def _words(path: str) -> tuple[str, ...]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return tuple(file.read().split("\0")[:-1])
