"""The mount plan of an environment: which directories are overlaid, which live, which its own. Data; nothing is done.

`sdee-env` reads the text of a plan (plan.c) and carries it out each time that an environment starts.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sdee
from sdee.base.errors import InputError
from sdee.base.paths import is_in
from sdee.runtime.environment import locations
from sdee.runtime.environment.locations import COMMANDS, STATE_COMMANDS

if TYPE_CHECKING:
    from sdee.base.mountinfo import Mount

# Top-level directories that hold the system: changes are the environment's. bin … libx32 where /usr is not merged
SYSTEM = frozenset(("usr", "etc", "opt", "var", "srv", "bin", "sbin", "lib", "lib32", "lib64", "libx32"))
LEFT_OUT = frozenset(("lost+found",))

# What must be the host's own, where it has it: sockets by which the job manager and name services are reached.
LIVE = (
    "/run/munge",
    "/run/slurm",
    "/run/slurmctld",
    "/run/nscd",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/NetworkManager/resolv.conf",
    "/run/resolvconf",
    "/run/nslcd",
    "/var/lib/sss/pipes",
)

_FIRST_LINE = "sdee-env 1"


@dataclass(frozen=True)
class Step:
    """One step: `kind` as plan.c knows it, where, and what for.

    Of an overlay `upper`, `work` and `lower` are directories of the environment; `lower` is "" where it is the host's
    `path`. All of a top-level directory has one upper tree, however it is mounted: layers/usr/upper is /usr.
    """

    kind: str
    path: str
    argument: str = ""
    work: str = ""
    lower: str = ""

    def line(self) -> str:
        """Return it as a line of the plan."""
        return f"{self.kind}\t{self.path}\t{self.argument}\t{self.work}\t{self.lower}".rstrip("\t")


@dataclass(frozen=True)
class Plan:
    """Steps in order, and the subordinate ids to map, if any: (start, count) of users and groups."""

    steps: tuple[Step, ...]
    ranges: tuple[tuple[int, int], tuple[int, int]] | None = None

    def text(self) -> str:
        """Return what sdee-env reads."""
        lines = [_FIRST_LINE]
        if self.ranges:
            lines.append("range\t" + " ".join(str(number) for pair in self.ranges for number in pair))
        return "\n".join([*lines, *(step.line() for step in self.steps), ""])

    def layer_of(self, path: str) -> Step | None:
        """Return the step of kind overlay or own to which `path` of the environment belongs; None where it is live."""
        holders = [step for step in self.steps if path == step.path or is_in(path, step.path)]
        last = holders[-1] if holders else None  # mounted over those before it
        return last if last is not None and last.kind in ("overlay", "own") else None

    @property
    def layers(self) -> tuple[Step, ...]:
        """Return the top-level steps that have a layer of their own."""
        return tuple(
            step for step in self.steps if step.argument.startswith("layers/") and step.argument.count("/") == 2
        )

    def not_layered_below(self, path: str) -> tuple[str, ...]:
        """Return the directories below `path` in which no layer shows: their skeletons would serve nobody."""
        return tuple(
            step.path for step in self.steps if step.kind not in ("overlay", "link", "live") and is_in(step.path, path)
        )

    @property
    def shadows(self) -> tuple[Step, ...]:
        """Return the steps whose lower layer is a copy of what lies directly in a directory of the host."""
        return tuple(step for step in self.steps if step.lower)


def read(text: str) -> Plan:
    """Return the plan that `text` says, by the rules of plan.c. Raises InputError."""
    steps, ranges = [], None
    first, *rest = text.removesuffix("\n").split("\n")  # other line ends may be in names
    if first != _FIRST_LINE:
        raise _not_understood(1)
    for number, line in enumerate(rest, 2):
        fields = line.split("\t")
        try:
            if fields[0] == "range":
                a, b, c, d = map(int, fields[1].split())
                ranges = ((a, b), (c, d))
            else:
                steps.append(Step(*fields))
        except (ValueError, IndexError, TypeError):
            raise _not_understood(number) from None
    return Plan(tuple(steps), ranges)


def _not_understood(line: int) -> InputError:
    hint = "a newer sdee made it, or it is damaged: remove the environment and create it again"
    return InputError(f"line {line} of its mount plan is unknown to this sdee", hint=hint)


def mangled(path: str) -> str:
    """Return a path as one name."""
    return path.strip("/").replace("-", "--").replace("/", "-")


@dataclass
class _Builder:
    mounts: tuple[Mount, ...]
    base: str
    live: tuple[str, ...]  # the home and what else is to be the host's own
    steps: list[Step] = field(default_factory=list)

    def add(self, kind: str, path: str, argument: str = "") -> None:
        self.steps.append(Step(kind, path, argument))

    def own(self, path: str) -> None:
        self.add("own", path, f"layers/{mangled(path)}/upper")

    def overlay(self, path: str, lower: str = "") -> None:
        top, _, below = path[1:].partition("/")
        upper = f"layers/{top}/upper" + (f"/{below}" if below else "")
        work = f"layers/{top}/work" + (f"-{mangled(below)}" if below else "")
        self.steps.append(Step("overlay", path, upper, work, lower))

    def mount_at(self, path: str) -> Mount | None:
        return next((mount for mount in self.mounts if mount.path == path), None)

    def tree(self, path: str) -> None:
        """Plan one directory of the system.

        overlayfs refuses a lower directory in which something is mounted (mount_namespaces(7): such mounts are locked)
        and one that holds its own upper layer; so a directory on the way to these gets a copy of what lies directly in
        it as its lower layer, and each directory in it is planned for itself.
        """
        mount = self.mount_at(path)
        if path in self.live or (mount is not None and not mount.is_local):
            self.add("bind", path)
            return
        holes = [mount.path for mount in self.mounts] + [self.base]
        if not any(is_in(hole, path) for hole in holes):
            self.overlay(path)
            return
        self.overlay(path, f"shadow/{mangled(path)}")
        if not os.access(path, os.R_OK | os.X_OK):  # Docker's, podman's: nothing of it is seen, and its shadow is empty
            return
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if entry.path != self.base and entry.is_dir(follow_symlinks=False) and is_plain(entry.path):
                self.tree(entry.path)


def _top_level(builder: _Builder, entry: os.DirEntry[str], home: str) -> None:
    name, path = entry.name, entry.path
    if entry.is_symlink():
        builder.add("link", path, os.readlink(path))
    elif not entry.is_dir():
        builder.add("bind", path)
    elif name == "proc":
        builder.add("proc", path)
    elif name == "tmp":
        builder.add("tmp", path)
    elif name == "run":
        builder.add("tmpfs", path, "mode=0755")
    elif name == "root" and home != path and not is_in(home, path):
        builder.own(path)
    elif name in SYSTEM:
        builder.tree(path)
    elif name not in LEFT_OUT:
        builder.add("bind", path)


def is_plain(path: str) -> bool:
    """Tell whether a plan, which is lines of words, can name it."""
    return set("\t\n\r").isdisjoint(path)


def build(
    mounts: tuple[Mount, ...], base: str, home: str, binds: tuple[str, ...] = (), installed: tuple[str, ...] = ()
) -> Plan:
    """Plan an environment on this machine.

    `base`: the directory that holds environments, hidden inside; `home`: the user's, live; `binds`: more of the host's
    directories to show live; `installed`: where sdee is, to be shown where it would not be seen (/tmp).
    """
    shown = [*([home] if os.path.isdir(home) and os.path.realpath(home) != "/" else []), *binds]
    live = tuple(filter(is_plain, dict.fromkeys(map(os.path.realpath, shown))))  # an archive may name them
    builder = _Builder(mounts, os.path.realpath(base), live)
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        if is_plain(entry.path):
            _top_level(builder, entry, os.path.realpath(home))
    tops = {step.path for step in builder.steps}
    if "/dev" in tops:
        builder.add("tmpfs", "/dev/shm", "mode=1777")
        if os.path.isdir("/dev/mqueue"):
            builder.add("mqueue", "/dev/mqueue")
    if "/run" in tops:
        for name, mode in (("lock", "1777"), ("user", "0755")):
            builder.add("tmpfs" if name == "lock" else "dir", f"/run/{name}", f"mode={mode}" if name == "lock" else "")
        builder.add("own", COMMANDS, STATE_COMMANDS)
        builder.add("own", f"{COMMANDS}/layers", "layers")  # read-only: stand_ins.c
        if os.path.isfile(f"{locations.PROGRAMS}/srun"):
            builder.add("own", locations.HOST_PROGRAMS, locations.PROGRAMS)
    if Plan(tuple(builder.steps)).layer_of("/var/tmp") is not None:
        builder.steps = [step for step in builder.steps if step.path != "/var/tmp" and not is_in(step.path, "/var/tmp")]
        builder.own("/var/tmp")
    for path in LIVE:
        builder.add("live", path)
    for path in live:
        if not _is_live(builder.steps, path):
            builder.add("bind", path)
    for path in installed:
        if _is_own(builder.steps, path):
            builder.add("bind", path)
    _show_home(builder, home)
    if _is_live(builder.steps, builder.base):
        builder.add("hide", builder.base)
    return Plan(tuple(builder.steps))


def _show_home(builder: _Builder, home: str) -> None:
    """Let $HOME lead to the home also where it is a link in a directory that is another one inside (/tmp)."""
    if home != os.path.realpath(home) and is_plain(home) and _is_own(builder.steps, home):
        builder.add("link", home, os.path.realpath(home))


def _is_own(steps: list[Step], path: str) -> bool:
    """Tell whether it lies in a directory that begins empty inside."""
    holders = [step for step in steps if path == step.path or is_in(path, step.path)]
    return bool(holders) and holders[-1].kind in ("tmp", "tmpfs")


def installation() -> tuple[str, ...]:
    """Return the directories that make up this sdee: its Python's, its packages', those that their links lead to."""
    found = [sys.prefix, sys.base_prefix, *sdee.__path__]
    for package in sdee.__path__:
        found += [os.path.realpath(entry.path) for entry in os.scandir(package) if entry.is_symlink()]
    return tuple(path for path in dict.fromkeys(map(os.path.abspath, found)) if path != "/" and is_plain(path))


def _is_live(steps: list[Step], path: str) -> bool:
    holders = [step for step in steps if path == step.path or is_in(path, step.path)]
    return bool(holders) and holders[-1].kind in ("bind", "live")


def is_masked(path: str) -> bool:
    """Tell whether files that the user may not read are replaced by empty ones: where programs write them."""
    return path.split("/")[1] in ("etc", "var")
