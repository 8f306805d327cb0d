"""Which bundle a command is about: the word that comes first, or what -b names, which is nothing else for certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sdee.base.errors import UsageError
from sdee.cli.completion import files

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_BUNDLE = "bundle.sdee"

bundle_option = click.option(
    "-b",
    "--bundle",
    "chosen",
    metavar="BUNDLE",
    shell_complete=files,
    help="Take this bundle; all other words are arguments.",
)


def only_one(word: str | None, chosen: str | None) -> str | None:
    """Return the bundle where a command takes no other word; None: none is named. Raises UsageError for two."""
    if word and chosen:
        raise UsageError(f"two bundles are named: {chosen!a} and {word!a}", hint=f"leave {word!a} out")
    return chosen or word


def words_after(first: str | None, others: Sequence[str], chosen: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the bundle and the other words: with -b the first word is one of them."""
    if chosen is None or first is None:
        return chosen or first, tuple(others)
    return chosen, (first, *others)
