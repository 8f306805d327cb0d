"""Clone, reset, export and import environments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace

from sdee.errors import BundleError, InputError, OutputError
from sdee.runtime.environment import archive, program
from sdee.runtime.environment.create import create, discard, system_name
from sdee.runtime.environment.reconcile import adapt
from sdee.runtime.environment.store import Environment, at_rest, check_name, prepare_base, save_settings


def _as_root(environment: Environment, *command: str) -> None:
    """Run a command as root of the environment's ids. Raises OutputError with what it said."""
    done = subprocess.run(
        [program(), "root", environment.directory, *command],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = lines[0].removeprefix("sdee: error: ") if lines else f"{command[0]} ended with status {done.returncode}"
        raise (BundleError if done.returncode == BundleError.exit_code else OutputError)(said)


def _free(base: str, name: str) -> str:
    directory = os.path.join(base, check_name(name))
    if os.path.lexists(directory):
        raise InputError(f"environment {name} exists already", hint=f"sdee env remove {name}, or choose another name")
    return directory


def clone(environment: Environment, name: str) -> Environment:
    """Copy an environment; file systems that can share the blocks do."""
    base = prepare_base()
    directory = _free(base, name)
    making = tempfile.mkdtemp(prefix=".new-", dir=base)
    made = Environment(name, making)
    try:
        with at_rest(environment, "clone"):
            for part in ("config.json", "plan", "mounts", "stamp", "base", "layers", "owners", "shadow"):
                if os.path.lexists(environment.path(part)):
                    source = environment.path(part)
                    _as_root(
                        environment, "cp", "-a", "--reflink=auto", "--no-target-directory", source, made.path(part)
                    )
        for part in ("root", "tmp"):
            os.mkdir(made.path(part))
        os.chmod(made.path("tmp"), 0o1777)
        save_settings(making, replace(environment.settings(), name=name))
        rename(made, environment.name)
        os.rename(making, directory)
    except BaseException:
        discard(making)
        raise
    return Environment(name, directory)


def rename(environment: Environment, old: str) -> None:
    """Show the new name in Debian's prompt, if the old one is shown."""
    own = environment.upper("/etc/debian_chroot")
    if own is None or not os.path.isfile(own):
        return
    with open(own, "r+", encoding="utf-8") as file:
        if file.read() == f"{old}\n":
            file.seek(0)
            file.truncate()
            file.write(f"{environment.name}\n")


def reset(environment: Environment) -> Environment:
    """Make the environment as new. What it had is gone when the new one is there, not before."""
    settings = environment.settings()
    emulate = environment.plan().ranges is None
    with at_rest(environment, "reset"):
        gone = os.path.join(os.path.dirname(environment.directory), f".gone-{os.getpid()}-{environment.name}")
        os.rename(environment.directory, gone)
        try:
            made = create(environment.name, settings.binds, emulate=emulate)
        except BaseException:
            os.rename(gone, environment.directory)
            raise
    discard(gone)
    return made


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


def _python(environment: Environment, action: str, file: str) -> None:
    module = "sdee.runtime.environment.archive"
    _as_root(environment, sys.executable, "-m", module, action, environment.directory, os.path.abspath(file))


def import_(source: str, name: str | None, *, force: bool) -> tuple[Environment, list[str]]:
    """Make an environment of an exported one; return it and what to tell the user."""
    try:
        header = archive.read_header(source)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    settings = header["settings"]
    if not isinstance(settings, dict) or not isinstance(settings.get("system"), str):
        raise BundleError(f"{source}: its settings are damaged")
    if settings["system"] != system_name() and not force:
        raise InputError(
            f"{source} was made over {settings['system']}, and here is {system_name()}: its programs may not fit",
            hint="--force imports it nevertheless",
        )
    wanted = name or str(settings.get("name"))
    binds = [path for path in settings.get("binds", ()) if isinstance(path, str) and os.path.isdir(path)]
    made = create(wanted, binds, emulate=not header.get("ids"))
    try:
        with at_rest(made, "import into"):
            shutil.rmtree(made.path("base"))
            os.mkdir(made.path("base"))
            _python(made, "read", source)
            notes = adapt(made)
        rename(made, str(settings.get("name")))
    except BaseException:
        discard(made.directory)
        raise
    return made, notes
