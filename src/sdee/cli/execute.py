"""`sdee exec` for click's list of commands. A real call never comes here (see sdee.__main__)."""

from __future__ import annotations

import click

from sdee.cli.completion import files
from sdee.runtime.launch.execute import main


@click.command(
    name="exec",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=files)
def execute(arguments: tuple[str, ...]) -> None:
    """Run a bundle: the launcher parses the arguments, --help included."""
    main(list(arguments))
