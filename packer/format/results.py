"""What a run left, as far as another run can be compared with it: what `sdee verify` finds in META."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdee.base.paths import is_below, is_below_any
from sdee.packer import knowledge
from sdee.tracer.tracefile.model import Result

if TYPE_CHECKING:
    from sdee.packer.format.reader import Bundle
    from sdee.tracer.tracefile.model import Trace


def comparable(trace: Trace) -> tuple[Result, ...]:
    """Return what the first run left that it leaves again, sorted by path.

    Not what lay there before and was changed in place (a log that is appended to): it begins as it is then. Nor what
    lies in a directory for temporary files, unless the job works there.
    """
    run = trace.runs[0]
    changed = {a.real for a in trace.accesses.values() if a.existed and not a.replaced}
    found = []
    for result in run.results:
        temporary = is_below_any(result.path, knowledge.TEMPORARY_ROOTS)
        own = any(is_below(result.path, d) and d not in knowledge.TEMPORARY_ROOTS for d in (run.cwd, run.home))
        if result.path not in changed and (own or not temporary):
            found.append(result)
    return tuple(sorted(found, key=lambda result: result.path))


def result_meta(result: Result) -> dict[str, Any]:
    """Return a result as META has it: what is empty is left out."""
    fields = {"path": result.path, "kind": result.kind, "sha256": result.sha256, "target": result.target}
    sizes = {"size": result.size} if result.kind == "file" else {}
    return {name: value for name, value in fields.items() if value} | sizes


def results_of(bundle: Bundle) -> tuple[dict[str, Result], Result | None]:
    """Return what META says of the traced run's results, by path, and of its standard output. Raises BundleError."""
    results = [_result(raw) for raw in bundle.meta.get("results", [])]
    stdout = bundle.meta.get("stdout")
    return {result.path: result for result in results}, _result(stdout) if stdout else None


def _result(raw: dict[str, Any]) -> Result:
    return Result(raw.get("path", ""), raw["kind"], raw.get("size", 0), raw.get("sha256", ""), raw.get("target", ""))
