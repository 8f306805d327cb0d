"""What each run found at a path before it changed anything there: where runs differ, their files may not be the same.

Made for thousands of ranks that saw the same: for each path the few states that were seen, and by which runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_USES = frozenset(("read", "exec"))
_CHANGES = frozenset(("write", "truncate", "create", "rename", "remove"))


class State(NamedTuple):
    """What was at a path free of links; `kind` "" is nothing, `target` a link's text.

    Size (bytes) and time are a regular file's whose content was used, -1 where the trace does not say.
    """

    kind: str
    size: int = -1
    mtime_ns: int = -1
    target: str = ""


NOTHING = State("")


class Sightings:
    """Takes the path records of one run after the other.

    Afterwards `seen` has for each path the states in which runs first found it, each with the numbers of these runs,
    and `changed` for each path the runs that changed it, or made it.
    """

    def __init__(self) -> None:
        self.seen: dict[str, dict[State, list[int]]] = {}
        self.changed: dict[str, list[int]] = {}
        self._run = -1
        self._now: dict[str, State] = {}
        self._changed_now: set[str] = set()

    def begin(self) -> None:
        """Begin the next run."""
        self.end()
        self._run += 1

    def add(self, record: dict[str, Any]) -> None:
        """Take a `path` record. Raises KeyError, TypeError, ValueError, AttributeError for what is none."""
        real, kind = record["real"], record["kind"]
        for link, target in record["hops"]:
            if link not in self._changed_now:
                self._now.setdefault(link, State("link", target=target))
        if real not in self._changed_now and not record.get("made", False):
            if not record["exists"]:
                self._now.setdefault(real, NOTHING)
            elif kind == "file":
                if not _USES.isdisjoint(record["ops"]):
                    state = State("file", record.get("size", -1), record.get("mtime_ns", -1))
                    if self._now.setdefault(real, state) is NOTHING:  # it came while the run went on
                        self._now[real] = state
            elif kind != "link":  # what a link says is known where it was followed
                self._now.setdefault(real, State(kind))
        if not _CHANGES.isdisjoint(record["ops"]):
            self._changed_now.add(real)

    def end(self) -> None:
        """Put what the run saw to what the others did."""
        for path, state in self._now.items():
            self.seen.setdefault(path, {}).setdefault(state, []).append(self._run)
        for path in self._changed_now:
            self.changed.setdefault(path, []).append(self._run)
        self._now, self._changed_now = {}, set()

    def differing(self) -> dict[str, dict[State, list[int]]]:
        """Return the paths that were seen in several states."""
        return {path: states for path, states in self.seen.items() if len(states) > 1}
