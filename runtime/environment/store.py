"""The environments of a user: where they lie, which run, the lock that start and change share."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import stat
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sdee.base.errors import InputError, KernelError, OutputError, UsageError
from sdee.base.files import read_text
from sdee.runtime.environment import leftovers, plan
from sdee.runtime.environment.locations import COMMANDS, base_directory
from sdee.runtime.environment.sdee_env import run_helper

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 6  # s: a holder takes 5 to end (holder.c, GRACE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True)
class Settings:
    """What the user gave to `create`, kept in config.json."""

    name: str
    created: str  # ISO 8601, local time
    system: str  # PRETTY_NAME of os-release
    binds: tuple[str, ...] = ()
    version: int = 1


@dataclass(frozen=True)
class Environment:
    """One environment of the user."""

    name: str
    directory: str

    def path(self, *parts: str) -> str:
        """Return a path below its directory."""
        return os.path.join(self.directory, *parts)

    def settings(self) -> Settings:
        """Read config.json. Raises InputError where it was removed meanwhile, or is damaged."""
        try:
            content = json.loads(self._read("config.json"))
            return Settings(**{**content, "binds": tuple(content["binds"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            hint = f"remove it and create it again: sdee env remove {self.name}; sdee env create {self.name}"
            raise InputError(f"{self.path('config.json')!a} is damaged: {error}", hint=hint) from None

    def plan(self) -> plan.Plan:
        """Read its mount plan. Raises InputError where it was removed meanwhile, or is damaged."""
        return plan.read(self._read("plan"))

    def _read(self, part: str) -> str:
        try:
            return read_text(self.path(part))
        except FileNotFoundError:
            raise self.gone() from None

    def gone(self) -> InputError:
        """Return what to raise where another command has taken it away."""
        return InputError(f"environment {self.name} was removed or reset just now", hint="`sdee env list` shows all")

    def upper(self, path: str) -> str | None:
        """Return where the environment keeps its own version of `path`, there or not; None for what is the host's."""
        step = self.plan().layer_of(path)
        return self.path(step.argument) + path[len(step.path) :] if step else None

    def own_file(self, path: str) -> str | None:
        """Return where the environment has its own version of `path`, a file that no link of its leads to.

        A link would be followed out here, perhaps out of the environment: what lies there is not ours to write.
        """
        step = self.plan().layer_of(path)
        if step is None:
            return None
        at = self.path(step.argument)
        for name in path[len(step.path) :].split("/")[1:]:
            if os.path.islink(at):
                return None
            at = os.path.join(at, name)
        return at if os.path.isfile(at) and not os.path.islink(at) else None

    def is_running(self) -> bool:
        """Tell whether a holder serves. One that is about to end is waited for: seconds, after `sdee env stop`."""
        with self._connect() as connection:
            if connection is None:
                return False
            connection.settimeout(_PATIENCE)
            try:
                return bool(connection.recv(1))  # PID 1's pidfd comes with it, and is dropped
            except TimeoutError:
                return True  # it has no room for more terminals
            except OSError:
                return False

    def holder(self) -> int | None:
        """Return the holder's process number, None where it does not run. Raises InputError where it was removed."""
        with self._connect() as connection:
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12) if connection else b""
        return int.from_bytes(peer[:4], "little") if peer else None

    @contextmanager
    def _connect(self) -> Iterator[socket.socket | None]:
        try:
            here = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            raise self.gone() from None
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            try:
                connection.connect(f"/proc/self/fd/{here}/socket")  # sun_path has 108 bytes
            except OSError:
                yield None
                return
            finally:
                os.close(here)
            yield connection


def save_settings(directory: str, settings: Settings) -> None:
    """Write config.json."""
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(asdict(settings), file, indent=1)
        file.write("\n")


def check_name(name: str) -> str:
    """Return a name that may become a directory. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid name of an environment",
            hint="use at most 64 letters, digits and . _ + -; begin with a letter or digit",
        )
    return name


def environments() -> list[Environment]:
    """Return all of the user's, by name."""
    base = base_directory()
    try:
        names = sorted(os.listdir(base))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot list {base}: {error.strerror}") from error
    found = [Environment(name, os.path.join(base, name)) for name in names if _NAME.fullmatch(name)]
    return [environment for environment in found if os.path.isfile(environment.path("config.json"))]


def find(name: str) -> Environment:
    """Return the environment of that name. Raises InputError when there is none."""
    directory = os.path.join(base_directory(), check_name(name))
    if not os.path.isfile(os.path.join(directory, "config.json")):
        names = ", ".join(environment.name for environment in environments())
        hint = f"existing ones: {names}" if names else f"create it: sdee env create {name}"
        if is_inside():
            hint = "you are in an environment, which hides all environments: leave it first"
        raise InputError(f"there is no environment {name} in {base_directory()}", hint=hint)
    return Environment(name, directory)


def is_inside() -> bool:
    """Tell whether this process runs in an environment, also where su(1) or sshd(8) has dropped its variables."""
    return os.path.exists(os.path.join(COMMANDS, "user"))


def refuse_nested() -> None:
    """Raise KernelError in an environment.

    The kernel lets a process have one supervisor (seccomp(2), EBUSY): another could be made there, but not entered.
    """
    if is_inside():
        raise KernelError("you are in an environment already, and environments do not nest", hint="leave it first")


def prepare_base() -> str:
    """Return the directory of environments, made with mode 0700. Raises OutputError, KernelError.

    Raises KernelError with the reason where overlayfs cannot have upper layers there, and in an environment.
    """
    refuse_nested()
    base = base_directory()
    if not os.environ.get("SDEE_ENV_DIR", "").strip() and os.path.expanduser("~") == "~":
        raise OutputError(
            "you have no home directory: neither HOME nor your account names one", hint="set SDEE_ENV_DIR"
        )
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        state = os.stat(base)
    except OSError as error:
        raise OutputError(f"cannot make {base}: {error.strerror}", hint="set SDEE_ENV_DIR") from error
    if state.st_uid != os.geteuid():
        raise OutputError(f"{base} is another user's", hint="set SDEE_ENV_DIR to a directory of your own")
    if stat.S_IMODE(state.st_mode) & 0o077:
        if any(not name.startswith(".") for name in os.listdir(base) if not _NAME.fullmatch(name)) or not (
            all(os.path.exists(os.path.join(base, name, "config.json")) for name in os.listdir(base))
        ):
            raise OutputError(
                f"{base} holds more than environments, and others can read it",
                hint="set SDEE_ENV_DIR to a directory for environments only, or chmod 700 this one",
            )
        os.chmod(base, 0o700)
    leftovers.sweep(base)
    with leftovers.locked(base):
        run_helper("probe", base)
    return base


@contextmanager
def present(environment: Environment) -> Iterator[None]:
    """Look at an environment that may run. Raises InputError where another command has taken it away meanwhile."""
    before = _inode(environment.directory)
    try:
        yield
    except FileNotFoundError:
        if _inode(environment.directory) == before:
            raise
    if _inode(environment.directory) != before:
        raise environment.gone()


def _inode(directory: str) -> int | None:
    try:
        return os.stat(directory).st_ino
    except FileNotFoundError:
        return None


@contextmanager
def at_rest(environment: Environment, purpose: str) -> Iterator[None]:
    """Hold the lock of an environment at rest, so that none starts it meanwhile. Raises InputError when it runs."""
    try:
        lock = open(environment.path("lock"), "ab")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise environment.gone() from None
    except OSError as error:
        raise OutputError(f"cannot lock environment {environment.name}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            there = os.stat(environment.path("lock"))
        except FileNotFoundError:
            raise environment.gone() from None
        if there.st_ino != os.fstat(lock.fileno()).st_ino:
            raise environment.gone()
        if not _comes_to_rest(environment):
            raise InputError(
                f"environment {environment.name} is in use: cannot {purpose} it",
                hint=f"leave its shells, or end everything in it: sdee env stop {environment.name}",
            )
        yield


def _comes_to_rest(environment: Environment) -> bool:
    """Wait a moment for an end: its last command may have ended just now, and the holder not have heard of it."""
    for pause in (0.05, 0.2, 0.5):
        if not environment.is_running():
            return True
        time.sleep(pause)
    return not environment.is_running()
