"""Give each path a verdict by what the run did to it: it existed, was missing, or the job made or changed it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sdee.base.errors import InputError
from sdee.packer import knowledge
from sdee.packer.closure.places import host_reason
from sdee.packer.closure.provenance import Provenance
from sdee.packer.model import Reason, Verdict

if TYPE_CHECKING:
    from sdee.packer.closure.verdicts import Builder, Draft
    from sdee.tracer.tracefile.model import Access, Saved, Trace

MADE = frozenset(("write", "create", "rename"))
_CHANGED = MADE | {"remove"}
_USED = frozenset(("read", "exec"))
ONLY_ASKED = "was only looked up, not read, and is large"


class Accesses:
    """Goes through a trace's accesses in their order."""

    def __init__(self, trace: Trace, builder: Builder) -> None:
        self._trace = trace
        self._builder = builder
        self._provenance = Provenance(trace)
        there = [a for a in trace.accesses.values() if a.existed]
        # one file may have several names, through links: what was read by one and written by another was changed
        self._changed_files = {a.real for a in there if a.ops & _CHANGED and a.kind != "link"} | set(trace.saved)
        self._used_files = {a.real for a in there if a.ops & _USED and not a.replaced}
        self._gone: list[str] = []
        self._directories: list[Draft] = []
        self._probed: list[tuple[Access, Reason]] = []

    def judge(self) -> None:
        """Give every path of the trace a verdict.

        Raises InputError naming the files that the job read, that should travel and that cannot be read.
        """
        for access in sorted(self._trace.accesses.values(), key=lambda a: a.order):
            self._judge(access)
        self._check()

    def _check(self) -> None:
        read = {p for a in self._trace.accesses.values() if "read" in a.ops for p in (a.path, a.real)}
        lost = [p for p in self._builder.unreadable if p in read] + self._gone
        if lost:
            shown = ", ".join(map(ascii, lost[:5])) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            raise InputError(
                f"sdee cannot read files that the job read: {shown}",
                hint="bundle as the user who ran the job, and before files change; or leave them out: --exclude",
            )

    def _judge(self, access: Access) -> None:
        builder, path = self._builder, access.path
        reason = self._provenance.reason(access)
        if not access.existed:
            self._not_there(access, reason)
            return
        if (why := host_reason(path)) and not builder.included(path):
            builder.note(path, Verdict.HOST, reason, Reason(why), order=access.order)
            # /proc/self/exe and the like lead to files of this machine
            if access.real and access.ops & _USED and not host_reason(access.real) and builder.fs.is_file(access.real):
                builder.need(access.real, Reason("was used by way of", path), order=access.order)
            return
        if access.ops & _CHANGED or access.real in self._changed_files:
            self._changed(access, reason)
            return
        resolution = builder.fs.resolve(path)
        if resolution.status is None and access.kind != "link":
            self._vanished(access, reason)
            return
        self._there(access, reason)

    def _not_there(self, access: Access, reason: Reason) -> None:
        builder = self._builder
        ours = access.ops & MADE or access.made
        led = access.real not in ("", access.path) and access.real not in builder.made and not access.made
        if ours and led and access.ops & (_USED | {"list"}) and builder.fs.status(access.real):
            # a link that the job makes, to what was there: it is made again, and what it leads to must be there
            builder.need(access.real, Reason("was used by way of", access.path), order=access.order)
        if access.ops & MADE or access.made:
            builder.note(
                access.path, Verdict.PRODUCED, Reason("was made by the job", reason.source), order=access.order
            )
            return
        why = "the node provides what lies there" if host_reason(access.path) else "was not there"
        absent = builder.note(access.path, Verdict.ABSENT, Reason("was looked for", reason.source), Reason(why))
        absent.order = access.order
        for link, target in builder.fs.resolve(access.path).hops:
            builder.link(link, target, absent, access.path)

    def _there(self, access: Access, reason: Reason) -> None:
        builder, path = self._builder, access.path
        resolution = builder.fs.resolve(path)
        is_file = resolution.status is not None and stat.S_ISREG(resolution.status.st_mode)
        if is_file and access.ops == {"probe"} and resolution.real not in builder.drafts:
            self._probed.append((access, reason))
            return
        draft = builder.need(path, reason, order=access.order)
        real = builder.fs.resolve(access.real) if access.real else resolution
        if real.real != draft.path and real.status is not None:
            # `link/..` in the job's own path: the kernel ended up elsewhere than the name without links says
            builder.need(access.real, Reason("is where the kernel followed", path), order=access.order)
        if path not in builder.drafts:
            builder.alias(path, draft, reason, access.order)
        if "list" in access.ops and draft.verdict is Verdict.BUNDLE:
            self._directories.append(draft)

    def add_probed(self) -> None:
        """Let files that were only looked up travel while they are small together.

        Call it last: other paths of the closure do not depend on the limit.
        """
        builder, left = self._builder, knowledge.PROBES_LIMIT
        refused: list[int] = []  # bytes of each
        for access, reason in self._probed:
            resolution = builder.fs.resolve(access.path)
            size = resolution.status.st_size if resolution.status else 0
            known = builder.drafts.get(resolution.real)
            if known is None and size > min(left, knowledge.PROBE_LIMIT):
                verdict, _ = builder.decide(resolution.real, resolution.status, named=access.path)
                if verdict is Verdict.BUNDLE:
                    refused.append(size)
                    draft = builder.note(resolution.real, Verdict.HOST, reason, Reason(ONLY_ASKED), order=access.order)
                    draft.status = resolution.status
                    continue
            draft = builder.need(access.path, reason, order=access.order)
            if known is None and draft.verdict is Verdict.BUNDLE:
                left -= size
            if access.path not in builder.drafts:
                builder.alias(access.path, draft, reason, access.order)
        if refused:
            builder.warnings.append(
                f"{len(refused)} large files ({sum(refused) / 1e6:.1f} MB together) were only looked up, not read: "
                "they do not travel, and the node may lack them; --include GLOB packs them"
            )

    def add_listed(self) -> None:
        """Let the files of listed directories travel if they are small together: the job saw their names.

        Call it after the units: it need not add what they brought.
        """
        for directory in self._directories:
            self._listed(directory)

    def _listed(self, directory: Draft) -> None:
        builder, fs = self._builder, self._builder.fs
        data = bool(builder.site.live_root(directory.path))
        if os.path.basename(directory.path) in knowledge.MODULE_DIRECTORIES or (data and not builder.options.with_data):
            return  # Python lists its path to find modules; what it imported travels as units
        paths = [f"{directory.path.rstrip('/')}/{name}" for name in fs.names(directory.path)]
        if any(reason.why == "belongs to" for reason in directory.reasons):
            return  # a unit's directory: what the unit left out was left out on purpose
        missing = [p for p in paths if p not in builder.drafts]
        files = [p for p in missing if fs.is_file(p)]
        limit = knowledge.SOFTWARE_LIMIT if data else knowledge.LIST_LIMIT
        if sum(status.st_size for p in files if (status := fs.resolve(p).status)) > limit:
            builder.warnings.append(
                f"the job listed {directory.path!a}: of its {len(paths)} entries, only those that it used travel"
            )
            return
        for path in missing:
            # of a directory, and of what a link to one leads to, the name alone
            if fs.is_dir(path) or (fs.is_file(path) and fs.readable(path)):
                builder.need(path, Reason("lies in a directory that was listed", directory.path))

    def _changed(self, access: Access, reason: Reason) -> None:
        """Judge what existed and was changed, by its earlier content if that was saved."""
        builder, path = self._builder, access.path
        resolution = builder.fs.resolve(path)
        real = access.real or resolution.real
        saved = self._trace.saved.get(path) or self._trace.saved.get(real)
        status = resolution.status
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._there(access, reason)
            return
        verdict, why = self._verdict_before(real, saved, status)
        used = real in self._used_files
        site = builder.site
        live = site.ground(real)
        if verdict is Verdict.BUNDLE and live:
            if used or site.software_prefix(real) or builder.included(path):
                builder.written.add(real)  # a copy laid over the node's file would swallow what the job writes
            else:
                verdict, why = Verdict.SHARED, [Reason("is written by the job and not read", live)]
        if verdict is Verdict.BUNDLE and saved is not None and saved.copy and os.path.exists(saved.copy):
            draft = builder.note(real, Verdict.BUNDLE, reason, *why, order=access.order)
            draft.explain(Reason("was changed by the job later: what was there before travels", reason.source))
            draft.verdict, draft.origin, draft.size = Verdict.BUNDLE, saved.copy, saved.size
            draft.mode, draft.mtime_ns = stat.S_IFREG | stat.S_IMODE(saved.mode), saved.mtime_ns
            for link, target in resolution.hops:
                builder.link(link, target, draft, path)
        elif verdict is Verdict.BUNDLE and used and status is not None:
            if saved is not None:
                why_not = saved.why or f"the copy {saved.copy!a} is gone"
                builder.incomplete.append(f"{path!a} was changed by the job before sdee saved a copy: {why_not}")
            builder.need(path, reason, order=access.order)
        elif verdict in (Verdict.BUNDLE, Verdict.SHARED, Verdict.ABSENT) and not (used and verdict is Verdict.SHARED):
            builder.note(real, Verdict.PRODUCED, Reason("existed before the job wrote it", reason.source))
        else:
            builder.note(real, verdict, reason, *why, order=access.order)
        if path not in builder.drafts and real in builder.drafts:
            builder.alias(path, builder.drafts[real], reason, access.order)

    def _verdict_before(
        self, real: str, saved: Saved | None, status: os.stat_result | None
    ) -> tuple[Verdict, list[Reason]]:
        builder, content = self._builder, ""
        if saved is not None and saved.copy and (before := builder.fs.status(saved.copy)) is not None:
            status, content = before, saved.copy
        return builder.decide(real, status, named=real, content=content)

    def _vanished(self, access: Access, reason: Reason) -> None:
        """Judge what existed in the run, was not changed by it, and is missing now."""
        builder, path = self._builder, access.path
        code = access.ops & {"exec"} or os.path.splitext(path)[1] in knowledge.CODE_SUFFIXES
        if builder.site.live_root(path) and not code:
            builder.note(path, Verdict.SHARED, reason, Reason("was there in the run and is gone"), order=access.order)
            return
        if access.ops & _USED and access.kind in ("file", None):
            self._gone.append(path)
        builder.note(path, Verdict.ABSENT, reason, Reason("was there in the run and is gone"), order=access.order)
