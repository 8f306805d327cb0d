"""What differs between two traces, or between two bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.packer.format import rules

if TYPE_CHECKING:
    from sdee.packer.format.reader import Bundle
    from sdee.packer.format.table import Entry
    from sdee.tracer.tracefile.model import Access, Trace


@dataclass(frozen=True)
class Difference:
    """`sign`: "-" only in the first, "+" only in the second, "~" in both and different; `what` says how."""

    sign: str
    path: str
    what: str


def compare_traces(one: Trace, other: Trace) -> list[Difference]:
    """Return, sorted by path, what was done to paths in one run and not in the other."""
    return _compare(
        {path: _deeds(access) for path, access in one.accesses.items()},
        {path: _deeds(access) for path, access in other.accesses.items()},
    )


def compare_bundles(one: Bundle, other: Bundle) -> list[Difference]:
    """Return, by path, what travels otherwise or got another verdict, and then CONF keys that differ."""
    found = _compare(_contents(one), _contents(other))
    hidden = {key for key, rule in rules.CONF.items() if not rule.compare}
    settings = [{f"{key} {value}" for key, value in b.table.conf if key not in hidden} for b in (one, other)]
    found += [Difference("-", text, "setting") for text in sorted(settings[0] - settings[1])]
    return found + [Difference("+", text, "setting") for text in sorted(settings[1] - settings[0])]


def _deeds(access: Access) -> str:
    there = "made by the job" if access.made or (not access.existed and access.ops & {"create", "rename"}) else ""
    return ", ".join((*sorted(access.ops), there or ("there" if access.existed else "not there")))


def _contents(bundle: Bundle) -> dict[str, str]:
    found = {path: item.verdict.value for path, item in bundle.items.items()}
    found |= {entry.path: _content(entry, bundle) for entry in bundle.table.entries}
    return found


def _content(entry: Entry, bundle: Bundle) -> str:
    if entry.link and not entry.hard_link:
        return f"link to {entry.link}"
    size = bundle.entries[entry.link].size if entry.hard_link else entry.size
    kind = "directory" if entry.kind == 0o040000 else f"{size} bytes, sha256 {entry.sha256.hex()[:12]}"
    return f"{kind}, mode {entry.mode & 0o7777:04o}"


def _compare(one: dict[str, str], other: dict[str, str]) -> list[Difference]:
    found = []
    for path in sorted({*one, *other}):
        if path not in other:
            found.append(Difference("-", path, one[path]))
        elif path not in one:
            found.append(Difference("+", path, other[path]))
        elif one[path] != other[path]:
            found.append(Difference("~", path, f"{one[path]} → {other[path]}"))
    return found
