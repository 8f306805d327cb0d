"""`sdee env enter`, `sdee shell`: look whether the host has changed, then become sdee-env. Imports next to nothing."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from sdee.files import lines, mountinfo, read_text
from sdee.runtime.environment import base_directory, front, program

NOT_SYSTEM = ("/proc", "/sys", "/dev", "/run", "/tmp", "/home", "/mnt", "/media")
FLAGS = ("--x11", "--ssh-agent")
COMMANDS = "commands"
COMMANDS_INSIDE = "/run/sdee"
INSIDE = "from sdee.cli.inside import main; main()"

# /tmp and /run are others inside, and software may be removed. 244: docs/exit-codes.md
_MISSING = """for file in NEEDED; do
  [ -r "$file" ] && continue
  echo "sdee: $1: sdee itself is not seen in this environment: $file is not there" >&2
  echo "  try: install it below your home, or sdee env create --bind DIRECTORY" >&2
  echo "  without a bundle: SDEE_TRANSPARENT=0 $1 …" >&2
  exit 244
done
"""


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


def stale(directory: str) -> bool:
    """Tell whether the host's system is another than when the environment was made or last adapted."""
    return any(line != stamp_line(line.split("\t")[0]) for line in lines(read_text(os.path.join(directory, "stamp"))))


def stamp_line(path: str) -> str:
    """Return the line of `stamp` for one of the host's files: path, time and size, or zeros where there is none."""
    try:
        file = os.stat(path)
    except OSError:
        return f"{path}\t0\t0"
    return f"{path}\t{file.st_mtime_ns}\t{file.st_size}"


def mount_points() -> list[str]:
    """Return what is mounted below the system's directories, as mountinfo(5) writes it."""
    points = {line.split(" ", 5)[4] for line in lines(mountinfo())}
    return sorted(point for point in points if not point.startswith(NOT_SYSTEM))


def moved(directory: str) -> bool:
    """Tell whether other things are mounted there than when the plan was made."""
    return read_text(os.path.join(directory, "mounts")) != "\n".join(mount_points())


def prepare_commands(directory: str) -> None:
    """Write what stands in place of the job manager's commands inside, as far as it is not there: /run/sdee."""
    from sdee.interpreter import files, own_python  # noqa: PLC0415

    commands = os.path.join(directory, COMMANDS)
    for name in ("", "real", "prefix"):
        os.makedirs(os.path.join(commands, name), exist_ok=True)
    call = f'exec {" ".join(map(_quoted, own_python(INSIDE)))} "$@"'
    check = _MISSING.replace("NEEDED", " ".join(map(_quoted, files())))
    script = f"#!/bin/sh\n# Written by sdee: srun, sbatch and salloc inside\n{check}{call}\n"
    _write(os.path.join(commands, "sdee-inside"), script, 0o755)
    _write(os.path.join(commands, "user"), f"{os.getuid()} {os.getgid()} {_user_name()}\n", 0o644)
    target, state = os.path.join(commands, "sdee-front"), os.stat(front())
    try:
        there = os.stat(target)
        same = (there.st_size, there.st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    except OSError:
        same = False
    if not same:
        import shutil  # noqa: PLC0415

        from sdee.runtime.environment import fronts, store  # noqa: PLC0415

        if os.path.isdir(os.path.join(directory, "layers")):
            fronts.refresh(store.Environment(os.path.basename(directory), directory))
        shutil.copy2(front(), f"{target}.{os.getpid()}")  # terminals may come at once
        os.replace(f"{target}.{os.getpid()}", target)


def _write(path: str, text: str, mode: int) -> None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            if file.read() == text:
                return
    except OSError:
        pass
    new = f"{path}.{os.getpid()}"
    with open(new, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(new, mode)
    os.replace(new, path)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _user_name() -> str:
    import pwd  # noqa: PLC0415

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER") or str(os.getuid())


def _bring_up_to_date(name: str, directory: str) -> None:
    if stale(directory) or moved(directory):
        from sdee.runtime.environment.reconcile import reconcile  # noqa: PLC0415

        for line in reconcile(name):
            sys.stderr.write(f"sdee: {line}\n")
    if os.stat(directory).st_uid == os.geteuid():  # else sdee-env says that it is another's
        prepare_commands(directory)


def enter(flags: list[str], name: str, command: list[str]) -> NoReturn:
    """Replace this process by sdee-env (execve(2)). Raises SdeeError."""
    import signal  # noqa: PLC0415

    directory = os.path.join(base_directory(), name)
    if "/" in name or not os.path.isfile(os.path.join(directory, "stamp")):
        from sdee.runtime.environment.store import find  # noqa: PLC0415

        find(name)  # says what is wrong
    try:
        _bring_up_to_date(name, directory)
    except OSError as error:
        from sdee.errors import OutputError  # noqa: PLC0415
        from sdee.runtime.environment.store import find  # noqa: PLC0415

        find(name)  # it may have been removed just now
        raise OutputError(f"cannot write {error.filename}: {error.strerror}") from error
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and execve(2) would hand that on
        signal.signal(number, signal.SIG_DFL)
    os.execv(program(), ["sdee-env", "enter", *flags, directory, name, *command])


def main(arguments: list[str]) -> bool:
    """Enter, or return False for what click shall explain."""
    parsed = parse(arguments)
    if parsed is None:
        return False
    from sdee.errors import SdeeError  # noqa: PLC0415

    try:
        enter(*parsed)
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        sys.exit(error.exit_code)
