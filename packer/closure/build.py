"""Make a closure from a trace: every path with one verdict and its reasons. It only reads; it runs nothing."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from sdee.base.errors import InputError, UsageError
from sdee.base.paths import is_below_any
from sdee.packer import knowledge
from sdee.packer.closure.accesses import MADE, Accesses
from sdee.packer.closure.conf import conf_pairs, live_directories
from sdee.packer.closure.expectations import expectations
from sdee.packer.closure.globs import Globs, only_path
from sdee.packer.closure.host_libraries import may_be_the_nodes
from sdee.packer.closure.notices import notices, only_executed
from sdee.packer.closure.places import site_of
from sdee.packer.closure.software import own_directories
from sdee.packer.closure.verdicts import Builder
from sdee.packer.closure.whole import freeze
from sdee.packer.elf.needs import needs_of
from sdee.packer.filesystem import MAGIC, FileSystem
from sdee.packer.format.results import comparable
from sdee.packer.model import STANDS_IN, Closure, Reason, Verdict
from sdee.packer.packages import Packages
from sdee.packer.units import UNITS, WHOLE_PACKAGE, Costs, View, fitting, named_files

if TYPE_CHECKING:
    from sdee.packer.closure.options import ClosureOptions
    from sdee.packer.contents import Contents
    from sdee.packer.elf.needs import Needs
    from sdee.packer.elf.search import Search
    from sdee.packer.units import Widening
    from sdee.tracer.tracefile.model import Trace


def build_closure(trace: Trace, options: ClosureOptions, contents: Contents | None = None) -> Closure:
    """Return the closure of a trace: what travels, what stays, and why. `contents`: what files were found to hold.

    Raises InputError naming every file that the job read and that cannot be read now, or a glob of `include` that
    names nothing.
    """
    fs = FileSystem(links_before(trace), contents)
    new = [access.path for access in trace.accesses.values() if not access.existed and access.ops & MADE]
    places = ((fs.resolve(os.path.dirname(path)).real.rstrip("/"), os.path.basename(path)) for path in new)
    made = frozenset((*new, *(f"{directory}/{name}" for directory, name in places)))
    site = site_of(trace, fs)
    site.know_own(*own_directories(trace, fs, site))
    builder = Builder(fs, Packages(fs), site, options, made=made)
    accesses = Accesses(trace, builder)
    accesses.judge()
    needs = needs_of(trace, fs)
    _add_programs(trace, builder, needs)
    _add_included(builder)
    if not options.minimal:
        _widen(builder, _view(trace, builder, needs))
    if "packages" in options.expand:
        _expand_packages(builder)
    if not options.minimal:
        accesses.add_listed()
    freeze(trace, builder, 0 if options.minimal else options.software_limit)
    _add_elf_needs(builder, needs)
    _add_stand_ins(builder)
    accesses.add_probed()
    executed = only_executed(trace, builder)
    unreadable = [path for path in builder.unreadable if path not in executed]
    builder.incomplete += [f"sdee cannot read {path!a}, so it does not travel" for path in unreadable]
    _add_home(builder)
    builder.add_parents()
    builder.add_owners()
    _warn(builder, needs)
    run = trace.runs[0]
    host = {name: str(value) for name, value in asdict(run.host).items() if name != "mounts"}
    return Closure(
        {path: draft.item() for path, draft in builder.drafts.items()},
        (*conf_pairs(trace, builder, needs.interpreters), *expectations(trace, builder, needs)),
        run.command,
        run.cwd,
        host,
        tuple(dict.fromkeys((*trace.incomplete, *builder.incomplete))),
        tuple(dict.fromkeys(builder.warnings)),
        tuple(notices(trace, builder)),
        run.status,
        package_limit=None if "packages" in options.expand else options.package_limit,
        results=comparable(trace),
        stdout=run.stdout,
        home=run.home,
    )


def links_before(trace: Trace) -> dict[str, str]:
    """Return the first targets of links that the job changed: its next run finds them so again."""
    accesses = sorted(trace.accesses.values(), key=lambda a: a.order)
    changed = {p for a in accesses if a.existed and a.ops & (MADE | {"remove"}) for p in (a.path, a.real)}
    found: dict[str, str] = {}
    for access in accesses:
        for link, target in access.hops:
            if link in changed:
                found.setdefault(link, target)
    return found


def _add_programs(trace: Trace, builder: Builder, needs: Needs) -> None:
    """Add what each executed program needs, with LD_LIBRARY_PATH as that process had it."""
    for execution in trace.execs:
        script = execution.path
        for path in (execution.path, *execution.interpreters):
            draft = builder.drafts.get(builder.fs.resolve(path).real)
            if path != execution.path and builder.fs.is_file(path):
                draft = builder.need(path, Reason("is the interpreter of", script))
                script = path
            if draft is not None and draft.verdict is Verdict.BUNDLE:
                for search in needs.of_program(path, execution.libpath):
                    _add_found(builder, search, starts=True)
        if execution.setid:
            builder.warnings.append(
                f"{execution.path!a} is set-user-ID or set-group-ID: it has no privileges in a bundle"
            )


def _add_found(builder: Builder, search: Search, *, starts: bool = False) -> None:
    if may_be_the_nodes(search.name, builder.options.host):
        needed = (search.name, search.by)
        builder.host_needs[needed] = builder.host_needs.get(needed, False) or (starts and not search.optional)
    if search.path is None:
        return
    draft = builder.need(search.path, Reason("is needed by", search.by, f"{search.name}: {search.how}"), unit=True)
    if draft.verdict is Verdict.BUNDLE:
        for sibling in search.siblings:
            why = Reason("is the same library for another CPU", search.path)
            builder.need(sibling, why, unit=True)


def _add_included(builder: Builder) -> None:
    """Add what --include names, whether or not the run used it: files by glob, directories with all in them."""
    fs = builder.fs
    for glob in builder.options.include:
        named = _expand(fs, glob.rstrip("/") or "/")
        if not named and not any(map(Globs((glob,)).match, (d.path for d in builder.travelling()))):
            raise InputError(f"--include {glob!a} matches nothing", hint="sdee matches the glob against absolute paths")
        for path in named:
            draft = builder.need(path, Reason("is asked for by --include", detail=glob), unit=True)
            if draft.status is not None and stat.S_ISDIR(draft.status.st_mode):
                for below in fs.walk(draft.path):
                    builder.need(below, Reason("is asked for by --include", detail=glob), unit=True)


def _expand(fs: FileSystem, glob: str) -> list[str]:
    """Return the existing paths that a glob matches, from its first directory without wildcards on."""
    from fnmatch import fnmatchcase  # noqa: PLC0415 - rarely needed

    if (path := only_path(glob)) is not None:
        return [path] if fs.resolve(path).status is not None else []
    plain = os.path.dirname(glob[: min(glob.index(c) for c in "*?[" if c in glob)] + "x")
    return [path for path in fs.walk(plain) if fnmatchcase(path, glob)]


def _view(trace: Trace, builder: Builder, needs: Needs) -> View:
    """Return what the units look at."""
    used = [
        d for d in builder.travelling() if d.order is not None and not (d.status and stat.S_ISDIR(d.status.st_mode))
    ]
    used.sort(key=lambda d: d.order or 0)
    accesses = sorted(trace.accesses.values(), key=lambda a: a.order)
    paths = tuple(d.path for d in used)
    libraries = dict.fromkeys(os.path.dirname(p) for p in paths if knowledge.SHARED_OBJECT.search(p))
    return View(
        builder.fs,
        builder.packages,
        paths,
        tuple(a.path for a in accesses if a.existed and "read" in a.ops),
        builder.site.executed,
        trace.execs,
        Costs(builder.fs, needs.reader, builder.travels, tuple(libraries)),
        listed=tuple(a.path for a in accesses if a.existed and "list" in a.ops),
        asked=tuple(a.path for a in accesses if a.existed and a.kind == "dir"),
        env=trace.runs[0].env,
        cwd=trace.runs[0].cwd,
        package_limit=sys.maxsize if "packages" in builder.options.expand else builder.options.package_limit,
    )


def _widen(builder: Builder, view: View) -> None:
    """Widen what the run used to the units that it is part of."""
    view = replace(view, code_named=named_files(view))
    names = [type(unit).__name__ for unit in UNITS]
    for name in set(builder.options.without_units) - set(names):
        raise UsageError(f"without-units: there is no unit {name!r}", hint=f"units: {', '.join(names)}")
    units = [unit for unit in UNITS if type(unit).__name__ not in builder.options.without_units]
    for unit in units:  # one after the other: a script names Python, whose library then counts for Python code
        view = replace(view, started=(*view.started, *unit.may_start(view)))
        view = replace(view, seen=tuple(dict.fromkeys((*view.seen, *unit.counts_as_seen(view)))))
    for unit in units:
        for widening in unit.widen(view):
            paths, left = fitting(view, widening)
            if widening.notice:
                builder.warnings.append(widening.notice)
            if left:
                builder.warnings.append(_left_out(view, widening, left))
            view.claimed.update(widening.paths)
            for path in paths:
                if builder.fs.resolve(path).status is None:
                    continue  # a dangling link: nothing that the job could have used
                builder.need(path, Reason("belongs to", widening.source, widening.name), unit=widening.owned)


def _left_out(view: View, widening: Widening, left: tuple[str, ...]) -> str:
    """Return the warning for what is over a unit's limit, with the largest directories that it leaves out."""
    sizes: Counter[str] = Counter()
    for path in left:
        adds = view.costs.of(path).values() if widening.with_libraries else (view.size((path,)),)
        sizes[os.path.dirname(path)] += sum(adds)
    largest = " ".join(f"--include {path!a}" for path, _ in sizes.most_common(3))
    return (
        f"{widening.name} is larger than {widening.limit >> 20} MB: the bundle lacks {len(left)} of its "
        f"{len(widening.paths)} files, which the job did not use ({sum(sizes.values()) >> 20} MB); {largest} packs more"
    )


def _add_stand_ins(builder: Builder) -> None:
    """Replace the files with which a launcher starts its companions on other nodes."""
    launchers = sorted(path for path in builder.site.executed if os.path.basename(path) in knowledge.COMPANIONS)
    for path, file in builder.options.stand_ins if launchers else ():
        draft = builder.need(path, Reason(STANDS_IN, launchers[0]), unit=True)
        status = os.stat(file)
        draft.verdict, draft.reasons = Verdict.BUNDLE, [Reason(STANDS_IN, launchers[0])]
        draft.origin, draft.size, draft.mtime_ns, draft.mode = file, status.st_size, status.st_mtime_ns, status.st_mode


def _add_home(builder: Builder) -> None:
    """Let the home itself travel, empty: programs write to it (~/.cache), even on a node without that home."""
    home = builder.site.home
    resolution = builder.fs.resolve(home)
    if builder.site.live_root(resolution.real) == resolution.real and builder.fs.is_dir(home):
        draft = builder.need(home, Reason("is the home, which programs write to"))
        draft.verdict = Verdict.BUNDLE


def _expand_packages(builder: Builder) -> None:
    """Widen to whole distribution packages, less what only people read."""
    used = {d.path: d for d in builder.travelling() if d.order is not None}
    done: set[str] = set()
    for path, package in sorted(builder.packages.owners(used).items(), key=lambda pair: used[pair[0]].order or 0):
        if package in done:
            continue
        done.add(package)
        for member in builder.packages.files(package):
            if not is_below_any(member, knowledge.FOR_PEOPLE):
                builder.need(member, Reason("belongs to", path, WHOLE_PACKAGE + package), unit=True)


def _add_elf_needs(builder: Builder, needs: Needs) -> None:
    """Add what travelling ELF files need until nothing new is needed; glibc's family is whole or not there."""
    done: set[str] = set()
    families: set[str] = set()
    while fresh := [d for d in builder.travelling() if d.path not in done]:
        for draft in fresh:
            done.add(draft.path)
            if draft.status is None or not stat.S_ISREG(draft.status.st_mode):
                continue
            if builder.fs.head(draft.path) != MAGIC:
                continue
            for search in needs.of_file(draft.path):
                _add_found(builder, search)
            for sibling in needs.siblings(draft.path):
                builder.need(sibling, Reason("is the same library for another CPU", draft.path), unit=True)
            directory, name = os.path.split(draft.path)
            if directory not in families and knowledge.GLIBC_FAMILY.match(name):
                families.add(directory)
                _add_family(builder, draft.path)
    for path in needs.interpreters:
        if builder.fs.is_file(path):
            builder.need(path, Reason("loads the job's programs"), unit=True)


def _add_family(builder: Builder, member: str) -> None:
    directory = os.path.dirname(member)
    for name in builder.fs.names(directory):
        path = f"{directory}/{name}"
        if knowledge.GLIBC_FAMILY.match(name) and builder.fs.is_file(path) and builder.fs.head(path) == MAGIC:
            builder.need(path, Reason("belongs to", member, "glibc's family, which is whole or not there"), unit=True)


def _warn(builder: Builder, needs: Needs) -> None:
    """Say what may be missing: needs that were not found, inputs in a temporary directory."""
    travelling = builder.travelling()
    names = {os.path.basename(d.path) for d in builder.drafts.values() if d.verdict in (Verdict.BUNDLE, Verdict.HOST)}
    names |= {found.soname for d in travelling if (found := needs.known(d.path))}
    for search in needs.misses:
        if search.name not in names and builder.decide("/" + search.name, None)[0] is not Verdict.HOST:
            looked = ", ".join(search.considered) or "nowhere: it has no search path"
            builder.warnings.append(f"{search.by!a} needs {search.name}, which was not found; looked for at {looked}")
    live = live_directories(builder)
    for draft in builder.drafts.values():
        is_file = draft.status is not None and stat.S_ISREG(draft.status.st_mode)
        if draft.verdict is Verdict.SHARED and is_file and is_below_any(draft.path, knowledge.TEMPORARY_ROOTS):
            own = next((d for d in live if is_below_any(draft.path, (d,)) and d not in knowledge.TEMPORARY_ROOTS), "")
            if not own:
                builder.warnings.append(
                    f"{draft.path!a} is input below a temporary directory, and each node has its own"
                )
        if draft.verdict is Verdict.SECRET:
            builder.warnings.append(f"{draft.path!a} does not travel: it {draft.reasons[-1].why} (--allow packs it)")
