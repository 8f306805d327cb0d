"""`sdee verify`: run a bundle here where nothing else of this machine is visible, and say what it misses."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from sdee import trust
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.inspect import DEFAULT_BUNDLE
from sdee.errors import BundleError, KernelError
from sdee.interpreter import own_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdee.packer.verify import Report

SHOWN = 20


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@click.argument("arguments", metavar="[-- ARGS]...", nargs=-1, type=click.UNPROCESSED, shell_complete=files)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what is missing.")
def verify(*, bundle_path: str | None, arguments: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Run a bundle here as on a bare node, and say what would be missing there.

    Nothing of this machine is visible to the job but its inputs on shared storage (as copies: nothing that it writes
    stays) and the node's own files. With ARGS another command line than the recorded one is tried. Returns 0 when
    nothing is missing and the job ended as it did when it was traced, else 1.
    """
    result = run(bundle_path or _default_bundle(), list(arguments))
    if as_json:
        show.print_json({**asdict(result), "good": result.good})
    else:
        click.echo("\n".join(lines(result, quiet=quiet)))
    sys.exit(0 if result.good else 1)


def _default_bundle() -> str:
    """Return the bundle that is meant when none is named. Raises BundleError: it would run another user's program."""
    if why := trust.distrusted(DEFAULT_BUNDLE):
        hint = f"if you trust it, name it: sdee verify {DEFAULT_BUNDLE}"
        raise BundleError(f"the bundle {DEFAULT_BUNDLE!a} here is not run unasked: {why}", hint=hint)
    return DEFAULT_BUNDLE


def run(bundle_path: str, arguments: Sequence[str]) -> Report:
    """Run a bundle on a bare node under trace and compare.

    Raises BundleError, and KernelError when this machine cannot make a bare node.
    """
    from sdee.packer.reader import open_bundle  # noqa: PLC0415 - not needed for --help
    from sdee.packer.verify import job_part, report, what_a_node_has  # noqa: PLC0415
    from sdee.runtime import barenode  # noqa: PLC0415
    from sdee.tracer import engines, session  # noqa: PLC0415
    from sdee.tracer.tracefile import read_traces  # noqa: PLC0415

    scratch = tempfile.mkdtemp(prefix="sdee-verify-")
    try:
        with open_bundle(bundle_path) as bundle:
            directories, inputs = what_a_node_has(bundle)
            spec, trace = os.path.join(scratch, "spec"), os.path.join(scratch, "trace")
            with open(spec, "w", encoding="ascii") as file:
                file.write(barenode.Spec(directories, inputs).text())
            command = own_python(barenode.START, spec, os.path.abspath(bundle_path), *arguments)
            plan = session.plan(command, trace, append=False)
            environment = {k: v for k, v in plan.environment.items() if not k.startswith("SDEE_")}
            # FORCE: what this machine has no driver for is for the node to say
            environment |= {"SDEE_ROOT": "closed", "SDEE_QUIET": "1", "SDEE_FORCE": "1", "SDEE_JOIN": "never"}
            with _output_to_standard_error():
                done = session.run(plan._replace(environment=environment), engines.choose("auto"), _ignore)
            with open(trace, encoding="ascii") as file:
                kept = job_part(file, barenode.PROGRAM)
            if done.status == barenode.CANNOT and not any('"t":"exec"' in line for line in kept):
                raise KernelError("this machine cannot make a bare node", hint="`sdee doctor` says what is missing")
            with open(trace, "w", encoding="ascii") as file:
                file.writelines(kept)
            return report(bundle, read_traces([trace]), recorded=not arguments)
    finally:
        shutil.rmtree(scratch)


@contextlib.contextmanager
def _output_to_standard_error() -> Iterator[None]:
    """Let what the job prints go to standard error: standard output is for the report."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _ignore(sentence: str) -> None:
    """Drop what the tracer says meanwhile: the job is not traced to be bundled."""


def lines(result: Report, *, quiet: bool = False) -> list[str]:
    """Return the report as lines."""
    said = []
    if result.expected is not None and result.status != result.expected:
        said.append(f"the job ended with status {result.status}, and with {result.expected} when it was traced")
    elif not quiet:
        said.append(
            f"the job ended with status {result.status}"
            + (", as when it was traced" if result.expected is not None else "")
        )
    if result.missing:
        said.append(f"missing on a bare node: {show.count_text(len(result.missing), 'path')}")
        for m in result.missing[:SHOWN]:
            by = f", wanted by {show.safe(m.by)}" if m.by else ""
            said.append(f"  {m.kind} {show.safe(m.path)}{by}: {m.why}")
            said.append(f"      sdee bundle {show.safe(m.option)}")
        if len(result.missing) > SHOWN:
            said.append(f"  … and {len(result.missing) - SHOWN} more: --json lists all")
    elif not quiet:
        said.append("nothing is missing on a bare node")
    said += [f"the node must provide {show.safe(path)}" for path in result.provided if not quiet]
    said += [f"not everything could be seen: {show.safe(why)}" for why in result.incomplete]
    return said
