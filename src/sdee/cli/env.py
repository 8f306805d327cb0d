"""`sdee env`: private environments in which the user is root over this machine's own system. `sdee shell`."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

from sdee.base.errors import InputError
from sdee.base.text import safe, size_text
from sdee.cli.completion import command_line, files
from sdee.cli.output import print_json, working
from sdee.runtime.environment import changes, disk_use, leftovers, store, transfer
from sdee.runtime.environment.create import create as make
from sdee.runtime.environment.enter import enter as start
from sdee.runtime.environment.locations import base_directory

if TYPE_CHECKING:
    from collections.abc import Sequence


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's signature
    """Complete the names of environments."""
    return [environment.name for environment in store.environments() if environment.name.startswith(incomplete)]


@click.group()
def env() -> None:
    """Make and use private environments, in which you are root over this machine's own system.

    \b
      sdee env create mine               takes seconds and some megabytes
      sdee env enter mine                a shell in it; `sdee shell mine` is the same
      (mine) # apt-get install …         nobody else sees it
    """  # noqa: D301 - click wants the backspace character itself


@env.command()
@click.argument("name")
@click.option(
    "--bind",
    "binds",
    multiple=True,
    metavar="DIR",
    shell_complete=files,
    help="Show this directory of the host, live. Repeatable.",
)
@click.option("--emulate", is_flag=True, help="Emulate owners even if subordinate ids are available.")
def create(name: str, binds: tuple[str, ...], *, emulate: bool) -> None:
    """Make an environment."""
    began = time.monotonic()
    with working(f"making {name}"):
        made = make(name, binds, emulate=emulate)
    ids = "real ids" if made.plan().ranges else "emulated owners"
    click.echo(f"environment {name}: over {made.settings().system}, {ids}, in {time.monotonic() - began:.1f} s")
    click.echo(f"next: sdee env enter {name}")


@env.command()
@click.argument("name", shell_complete=_names)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=command_line)
@click.option("--x11", is_flag=True, help="Show the X11 or Wayland display inside.")
@click.option("--ssh-agent", is_flag=True, help="Show your ssh-agent inside.")
def enter(name: str, command: tuple[str, ...], *, x11: bool, ssh_agent: bool) -> None:
    """Run a shell, or COMMAND after `--`, in an environment, as root there.

    All terminals of one environment share its files and processes. Exit status and signals are the command's own.
    """
    flags = [*(["--x11"] if x11 else []), *(["--ssh-agent"] if ssh_agent else [])]
    start(flags, name, list(command))


shell = enter


@env.command(name="list")
@click.option("-s", "--sizes", is_flag=True, help="Show how much disk space each takes, as du does (a second each).")
def list_(*, sizes: bool) -> None:
    """List your environments."""
    found = store.environments()
    if sizes:
        with working("adding up sizes"):
            known = disk_use.of(found)
    if store.is_inside():
        click.echo("sdee: you are in an environment, which hides all environments: leave it first", err=True)
    elif not found:
        click.echo("sdee: no environments yet; create one: sdee env create NAME", err=True)
    for environment in found:
        try:
            settings, running = environment.settings(), "running" if environment.holder() else "-"
        except InputError:  # removed while we look
            continue
        size = f"{_size(known.get(environment.name)):>9}  " if sizes else ""
        click.echo(f"{environment.name:20} {running:8} {size}{settings.created}  {settings.system}")
    leftovers.sweep(base_directory())


def _size(found: disk_use.Size | None) -> str:
    return "" if found is None else size_text(found.size) + ("" if found.whole else "+")


def end(environment: store.Environment) -> bool:
    """End all that runs in an environment; tell whether something did."""
    holder = environment.holder()
    if holder is None:
        return False
    with contextlib.suppress(ProcessLookupError):  # its last command ended just now
        os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while environment.holder() == holder:  # another may be there at once: `enter` in a loop
        if time.monotonic() > deadline:
            raise InputError(f"environment {environment.name} does not end (holder: process {holder})")
        time.sleep(0.01)
    return True


@env.command()
@click.argument("name", shell_complete=_names)
def stop(name: str) -> None:
    """End all that runs in an environment."""
    ended = end(store.find(name))
    click.echo(f"environment {name}: {'ended' if ended else 'nothing runs in it'}")


@env.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=_names)
@click.option("--force", is_flag=True, help="End what runs in it first.")
def remove(names: tuple[str, ...], *, force: bool) -> None:
    """Remove environments with all their changes."""
    for name in names:
        environment = store.find(name)
        if force:
            end(environment)
        with store.at_rest(environment, "remove"):
            gone = leftovers.take_away(environment.directory)
        with working(f"removing {name}"):
            gone.discard()
    leftovers.sweep(base_directory())


_MANY = 20  # entries of a new directory that are not listed one by one
_SIGNS = {"added": "A", "changed": "M", "removed": "D"}


@env.command(name="diff")
@click.argument("name", shell_complete=_names)
@click.option("--all", "everything", is_flag=True, help="List every file, also those of packages and caches.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff_(name: str, *, everything: bool, as_json: bool) -> None:
    """Show what an environment changed against the host."""
    environment = store.find(name)
    with working(f"comparing {name} with the host"), store.present(environment):
        found = changes.find(environment)
    if found.problem:
        click.echo(f"sdee: {safe(found.problem)}: sdee compares packages without it", err=True)
    if as_json:
        content = {
            "packages": [vars(package) for package in found.packages],
            "files": [vars(file) for file in found.files],
        }
        print_json(content)
        return
    for package in found.packages:
        sign = "-" if not package.after else "+" if not package.before else "~"
        several = [other.name for other in found.packages].count(package.name) > 1
        name = f"{package.name}:{package.architecture}" if several else package.name
        versions = " → ".join(safe(version) for version in (package.before, package.after) if version)
        click.echo(f"{sign} {safe(name)} {versions}")
    names = {package.name for package in found.packages}
    shown = [
        file
        for file in found.files
        if everything
        or file.edited
        or (file.package not in names and not file.path.startswith(changes.NOISE) and not _is_made(file))
    ]
    below = {} if everything else _collapsed(shown)
    for file in shown:
        if not any(str(above) in below for above in PurePath(file.path).parents):
            count = below.get(file.path)
            click.echo(f"{_SIGNS[file.kind]} {safe(file.path)}{f'/…  {count} entries' if count else _remark(file)}")
    if len(shown) < len(found.files):
        click.echo(f"and {len(found.files) - len(shown)} files of these packages, caches and logs (--all lists them)")


def _collapsed(shown: Sequence[changes.Change]) -> dict[str, int]:
    """Return new directories that are shown as one line, with the number of what is below them.

    Those that files lie in, so that each Python package has a line, and not their directory.
    """
    added = {file.path for file in shown if file.kind == "added"}
    below = Counter(str(above) for path in added for above in PurePath(path).parents if str(above) in added)
    holders = {os.path.dirname(path) for path in added if path not in below}
    return {path: count for path, count in below.items() if count > _MANY and path in holders}


def _remark(file: changes.Change) -> str:
    """Name the package of a file and, if only its attributes differ from the host's, which."""
    package = f"  ({safe(file.package)})" if file.package else ""
    if file.edited:
        return f"{package}  edited"
    if "type" in file.what:
        return f"{package}  another type of file"
    return package + (f"  {', '.join(file.what)} only" if file.what and "content" not in file.what else "")


# What programs make of others: byte code, caches, the indexes that package managers' triggers renew, copies of before
_MADE = (
    *(".pyc", "/__pycache__", "/ld.so.cache", "/etc/.pwd.lock"),
    *("/share/info/dir", "/share/info/dir.old", "/mimeinfo.cache", "/icon-theme.cache", "/gschemas.compiled"),
    *("/giomodule.cache", "/loaders.cache", "/immodules.cache", "/fonts.cache-1"),
    *("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"),
)


def _is_made(change: changes.Change) -> bool:
    """Tell whether programs generate it, and no package owns it."""
    return not change.package and change.path.endswith(_MADE)


@env.command()
@click.argument("name", shell_complete=_names)
@click.option("--force", is_flag=True, help="End what runs in it first.")
def reset(name: str, *, force: bool) -> None:
    """Reset an environment: discard all changes in it."""
    environment = store.find(name)
    if force:
        end(environment)
    with working(f"resetting {name}"):
        transfer.reset(environment)
    click.echo(f"environment {name}: reset")


@env.command()
@click.argument("old", shell_complete=_names)
@click.argument("new")
def clone(old: str, new: str) -> None:
    """Copy an environment."""
    environment = store.find(old)
    with working(f"copying {old}"):
        made = transfer.clone(environment, new)
    click.echo(f"environment {made.name}: a copy of {old}")


@env.command()
@click.argument("name", shell_complete=_names)
@click.option("-o", "--output", metavar="FILE", shell_complete=files, help="Write this file.  [default: NAME.sdee-env]")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def export(name: str, output: str | None, *, force: bool) -> None:
    """Write the changes of an environment to one file."""
    target = output or f"{name}.sdee-env"
    environment = store.find(name)
    with working(f"writing {target}"):
        size = transfer.export(environment, target, force=force)
    click.echo(f"{target}: {size / 1e6:.1f} MB")


@env.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("name", required=False)
@click.option("--force", is_flag=True, help="Import even if this machine has another system.")
def import_(file: str, name: str | None, *, force: bool) -> None:
    """Make an environment from an exported one."""
    with working(f"reading {file}"):
        made, notes = transfer.import_(file, name, force=force)
    for line in notes:
        click.echo(f"sdee: {line}", err=True)
    click.echo(f"environment {made.name}: from {file}")
