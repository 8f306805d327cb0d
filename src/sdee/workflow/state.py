"""Record what a trace and a bundle of `sdee submit` were made from, to tell whether they are still valid.

A file counts as unchanged when size, time of last change and mode are, as make(1) and rsync(1) have it. Not seen: a new
module in a directory that the job lists, where the job finds it without being changed itself (a `numpy.py` beside the
script); `--retrace`.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import sdee
from sdee.base import trust
from sdee.base.errors import OutputError
from sdee.base.files import sha256, write_whole
from sdee.base.paths import is_below_any
from sdee.base.process import original_environment
from sdee.base.secrets.tokens import redact
from sdee.packer import knowledge
from sdee.packer.model import Verdict
from sdee.workflow import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sdee.packer.format.reader import Bundle
    from sdee.packer.model import Closure
    from sdee.tracer.tracefile.model import Access, Trace

NAME = "state.json"
_CHANGES = {"write", "truncate", "create", "rename", "remove"}
_KERNELS = ("/proc", "/sys", "/dev", "/run")
_NOT_DECISIVE = ("PWD", "_")  # of those that a bundle keeps: the one says what `cwd` does, the other the program

Signature = list[Any]  # size in bytes, mtime in ns, mode; of a link its target


@dataclass(frozen=True)
class TraceState:
    """What a trace was made from. `left`: paths in temporary directories that the job made and left there."""

    command: list[str]
    cwd: str
    environment: dict[str, str]
    status: int
    digest: str
    files: dict[str, Signature]
    absent: list[str]
    left: list[str]


@dataclass(frozen=True)
class BundleState:
    """What a bundle was made from. `name`: its file; `trace`: the trace's digest; `data`: paths that
    it leaves to storage and to the node.
    """

    name: str
    trace: str
    version: str
    settings: dict[str, Any]
    files: dict[str, Signature]
    data: list[str]


@dataclass(frozen=True)
class State:
    """What is known in a directory of `sdee submit`; None: nothing."""

    trace: TraceState | None = None
    bundle: BundleState | None = None


def load(directory: str) -> State:
    """Return what is known in a directory.

    What cannot be read, is of another version or of another user counts as nothing.
    """
    if trust.distrusted(directory) or trust.distrusted(os.path.join(directory, NAME)):
        return State()
    try:
        with open(os.path.join(directory, NAME), encoding="ascii") as file:
            raw = json.load(file)
        trace, bundle = raw["trace"], raw["bundle"]
        return State(TraceState(**trace) if trace else None, BundleState(**bundle) if bundle else None)
    except (OSError, ValueError, TypeError, KeyError):
        return State()


def save(directory: str, state: State) -> None:
    """Keep what is known. Raises OutputError."""
    path = os.path.join(directory, NAME)
    try:
        write_whole(path, json.dumps(asdict(state)).encode("ascii"))
    except OSError as error:
        raise OutputError(f"cannot write {path!a}: {error.strerror}") from error


def digest(path: str) -> str:
    """Return the SHA-256 of a file, "" when it cannot be read."""
    try:
        return sha256(path)
    except OSError:
        return ""


def decisive_environment() -> dict[str, str]:
    """Return the variables of which a bundle keeps the value as recorded, as they are now."""
    return {
        name: value
        for name, value in original_environment().items()
        if name not in _NOT_DECISIVE and any(fnmatchcase(name, glob) for glob in knowledge.FIXED_ENVIRONMENT)
    }


def settings_now(say: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of sdee.toml as JSON has them."""
    found: dict[str, Any] = json.loads(
        json.dumps({key: value.value for key, value in settings.load(say).values.items()})
    )
    return found


def signature(path: str) -> Signature | None:
    """Return what tells a file from one that was changed; None when there is none."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return [os.readlink(path)]
    except OSError:
        return None
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    return [size, found.st_mtime_ns, found.st_mode]


def _signatures(paths: Iterable[str]) -> dict[str, Signature]:
    found = ((path, signature(path)) for path in paths)
    return {path: value for path, value in found if value is not None}


def of_trace(trace: Trace, path: str) -> TraceState:
    """Return what the trace at `path` was made from, right after it was."""
    run = trace.runs[0]
    seen = [a for a in trace.accesses.values() if not is_below_any(a.path, _KERNELS)]
    used = [a.path for a in seen if a.existed and a.kind in ("file", "link") and not a.ops & _CHANGES and not a.made]
    absent = [a.path for a in seen if _is_absent(a) and not _is_temporary(a.path, run.cwd)]
    made = sorted(a.path for a in seen if a.ops & _CHANGES or a.made)
    left = [p for p in made if _is_temporary(p, run.cwd) and p not in knowledge.TEMPORARY_ROOTS and os.path.lexists(p)]
    outermost = [p for p in left if not is_below_any(os.path.dirname(p), tuple(left))]
    return TraceState(
        list(run.command),
        run.cwd,
        decisive_environment(),
        -1 if run.status is None else run.status,
        digest(path),
        _signatures(used),
        absent,
        outermost,
    )


def _is_temporary(path: str, cwd: str) -> bool:
    return is_below_any(path, knowledge.TEMPORARY_ROOTS) and not is_below_any(path, (cwd,))


def _is_absent(access: Access) -> bool:
    return not access.existed and not access.ops & _CHANGES and not os.path.lexists(access.path)


def of_bundle(bundle: Bundle, name: str, trace: str, closure: Closure, say: Callable[[str], None]) -> BundleState:
    """Return what a bundle was made from, right after it was. `closure`: of the command that it is to serve."""
    own = os.path.dirname(os.path.abspath(bundle.path))  # we write there, and those above change with it
    trees, live = tuple(bundle.conf("tree")), tuple(bundle.conf("live"))

    def is_watched(path: str) -> bool:  # a directory: a module that is new there travels too
        software = is_below_any(path, trees) or not is_below_any(path, (*live, *_KERNELS))
        return software and not is_below_any(own, (path,))

    paths = [e.path for e in bundle.entries.values() if not stat.S_ISDIR(e.mode) or is_watched(e.path)]
    here = (Verdict.SHARED, Verdict.HOST)
    data = [path for path, item in closure.items.items() if item.verdict in here]
    return BundleState(name, trace, sdee.__version__, settings_now(say), _signatures(paths), data)


def stale_trace(state: State, command: list[str], cwd: str, path: str) -> str:
    """Return why the command has to be traced again, "" when its trace still holds."""
    known = state.trace
    if known is None or known.digest != digest(path):
        return "there is no trace of it yet"
    if known.command != redact(command) or known.cwd != cwd:
        return "the trace is of another command"
    if known.status:
        return f"the traced run ended with status {known.status}"
    now = decisive_environment()
    for name in sorted(now.keys() | known.environment.keys()):
        if now.get(name) != known.environment.get(name):
            return f"the variable {name} has changed"
    data = frozenset(state.bundle.data) if state.bundle and state.bundle.trace == known.digest else frozenset()
    changed = _changed({path: value for path, value in known.files.items() if path not in data})
    if changed:
        return f"{changed} has changed"
    new = next((path for path in known.absent if os.path.lexists(path)), "")
    return f"{new} is new" if new else ""


def stale_bundle(state: State, directory: str, say: Callable[[str], None]) -> str:
    """Return why the trace has to be bundled again, "" when the bundle still holds."""
    known = state.bundle
    if known is None or state.trace is None or not os.access(os.path.join(directory, known.name), os.X_OK):
        return "no bundle yet"
    if known.trace != state.trace.digest:
        return "it is of another trace"
    if known.version != sdee.__version__:
        return "it is of another version of sdee"
    if known.settings != settings_now(say):
        return "sdee.toml has changed"
    changed = _changed(known.files)
    return f"{changed} has changed" if changed else ""


def _changed(files: Mapping[str, Signature]) -> str:
    return next((path for path, value in files.items() if signature(path) != value), "")
