"""Make an environment: probe, plan, skeleton, settings inside it."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdee.base import mountinfo
from sdee.base.errors import OutputError, UsageError
from sdee.runtime.environment import leftovers, plan, real_ids, stand_ins, subordinate_ids
from sdee.runtime.environment.configure import configure, note_own
from sdee.runtime.environment.sdee_env import run_helpers
from sdee.runtime.environment.stamp import keep_host, mount_points
from sdee.runtime.environment.store import Environment, Settings, check_name, prepare_base, save_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Ranges = tuple[tuple[int, int], tuple[int, int]] | None


def create(name: str, binds: Sequence[str] = (), *, emulate: bool = False) -> Environment:
    """Make the environment `name`; nothing is left when that fails. Raises SdeeError."""
    check_name(name)
    for path in binds:
        if not os.path.isdir(path):
            raise UsageError(f"--bind {path}: not a directory")
        if not plan.is_plain(os.path.realpath(path)):
            raise UsageError(f"--bind {path}: sdee cannot bind a name with a tab or a line break")
    with being_made(name) as made:
        fill(made, tuple(binds), emulate=emulate)
    return Environment(name, os.path.join(os.path.dirname(made.directory), name))


@contextmanager
def being_made(name: str) -> Iterator[Environment]:
    """Give a directory in which to make an environment, which has its name at the end and not before. Raises SdeeError.

    A kill leaves what the next command removes; anything else that goes wrong leaves nothing.
    """
    base = prepare_base()
    directory = os.path.join(base, check_name(name))
    leftovers.refuse_taken(directory)
    with _discarded_on_failure(name, base) as held:
        yield Environment(name, held.directory)
        leftovers.finish(held, directory)


@contextmanager
def being_replaced(environment: Environment) -> Iterator[Environment]:
    """Give a directory in which to make an environment again; it replaces the old one at the end."""
    with _discarded_on_failure(environment.name, prepare_base()) as held:
        yield Environment(environment.name, held.directory)
        gone = leftovers.replace(held, environment.directory)
    gone.discard()


@contextmanager
def _discarded_on_failure(name: str, base: str) -> Iterator[leftovers.Held]:
    held = leftovers.begin(base)
    try:
        yield held
    except OSError as error:
        held.discard()
        raise OutputError(f"cannot make environment {name}: {error.filename or base}: {error.strerror}") from error
    except BaseException:
        held.discard()
        raise


def fill(environment: Environment, binds: tuple[str, ...], *, emulate: bool) -> None:
    """Make all that is in a new environment's directory."""
    base = os.path.dirname(environment.directory)
    home = home_directory()
    for name in ("layers", "root", "tmp", "base"):
        os.mkdir(environment.path(name))
    os.chmod(environment.path("tmp"), 0o1777)
    save_settings(
        environment.directory,
        Settings(environment.name, time.strftime("%Y-%m-%dT%H:%M:%S"), system_name(), binds),
    )
    ranges = None if emulate else subordinate_ids.usable_ranges()
    fill_layers(environment, make_plan(environment, base, ranges))
    configure(environment, home)
    stand_ins.divert(environment, lambda path: note_own(environment, path))
    keep_host(environment.directory)


def home_directory() -> str:
    """Return the user's home, "/" where HOME is not set and the account has none: as login(1) does."""
    home = os.path.expanduser("~")
    return home if home.startswith("/") else "/"


def make_plan(environment: Environment, base: str, ranges: Ranges) -> plan.Plan:
    """Plan, or plan again for what is mounted on the host now, and write that down."""
    mounted = mountinfo.of_this_machine()
    binds = environment.settings().binds
    made = plan.Plan(plan.build(mounted, base, home_directory(), binds, plan.installation()).steps, ranges)
    with open(environment.path("plan"), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(made.text())
    with open(environment.path("mounts"), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join(mount_points()))
    return made


def fill_layers(environment: Environment, made: plan.Plan, *, only_missing: bool = False) -> None:
    """Make the skeletons, or complete them; and the shadows of directories that have mounts in them.

    With `only_missing`, make only those of mounts that have no upper directory yet: of another plan, on the same host.
    """
    jobs: list[tuple[str, ...]] = []
    base = os.path.realpath(os.path.dirname(environment.directory))
    before = real_ids.listed(environment, made) if made.ranges else set()
    for step in made.steps:
        upper = environment.path(step.argument)
        if step.kind == "own" and step in made.layers:
            os.makedirs(upper, exist_ok=True)
            os.chmod(upper, _mode_of(step.path))
        elif step.kind == "overlay" and (
            not os.path.lexists(upper) if only_missing else step in made.layers or os.path.ismount(step.path)
        ):
            os.makedirs(os.path.dirname(upper), exist_ok=True)
            empty = (base, *made.not_layered_below(step.path))
            jobs.append(_skeleton_job(step, upper, empty, real=made.ranges is not None))
    run_helpers(jobs)
    for step in made.layers:
        if step.kind == "overlay":
            _join_lists(os.path.dirname(environment.path(step.argument)))
    if made.ranges:
        real_ids.give_back(environment, made, before)
    make_shadows(environment, made)


def _skeleton_job(step: plan.Step, upper: str, empty: Sequence[str], *, real: bool) -> tuple[str, ...]:
    """Return the call of sdee-env that makes one skeleton. `empty`: directories that are made empty."""
    layer = upper[: upper.index("/upper")]
    below = "/".join(["", *step.path.split("/")[2:]]).rstrip("/")
    options = ["skeleton", *(["--mask"] if plan.is_masked(step.path) else []), *(["--real-ids"] if real else [])]
    listing = f"{layer}/skeleton{below.replace('/', '-')}"
    for path in empty:
        options += ["--but", path]
    return (*options, step.path, upper, listing, below)


def _join_lists(layer: str) -> None:
    """Make one list of directories of those that the calls have written."""
    target = os.path.join(layer, "skeleton")
    for entry in sorted(os.scandir(layer), key=lambda entry: entry.name):
        if entry.name.startswith("skeleton-"):
            with open(entry.path, "rb") as part, open(target, "ab") as whole:
                whole.write(part.read())
            os.unlink(entry.path)


def make_shadows(environment: Environment, made: plan.Plan) -> None:
    """Copy what lies directly in directories that have mounts in them: their overlays' lower layers."""
    shutil.rmtree(environment.path("shadow"), ignore_errors=True)
    for step in made.shadows:
        _copy_shadow(step.path, environment.path(step.lower))


def _copy_shadow(host: str, shadow: str) -> None:
    os.makedirs(shadow)
    if not os.access(host, os.R_OK | os.X_OK):
        return
    for entry in os.scandir(host):
        target = os.path.join(shadow, entry.name)
        if entry.is_dir(follow_symlinks=False):
            os.mkdir(target)
        elif entry.is_symlink() or (entry.is_file(follow_symlinks=False) and os.access(entry.path, os.R_OK)):
            shutil.copy2(entry.path, target, follow_symlinks=False)


def _mode_of(path: str) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0o755


def system_name() -> str:
    """Return PRETTY_NAME of os-release(5)."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]  # "Linux" where the file names none
    except OSError:
        return "Linux"
