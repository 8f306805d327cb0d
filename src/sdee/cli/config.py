"""`sdee config`: the settings of sdee.toml as `sdee bundle` sees them, and where each came from."""

from __future__ import annotations

import click

from sdee.base.text import safe
from sdee.cli import output as show
from sdee.workflow import settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(*, as_json: bool) -> None:
    """Show the settings of sdee.toml, here and in your configuration directory, and where each comes from.

    Options of `sdee bundle` add to lists and replace the rest.
    """
    found = settings.load(show.say)
    if as_json:
        values = {key: {"value": v.value, "from": v.origins} for key, v in found.values.items()}
        show.print_json({"files": found.files, "places": settings.places(), "ignored": found.ignored, "values": values})
        return
    for path in settings.places():
        ignored = f"ignored: {found.ignored[path]}" if path in found.ignored else "not there"
        click.echo(f"{safe(path)}: {'read' if path in found.files else ignored}")
    for key, (_, meaning) in settings.KEYS.items():
        value = found.values.get(key)
        if value:
            click.echo(f"{key} = {safe(str(value.value))}  # from {safe(', '.join(value.origins))}")
        else:
            click.echo(f"# {key}: {meaning}")
