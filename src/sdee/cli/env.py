"""`sdee env`: private environments in which the user is root over this machine's own system. `sdee shell`."""

from __future__ import annotations

import os
import signal
import time

import click

from sdee.errors import InputError
from sdee.runtime.environment import store
from sdee.runtime.environment.create import create as make
from sdee.runtime.environment.create import discard
from sdee.runtime.environment.enter import enter as start


@click.group()
def env() -> None:
    """Private environments in which you are root over this machine's own system.

    \b
      sdee env create mine               takes seconds and some megabytes
      sdee env enter mine                a shell in it; `sdee shell mine` is the same
      (mine) # apt-get install …         nobody else sees or feels it
    """  # noqa: D301 - click wants the backspace character itself


@env.command()
@click.argument("name")
@click.option("--bind", "binds", multiple=True, metavar="DIR", help="Show this directory of the host, live.")
@click.option("--emulate", is_flag=True, help="Emulate owners even where subordinate ids could be used.")
def create(name: str, binds: tuple[str, ...], *, emulate: bool) -> None:
    """Make an environment."""
    began = time.monotonic()
    made = make(name, binds, emulate=emulate)
    ids = "real ids" if made.plan().ranges else "emulated owners"
    click.echo(f"environment {name}: over {made.settings().system}, {ids}, in {time.monotonic() - began:.1f} s")
    click.echo(f"next: sdee env enter {name}")


_SETTINGS = {"ignore_unknown_options": False, "allow_interspersed_args": True}


@env.command()
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--x11", is_flag=True, help="Show the X11 or Wayland display inside.")
@click.option("--ssh-agent", is_flag=True, help="Show your ssh-agent inside.")
def enter(name: str, command: tuple[str, ...], *, x11: bool, ssh_agent: bool) -> None:
    """Run a shell, or COMMAND after `--`, in an environment, as root there.

    All terminals in one environment share it. Exit status and signals are the command's own.
    """
    flags = [*(["--x11"] if x11 else []), *(["--ssh-agent"] if ssh_agent else [])]
    start(flags, name, list(command))


shell = enter


@env.command(name="list")
def list_() -> None:
    """List your environments."""
    for environment in store.environments():
        settings = environment.settings()
        running = "running" if environment.is_running() else "-"
        click.echo(f"{environment.name:20} {running:8} {settings.created}  {settings.system}")


def end(environment: store.Environment) -> bool:
    """End all that runs in an environment; tell whether something did."""
    holder = environment.holder()
    if holder is None:
        return False
    os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while environment.is_running():
        if time.monotonic() > deadline:
            raise InputError(f"environment {environment.name} does not end (holder: process {holder})")
        time.sleep(0.01)
    return True


@env.command()
@click.argument("name")
def stop(name: str) -> None:
    """End all that runs in an environment."""
    ended = end(store.find(name))
    click.echo(f"environment {name}: {'ended' if ended else 'nothing runs in it'}")


@env.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--force", is_flag=True, help="End what runs in it first.")
def remove(names: tuple[str, ...], *, force: bool) -> None:
    """Remove environments with all that was changed in them."""
    for name in names:
        environment = store.find(name)
        if force:
            end(environment)
        with store.at_rest(environment, "remove"):
            gone = f"{os.path.dirname(environment.directory)}/.gone-{os.getpid()}-{name}"
            os.rename(environment.directory, gone)  # nobody meets a half of it
        discard(gone)
