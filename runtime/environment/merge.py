"""Three-way merges of the host's account files and dpkg's status with an environment's own. Pure functions on text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdee.base import dpkg, files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def records(text: str) -> dict[str, str]:
    """Return the lines of passwd(5), group(5) by name."""
    return {line.split(":")[0]: line for line in files.lines(text) if ":" in line}


def three_way(
    base: Mapping[str, str], host: Mapping[str, str], own: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the merged records, and the keys that both have changed: there the environment's stay."""
    merged, conflicts = {}, []
    for key in dict.fromkeys([*own, *host]):
        before, theirs, ours = base.get(key), host.get(key), own.get(key)
        if ours == before:
            chosen = theirs
        else:
            chosen = ours
            if theirs not in (before, ours):
                conflicts.append(key)
        if chosen is not None:
            merged[key] = chosen
    return merged, conflicts


def _merge(
    base: str, host: str, own: str, parse: Callable[[str], dict[str, str]], between: str
) -> tuple[str, list[str]]:
    merged, conflicts = three_way(parse(base), parse(host), parse(own))
    return between.join(merged.values()) + between, conflicts


def status(base: str, host: str, own: str) -> tuple[str, list[str]]:
    """Merge dpkg's status."""
    return _merge(base, host, own, dpkg.stanzas, "\n\n")


def accounts(base: str, host: str, own: str) -> tuple[str, list[str]]:
    """Merge passwd(5) or group(5)."""
    return _merge(base, host, own, records, "\n")
