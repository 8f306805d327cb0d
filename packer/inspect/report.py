"""What `sdee verify` found: a value, and the same as lines of text."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sdee.base.text import count_text, safe
from sdee.packer.inspect.verify import IN_HOME, IN_OTHER_HOME, Missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TRACED = "when it was traced"
STDOUT = "stdout"  # what --ignore calls standard output
SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """What came out otherwise than in the traced run. `kind`: "listing", "file" or "stdout".

    `names`: those that a listing lacks; `option`: what `sdee bundle` needs to be told so that they travel, or "".
    """

    kind: str
    path: str
    what: str
    names: tuple[str, ...] = ()
    option: str = ""


@dataclass(frozen=True)
class RunReport:
    """One run. `status` is None when its root could not be made here, for the reason `why`: that is no failure."""

    root: str
    home: str
    status: int | None
    why: str
    passed: bool
    missing: tuple[Missing, ...]
    differences: tuple[Difference, ...]
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All runs. `expected`: the status that they should have, None when that is not known: 0 is good then.

    `varies`: results that differ in every run, so that nothing follows from it. `lost`: results outside of live
    directories, which are gone with a job. `provided`: what the node must have. `changed`: inputs that are not as they
    were when the job was bundled, so that results may differ for that. `old`: files of the bundle that the working
    directory has others of by now.
    """

    expected: int | None
    runs: tuple[RunReport, ...]
    varies: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    provided: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    when: str = TRACED
    changed: tuple[str, ...] = ()
    old: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Return whether the bundle can be expected to run on a bare node."""
        made = [run for run in self.runs if run.status is not None]
        return bool(made) and all(run.passed for run in made)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Return what any of the runs missed."""
        return tuple({m.path: m for run in reversed(self.runs) for m in reversed(run.missing)}.values())[::-1]

    @property
    def in_home(self) -> tuple[str, ...]:
        """Return what lies in the home and must be visible on a node, or travel."""
        return tuple(m.path for m in self.missing if m.why in (IN_HOME, IN_OTHER_HOME))

    def __str__(self) -> str:
        """Return what `sdee verify` prints."""
        return "\n".join(lines(self))


def as_dict(result: Report) -> dict[str, Any]:
    """Return the report as --json prints it. `status` is that of the first run."""
    status = next((run.status for run in result.runs if run.status is not None), None)
    missing = [asdict(m) for m in result.missing]
    runs = [{"good" if name == "passed" else name: value for name, value in asdict(run).items()} for run in result.runs]
    found = {"status": status, "runs": runs, "missing": missing, "in_home": result.in_home, "good": result.passed}
    return {**asdict(result), **found}


def lines(result: Report, *, quiet: bool = False) -> list[str]:
    """Return the report as lines."""
    said = [] if quiet and result.passed else _table(result)
    for run in result.runs:
        said += _differences(run, {d for other in result.runs[: result.runs.index(run)] for d in other.differences})
    if result.missing:
        said.append(f"missing on a bare node: {count_text(len(result.missing), 'path')}")
        for m in result.missing[:SHOWN]:
            by = f", wanted by {safe(m.by)}" if m.by else ""
            said.append(f"  {m.kind} {safe(m.path)}{by}: {m.why}")
            said += [f"      sdee bundle {safe(m.option)}"] if m.option else []
        if len(result.missing) > SHOWN:
            said.append(f"  … and {len(result.missing) - SHOWN} more: --json lists all")
    elif not quiet:
        said.append(_of_nothing(result))
    said += _of_home(result)
    if not quiet:
        said += _notes(result)
    said += [f"sdee could not see everything: {safe(why)}" for why in result.incomplete]
    return said


def _of_nothing(result: Report) -> str:
    """Return what to say where no path is missing: of a job that failed, nothing is known past its end."""
    failed = sorted({run.status for run in result.runs if run.status})
    if not failed:
        return "nothing is missing on a bare node"
    said = f"nothing was missing until the job ended with status {', '.join(map(str, failed))}"
    if result.expected is None:
        said += "\n  hint: sdee verify --compare also runs the job here and compares"
    return said


def _table(result: Report) -> list[str]:
    rows = ["root    home     status"]
    for run in result.runs:
        if run.status is None:
            rows.append(f"{run.root:<7} {run.home:<8} not tried: {safe(run.why)}")
            continue
        words = []
        if result.expected is not None:
            same = run.status == result.expected
            words.append(f"as {result.when}" if same else f"{result.expected} {result.when}")
        elif run.status:
            words.append("failed")
        words += [f"{count_text(len(run.missing), 'path')} missing"] if run.missing else []
        words += [count_text(len(run.differences), "difference")] if run.differences else []
        rows.append(f"{run.root:<7} {run.home:<8} {run.status:<6}  {', '.join(words)}".rstrip())
    return rows


def _differences(run: RunReport, known: set[object]) -> list[str]:
    """Return what a run left otherwise, less what another did as well."""
    said = [f"{run.root} root, home {run.home}:"]
    for d in run.differences:
        if d not in known:
            said.append(f"  {d.kind} {safe(d.path)}: {d.what}" if d.kind != "stdout" else f"  stdout {d.what}")
            more = f" and {len(d.names) - 5} more" if len(d.names) > 5 else ""
            said += [f"      {', '.join(map(safe, d.names[:5]))}{more}"] if d.names else []
            said += [f"      sdee bundle {d.option}"] if d.option else []
    said += [f"  it said: {safe(line)}" for line in run.said]
    return said if len(said) > 1 else []


def _of_home(result: Report) -> list[str]:
    if not result.in_home:
        return []
    bad = {run.home for run in result.runs if run.status is not None and not run.passed}
    said = [f"the job needs {count_text(len(result.in_home), 'path')} of your home"]
    if "here" not in bad:
        said.append("  hint: where nodes see your home: sdee verify --home here")
    if any("/." in path for path in result.in_home):
        said.append(
            "  hint: if these are caches or settings: sdee trace --cold records what the job needs without them"
        )
    return said


def _notes(result: Report) -> Iterable[str]:
    if result.varies:
        yield f"not compared, different in every run: {_some(result.varies)}"
    if result.lost:
        yield f"gone when the job ends: {_some(result.lost)} (sdee exec --save DIR keeps it)"
    if result.changed and any(run.differences for run in result.runs):
        yield f"changed since the job was bundled, so that its results may differ: {_some(result.changed)}"
    if result.old:
        yield f"changed since bundling; the job uses the bundle's: {_some(result.old)}; `sdee bundle` packs the new one"
    yield from (f"the node must provide {safe(path)}" for path in result.provided)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(safe(os.path.relpath(p) if len(os.path.relpath(p)) < len(p) else p) for p in paths[:3]) + more
