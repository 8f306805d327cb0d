"""What a bundle will hold and what it will not, for a user: a value (for --json), and the same as lines of text."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sdee.base.paths import is_below_any
from sdee.base.text import count_text, safe, size_text
from sdee.packer.format.layout import lay_out
from sdee.packer.inspect.sizes import group_of
from sdee.packer.model import Item, Verdict
from sdee.packer.units import WHOLE_PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdee.packer.format.writer import BundleSummary
    from sdee.packer.model import Closure

SHOWN = 8  # groups in each part of the text; JSON has all
NAMES = 3  # names shown of a group


def summarize(closure: Closure) -> dict[str, Any]:
    """Return numbers, sizes in bytes, and groups for every verdict, largest first."""
    by_verdict: dict[Verdict, list[Item]] = {verdict: [] for verdict in Verdict}
    for item in closure.items.values():
        by_verdict[item.verdict].append(item)
    # The closure names some files twice, as the job called them and where links lead: count what will be written
    layout = lay_out(closure)
    files = [closure.items[node.path] for node in layout.files if node.path in closure.items]
    links = sum(stat.S_ISLNK(node.mode) for node in layout.fixed)
    return {
        "travels": {
            "files": len(layout.files),
            "directories": len(layout.fixed) - links,
            "links": links,
            "size": sum(item.size for item in files),
            "groups": _groups(files, _unit),
        },
        "packages": {"limit": closure.package_limit, "groups": _groups(filter(_completes, files), _unit)},
        "shared": _groups(_without_the_way_to_others(by_verdict[Verdict.SHARED]), _directory),
        "host": _groups(by_verdict[Verdict.HOST], _directory),
        "secret": [{"path": item.path, "why": _why(item)} for item in by_verdict[Verdict.SECRET]],
        "produced": len(by_verdict[Verdict.PRODUCED]),
        "absent": len(by_verdict[Verdict.ABSENT]),
        "incomplete": list(closure.incomplete),
        "warnings": list(closure.warnings),
        "notices": list(closure.notices),
    }


def _unit(item: Item) -> tuple[str, str]:
    """Group what travels as `sdee ls --du` does."""
    return group_of(item.path, item.package)[1], ""


def _without_the_way_to_others(items: list[Item]) -> Iterator[Item]:
    """Leave out directories above others of these: where the nodes see those, they see the directories, too."""
    above = {str(parent) for item in items for parent in PurePosixPath(item.path).parents}
    return (item for item in items if item.kind != "dir" or item.path not in above)


def _completes(item: Item) -> bool:
    """Return whether a file travels only because its whole package does."""
    return bool(item.reasons) and item.reasons[0].detail.startswith(WHOLE_PACKAGE)


def _directory(item: Item) -> tuple[str, str]:
    return os.path.dirname(item.path), _why(item)


def _why(item: Item) -> str:
    if not item.reasons:
        return ""
    reason = item.reasons[0]
    return f"{reason.why} ({reason.detail})" if reason.detail else reason.why


def _groups(items: Iterable[Item], key: Any) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    found = [
        {
            "name": name,
            "why": why,
            "paths": len(members),
            "size": sum(member.size for member in members),
            "first": [os.path.basename(member.path) for member in sorted(members, key=lambda m: m.path)[:NAMES]],
        }
        for (name, why), members in groups.items()
    ]
    return sorted(found, key=lambda group: (-group["size"], -group["paths"], group["name"], group["why"]))


def written_lines(written: BundleSummary, seconds: float) -> list[str]:
    """Return the lines that say what was written."""
    content = f"{count_text(written.files, 'file')} of {size_text(written.content + written.duplicates)}"
    lines = [
        f"{safe(written.path)}: {size_text(written.size)}, {content}, in {seconds:.1f} s",
        f"  identity    sha256:{written.identity}",
    ]
    if written.private:
        lines.append(f"  mode        0700: it holds {count_text(written.private, 'file')} that others may not read")
    if written.reused:
        lines.append(f"  reused      {written.reused} of {count_text(written.frames, 'frame')} of the older bundle")
    return lines + [f"  reused      nothing of {safe(text)}" for text in written.useless]


def plan_lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary as lines."""
    travels = summary["travels"]
    what = ", ".join(count_text(travels[f"{n}s"], n) for n in ("file", "link"))
    lines = [
        f"  travels     {what} and {count_text(travels['directories'], 'directory')}: {size_text(travels['size'])}"
    ]
    lines += _listed([f"{size_text(g['size']):>9}  {safe(g['name'])}" for g in travels["groups"]])
    if groups := summary["packages"]["groups"]:
        lines.append(_packages(groups, summary["packages"]["limit"]))
    if summary["shared"]:
        size = sum(g["size"] for g in summary["shared"])
        number = sum(g["paths"] for g in summary["shared"])
        lines.append(
            f"  stays       {count_text(number, 'path')}, {size_text(size)}: the nodes must see them at the same path"
        )
        lines += _listed([_group(g, with_size=True) for g in summary["shared"]])
    # Each node has /proc and /sys: what of them is of this run, or of this machine's disks
    if provided := [group for group in summary["host"] if not is_below_any(group["name"], ("/proc", "/sys"))]:
        lines.append("  node's own  the node must provide these")
        lines += _listed([_group(g, with_size=False) for g in provided])
    if summary["secret"]:
        number = count_text(len(summary["secret"]), "file")
        lines.append(f"  refused     {number} that may hold secrets; if the job needs one: --allow PATH")
        lines += _listed([f"{safe(s['path'])}  {safe(s['why'])}" for s in summary["secret"]])
    if summary["incomplete"] or summary["warnings"]:
        lines.append("  may be missing")
        lines += _listed([safe(text) for text in (*summary["incomplete"], *summary["warnings"])])
    return lines


def _packages(groups: list[dict[str, Any]], limit: int | None) -> str:
    names = ", ".join(safe(group["name"].split(" ")[0]) for group in groups[:NAMES])
    more = f" and {len(groups) - NAMES} more" if len(groups) > NAMES else ""
    at_most = "" if limit is None else f" of at most {size_text(limit)}; package-limit in sdee.toml"
    return f"  packages    completed: {names}{more} (+{size_text(sum(g['size'] for g in groups))}{at_most})"


def _group(group: dict[str, Any], *, with_size: bool) -> str:
    more = ", …" if group["paths"] > NAMES else ""
    size = f"{size_text(group['size']):>9}  " if with_size else ""
    why = f"  ({safe(group['why'])})" if group["why"] else ""
    return f"{size}{safe(group['name'])}: {', '.join(map(safe, group['first']))}{more}{why}"


def _listed(lines: list[str]) -> list[str]:
    shown = [f"              {line}" for line in lines[:SHOWN]]
    more = len(lines) - SHOWN
    return shown + ([f"              … and {more} more: --dry-run lists everything"] if more > 0 else [])


def warnings(summary: dict[str, Any]) -> list[str]:
    """Return what a user must not overlook in a script's log."""
    said = [f"warning: {safe(notice)}" for notice in summary["notices"]]
    if summary["incomplete"]:
        said.append(f"warning: the trace is incomplete: {safe(summary['incomplete'][0])}")
    if summary["secret"]:
        paths = ", ".join(safe(s["path"]) for s in summary["secret"][:3])
        more = f" and {len(summary['secret']) - 3} more" if len(summary["secret"]) > 3 else ""
        said.append(f"warning: left out as secret: {paths}{more} (--allow PATH packs one)")
    return said
