"""From a closure to what stands in the tar stream, as a value: nodes in order, every parent a directory.

A closure may name a file by a path that goes through a symbolic link which travels too. A bundle may not (no entry is
ever written through a link), so such a path is moved to where the link leads; the link stays.
"""

from __future__ import annotations

import os
import stat
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdee.base.errors import InputError, InternalError
from sdee.packer.format import rules
from sdee.packer.format.table import is_normal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdee.packer.model import Closure, Item

MAX_LINKS = 40  # path_resolution(7)
_KINDS = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True)
class Node:
    """What becomes one entry. `origin` is the file to read; mode as st_mode, times in nanoseconds."""

    path: str
    mode: int
    mtime_ns: int = 0
    target: str = ""
    origin: str = ""
    order: int | None = None


@dataclass(frozen=True)
class Layout:
    """Directories and links sorted by the bytes of their paths, then files in order of first access."""

    fixed: tuple[Node, ...]
    files: tuple[Node, ...]
    warnings: tuple[str, ...]


_last: tuple[weakref.ref[Closure], Layout] | None = None  # for who shows what will be written and then writes it


def lay_out(closure: Closure) -> Layout:
    """Return the nodes of a closure's travelling items, with the parent directories that it does not name.

    Raises InputError for a path that is too long, InternalError for one that is not absolute and normalised, that is
    below a file, or whose links go round.
    """
    global _last  # noqa: PLW0603
    if _last is not None and _last[0]() is closure:
        return _last[1]
    layout = _lay_out(closure)
    _last = weakref.ref(closure), layout
    return layout


def _lay_out(closure: Closure) -> Layout:
    warnings: list[str] = []
    items = [item for item in closure.travelling() if item.path != "/"]
    nodes: dict[str, Node] = {}
    for item in items:
        if not is_normal(item.path):
            if len(os.fsencode(item.path)) > rules.MOST_PATH:
                shown = f"{item.path[:60]!a}…{item.path[-60:]!a}"
                why = f"the path {shown} is longer than {rules.MOST_PATH} bytes, which is as long as a bundle's may be"
                raise InputError(why, hint="use a shorter directory, or leave it out with --exclude")
            raise InternalError(f"the closure holds {item.path!a}, which is not a normalised absolute path")
        if item.kind not in _KINDS:
            warnings.append(f"{item.path!a} is a {item.kind} and does not travel")
            continue
        nodes[item.path] = _node(item)
        if item.kind == "file" and item.mode & _SPECIAL_BITS:
            warnings.append(f"{item.path!a}: its set-user-ID or set-group-ID bit does not travel")
    placed = _place(nodes)
    while placed.keys() != nodes.keys():  # a link that was moved may be on another's way
        nodes, placed = placed, _place(placed)
    _add_parents(placed)
    _forget_times(placed, [value for key, value in closure.conf if key == "live"])
    fixed = [n for n in placed.values() if not stat.S_ISREG(n.mode)]
    files = [n for n in placed.values() if stat.S_ISREG(n.mode)]
    return Layout(
        tuple(sorted(fixed, key=lambda n: os.fsencode(n.path))),
        tuple(sorted(files, key=lambda n: (n.order is None, n.order or 0, os.fsencode(n.path)))),
        tuple(warnings),
    )


def _node(item: Item) -> Node:
    kind = _KINDS[item.kind]
    permissions = {stat.S_IFREG: item.mode & 0o777, stat.S_IFDIR: item.mode & 0o1777}.get(kind, 0o777)
    return Node(
        item.path,
        kind | permissions,
        item.mtime_ns,
        target=item.target if kind == stat.S_IFLNK else "",
        origin=(item.origin or item.path) if kind == stat.S_IFREG else "",
        order=item.order,
    )


def _place(nodes: dict[str, Node]) -> dict[str, Node]:
    """Move every node whose parent path goes through a link of the closure to the real directory."""
    parents: dict[str, str] = {"": ""}
    placed: dict[str, Node] = {}
    for path, node in nodes.items():
        parent, _, name = path.rpartition("/")
        if parent not in parents:
            parents[parent] = _real(parent, nodes)
        real = f"{parents[parent]}/{name}"
        # the node that the closure itself names there wins over one that was moved there
        if real == path or real not in nodes:
            placed.setdefault(real, node if real == path else replace(node, path=real))
    return placed


def _real(path: str, nodes: dict[str, Node]) -> str:
    """Resolve a directory's path through the links of the closure alone: "" is the root."""
    done: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = nodes.get("/" + "/".join([*done, part]))
        if here is None or not here.target:
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise InternalError(f"the closure holds a path below {path!a}, whose symbolic links go round")
        done = [] if here.target.startswith("/") else done
        todo += [part for part in reversed(here.target.split("/")) if part not in ("", ".")]
    return "".join(f"/{part}" for part in done)


def _add_parents(nodes: dict[str, Node]) -> None:
    for path in list(nodes):
        for parent in _ancestors(path):
            there = nodes.get(parent)
            if there is None:
                nodes[parent] = Node(parent, stat.S_IFDIR | 0o755)
            elif stat.S_ISDIR(there.mode):
                break  # what is above it is seen to in its own turn, or was
            else:
                raise InternalError(f"the closure holds {path!a} below {parent!a}, which is not a directory")


def _forget_times(nodes: dict[str, Node], live: Iterable[str]) -> None:
    """Set the time of live directories, and of those above, to 0.

    The node's own are seen in their place, and theirs change with every file that is made there, the bundle itself too:
    the same files would not give the same bytes.
    """
    for path in {parent for directory in live for parent in (directory, *_ancestors(directory))}:
        if path in nodes and stat.S_ISDIR(nodes[path].mode):
            nodes[path] = replace(nodes[path], mtime_ns=0)


def _ancestors(path: str) -> Iterable[str]:
    parent = path.rpartition("/")[0]
    while parent:
        yield parent
        parent = parent.rpartition("/")[0]
