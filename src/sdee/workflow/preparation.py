"""Prepare trace and bundle of a command to submit: the plan is a value, and carry_out() makes it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shlex
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdee.base import trust
from sdee.base.errors import CommandFailedError, OutputError, TraceError
from sdee.base.secrets.tokens import redact
from sdee.base.text import safe, size_text
from sdee.runtime.programs import front_path
from sdee.tracer.limit import Limit
from sdee.workflow import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdee.runtime.jobs.model import JobManager

DIRECTORY = "sdee-jobs"
_LOOKED_AT = 3  # bundles of several commands


@dataclass(frozen=True)
class Preparation:
    """What has to be made before a job can be submitted, and why. Paths are absolute.

    `directory` holds all that belongs to the command: `trace`, bundles, scripts. `trace_why`, `bundle_why`: why they
    have to be made, "" where they hold. `stale`: why the trace should be made again though it is not to be. `cwd`,
    `stdin`: where and with what the command is traced, no longer than `limit`, `variables`: besides the environment.
    `stand_ins`: as of ClosureOptions.
    """

    directory: str
    command: tuple[str, ...]
    cwd: str
    stdin: str
    trace_why: str
    bundle: str
    bundle_why: str
    stale: str = ""
    shown: tuple[str, ...] = ()
    limit: Limit | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    stand_ins: tuple[tuple[str, str], ...] = ()

    @property
    def trace(self) -> str:
        """Return where the trace is."""
        return os.path.join(self.directory, "trace")

    def lines(self) -> list[str]:
        """Return it as --dry-run prints it."""
        trace = f"trace   {shlex.join(redact(self.shown))}   ({self.trace_why})"
        kept = f"keep    {self.trace}" + (f"   (though {self.stale})" if self.stale else "")
        bundle = f"bundle  {self.bundle}   ({self.bundle_why})" if self.bundle_why else f"keep    {self.bundle}"
        return [trace if self.trace_why else kept, bundle]


def own_directory(say: Callable[[str], None], place: str = "") -> str:
    """Return the directory for files of jobs, relative to `place`.

    Where another user has made one, or may write to it, it is one of this user's own name: the jobs that it holds would
    run as this user. A warning says so.
    """
    path = os.path.join(place, DIRECTORY)
    why = trust.distrusted(path)
    if not why:
        return path
    own = f"{path}-{_safe(trust.user_name(os.geteuid()))}"
    hint = "remove it, or make it yours alone: chmod -R go-w" if trust.is_own(path) else "--dir DIR"
    said = f"sdee does not use {safe(path)}: {why}; it keeps your jobs in {safe(own)}"
    say(f"warning: {said}\n  hint: {hint}")
    return own


def directory_of(parent: str, name: str, *key: str) -> str:
    """Return the directory of a job: below `parent`, by its name and a digest of what distinguishes it."""
    digest = hashlib.sha256("\0".join(key).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return os.path.join(os.path.abspath(parent), f"{_safe(name)}-{digest}")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".-") or "job"


def plan(
    directory: str,
    command: Sequence[str],
    cwd: str,
    stdin: str,
    *,
    say: Callable[[str], None],
    retrace: bool,
    no_trace: bool,
    changed: str = "",
    outgrown: str = "",
    manager: JobManager | None = None,
    seconds: float | None = None,
    shown: Sequence[str] = (),
) -> Preparation:
    """Return what has to be made. Nothing is changed.

    `no_trace`: the trace that there is will do. `changed`, `outgrown`: why trace and bundle will not, besides what is
    found here. `manager`: for which the command may start daemons on other nodes, and which takes any command of which
    `directory` keeps the trace (variants.py): then the value's `command` is the one that was traced. `seconds`: how
    long the job may run; `shown`: the command for people, if another. Raises TraceError when there is none.
    """
    known = state.load(directory)
    trace = os.path.join(directory, "trace")
    traced = known.trace.command if manager and known.trace and not retrace else list(command)
    why = "--retrace" if retrace else state.stale_trace(known, traced, cwd, trace) or changed
    stale = ""
    if no_trace:
        if known.trace is None or not os.path.exists(trace):
            raise TraceError(f"there is no trace of {shlex.join(redact(command))!a}", hint="leave out --no-trace")
        why, stale = "", why
    bundle_why = "the trace is new" if why else state.stale_bundle(known, directory, say) or outgrown
    name = _next(directory, "bundle", ".sdee") if bundle_why or known.bundle is None else known.bundle.name
    path = os.path.normpath(os.path.join(directory, name))
    made = Preparation(directory, tuple(command if why else traced), cwd, stdin, why, path, bundle_why, stale)
    made = replace(made, shown=tuple(shown) or made.command)
    if why and manager and seconds is not None:
        made = replace(made, limit=Limit(seconds, manager.grace()))
    remote = shutil.which(manager.remote) if manager and manager.remote else None
    return replace(made, variables=manager.crowded, stand_ins=((remote, front_path()),)) if manager and remote else made


def _next(directory: str, stem: str, end: str) -> str:
    number = 1
    while os.path.lexists(os.path.join(directory, f"{stem}-{number}{end}")):
        number += 1
    return f"{stem}-{number}{end}"


def script_in(directory: str) -> str:
    """Return the path of the next script."""
    return os.path.join(directory, _next(directory, "job", ".sh"))


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Make a directory and lock it against other sdee processes (flock(2)), where the file system has locks.

    Nobody else may write there, whatever the umask is. Raises OutputError, also for a directory of another user.
    """
    try:
        os.makedirs(os.path.dirname(directory), 0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o755)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        hint = "name another directory that the nodes see, too: --dir DIR"
        raise OutputError(f"cannot make {directory!a}: {error.strerror}", hint=hint) from error
    if why := trust.distrusted(directory):
        os.close(descriptor)
        hint = "name another directory with --dir DIR; or remove it, if it is yours"
        raise OutputError(f"sdee does not use {directory!a}: {why}", hint=hint)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def carry_out(todo: Preparation, say: Callable[[str], None]) -> str:
    """Trace and bundle if necessary. Return the bundle: an older one if the new one is identical.

    What the command prints goes to standard error. Raises CommandFailedError with its status when it fails.
    """
    if todo.trace_why:
        _trace(todo, say)
    elif todo.stale:
        say(f"using the trace as it is, although {safe(todo.stale)}")
    return make_bundle(todo, say) if todo.bundle_why else todo.bundle


def _trace(todo: Preparation, say: Callable[[str], None]) -> None:
    from sdee.workflow import trial_run  # noqa: PLC0415 - not needed for a dry run

    shown = safe(shlex.join(redact(todo.shown)))
    hint = (
        "if that takes too long: `sdee trace` it with small input, `sdee bundle`, then submit with --bundle bundle.sdee"
    )
    how = "it runs on this machine and writes its files"
    how += f", for {trial_run.duration(todo.limit.seconds)} at most" if todo.limit else ""
    say(f"tracing {shown} here first: {safe(todo.trace_why)}; {how}; Ctrl-C ends it\n  hint: {hint}")
    recorded, trace = trial_run.run(
        todo.command,
        todo.trace,
        cwd=todo.cwd,
        stdin=todo.stdin,
        variables=todo.variables,
        limit=todo.limit,
        name=os.path.basename(todo.shown[0]),
        say=say,
    )
    known = state.of_trace(trace, todo.trace)
    if recorded.ended:  # what it showed until then serves
        known = replace(known, status=0)
    state.save(todo.directory, state.State(known, state.load(todo.directory).bundle))
    if known.status:
        raise CommandFailedError(
            f"the traced command ended with status {recorded.status}; sdee submitted nothing",
            status=recorded.status,
            hint="--no-trace submits with this trace anyway",
        )


def make_bundle(
    todo: Preparation,
    say: Callable[[str], None],
    *,
    include: Sequence[str] = (),
    shared: str = "",
    notice: str = "",
    quiet: bool = False,
) -> str:
    """Bundle the trace. Return the bundle: an older one if the new one is identical.

    `include`: as of `sdee bundle`; `shared`: a directory of bundles for several commands: one of these, where it holds
    all, else a new one there; `notice`: said before one is written; `quiet`: say nothing more. Raises SdeeError.
    """
    from sdee.packer.format.reader import open_bundle  # noqa: PLC0415 - not needed for a dry run
    from sdee.workflow import bundling, summary  # noqa: PLC0415

    before = state.load(todo.directory)
    older = os.path.normpath(os.path.join(todo.directory, before.bundle.name)) if before.bundle else ""
    others = _latest(shared) if shared else ()
    # Not by number: when all are removed, a queued job would find another bundle by its own one's name
    output = os.path.join(shared, f"bundle-{secrets.token_hex(4)}.sdee") if shared else todo.bundle
    made = bundling.plan((todo.trace,), bundling.Wanted(include=tuple(include), stand_ins=todo.stand_ins), say)
    told = summary.summarize(made.closure)
    path, closure = bundling.serving(others, (os.path.dirname(todo.directory),), made.closure)
    if not path:
        if notice:
            say(safe(notice))
        reuse = tuple(name for name in (older, *others[:1]) if _identity(name))
        written = bundling.write(replace(made, closure=closure), output, reuse=reuse)
        for sentence in summary.warnings(told):
            say(sentence)
        path = written.path
    with open_bundle(path) as new:
        size = os.path.getsize(path)
        # The older one's name is free again when it was removed: then this may be that file
        is_known = path == output != older and _identity(older) == new.identity
        path = older if is_known else path
        name = os.path.relpath(path, todo.directory)
        known = state.of_bundle(new, name, state.digest(todo.trace), closure, say)
    state.save(todo.directory, state.State(before.trace, known))
    if is_known:
        os.unlink(output)
    if not quiet:
        say(f"bundled {size_text(size)} → {safe(os.path.relpath(path))}")
    return path


def _latest(directory: str) -> tuple[str, ...]:
    """Return bundles of a directory, the latest first."""
    found = {entry.path: entry.stat().st_mtime_ns for entry in os.scandir(directory) if entry.name.endswith(".sdee")}
    return tuple(sorted(found, key=lambda path: found[path], reverse=True)[:_LOOKED_AT])


def _identity(path: str) -> str:
    """Return what tells a bundle from others, "" where there is none that can be read."""
    from sdee.base.errors import BundleError  # noqa: PLC0415
    from sdee.packer.format.reader import open_bundle  # noqa: PLC0415

    try:
        with open_bundle(path) as bundle:
            return bundle.identity
    except BundleError:
        return ""
