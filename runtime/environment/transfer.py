"""Clone, reset, export and import environments."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace

from sdee.base.errors import InputError, OutputError
from sdee.base.interpreter import own_module
from sdee.runtime.environment import rpm
from sdee.runtime.environment.archive import main
from sdee.runtime.environment.archive.header import read_header
from sdee.runtime.environment.create import being_made, being_replaced, fill, system_name
from sdee.runtime.environment.reconcile import adapt
from sdee.runtime.environment.sdee_env import as_root
from sdee.runtime.environment.store import Environment, at_rest, save_settings


def clone(environment: Environment, name: str) -> Environment:
    """Copy an environment; file systems that can share the blocks do."""
    with being_made(name) as made:
        with at_rest(environment, "clone"):
            for part in ("config.json", "plan", "mounts", "stamp", "base", "layers", "shadow"):
                if os.path.lexists(environment.path(part)):
                    source = environment.path(part)
                    copy = ("cp", "-a", "--reflink=auto", "--no-target-directory", source, made.path(part))
                    as_root(environment.directory, *copy)
            if os.path.exists(environment.path("owners")):
                _python(environment, "owners", made.directory)
        for part in ("root", "tmp"):
            os.mkdir(made.path(part))
        os.chmod(made.path("tmp"), 0o1777)
        save_settings(made.directory, replace(environment.settings(), name=name))
        rename(made, environment.name)
    return Environment(name, os.path.join(os.path.dirname(made.directory), name))


def rename(environment: Environment, old: str) -> None:
    """Show the new name in Debian's prompt, if the old one is shown."""
    own = environment.own_file("/etc/debian_chroot")
    if own is None:
        return
    with open(own, "r+", encoding="utf-8", errors="surrogateescape") as file:
        if file.read() == f"{old}\n":
            file.seek(0)
            file.truncate()
            file.write(f"{environment.name}\n")


def reset(environment: Environment) -> Environment:
    """Make the environment as new. What it had is gone when the new one is there, not before."""
    settings = environment.settings()
    emulate = environment.plan().ranges is None
    with at_rest(environment, "reset"), being_replaced(environment) as made:
        fill(made, settings.binds, emulate=emulate)
    return environment


def export(environment: Environment, target: str, *, force: bool) -> int:
    """Write the environment to a file; return its size in bytes."""
    if os.path.lexists(target) and not force:
        raise OutputError(f"{target} exists already", hint="--force overwrites it")
    directory = os.path.dirname(os.path.abspath(target))
    try:
        handle, making = tempfile.mkstemp(prefix=".sdee-", dir=directory)
    except OSError as error:
        raise OutputError(f"cannot write in {directory}: {error.strerror}") from error
    os.close(handle)
    try:
        with at_rest(environment, "export"):
            _python(environment, "write", making)
        os.chmod(making, 0o600)  # it holds what was 0700
        os.rename(making, target)
    except BaseException:
        os.unlink(making)
        raise
    return os.path.getsize(target)


def _python(environment: Environment, action: str, file: str) -> list[str]:
    command = own_module(main.__name__, action, environment.directory, os.path.abspath(file))
    return as_root(environment.directory, *command)


def import_(source: str, name: str | None, *, force: bool) -> tuple[Environment, list[str]]:
    """Make an environment of an exported one; return it and what to tell the user."""
    try:
        header = read_header(source)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    settings = header["settings"]
    assert isinstance(settings, dict)  # read_header has seen to it
    if settings["system"] != system_name() and not force:
        raise InputError(
            f"{source} comes from {settings['system']}, and here is {system_name()}: its programs may not fit",
            hint="--force imports it anyway",
        )
    binds = tuple(path for path in settings.get("binds", ()) if os.path.isdir(path))
    with being_made(name or settings["name"]) as made:
        fill(made, binds, emulate=not header.get("ids"))
        with at_rest(made, "import into"):
            other = _check_rpm(made, source, header, force=force)
            shutil.rmtree(made.path("base"))
            os.mkdir(made.path("base"))
            notes = [*_python(made, "read", source), *adapt(made)]
            if other:
                notes.append("its RPM database comes from another machine: `rpm -Va` inside shows what differs")
        rename(made, settings["name"])
    return Environment(made.name, os.path.join(os.path.dirname(made.directory), made.name)), notes


def _check_rpm(made: Environment, source: str, header: dict[str, object], *, force: bool) -> bool:
    """Tell whether the archive has an RPM database over other packages than are here. Raises InputError."""
    other = bool(header.get("rpm")) and header["rpm"] != rpm.fingerprint(made)
    if other and not force:
        raise InputError(
            f"{source} has its own RPM packages, and this machine has others than the one it comes from: "
            "sdee cannot merge two RPM databases",
            hint="--force imports it with its own database, which may lack packages of this machine",
        )
    return other
