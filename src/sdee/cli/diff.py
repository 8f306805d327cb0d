"""`sdee diff`: what differs between two traces or two bundles."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from sdee.base.errors import UsageError
from sdee.base.text import safe
from sdee.cli import output as show

DIFFERENT = 1  # as diff(1): docs/exit-codes.md


@click.command()
@click.argument("one", type=click.Path())
@click.argument("other", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(*, one: str, other: str, as_json: bool) -> None:
    """Show what differs between two traces, or two bundles.

    Each line begins with - (only in ONE), + (only in OTHER) or ~ (in both, but different).
    Returns 1 if anything differs.
    """
    from sdee.packer.format.reader import is_bundle, open_bundle  # noqa: PLC0415
    from sdee.packer.inspect.compare import compare_bundles, compare_traces  # noqa: PLC0415
    from sdee.tracer.tracefile.reader import read_traces  # noqa: PLC0415

    kinds = [is_bundle(name) for name in (one, other)]
    if kinds[0] != kinds[1]:
        raise UsageError("sdee cannot compare a trace with a bundle", hint="sdee diff TRACE TRACE, or BUNDLE BUNDLE")
    if kinds[0]:
        with open_bundle(one) as first, open_bundle(other) as second:
            found = compare_bundles(first, second)
    else:
        found = compare_traces(read_traces([one]), read_traces([other]))
    if as_json:
        show.print_json([asdict(difference) for difference in found])
    else:
        for difference in found:
            click.echo(f"{difference.sign} {safe(difference.path)}  {safe(difference.what)}")
    sys.exit(DIFFERENT if found else 0)
