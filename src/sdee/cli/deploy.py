"""`sdee deploy --json`: what the launcher prints of a deployed closure, as JSON. Without it the launcher runs alone."""

from __future__ import annotations

from dataclasses import asdict

import click

from sdee.base.errors import UsageError
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.named import bundle_option, only_one


@click.command()
@click.argument("bundle", metavar="BUNDLE", required=False, shell_complete=files)
@bundle_option
@click.option("--deploy-dir", metavar="DIR", shell_complete=files, help="Unpack into this directory.")
@click.option("--threads", metavar="N", help="Unpack with N threads.")
@click.option("--json", "as_json", is_flag=True, expose_value=False, help="Print JSON.")
def deploy(*, bundle: str | None, chosen: str | None, deploy_dir: str | None, threads: str | None) -> None:
    """Unpack a bundle on this node for later runs, and print where.

    The closure stays until `sdee undeploy BUNDLE`.
    """
    from sdee.workflow import running  # noqa: PLC0415 - not needed for --help

    path = only_one(bundle, chosen)
    if not path:
        raise UsageError("no bundle is given", hint="sdee deploy [OPTIONS] bundle.sdee")
    given = {"--deploy-dir": deploy_dir, "--threads": threads}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    show.print_json(asdict(running.deploy(path, options)))
