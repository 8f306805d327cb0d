"""Run a bundle on bare nodes of this machine, and compare with the traced run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdee.packer.closure.globs import Globs
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.results import results_of
from sdee.packer.inspect.outcome import Expected, judge
from sdee.packer.inspect.report import STDOUT
from sdee.runtime.launch.bare_node import HOMES, ROOTS
from sdee.workflow import trials
from sdee.workflow.globs import absolute
from sdee.workflow.trials import JobInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdee.packer.inspect.report import Report

__all__ = ["HOMES", "ROOTS", "JobInterrupted", "run"]


def run(
    bundle_path: str,
    arguments: Sequence[str],
    *,
    show: Callable[[bytes], None] | None = None,
    roots: Sequence[str] = (),
    homes: Sequence[str] = (),
    ignore: Sequence[str] = (),
    compare: bool = False,
) -> Report:
    """Run a bundle on bare nodes under trace and compare. `show`: given what the job printed in the first of them.

    Raises BundleError, and KernelError when this machine cannot make a bare node; JobInterrupted.
    """
    ignored = Globs((*absolute(tuple(g for g in ignore if g != STDOUT)), *(g for g in ignore if g == STDOUT)))
    with open_bundle(bundle_path) as bundle:
        status, (results, stdout) = bundle.meta.get("status"), results_of(bundle)
        expected = Expected(None, None, {}) if arguments else Expected(status, stdout, results)
        if compare:
            expected = Expected(*trials.bare(bundle, arguments), expected.results, "here")
        tried = [c for c in ROOTS if c in (roots or ROOTS)], [h for h in HOMES if h in (homes or HOMES)]
        seen = [
            trials.observe(bundle, case, arguments, expected, show if number == 0 else None)
            for number, case in enumerate(trials.cases(bundle, *tried))
        ]
        return judge(bundle, seen, expected, ignored)
