"""The host's system has changed under an environment: adapt it, and say what was done."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from sdee.base import dpkg
from sdee.base.errors import InputError
from sdee.base.files import text_of
from sdee.base.rpm import DATABASES
from sdee.runtime.environment import accounts, merge, rpm
from sdee.runtime.environment.configure import start_files
from sdee.runtime.environment.create import fill_layers, make_plan, system_name
from sdee.runtime.environment.stamp import changed_files, keep_host
from sdee.runtime.environment.store import Environment, at_rest, find
from sdee.runtime.programs import env_path

if TYPE_CHECKING:
    from collections.abc import Callable


def reconcile(name: str) -> list[str]:
    """Adapt the environment to what the host is now; return what to tell the user.

    Raises InputError where that cannot be done: another release of the system, two changed RPM databases.
    """
    environment = find(name)
    changed = changed_files(environment.directory)
    if not changed:  # only what is mounted
        if not environment.is_running():
            with at_rest(environment, "adapt"):
                plan = make_plan(environment, os.path.dirname(environment.directory), environment.plan().ranges)
                fill_layers(environment, plan, only_missing=True)
        return []
    if environment.is_running():
        return [f"the host's system has changed ({', '.join(changed)}); {name} adapts when its last shell has ended"]
    _refuse(environment, changed)
    with at_rest(environment, "adapt"):
        notes = adapt(environment)
    if environment.upper("/etc/ld.so.cache") and os.path.exists(environment.upper("/etc/ld.so.cache") or ""):
        command = [env_path(), "enter", environment.directory, name, "ldconfig"]
        subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    return [f"the host's system has changed since {name} was last used ({', '.join(changed)}): adapted", *notes]


def _refuse(environment: Environment, changed: list[str]) -> None:
    was, now = environment.settings().system, system_name()
    if _release(was) != _release(now):
        raise InputError(
            f"environment {environment.name} was made over {was}, and the host is {now} now: its programs may not fit",
            hint=f"`sdee env diff {environment.name}` shows what to save; then sdee env reset {environment.name}",
        )
    own = rpm.own_databases(environment)
    if own and any(os.path.basename(path) in DATABASES for path in changed):
        raise InputError(
            f"the RPM packages of the host and of environment {environment.name} have both changed: "
            f"sdee cannot merge two RPM databases ({', '.join(own)})",
            hint=f"sdee env diff {environment.name} shows its packages; then sdee env reset {environment.name}",
        )


def _release(system: str) -> str:
    """Return name and major version: "Debian GNU/Linux 12 (bookworm)", "Rocky Linux 9"."""
    words = system.split(" ")
    return " ".join(word.split(".")[0] for word in words)


def adapt(environment: Environment) -> list[str]:
    """Complete the skeletons, drop what the host has dropped, merge packages and accounts. It is at rest."""
    if not rpm.own_databases(environment):
        rpm.forget_copies(environment)
    plan = make_plan(environment, os.path.dirname(environment.directory), environment.plan().ranges)
    fill_layers(environment, plan)
    for step in plan.layers:
        if step.kind == "overlay":
            drop_stale(step.path, os.path.dirname(environment.path(step.argument)))
    notes = []
    conflicts = _merge_file(environment, dpkg.STATUS, merge.status)
    if conflicts:
        names = ", ".join(sorted(key.split(":")[0] for key in conflicts))
        notes.append(
            f"host and environment both changed {names}; the environment's stay (check them inside: `apt-get check`)"
        )
    for path in ("/etc/passwd", "/etc/group"):
        _merge_file(environment, path, merge.accounts)
    _complete_shadow(environment)
    start_files(environment)
    keep_host(environment.directory)
    return notes


def _merge_file(
    environment: Environment, path: str, function: Callable[[str, str, str], tuple[str, list[str]]]
) -> list[str]:
    own = environment.own_file(path)
    if own is None:
        return []
    base = text_of(environment.path("base", path.strip("/").replace("/", "-")))
    text, conflicts = function(base, text_of(path), text_of(own))
    with open(own, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    return conflicts if path.endswith("status") else []


def _complete_shadow(environment: Environment) -> None:
    """Give accounts that are new on the host their entries: passwd(1) and others ask for them."""
    for source, target, make in (
        ("/etc/passwd", "/etc/shadow", accounts.shadow),
        ("/etc/group", "/etc/gshadow", accounts.gshadow),
    ):
        own = environment.own_file(target)
        if own is None:
            continue
        listed = text_of(environment.own_file(source) or source)
        there = merge.records(text_of(own))
        missing = [line for name, line in merge.records(make(listed)).items() if name not in there]
        if missing:
            with open(own, "a", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(line + "\n" for line in missing)


def drop_stale(host: str, layer: str) -> None:
    """Remove skeleton directories that the host has no more and in which the environment has nothing."""
    listing = os.path.join(layer, "skeleton")
    with open(listing, "rb") as file:
        names = [name for name in file.read().split(b"\0") if name]
    kept = []
    for name in sorted(set(names), reverse=True):
        if not os.path.isdir(os.fsencode(host) + name):
            try:
                os.rmdir(os.fsencode(layer) + b"/upper" + name)
            except OSError:
                pass  # the environment has something in it, or has removed it itself
            else:
                continue
        kept.append(name)
    with open(listing, "wb") as file:
        file.write(b"".join(name + b"\0" for name in reversed(kept)))
