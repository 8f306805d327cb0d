"""What a bare node would lack: a bundle compared with a trace of its run in a root where nothing else is visible."""

from __future__ import annotations

import json
import os
import shlex
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdee.base.paths import is_below, is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.host_libraries import never_travels
from sdee.packer.closure.places import host_reason
from sdee.packer.closure.provenance import Provenance
from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdee.packer.format.reader import Bundle
    from sdee.packer.model import Item
    from sdee.tracer.tracefile.model import Trace

BY_CONFIGURATION = "by sdee.toml"  # how closure/verdicts.py ends such reasons
IN_HOME = "it is in your home, which a node may not have"
IN_OTHER_HOME = "it is in your home, and the job looks for it where its home is on that node"


@dataclass(frozen=True)
class Missing:
    """A path that is here and would not be on a bare node.

    `kind`: "program", "file" or "directory"; `by`: the program that wanted it; `why`: why it is not in the bundle;
    `option`: what `sdee bundle` needs to be told so that it travels, "" when it cannot.
    """

    path: str
    kind: str
    by: str
    why: str
    option: str


@dataclass(frozen=True)
class Places:
    """Where the job had its home, and where it has it on a node ("elsewhere" is another place, empty at first).

    `home` is "" where the bundle does not tell; `cwd`: the working directories, which every node sees.
    """

    home: str
    elsewhere: str
    cwd: tuple[str, ...]

    def of_home(self, path: str) -> bool:
        """Return whether a path is in the home, and not in the working directory."""
        homes = {self.home, os.path.realpath(self.home)} if self.home else set()
        return any(is_below(path, home) for home in homes) and not is_below_any(path, self.cwd)

    def there(self, path: str) -> tuple[str, ...]:
        """Return where a path of the traced run may be where the home is elsewhere.

        In a home that is in the working directory, or is it, that is where it was, or in the new home: who knows how
        the job came to it?
        """
        if not self.home or not self.elsewhere or not is_below(path, self.home):
            return (path,)
        moved = self.elsewhere + path.removeprefix(self.home)
        return (path, moved) if is_below_any(path, self.cwd) else (moved,)

    def here(self, path: str) -> str:
        """Return what a path where the home is elsewhere was called in the traced run."""
        moved = bool(self.home and self.elsewhere) and is_below(path, self.elsewhere)
        return self.home + path.removeprefix(self.elsewhere) if moved else path


def places(bundle: Bundle, elsewhere: str = "") -> Places:
    """Return the places of a bundle's job. Raises BundleError."""
    home = bundle.meta.get("home") or ""
    home = home if home in bundle.conf("live") else ""  # some have / for a home, or a directory that is not there
    cwd = tuple(dict.fromkeys(p for d in bundle.conf("cwd") for p in (d, os.path.realpath(d))))
    return Places(home, elsewhere, cwd)


def what_a_node_has(bundle: Bundle, *, home: bool = True) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the directories that a bare node has for the job, and the inputs: what stays on shared storage.

    A node has its own accounts and network settings too. `home`: nodes see what is in the home; else that is empty.
    """
    directories = [*bundle.conf("live"), *bundle.conf("cwd")]
    produced = {path: item for path, item in bundle.items.items() if item.verdict is Verdict.PRODUCED}
    above = {os.path.dirname(path) for path in produced} - produced.keys()
    directories += sorted(path for path in above if is_below_any(path, tuple(directories)) and os.path.isdir(path))
    shared = [path for path, item in bundle.items.items() if item.verdict is Verdict.SHARED]
    # what was there before and is only written, moved or removed is no input, and yet there
    was_there = "existed before the job wrote it"
    shared += [p for p, item in produced.items() if any(reason.why == was_there for reason in item.reasons)]
    own = [path for path in bundle.conf("host") if is_below_any(path, (*knowledge.HOST_FILES, "/run"))]
    drivers = [path for path, item in bundle.items.items() if item.verdict is Verdict.HOST and never_travels(path)]
    own += [name for path in drivers for name in (path, os.path.realpath(path))]  # libcuda.so.1 → libcuda.so.535.104
    inputs = sorted(path for path in {*shared, *own} if path not in directories)
    if not home:
        where = places(bundle)
        homes = (where.home, os.path.realpath(where.home))
        inputs = [path for path in inputs if not where.of_home(path) or path in homes]
        directories = [path for path in directories if not where.of_home(path) or path in homes]
    return tuple(dict.fromkeys(directories)), tuple(inputs)


def job_part(lines: Iterable[str], program: str) -> list[str]:
    """Return the lines of a trace less those of what came before the launcher, `program`, executed the job."""
    kept, begun = [], False
    launched = False
    for line in lines:
        record = json.loads(line)
        kind = record["t"]
        if kind == "exec":
            begun = begun or launched
            launched = launched or record["path"] == program
        if kind in ("path", "socket", "saved", "incomplete", "listing") and not begun:
            continue
        # that the launcher mounts is no news; what the job could not be followed into is
        if kind == "incomplete" and ("mount" in record["why"] or "root" in record["why"]):
            continue
        if kind != "exec" or begun:
            kept.append(line)
    return kept


def missing_in(bundle: Bundle, trace: Trace, where: Places, *, failed: bool) -> tuple[list[Missing], list[str]]:
    """Return what a run on a bare node (its job_part) missed, and what the node must provide.

    `failed`: it ended otherwise than the traced run, so that it may not have come to what was left out.
    """
    provenance = Provenance(trace)
    missing, provided = [], []
    for access in sorted(trace.accesses.values(), key=lambda a: a.order):
        path = where.here(access.path)
        if access.existed or not os.path.lexists(path) or access.ops <= {"create", "rename", "write"}:
            continue
        item = bundle.items.get(path)
        if host_reason(path) and not (item and item.verdict is Verdict.SECRET):
            provided += [path] if item is not None and item.verdict is Verdict.HOST else []
            continue
        if _is_the_nodes(path, bundle) and (item is None or item.verdict in (Verdict.PRODUCED, Verdict.ABSENT)):
            continue
        by = provenance.reason(access).source
        if path == access.path:
            missing.append(_missing(path, item, by))
        else:  # what travels lies where it lay here
            missing.append(Missing(path, kind_of(path), by, IN_OTHER_HOME, ""))
    if failed:
        missing += _left_out(bundle, trace, {m.path for m in missing})
    unique = list({os.path.realpath(m.path): m for m in reversed(missing)}.values())[::-1]  # /bin and /usr/bin
    outermost = [m for m in unique if not any(m.path != n.path and is_below(m.path, n.path) for n in unique)]
    return outermost, list(dict.fromkeys(provided))


def _left_out(bundle: Bundle, trace: Trace, known: set[str]) -> list[Missing]:
    """Return what the recorded run used, what was left out, and what this run, which failed, did not even look for.

    Python and others list a directory, see that a name is not among the others, and ask no further.
    """
    found = []
    for path, item in bundle.items.items():
        access = trace.accesses.get(path)
        left_out = item.verdict is Verdict.SECRET or any("--exclude" in reason.why for reason in item.reasons)
        if left_out and path not in known and not (access and access.existed) and os.path.isfile(path):
            found.append(missing_of(item))
    return found


def _is_the_nodes(path: str, bundle: Bundle) -> bool:
    return is_below_any(path, (*knowledge.TEMPORARY_ROOTS, *bundle.conf("live")))


def _missing(path: str, item: Item | None, by: str) -> Missing:
    why = _why(item)
    option = "" if BY_CONFIGURATION in why else option_for(path, item)
    if not option and not os.access(path, os.R_OK):
        why += ", and you cannot read it"
    return Missing(path, kind_of(path), by, why, option)


def kind_of(path: str) -> str:
    """Return "program", "file" or "directory"; a link counts as what it leads to. Raises OSError: nothing is there."""
    status = os.stat(path) if os.path.exists(path) else os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "program" if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 and not _is_library(path) else "file"


def _is_library(path: str) -> bool:
    return bool(knowledge.SHARED_OBJECT.search(os.path.basename(path)))


def _why(item: Item | None) -> str:
    if item is None:
        return "the traced run did not use it"
    by_configuration = next((r.why for r in item.reasons if r.why.endswith(BY_CONFIGURATION)), "")
    if by_configuration:
        return f"it {by_configuration}"
    return {
        Verdict.SECRET: "it was refused as a secret",
        Verdict.SHARED: "it stays on shared storage",
        Verdict.HOST: "it was left out",
        Verdict.ABSENT: "it was not there when the job was traced",
    }.get(item.verdict, "the traced run did not use it")


def option_for(path: str, item: Item | None) -> str:
    """Return the option of `sdee bundle` by which a path of this machine travels, "" when none helps.

    That is so for what is no file, directory or link to one, for what the kernel makes, and for what cannot be read.
    """
    quoted = shlex.quote(path)
    try:
        mode = os.stat(path).st_mode
    except OSError:  # a dangling link, or nothing
        return ""
    readable = os.access(path, os.R_OK)
    if is_below_any(path, ("/proc", "/sys", "/dev")) or not readable or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return ""
    if item is not None and item.verdict is Verdict.SECRET:
        return f"--allow {quoted}"
    excluded = item is not None and any("--exclude" in reason.why for reason in item.reasons)
    if item is not None and item.verdict is Verdict.SHARED and stat.S_ISREG(mode) and not excluded:
        return "--with-data"
    return f"--include {quoted}"


def without_home(found: Iterable[Missing], where: Places) -> list[Missing]:
    """Return what is missing elsewhere than in the home."""
    return [m for m in found if not where.of_home(m.path)]


def said_of_home(found: Missing) -> Missing:
    """Return a missing path of the home with what it means that it is there."""
    return found if found.why == IN_OTHER_HOME else replace(found, why=IN_HOME)


def missing_of(item: Item) -> Missing:
    """Return an item of the bundle that is here as a missing path."""
    by = next((reason.source for reason in item.reasons if reason.source), "")
    return _missing(item.path, item, by)
