"""`sdee deploy --json`: what the launcher prints of a deployed closure, as JSON. Without it the launcher runs alone."""

from __future__ import annotations

from dataclasses import asdict

import click

from sdee.cli import output as show
from sdee.cli.completion import files


@click.command()
@click.argument("bundle", metavar="BUNDLE", shell_complete=files)
@click.option("--deploy-dir", metavar="DIR", shell_complete=files, help="Unpack into this directory.")
@click.option("--threads", metavar="N", help="Unpack with N threads.")
@click.option("--json", "as_json", is_flag=True, expose_value=False, help="Print JSON.")
def deploy(*, bundle: str, deploy_dir: str | None, threads: str | None) -> None:
    """Unpack a bundle on this node for later runs, and print where.

    The closure stays until `sdee undeploy BUNDLE`.
    """
    from sdee.workflow import running  # noqa: PLC0415 - not needed for --help

    given = {"--deploy-dir": deploy_dir, "--threads": threads}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    show.print_json(asdict(running.deploy(bundle, options)))
