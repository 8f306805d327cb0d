"""dpkg's records of what is installed: its status file (deb-control(5)) and its lists of files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sdee.base.files import lines, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DATABASE = "/var/lib/dpkg"
STATUS = f"{DATABASE}/status"
INFO = f"{DATABASE}/info"
_LIST = ".list"


def stanzas(text: str) -> dict[str, str]:
    """Return the paragraphs of dpkg's status file by package and architecture."""
    found = {}
    for stanza in text.split("\n\n"):
        name = field(stanza, "Package")
        if name:
            found[f"{name}:{field(stanza, 'Architecture')}"] = stanza.strip("\n")
    return found


def field(stanza: str, name: str) -> str:
    """Return a field's first line, "" where there is none."""
    at = f"\n{stanza}".find(f"\n{name}:")
    return stanza[at + len(name) + 1 :].partition("\n")[0].strip() if at >= 0 else ""


def is_installed(stanza: str) -> bool:
    """Tell whether a package is installed, whole or in part."""
    return field(stanza, "Status").split(" ")[-1] not in ("", "not-installed", "config-files")


def package_of(name: str) -> str:
    """Return the package whose list of files has this name, without its architecture; "" for another file."""
    return os.path.basename(name).removesuffix(_LIST).partition(":")[0] if name.endswith(_LIST) else ""


def lists(directory: str, names: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield package and paths for those of `names` in a directory that are such lists."""
    for package, text in texts(directory, names):
        yield package, lines(text)


def texts(directory: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield package and text for those of `names` in a directory that are lists of files: a path a line."""
    for name in names:
        if package := package_of(name):
            yield package, text_of(os.path.join(directory, name))
