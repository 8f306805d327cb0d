"""How runs of a bundle on bare nodes went: each compared with the traced run, by what it missed and what it left."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdee.base.paths import is_below, is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.places import host_reason
from sdee.packer.inspect.changes import changes
from sdee.packer.inspect.report import STDOUT, TRACED, Difference, Report, RunReport
from sdee.packer.inspect.verify import (
    missing_in,
    missing_of,
    option_for,
    places,
    said_of_home,
    without_home,
)
from sdee.packer.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdee.packer.closure.globs import Globs
    from sdee.packer.format.reader import Bundle
    from sdee.packer.inspect.verify import Missing, Places
    from sdee.tracer.tracefile.model import Result, Trace

_NUMBERS = re.compile(r"[0-9]+|[0-9a-f]{6,}")


@dataclass(frozen=True)
class Expected:
    """What a run should leave: `status` None and `stdout` None where that is not known; `results` by path.

    `when`: what status and output are those of, at the end of a sentence.
    """

    status: int | None
    stdout: Result | None
    results: Mapping[str, Result]
    when: str = TRACED


@dataclass(frozen=True)
class Observed:
    """A run on a bare node. `results`: what is at the expected paths, by these.

    `root`: "closed" or "merged"; `home`: "here" (the inputs in it are there), "empty", or "foreign" (at another path,
    `elsewhere`, and empty). `status` is None where the kernel did not let the root be made, `why` says so.
    """

    root: str
    home: str
    elsewhere: str
    status: int | None
    why: str
    trace: Trace
    results: Mapping[str, Result]
    stdout: Result | None
    said: tuple[str, ...] = ()  # the last lines of its standard error, where that was not shown


@dataclass
class _Judge:
    bundle: Bundle
    expected: Expected
    ignore: Globs
    varies: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)


def judge(bundle: Bundle, runs: Sequence[Observed], expected: Expected, ignore: Globs) -> Report:
    """Compare runs with what was expected. `ignore`: globs of paths, and STDOUT, that may differ."""
    found = _Judge(bundle, expected, ignore)
    live = tuple(bundle.conf("live"))
    found.lost = {path for path in expected.results if not is_below_any(path, live)}
    found.varies = _varying(runs, expected)
    reports: list[RunReport] = []
    provided: list[str] = []
    incomplete: list[str] = []
    for run in runs:
        report, provides = _judge_run(found, run)
        reports.append(report)
        provided += provides
        incomplete += run.trace.incomplete if run.status is not None else ()
    varies, lost = (sorted(p for p in paths if not _ignored(p, ignore)) for paths in (found.varies, found.lost))
    said = (tuple(varies), tuple(lost), tuple(dict.fromkeys(provided)), tuple(dict.fromkeys(incomplete)))
    return Report(expected.status, tuple(reports), *said, expected.when, _changed(bundle), _old(bundle))


def _old(bundle: Bundle) -> tuple[str, ...]:
    return tuple(c.path for c in changes(bundle, below=bundle.conf("cwd")[0]) if c.what == "modified")


def _changed(bundle: Bundle) -> tuple[str, ...]:
    """Return the inputs that have another size than in the bundle, or were written after it was made."""
    made, found = os.stat(bundle.path).st_mtime, []
    for path, item in sorted(bundle.items.items()):
        if item.verdict is not Verdict.SHARED or not os.path.isfile(path):
            continue
        status = os.stat(path)
        if status.st_size != item.size or status.st_mtime > made:
            found.append(path)
    return tuple(found)


def _judge_run(found: _Judge, run: Observed) -> tuple[RunReport, list[str]]:
    if run.status is None:
        return RunReport(run.root, run.home, None, run.why, passed=False, missing=(), differences=()), []
    where = places(found.bundle, run.elsewhere)
    expected = found.expected.status
    differences = [*_files(found, run), *_stdout(found, run)]
    missing, provided = missing_in(found.bundle, run.trace, where, failed=expected is None or run.status != expected)
    if run.home != "here":
        other = without_home(missing, where)
        otherwise = run.status != expected if expected is not None else run.status != 0
        in_home = [m for m in missing if m not in other] or _inputs_of_home(found.bundle, where, missing)
        # a home that lacks a cache is no fault while all comes out the same
        missing = [*other, *(map(said_of_home, in_home) if otherwise or differences else ())]
    listings = _listings(found, run, where, {m.path for m in missing})
    differences = [*listings, *differences]
    passed = not missing and not differences and run.status == (expected or 0)
    said = () if passed else run.said
    return RunReport(run.root, run.home, run.status, "", passed, tuple(missing), tuple(differences), said), provided


def _inputs_of_home(bundle: Bundle, where: Places, missing: Sequence[Missing]) -> list[Missing]:
    """Return the files of the home that stay and that the traced run read: where a run names none, they may be why."""
    if missing:
        return []
    stays = [i for i in bundle.items.values() if i.verdict is Verdict.SHARED and where.of_home(i.path)]
    return [missing_of(i) for i in stays if os.path.isfile(i.path) and any(r.why == "was read" for r in i.reasons)]


def _ignored(path: str, ignore: Globs) -> bool:
    return bool(knowledge.BY_THE_WAY.search(path)) or ignore.match(path)


def _varying(runs: Sequence[Observed], expected: Expected) -> set[str]:
    """Return the results that were there and another each time, in the traced run and in at least two others."""
    made = [run for run in runs if run.status is not None]
    found = set()
    for path, result in (*expected.results.items(), *([(STDOUT, expected.stdout)] if expected.stdout else ())):
        seen = [run.stdout if path == STDOUT else run.results.get(path) for run in made]
        values = {(r.kind, r.size, r.sha256, r.target) if r else None for r in (result, *seen)}
        if len(made) > 1 and None not in values and len(values) == len(made) + 1:
            found.add(path)
    return found


def _files(found: _Judge, run: Observed) -> list[Difference]:
    differences = []
    made = {_NUMBERS.sub("#", a.path) for a in run.trace.accesses.values() if a.ops & {"create", "rename"}}
    for path, result in found.expected.results.items():
        if path in found.varies or path in found.lost or _ignored(path, found.ignore):
            continue
        now = run.results.get(path)
        if now is None and _NUMBERS.search(path) and _NUMBERS.sub("#", path) in made:
            found.varies.add(path)  # its name tells a time, or a process
        elif what := _unlike(result, now):
            differences.append(Difference("file", path, what))
    return differences


def _stdout(found: _Judge, run: Observed) -> list[Difference]:
    wanted, now = found.expected.stdout, run.stdout
    if wanted is None or now is None or STDOUT in found.varies or found.ignore.match(STDOUT):
        return []
    what = _unlike(wanted, now, found.expected.when)
    return [Difference(STDOUT, STDOUT, what)] if what else []


def _unlike(wanted: Result, now: Result | None, when: str = TRACED) -> str:
    """Return how a result differs from the traced run's, "" when it does not as far as is known."""
    if now is None:
        return f"this run did not write the {_kind(wanted)}"
    if now.kind != wanted.kind:
        return f"is a {_kind(now)}, and was a {_kind(wanted)} {when}"
    if now.target != wanted.target:
        return f"leads to {now.target!a}, and led to {wanted.target!a} {when}"
    if now.size != wanted.size:
        return f"has {now.size} bytes, and had {wanted.size} {when}"
    return f"has other content than {when}" if now.sha256 != wanted.sha256 and wanted.sha256 else ""


def _kind(result: Result) -> str:
    return {"dir": "directory", "link": "symbolic link"}.get(result.kind, "file")


def _listings(found: _Judge, run: Observed, where: Places, known: set[str]) -> list[Difference]:
    """Return the directories of software that the job listed and that were shorter than here.

    Others are the node's own. What the job made, and what came later than the bundle, was not to be expected.
    """
    differences, bundled = [], os.stat(found.bundle.path).st_mtime
    for listed, names in run.trace.listings.items():
        path = where.here(listed)
        if not _is_software(found.bundle, path) or _ignored(path, found.ignore):
            continue
        lost = [
            name
            for name in sorted(set(_names(path)) - set(names))
            if (below := f"{path.rstrip('/')}/{name}") not in known
            and not _ignored(below, found.ignore)
            and _was_expected(found.bundle, path, below)
            and _age(below) <= bundled
        ]
        if lost:
            what = f"the job listed it, and {len(lost)} of {len(names) + len(lost)} names are missing"
            differences.append(Difference("listing", path, what, tuple(lost), option_for(path, None)))
    return differences


def _was_expected(bundle: Bundle, directory: str, path: str) -> bool:
    """Return whether a name of a directory should have been there: not made by the job, nor left out by a unit."""
    item = bundle.items.get(path)
    if item is not None:
        return item.verdict is not Verdict.PRODUCED
    siblings = (bundle.items.get(f"{directory.rstrip('/')}/{name}") for name in _names(directory))
    return not any(reason.why == "belongs to" for sibling in siblings if sibling for reason in sibling.reasons)


def _is_software(bundle: Bundle, path: str) -> bool:
    if host_reason(path) or is_below_any(path, knowledge.TEMPORARY_ROOTS):
        return False
    if os.path.basename(path) in knowledge.MODULE_DIRECTORIES:
        return False  # of these distributions travel, and an interpreter lists them to find one
    trees = tuple(bundle.conf("tree"))
    live = any(path == d or is_below(path, d) for d in bundle.conf("live"))
    return any(path == d or is_below(path, d) for d in trees) or not live


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _age(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return float("inf")
