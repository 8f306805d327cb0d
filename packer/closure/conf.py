"""What the launcher reads: CONF pairs (docs/bundle-format.md) from a trace and its verdicts."""

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sdee.base import facts
from sdee.base.errors import TraceError
from sdee.base.paths import is_below, is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.accesses import ONLY_ASKED
from sdee.packer.closure.host_libraries import may_be_the_nodes
from sdee.packer.closure.places import may_be_live
from sdee.packer.command_words import kept
from sdee.packer.format.table import is_normal, wrong_conf
from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdee.packer.closure.verdicts import Builder, Draft
    from sdee.tracer.tracefile.model import Run, Trace

SHARED_SHOWN = 1000  # paths of inputs that are named to the launcher


def conf_pairs(trace: Trace, builder: Builder, interpreters: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs in the specification's order; the first run's command, environment and limits count.

    Raises TraceError for what no sdee records of a run.
    """
    run = trace.runs[0]
    pairs = [("machine", run.host.machine), ("program", run.program)]
    pairs += [("arg", argument) for argument in run.command]
    if (words := kept(list(run.command), builder.fs.resolve(run.program).real)) > 1:
        pairs.append(("kept-args", str(words)))
    pairs += [("cwd", run.cwd), ("umask", f"{run.umask:o}")]
    pairs += _environment(run, builder)
    pairs += [("rlimit", " ".join((n, _limit(s), _limit(h)))) for n, (s, h) in sorted(run.rlimits.items())]
    pairs.append(("os", f"{run.host.os_id} {run.host.os_version}".strip()))
    if run.host.libc_path:
        pairs.append(("libc", f"{run.host.libc_path} {run.host.libc_build_id}".strip()))
    pairs += [("interpreter", path) for path in sorted(set(interpreters))]
    live = live_directories(builder)
    pairs += [("live", path) for path in live]
    pairs += [("tree", path) for path in sorted(builder.trees)]
    pairs += [("left-out", path) for path in sorted(builder.left_out)]
    pairs += [("unused", path) for path in sorted(builder.unused)]
    pairs += [("fallback", path) for path in builder.fallbacks()]
    pairs += [("host", path) for path in _host(trace, builder)]
    shared = sorted(d.path for d in builder.drafts.values() if _is_input(d, live))
    pairs += [("shared", path) for path in shared[:SHARED_SHOWN]]
    hidden, elsewhere = absent(builder)
    pairs += [("absent", path) for path in hidden] + [("looked-for", path) for path in elsewhere]
    pairs += [("incomplete", why) for why in (*trace.incomplete, *builder.incomplete)]
    if why := wrong_conf(tuple(pairs)):
        hint = "is this the file that `sdee trace` wrote?"
        raise TraceError(f"the trace {run.trace!a} cannot be bundled: {why}", hint=hint)
    return tuple(pairs)


def _environment(run: Run, builder: Builder) -> Iterator[tuple[str, str]]:
    options = builder.options
    ranks = {name for launcher in facts.rank_launchers() for name in (*launcher.variables, *launcher.step)}
    for name, value in sorted(run.env.items()):
        fixed = any(fnmatchcase(name, glob) for glob in options.fixed_environment)
        if fixed or not any(
            fnmatchcase(name, glob) for glob in (*knowledge.LIVE_ENVIRONMENT, *ranks, *options.live_environment)
        ):
            yield "env", f"{name}={value}"
    # All that is set where the bundle runs counts there, as for any program, but what decides on the software; what was
    # left out as a secret, or is named as live, counts whatever it is
    for glob in dict.fromkeys(("*", *options.live_environment, *sorted(run.env_dropped))):
        yield "live-env", glob
    for glob in dict.fromkeys((*knowledge.FIXED_ENVIRONMENT, *options.fixed_environment)):
        yield "fixed-env", glob


def _limit(value: int) -> str:
    return "unlimited" if value < 0 else str(value)


def _is_input(draft: Draft, live: tuple[str, ...]) -> bool:
    """Return whether a path is input that should be there where the job runs.

    Directories count when they were listed; those that are live as such, or temporary, are not missed.
    """
    if draft.verdict is not Verdict.SHARED or draft.alias or draft.path in live:
        return False
    if draft.status is None or not stat.S_ISDIR(draft.status.st_mode):
        return True
    listed = any(reason.why == "was listed" for reason in draft.reasons)
    return listed and not is_below_any(draft.path, knowledge.TEMPORARY_ROOTS)


def live_directories(builder: Builder) -> tuple[str, ...]:
    """Return the directories that stay the node's own: the site's, and mount points that hold inputs or outputs."""
    site = builder.site
    stays = (Verdict.SHARED, Verdict.PRODUCED)
    mounts = {site.mount_point(d.path) for d in builder.drafts.values() if d.verdict in stays}
    others = sorted(m for m in mounts if m and may_be_live(m) and not site.live_root(m))
    return tuple(dict.fromkeys((*site.live, *others)))


# Directories of the system: of others the job's user is the master, and what is new there is meant to be found
_HIDDEN_IN = facts.system_directories("hidden")


def absent(builder: Builder) -> tuple[list[str], list[str]]:
    """Return what the job looked for and did not find: in the system's directories, and elsewhere.

    A node's own must not appear in the former; the bundle lists the latter so that --diagnose can skip them. Of a path
    whose directory is not there either, the outermost directory that is not. Libraries that a node may have its own of,
    and what was there and is gone, are not among them; nor names that no file can have.
    """
    fs = builder.fs
    hidden: set[str] = set()
    elsewhere: set[str] = set()
    for draft in builder.drafts.values():
        looked_for = any(reason.why == "was looked for" for reason in draft.reasons)
        if draft.verdict is not Verdict.ABSENT or not looked_for:
            continue
        if may_be_the_nodes(draft.path, builder.options.host, unasked=True):
            continue
        path = draft.path
        while (above := os.path.dirname(path)) != "/" and fs.resolve(above).status is None:
            path = above
        real = f"{fs.resolve(above).real.rstrip('/')}/{os.path.basename(path)}"
        if not is_normal(real) or fs.status(real) is not None or is_below_any(real, knowledge.HOST_ROOTS):
            continue
        (hidden if is_below_any(real, _HIDDEN_IN) and not builder.site.live_root(real) else elsewhere).add(real)
    return sorted(hidden), sorted(elsewhere)


def _host(trace: Trace, builder: Builder) -> list[str]:
    """Return what the node provides, less what lies in another such directory."""
    provided = [d for d in builder.drafts.values() if d.verdict is Verdict.HOST]
    named = {d.path for d in provided if all(reason.why != ONLY_ASKED for reason in d.reasons)}
    sockets = {path for path in trace.sockets if path.startswith("/") and not builder.site.live_root(path)}
    # a process's own files are the kernel's, not worth naming one by one; those below a job manager's directory are of
    # one step, and the next has others
    paths = {_shorten(path) for path in named | sockets} | set(knowledge.HOST_ALWAYS)
    return sorted(p for p in paths if not any(is_below(p, q) and p != q for q in paths))


def _shorten(path: str) -> str:
    for root in ("/proc", "/sys", "/dev", *knowledge.HOST_FILES):
        if is_below(path, root):
            return root
    return path
