"""Give each path its verdict. The rules apply in this order: user's options, node, secret, data or code, size."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdee.packer import knowledge
from sdee.packer.closure.globs import Globs
from sdee.packer.closure.places import host_reason, is_code
from sdee.packer.closure.secrets import secret_by_content, secret_by_name
from sdee.packer.model import Item, Reason, Verdict

if TYPE_CHECKING:
    from sdee.packer.closure.options import ClosureOptions
    from sdee.packer.closure.places import Site
    from sdee.packer.filesystem import FileSystem
    from sdee.packer.packages import Packages

MAX_REASONS = 4  # a library that a thousand modules need is explained by the first few
INPUT_DATA = "is input data below"


@dataclass(slots=True)
class Draft:
    """An unfinished item of the closure."""

    path: str
    verdict: Verdict
    reasons: list[Reason]
    status: os.stat_result | None = None
    target: str = ""
    origin: str = ""
    size: int | None = None
    mtime_ns: int | None = None
    mode: int | None = None
    order: int | None = None
    package: str = ""
    owned: bool = False  # part of some software
    alias_of: Draft | None = None  # what this path leads to through a link

    @property
    def alias(self) -> bool:
        """Return whether this path is only another way to an item."""
        return self.alias_of is not None

    def explain(self, reason: Reason) -> None:
        """Add a reason, unless there are enough or it is known."""
        if len(self.reasons) < MAX_REASONS and reason not in self.reasons:
            self.reasons.append(reason)

    def item(self) -> Item:
        """Return the finished item."""
        if self.alias_of is not None:
            item = self.alias_of.item()
            return replace(item, path=self.path, reasons=tuple(self.reasons), size=0, order=self.order)
        status = self.status
        mode = self.mode if self.mode is not None else status.st_mode if status else 0
        kind = {stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}.get(stat.S_IFMT(mode), "file")
        size = self.size if self.size is not None else status.st_size if status and kind == "file" else 0
        return Item(
            self.path,
            self.verdict,
            tuple(self.reasons),
            kind,
            self.target,
            self.origin,
            size,
            self.mtime_ns if self.mtime_ns is not None else status.st_mtime_ns if status else 0,
            mode,
            self.order,
            self.package,
        )


@dataclass
class Builder:
    """An unfinished closure: `drafts` by path, and what went wrong, in words."""

    fs: FileSystem
    packages: Packages
    site: Site
    options: ClosureOptions
    drafts: dict[str, Draft] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    made: frozenset[str] = frozenset()  # paths that the job itself made
    # libraries of which the node has its own, perhaps: (soname, who needs it) → is it needed to start a program?
    host_needs: dict[tuple[str, str], bool] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)  # travelling files beside the node's own that the job changes
    trees: dict[str, Reason] = field(default_factory=dict)  # software directories, whole (software.py), and why
    left_out: set[str] = field(default_factory=set)  # in these, what stays the node's own
    unused: set[str] = field(default_factory=set)  # in these, what no program reads: it neither travels nor shows

    def __post_init__(self) -> None:
        options = self.options
        self._include, self._exclude, self._allow = map(Globs, (options.include, options.exclude, options.allow))
        self._host, self._shared = Globs(options.host), Globs(options.shared)

    def need(self, path: str, reason: Reason, *, order: int | None = None, unit: bool = False) -> Draft:
        """Give a path that exists its verdict, and every symbolic link on its way; return what it leads to.

        `unit`: the path belongs to software as a whole, so that it is not data wherever it lies. A path that has a
        verdict keeps it and gains the reason.
        """
        resolution = self.fs.resolve(path)
        draft = self.drafts.get(resolution.real)
        if draft is None:
            verdict, why = self.decide(resolution.real, resolution.status, unit=unit, named=path)
            draft = Draft(resolution.real, verdict, [reason, *why], resolution.status, order=order)
            draft.owned = unit
            self.drafts[draft.path] = draft
        else:
            draft.owned = draft.owned or unit
            if unit and draft.verdict is Verdict.SHARED:  # taken for data when it was met first
                draft.verdict, why = self.decide(resolution.real, resolution.status, unit=True, named=path)
                draft.reasons = [r for r in draft.reasons if r.why != INPUT_DATA] + why
            draft.explain(reason)
            if order is not None and (draft.order is None or order < draft.order):
                draft.order = order
        for link, target in resolution.hops:
            self.link(link, target, draft, path)
        return draft

    def link(self, path: str, target: str, leads_to: Draft, asked: str) -> None:
        """Give a symbolic link its verdict: it travels if what it leads to does, or if it lies in the system."""
        if path in self.made:
            self.note(path, Verdict.PRODUCED, Reason("was made by the job"))
            return
        if path in self.drafts:
            known = self.drafts[path]
            if known.verdict is Verdict.SHARED and leads_to.verdict is Verdict.BUNDLE and not known.alias:
                known.verdict = Verdict.BUNDLE
            return
        status = self.fs.status(path)
        verdict = Verdict.BUNDLE
        if host_reason(path) and path not in knowledge.HOST_ROOTS:  # /var/run → /run itself is only a link
            verdict = Verdict.HOST
        elif self.site.live_root(path) and leads_to.verdict is not Verdict.BUNDLE:
            verdict = Verdict.SHARED
        reason = Reason("is a symbolic link on the way of", leads_to.path if asked == path else asked, f"→ {target}")
        self.drafts[path] = Draft(path, verdict, [reason], status, target=target, mode=stat.S_IFLNK | 0o777)

    def alias(self, path: str, draft: Draft, reason: Reason, order: int) -> None:
        """Note a path that leads through a link to another item: it has that one's verdict and adds nothing.

        Behind a link that the job makes there is nothing before it does.
        """
        if any(link in self.made for link, _ in self.fs.resolve(path).hops):
            self.note(path, Verdict.PRODUCED, reason, Reason("lies behind a link that the job makes"))
            return
        if path not in self.drafts:
            way = Reason("leads through a symbolic link to", draft.path)
            self.drafts[path] = Draft(path, draft.verdict, [reason, way], draft.status, order=order, alias_of=draft)

    def note(self, path: str, verdict: Verdict, *reasons: Reason, order: int | None = None) -> Draft:
        """Give a path a verdict that needs no rules (absent, produced)."""
        if path not in self.drafts:
            self.drafts[path] = Draft(path, verdict, list(reasons), order=order)
        return self.drafts[path]

    def decide(
        self, path: str, status: os.stat_result | None, *, unit: bool = False, named: str = "", content: str = ""
    ) -> tuple[Verdict, list[Reason]]:
        """Return the verdict of a path without links, and why.

        `named`: as the job named it. `content`: the file that holds what would travel, if it is not at `path` any more.
        """
        if self._exclude.match(path) or (named and self._exclude.match(named)):
            live = self.site.live_root(path)
            return (Verdict.SHARED if live else Verdict.HOST), [Reason("is left out by --exclude")]
        if self._host.match(path):
            return Verdict.HOST, [Reason("is the node's own by sdee.toml")]
        if self._shared.match(path):
            return Verdict.SHARED, [Reason("stays on shared storage by sdee.toml")]
        included = self.included(path) or (named != path and self.included(named))
        if not included and (why := host_reason(path)):
            return Verdict.HOST, [Reason(why)]
        if status is None:
            return Verdict.ABSENT, [Reason("is not there")]
        if stat.S_ISDIR(status.st_mode):
            return self._decide_directory(path, unit=unit, included=included)
        if not stat.S_ISREG(status.st_mode):
            return Verdict.HOST, [Reason("is no file but a socket, pipe or device of the node")]
        return self._decide_file(path, status, unit=unit, included=included, content=content or path)

    def included(self, path: str) -> bool:
        """Return whether --include names a path."""
        return bool(path) and self._include.match(path)

    def _decide_directory(self, path: str, *, unit: bool, included: bool) -> tuple[Verdict, list[Reason]]:
        live = self.site.live_root(path)
        below = f"{path}/."
        if not live or unit or included or self.site.software_prefix(below) or self.site.own_directory(below):
            return Verdict.BUNDLE, []
        if self.options.with_data and path not in self.site.live:
            return Verdict.BUNDLE, [Reason("is a directory of data, asked for by --with-data")]
        return Verdict.SHARED, [Reason("stays the node's own", live)]

    def _decide_file(
        self, path: str, status: os.stat_result, *, unit: bool, included: bool, content: str
    ) -> tuple[Verdict, list[Reason]]:
        if self._allow.match(path):
            return self._travels(path, [Reason("is allowed by --allow")], content, allowed=True)
        if why := secret_by_name(path, self.fs):
            return Verdict.SECRET, [Reason(why, detail="--allow lets it travel")]
        if included:
            return self._travels(path, [Reason("is asked for by --include")], content)
        if status.st_size > knowledge.SHARED_LIMIT and not self.options.with_data:
            return Verdict.SHARED, [Reason("is larger than 1 GB", detail=f"{status.st_size} bytes")]
        live = self.site.live_root(path)
        if not live or unit:
            return self._travels(path, [], content)
        code = self.site.code_reason(path)
        if code and (
            status.st_size <= knowledge.KEPT_LIMIT or not self.site.own_directory(path) or is_code(path, self.fs)
        ):
            return self._travels(path, [Reason(code)], content)
        if self.options.with_data:
            return self._travels(path, [Reason("is data, asked for by --with-data")], content)
        if (directory := self.site.mixed_directory(path)) and status.st_size <= knowledge.PROBE_LIMIT:
            return self._travels(path, [Reason(self.site.mixed[directory])], content)
        if self.site.is_setting(path) and status.st_size <= knowledge.SETTING_LIMIT:
            return self._travels(path, [Reason("is a program's settings in the home")], content)
        return Verdict.SHARED, [Reason(INPUT_DATA, live)]

    def _travels(
        self, path: str, reasons: list[Reason], content: str, *, allowed: bool = False
    ) -> tuple[Verdict, list[Reason]]:
        """Check what would travel once more: it must be readable and hold no key."""
        if not self.fs.readable(content):
            self.unreadable.append(path)
            return Verdict.HOST, [*reasons, Reason("cannot be read by this user, so the node must have it")]
        own = bool(self.site.live_root(path)) and not self.site.software_prefix(path)
        if not allowed and (why := secret_by_content(content, self.fs, own=own)):
            return Verdict.SECRET, [*reasons, Reason(why, detail="--allow lets it travel")]
        return Verdict.BUNDLE, reasons

    def add_parents(self) -> None:
        """Make every directory above a travelling path travel too: a bundle's entries need their parents."""
        for draft in list(self.drafts.values()):
            if draft.verdict is not Verdict.BUNDLE or draft.alias:
                continue
            path = draft.path
            while (parent := os.path.dirname(path)) != "/":
                known = self.drafts.get(parent)
                if known is None:
                    known = self.drafts[parent] = Draft(parent, Verdict.BUNDLE, [], self.fs.status(parent))
                    if known.status is None:  # gone since: a saved copy lay in it
                        known.mode = stat.S_IFDIR | 0o755
                elif known.verdict is Verdict.BUNDLE:
                    break
                known.verdict = Verdict.BUNDLE
                known.status = known.status or self.fs.status(parent)
                if known.status is None or not stat.S_ISDIR(known.status.st_mode):
                    known.mode = stat.S_IFDIR | 0o755
                known.explain(Reason("holds", draft.path))
                path = parent

    def add_owners(self) -> None:
        """Note for every path the distribution package that it belongs to."""
        for path, package in self.packages.owners(self.drafts).items():
            self.drafts[path].package = package

    def fallbacks(self) -> list[str]:
        """Return the travelling files of which the node's own is better: data, and what the job changes.

        Data that a node has is newer than the bundle's, and what the job writes to it must stay.
        """
        data = {
            d.path
            for d in self.travelling()
            if not d.owned
            and d.status
            and stat.S_ISREG(d.status.st_mode)
            and self.site.is_data(d.path)
            and not self.site.is_setting(d.path)
        }
        return sorted(data | self.written)

    def travels(self, real: str) -> bool:
        """Return whether a path without links travels as things stand."""
        draft = self.drafts.get(real)
        return draft is not None and draft.verdict is Verdict.BUNDLE

    def travelling(self) -> list[Draft]:
        """Return what travels and is no alias, in the order in which it was found."""
        return [d for d in self.drafts.values() if d.verdict is Verdict.BUNDLE and not d.alias]
