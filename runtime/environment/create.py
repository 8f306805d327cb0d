"""Make an environment: probe, plan, skeleton, settings inside it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from sdee.errors import InputError, OutputError, UsageError
from sdee.runtime.environment import accounts, identity, mounts, plan, program
from sdee.runtime.environment.enter import mount_points, stamp_line
from sdee.runtime.environment.store import (
    Environment,
    Settings,
    check_name,
    prepare_base,
    run_helpers,
    save_settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    Ranges = tuple[tuple[int, int], tuple[int, int]] | None

# Files of the host by which a change of its packages is noticed, and of which a copy is kept to merge with later
STAMPS = (
    "/etc/os-release",
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/etc/passwd",
    "/etc/group",
)
KEPT = ("/var/lib/dpkg/status", "/etc/passwd", "/etc/group")

HOMES = "/var/home"
OWN_FILES = "own-files"  # below base/: path and SHA-256 of each file that `create` wrote into the environment

APT = """// Written by sdee: the environment has one user, and no second one to run downloads as.
APT::Sandbox::User "root";
"""
POLICY = """#!/bin/sh
# Written by sdee: packages start no services in an environment (invoke-rc.d(8)). Remove this file if they should.
exit 101
"""
ZSH = """
# Written by sdee: shows the environment, after ~/.zshrc has had its say
_sdee_prompt() { [[ $PS1 == *"($SDEE_ENVIRONMENT)"* || -z $SDEE_ENVIRONMENT ]] || PS1="($SDEE_ENVIRONMENT) $PS1" }
precmd_functions+=(_sdee_prompt)
"""
FISH = """# Written by sdee: shows the environment
function _sdee_prompt --on-event fish_prompt
    if set -q SDEE_ENVIRONMENT; and not functions -q _sdee_own_prompt
        functions -c fish_prompt _sdee_own_prompt
        function fish_prompt
            echo -n "($SDEE_ENVIRONMENT) "
            _sdee_own_prompt
        end
    end
end
"""


def create(name: str, binds: Sequence[str] = (), *, emulate: bool = False) -> Environment:
    """Make the environment `name`; nothing is left when that fails. Raises SdeeError."""
    check_name(name)
    for path in binds:
        if not os.path.isdir(path):
            raise UsageError(f"--bind {path}: is no directory")
    base = prepare_base()
    directory = os.path.join(base, name)
    if os.path.lexists(directory):
        raise InputError(f"environment {name} exists already", hint=f"sdee env enter {name}, or sdee env remove {name}")
    making = tempfile.mkdtemp(prefix=".new-", dir=base)
    try:
        _make(Environment(name, making), tuple(binds), base, emulate=emulate)
        os.rename(making, directory)
    except OSError as error:
        discard(making)
        raise OutputError(f"cannot make environment {name}: {error.filename or base}: {error.strerror}") from error
    except BaseException:
        discard(making)
        raise
    return Environment(name, directory)


def discard(directory: str) -> None:
    """Remove what belongs to an environment: as root of its ids, since files of any mode and owner may be there."""
    subprocess.run(
        [program(), "root", directory, "/bin/rm", "-rf", "--one-file-system", directory],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    if os.path.lexists(directory):
        shutil.rmtree(directory, ignore_errors=True)


def _make(environment: Environment, binds: tuple[str, ...], base: str, *, emulate: bool) -> None:
    home = os.path.expanduser("~")
    for name in ("layers", "root", "tmp", "base"):
        os.mkdir(environment.path(name))
    os.chmod(environment.path("tmp"), 0o1777)
    save_settings(
        environment.directory,
        Settings(environment.name, time.strftime("%Y-%m-%dT%H:%M:%S"), system_name(), binds),
    )
    ranges = None if emulate else identity.usable_ranges()
    fill_layers(environment, make_plan(environment, base, ranges))
    configure(environment, home)
    keep_host(environment)


def make_plan(environment: Environment, base: str, ranges: Ranges) -> plan.Plan:
    """Plan, or plan anew for what is mounted on the host now, and write that down."""
    mounted = mounts.of_this_machine()
    binds = environment.settings().binds
    made = plan.Plan(plan.build(mounted, base, os.path.expanduser("~"), binds).steps, ranges)
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
    for step in made.steps:
        upper = environment.path(step.argument)
        if step.kind == "own":
            os.makedirs(upper, exist_ok=True)
            os.chmod(upper, _mode_of(step.path))
        elif step.kind == "overlay" and (
            not os.path.lexists(upper) if only_missing else step in made.layers or os.path.ismount(step.path)
        ):
            os.makedirs(os.path.dirname(upper), exist_ok=True)
            jobs.append(_skeleton_job(step, upper, real=made.ranges is not None))
    run_helpers(jobs)
    for step in made.layers:
        if step.kind == "overlay":
            _join_lists(os.path.dirname(environment.path(step.argument)))
    make_shadows(environment, made)


def _skeleton_job(step: plan.Step, upper: str, *, real: bool) -> tuple[str, ...]:
    """Return the call of sdee-env that makes one skeleton."""
    layer = upper[: upper.index("/upper")]
    below = "/".join(["", *step.path.split("/")[2:]]).rstrip("/")
    options = ["skeleton", *(["--mask"] if plan.is_masked(step.path) else []), *(["--real-ids"] if real else [])]
    listing = f"{layer}/skeleton{below.replace('/', '-')}"
    if step.path == "/var":  # /var/tmp is the environment's own: a mount point
        options += ["--but", "tmp"]
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


def _write(environment: Environment, path: str, text: str, mode: int = 0o644) -> None:
    target = environment.upper(path)
    if target is None or not os.path.isdir(os.path.dirname(target)):
        return
    with open(target, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(target, mode)
    _note_own(environment, path)


def _note_own(environment: Environment, path: str) -> None:
    with open(environment.path("base", OWN_FILES), "a", encoding="utf-8") as file:
        file.write(f"{path}\t{fingerprint(environment.upper(path) or '')}\n")


def fingerprint(path: str) -> str:
    """Return the SHA-256 of a file, "-" for a directory, "" where there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except IsADirectoryError:
        return "-"
    except OSError:
        return ""


def read_host(path: str) -> str:
    """Return a file of the host, "" where there is none that can be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def configure(environment: Environment, home: str) -> None:
    """Write what differs from the host inside: accounts, the package manager's settings, prompts."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    users = accounts.passwd(read_host("/etc/passwd"), home, shell)
    _write(environment, "/etc/passwd", users)
    _write(environment, "/etc/shadow", accounts.shadow(users), 0o640)
    if os.path.exists("/etc/gshadow"):
        _write(environment, "/etc/gshadow", accounts.gshadow(read_host("/etc/group")), 0o640)
    if os.path.isdir("/var/lib/dpkg"):
        _write(environment, "/etc/apt/apt.conf.d/99sdee", APT)
        _write(environment, "/usr/sbin/policy-rc.d", POLICY, 0o755)
        _write(environment, "/etc/debian_chroot", f"{environment.name}\n")
    _homes(environment)
    if os.path.exists("/etc/zsh/zshrc"):
        _write(environment, "/etc/zsh/zshrc", read_host("/etc/zsh/zshrc") + ZSH)
    if os.path.isdir("/etc/fish/conf.d"):
        _write(environment, "/etc/fish/conf.d/sdee.fish", FISH)


def _homes(environment: Environment) -> None:
    """Let adduser(8) and useradd(8) make homes in /var/home: /home is the host's own, where the user may make none."""
    above = environment.upper(HOMES)
    if above is None or environment.upper("/home") is not None:
        return
    os.makedirs(above, exist_ok=True)
    _note_own(environment, HOMES)
    for path, key in (("/etc/adduser.conf", "DHOME"), ("/etc/default/useradd", "HOME")):
        text = read_host(path)
        if text:
            line = f"{key}={HOMES}"
            changed, found = re.subn(rf"(?m)^#?\s*{key}=.*$", line, text, count=1)
            _write(environment, path, changed if found else f"{text}{line}\n")


def keep_host(environment: Environment) -> None:
    """Note what the host's system is now, and keep what a later merge needs of it."""
    for path in KEPT:
        if os.path.exists(path):
            shutil.copyfile(path, environment.path("base", path.strip("/").replace("/", "-")))
    with open(environment.path("stamp"), "w", encoding="utf-8") as file:
        file.writelines(stamp_line(path) + "\n" for path in STAMPS)


def system_name() -> str:
    """Return PRETTY_NAME of os-release(5)."""
    for line in read_host("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return "Linux"
