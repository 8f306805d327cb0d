"""`sdee clean`: list what sdee left behind, and remove it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict

import click

from sdee.base.errors import UsageError
from sdee.base.text import count_text, safe, size_text
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.workflow import cleaning

KINDS = {
    "job": "of sdee submit or sdee wrap",
    "trace": "of an interrupted run, or copies without a trace",
    "unfinished": "an unfinished bundle",
    "deployed": "unpacked on this node by sdee deploy",
    "cache": "what sdee bundle found in files",
}


@click.command()
@click.argument("directory", default=".", shell_complete=files)
@click.option("-n", "--dry-run", is_flag=True, help="List only; remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Remove without asking for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; needs --dry-run or --yes.")
def clean(*, directory: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """List what sdee left in DIRECTORY (here by default) and on this node, and remove it.

    It removes files of jobs in sdee-jobs, unless a waiting or running job needs them. It removes what `sdee deploy`
    unpacked (in SDEE_DEPLOY_DIR where that is set), unless a run uses it. It removes traces of interrupted runs,
    and caches of `sdee bundle`, which then reads unchanged files once more. Your bundles, traces and environments stay.
    """
    if as_json and not (dry_run or yes):
        raise UsageError("--json cannot ask for confirmation", hint="add --dry-run or --yes")
    found = cleaning.plan(directory)
    free = [left for left in found if not left.kept]
    failed = {}
    if not as_json:
        click.echo("\n".join(map(_line, found)) or "nothing to remove")
    if free and not dry_run and (yes or _asked(free)):
        failed = {left.path: why for left in free if (why := cleaning.remove(left))}
    if as_json:
        show.print_json([_object(left, failed) for left in found])
    for path, why in failed.items():
        show.say(f"cannot remove {safe(path)}: {why}")
    if failed:
        sys.exit(1)


def _object(left: cleaning.Left, failed: dict[str, str]) -> dict[str, object]:
    facts = {name: value for name, value in asdict(left).items() if name != "identity"}
    return {**facts, "failed": failed.get(left.path, "")}


def _line(left: cleaning.Left) -> str:
    days = int((time.time() - left.used) / cleaning.DAY)
    age = "today" if days <= 0 else f"{count_text(days, 'day')} ago"
    why = f"stays: {left.kept}" if left.kept else KINDS[left.kind]
    return f"{size_text(left.size):>9}  {age:>13}  {safe(os.path.normpath(left.path))}  ({why})"


def _asked(free: list[cleaning.Left]) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "sdee clean asks before it removes, and there is no terminal",
            hint="sdee clean --yes removes without asking; --dry-run only lists",
        )
    size = size_text(sum(left.size for left in free))
    return click.confirm(f"Remove {count_text(len(free), 'thing')}, {size}?", err=True)
