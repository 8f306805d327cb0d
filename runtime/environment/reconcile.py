"""The host's system has changed under an environment: adapt it, and say what was done."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from sdee.errors import InputError
from sdee.files import lines, read_text
from sdee.runtime.environment import accounts, merge, program, rpm
from sdee.runtime.environment.configure import read_host, start_files
from sdee.runtime.environment.create import fill_layers, keep_host, make_plan, system_name
from sdee.runtime.environment.enter import stamp_line
from sdee.runtime.environment.store import Environment, at_rest, find

if TYPE_CHECKING:
    from collections.abc import Callable


def changed_files(environment: Environment) -> list[str]:
    """Return which of the files that tell the host's state are others than noted."""
    noted = lines(read_text(environment.path("stamp")))
    return [line.split("\t")[0] for line in noted if line != stamp_line(line.split("\t")[0])]


def reconcile(name: str) -> list[str]:
    """Adapt the environment to what the host is now; return what to tell the user.

    Raises InputError where that cannot be done: another release of the system, two changed RPM databases.
    """
    environment = find(name)
    changed = changed_files(environment)
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
        command = [program(), "enter", environment.directory, name, "ldconfig"]
        subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    return [f"the host's system has changed since {name} was last used ({', '.join(changed)}): adapted", *notes]


def _refuse(environment: Environment, changed: list[str]) -> None:
    was, now = environment.settings().system, system_name()
    if _release(was) != _release(now):
        raise InputError(
            f"environment {environment.name} was made over {was}, and the host is {now} now: its programs may not fit",
            hint=f"`sdee env diff {environment.name}` shows what you may want to save; then sdee env reset it",
        )
    own = rpm.own_databases(environment)
    if own and any(os.path.basename(path) in rpm.DATABASES for path in changed):
        raise InputError(
            f"the host's RPM packages have changed, and so have those of environment {environment.name}: "
            f"two RPM databases cannot be merged ({', '.join(own)})",
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
    conflicts = _merge_file(environment, "/var/lib/dpkg/status", merge.status)
    if conflicts:
        names = ", ".join(sorted(key.split(":")[0] for key in conflicts))
        notes.append(
            f"changed by both, the environment's stay: {names} (`apt-get check` inside tells whether all fits)"
        )
    for path in ("/etc/passwd", "/etc/group"):
        _merge_file(environment, path, merge.accounts)
    _complete_shadow(environment)
    start_files(environment)
    keep_host(environment)
    return notes


def _merge_file(
    environment: Environment, path: str, function: Callable[[str, str, str], tuple[str, list[str]]]
) -> list[str]:
    own = environment.own_file(path)
    if own is None:
        return []
    base = read_host(environment.path("base", path.strip("/").replace("/", "-")))
    text, conflicts = function(base, read_host(path), read_host(own))
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
        listed = read_host(environment.own_file(source) or source)
        there = merge.records(read_host(own))
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
