"""`sdee env enter`, `sdee shell`: look whether the host has changed, then become sdee-env. Imports next to nothing."""

from __future__ import annotations

import os
import sys

from sdee.base.files import write_whole
from sdee.base.process import become
from sdee.runtime.environment.locations import STATE_COMMANDS, base_directory
from sdee.runtime.environment.stamp import changed_files, moved
from sdee.runtime.programs import env_path, front_path

TYPE_CHECKING = False  # not typing's: importing that takes longer than all else here
if TYPE_CHECKING:
    from typing import NoReturn

FLAGS = ("--x11", "--ssh-agent")


def parse(arguments: list[str]) -> tuple[list[str], str, list[str]] | None:
    """Return flags, the environment's name and the command; None for what click shall explain (--help, mistakes)."""
    flags: list[str] = []
    name = ""
    for at, argument in enumerate(arguments):
        if argument == "--":
            return (flags, name, arguments[at + 1 :]) if name else None
        if argument in FLAGS:
            flags.append(argument)
        elif argument.startswith("-") or name:
            return None
        else:
            name = argument
    return (flags, name, []) if name else None


def prepare_commands(directory: str) -> None:
    """Write what stands in place of the job manager's commands inside, as far as it is not there: /run/sdee."""
    from sdee.base.files import beside  # noqa: PLC0415
    from sdee.base.interpreter import files, own_module  # noqa: PLC0415

    commands = os.path.join(directory, STATE_COMMANDS)
    for name in ("", "real", "prefix"):
        os.makedirs(os.path.join(commands, name), exist_ok=True)
    call = f'exec {" ".join(map(_quoted, own_module("sdee.__main__", "inside")))} "$@"'
    # /tmp and /run are others inside, and software may be removed. 244: docs/exit-codes.md
    check = beside(__file__, "missing.sh").replace("@NEEDED@", " ".join(map(_quoted, files())))
    script = f"#!/bin/sh\n# Written by sdee: srun, sbatch and salloc inside\n{check}{call}\n"
    _write(os.path.join(commands, "sdee-inside"), script, 0o755)
    _write(os.path.join(commands, "user"), f"{os.getuid()} {os.getgid()} {_user_name()}\n", 0o644)
    target, state = os.path.join(commands, "sdee-front"), os.stat(front_path())
    try:
        there = os.stat(target)
        same = (there.st_size, there.st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    except OSError:
        same = False
    if not same:
        import shutil  # noqa: PLC0415

        from sdee.runtime.environment import stand_ins, store  # noqa: PLC0415

        if os.path.isdir(os.path.join(directory, "layers")):
            stand_ins.refresh(store.Environment(os.path.basename(directory), directory))
        shutil.copy2(front_path(), f"{target}.{os.getpid()}")  # terminals may come at once
        os.replace(f"{target}.{os.getpid()}", target)


def _write(path: str, text: str, mode: int) -> None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            if file.read() == text:
                return
    except OSError:
        pass
    write_whole(path, text.encode("utf-8", "surrogateescape"), mode)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _user_name() -> str:
    import pwd  # noqa: PLC0415

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER") or str(os.getuid())


def _bring_up_to_date(name: str, directory: str) -> None:
    if changed_files(directory) or moved(directory):
        from sdee.runtime.environment.reconcile import reconcile  # noqa: PLC0415

        for line in reconcile(name):
            sys.stderr.write(f"sdee: {line}\n")
    if os.stat(directory).st_uid == os.geteuid():  # else sdee-env says that it is another's
        prepare_commands(directory)


def enter(flags: list[str], name: str, command: list[str]) -> NoReturn:
    """Replace this process by sdee-env (execve(2)). Raises SdeeError."""
    directory = os.path.join(base_directory(), name)
    if "/" in name or not os.path.isfile(os.path.join(directory, "stamp")):
        from sdee.runtime.environment.store import find  # noqa: PLC0415

        find(name)  # says what is wrong
    try:
        _bring_up_to_date(name, directory)
    except OSError as error:
        from sdee.base.errors import OutputError  # noqa: PLC0415
        from sdee.runtime.environment.store import find  # noqa: PLC0415

        find(name)  # it may have been removed just now
        raise OutputError(f"cannot write {error.filename}: {error.strerror}") from error
    become(env_path(), ["sdee-env", "enter", *flags, directory, name, *command])


def main(arguments: list[str]) -> bool:
    """Enter, or return False for what click shall explain."""
    parsed = parse(arguments)
    if parsed is None:
        return False
    from sdee.base.errors import SdeeError  # noqa: PLC0415

    try:
        enter(*parsed)
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        sys.exit(error.exit_code)
