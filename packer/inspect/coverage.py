"""Does a bundle that was made for another command hold all that a closure asks for, as it is now?

For bundles that hold all changes of a private environment: they are hundreds of megabytes, nearly the same for each
command, and any command can be run in one (SDEE_COMMAND).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdee.base.paths import ancestors, is_below_any
from sdee.packer.format import rules
from sdee.packer.format.layout import lay_out
from sdee.packer.model import Item, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdee.packer.format.layout import Node
    from sdee.packer.format.reader import Bundle
    from sdee.packer.format.table import Entry
    from sdee.packer.model import Closure

_OF_THE_PROCESS = ("_=", "PWD=")  # variables that the launcher, or the program, sets itself


def _of(coverage: str) -> frozenset[str]:
    return frozenset(key for key, rule in rules.CONF.items() if rule.coverage == coverage)


# Keys that say what was run, which another command replaces, or that serve messages alone
_OF_THE_COMMAND = _of("command")
# Of these a bundle may say neither less nor more: a command would see other files, variables or limits, or be refused
_EQUAL = _of("equal")
# A bundle with more of these serves as well: what a node has there does not appear, or does
_JOINED = _of("joined")
_FIRST_WORD = frozenset(key for key, rule in rules.CONF.items() if rule.first_word)  # then a path, for messages


@dataclass(frozen=True)
class Lack:
    """Why the command of a closure may not run in a bundle. `mends`: in one that holds both, both may run."""

    why: str
    mends: bool


def lacking(bundle: Bundle, closure: Closure, apart: tuple[str, ...]) -> Lack | None:
    """Return why the command of a closure may not run in a bundle, None when it may.

    All that travels has to be in the bundle, and all of the bundle has to be as it is here now: type, size, time of
    last change and permissions, as make(1) and rsync(1) have it. In live directories it may hold no other files: they
    would be in the way of a command that makes its own there. What lies below the directories `apart` does not count:
    nodes see it. Raises InternalError: the closure is none.
    """
    asked, there = _conf(closure.conf, apart), _conf(bundle.table.conf, apart)
    others: dict[str, set[str]] = {}
    for key in asked.keys() | there.keys():
        ours, theirs = asked.get(key, set()), there.get(key, set())
        others[key] = ours ^ theirs if key in _EQUAL else ours - theirs
    differing = sorted((key for key, values in others.items() if values), key=lambda key: (key in _JOINED, key))
    if differing:
        return Lack(f"{differing[0]} differs: {min(others[differing[0]])}", mends=differing[0] in _JOINED)
    # nodes have the directories above `apart`, too; a script that lies there brings them, and a command by its name not
    seen = frozenset(above for path in apart for above in ancestors(path))
    nodes = {path: node for path, node in _nodes(closure).items() if path not in seen and not is_below_any(path, apart)}
    missing = nodes.keys() - bundle.entries.keys()
    if missing:
        return Lack(f"it lacks {min(missing)}", mends=True)
    live = tuple(bundle.conf("live"))
    for path, entry in bundle.entries.items():
        if is_below_any(path, apart):
            continue
        if not _is_as_now(entry, nodes.get(path), bundle):
            return Lack(f"{path} has changed", mends=True)
        if path not in nodes and not stat.S_ISDIR(entry.mode) and is_below_any(path, live):
            return Lack(f"{path} is another command's", mends=True)
    return None


def with_both(bundle: Bundle, closure: Closure) -> Closure:
    """Return the closure with what a bundle holds besides in directories that are not live, as far as it is as now."""
    nodes = _nodes(closure)
    live = tuple(value for key, value in (*closure.conf, *bundle.table.conf) if key == "live")
    more = {
        path: _item(path)
        for path, entry in bundle.entries.items()
        if path not in nodes and not is_below_any(path, live) and _is_as_now(entry, None, bundle)
    }
    known = {*closure.conf, *(("absent", path) for path in nodes)}
    joined = tuple(pair for pair in bundle.table.conf if pair[0] in _JOINED and pair not in known)
    conf = (*closure.conf, *(pair for pair in joined if pair[0] == "host" or not os.path.lexists(pair[1])))
    return replace(closure, items={**more, **closure.items}, conf=conf)


def _nodes(closure: Closure) -> dict[str, Node]:
    layout = lay_out(closure)
    return {node.path: node for node in (*layout.fixed, *layout.files)}


def _item(path: str) -> Item:
    status = os.lstat(path)
    kind = "dir" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "file"
    return Item(
        path,
        Verdict.BUNDLE,
        (Reason("is in a bundle of another command of this environment"),),
        kind=kind,
        target=os.readlink(path) if kind == "link" else "",
        size=status.st_size if kind == "file" else 0,
        mtime_ns=status.st_mtime_ns,
        mode=status.st_mode,
    )


def _conf(pairs: Iterable[tuple[str, str]], apart: tuple[str, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, value in pairs:
        known = found.setdefault(key, set())
        if key in _OF_THE_COMMAND or (key == "env" and value.startswith(_OF_THE_PROCESS)) or is_below_any(value, apart):
            continue
        known.add(value.split(" ", 1)[0] if key in _FIRST_WORD else value)
    return found


def _is_as_now(entry: Entry, node: Node | None, bundle: Bundle) -> bool:
    """Compare an entry with what would travel now, or, where that is nothing, with what is there."""
    content = bundle.entries[entry.link] if entry.hard_link else entry
    try:
        status = os.lstat((node and node.origin) or entry.path)
        target = os.readlink(entry.path) if stat.S_ISLNK(status.st_mode) else ""
    except OSError:
        return False
    mode, mtime_ns = (node.mode, node.mtime_ns) if node else (status.st_mode, status.st_mtime_ns)
    if stat.S_IFMT(mode) != stat.S_IFMT(entry.mode) or stat.S_ISDIR(mode):
        return stat.S_ISDIR(mode) and stat.S_ISDIR(entry.mode)
    if stat.S_ISLNK(mode):
        return (node.target if node else target) == entry.link
    return (mode & 0o777, mtime_ns, status.st_size) == (entry.mode & 0o777, entry.mtime_ns, content.size)
