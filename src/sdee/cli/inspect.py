"""`sdee info`, `ls`, `why`, `cat`, `extract`: look into a bundle without running it."""

from __future__ import annotations

import base64
import os
import shlex
import stat
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sdee.base.errors import UsageError
from sdee.base.files import open_regular
from sdee.base.text import count_text, safe, size_text
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.named import DEFAULT_BUNDLE, bundle_option, only_one
from sdee.packer.format import rules
from sdee.packer.format.extract import extract as extract_entries
from sdee.packer.format.extract import select
from sdee.packer.format.reader import open_bundle
from sdee.packer.inspect.changes import changes
from sdee.packer.inspect.entries import entry_of
from sdee.packer.inspect.sizes import groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.packer.format.reader import Bundle
    from sdee.packer.format.table import Entry
    from sdee.packer.inspect.explain import Explanation
    from sdee.packer.inspect.sizes import Group
    from sdee.packer.model import Reason

NO_MATCH = 1  # as grep: docs/exit-codes.md
SHOWN = 30  # groups of files
EXPLAINED = 20  # paths that a part of a name means

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def split(arguments: Sequence[str], named: str | None) -> tuple[str, list[str]]:
    """Split `[BUNDLE] [PATH]...`: the first is the bundle if it looks like one, else bundle.sdee is meant.

    `named`: by -b: then all are paths.
    """
    if named:
        return named, list(arguments)
    if arguments and (is_bundle(arguments[0]) or not os.path.exists(DEFAULT_BUNDLE)):
        return arguments[0], list(arguments[1:])
    return DEFAULT_BUNDLE, list(arguments)


def is_bundle(name: str) -> bool:
    """Tell by its name or its footer whether a file is a bundle."""
    if name.endswith(".sdee"):
        return True
    try:
        with open(open_regular(name), "rb") as file:
            file.seek(8 - rules.FOOTER_SIZE, os.SEEK_END)  # behind the head of its frame
            return file.read(len(rules.NAME_FOOTER)) == rules.NAME_FOOTER
    except OSError:
        return False


def _not_found(path: str, bundle: Bundle) -> None:
    """Say that a path does not travel, and why if the bundle knows it."""
    item = bundle.items.get(_absolute(path, bundle))
    entry = bundle.entries.get(_absolute(path, bundle))
    why = f"not in {safe(bundle.path)}"
    if entry and stat.S_ISLNK(entry.mode):
        why = f"a symbolic link to {safe(entry.link)}, which is not in {safe(bundle.path)}"
    elif item and item.verdict.value != "bundle":
        why += f": {VERDICTS[item.verdict.value]}"
    click.echo(f"sdee: {safe(path)}: {why}", err=True)


def _absolute(path: str, bundle: Bundle) -> str:
    """Take a path as the job would: relative ones from its working directory."""
    joined = os.path.join(bundle.conf("cwd")[0], path)
    return "/" + os.path.normpath(joined).lstrip("/")


def _select(paths: list[str], bundle: Bundle) -> tuple[list[str], list[str]]:
    """Return the entries that paths name, where their directories' links lead, and the paths that name none."""
    found, missing = [], []
    for path in paths:
        name = _absolute(path, bundle)
        entry = bundle.entries.get(name) or bundle.find(name)
        if entry or name == "/":
            found.append(entry.path if entry else name)
        else:
            missing.append(path)
    return found, missing


@click.command()
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@bundle_option
@click.option("--verify", is_flag=True, hidden=True)  # before 0.2.0; now sdee check
@json_option
def info(*, bundle_path: str | None, named: str | None, verify: bool, as_json: bool) -> None:
    """Show what a bundle is: command, origin, sizes, what the node must provide, what may be missing."""
    with open_bundle(only_one(bundle_path, named) or DEFAULT_BUNDLE) as bundle:
        if verify:
            _check(bundle, hidden=as_json)
        facts = _facts(bundle, verified=verify)
        cwd = bundle.conf("cwd")[0]
        facts["changed"] = [c.path for c in changes(bundle, below=cwd) if c.what == "modified"]
    if as_json:
        show.print_json(facts)
        return
    click.echo("\n".join(_info_lines(facts)))


@click.command()
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@bundle_option
@json_option
def check(*, bundle_path: str | None, named: str | None, as_json: bool) -> None:
    """Check every byte of a bundle: all digests and checksums, and each file as it is unpacked."""
    path = only_one(bundle_path, named) or DEFAULT_BUNDLE
    with open_bundle(path) as bundle:
        _check(bundle, hidden=as_json)
        number = sum(stat.S_ISREG(entry.mode) for entry in bundle.table.entries)
        size = bundle.footer.file_size
        found = {"bundle": bundle.path, "identity": bundle.identity, "files": number, "size": size}
    if as_json:
        show.print_json(found)
    else:
        what = f"{count_text(number, 'file')}, {size_text(size)}"
        click.echo(f"{safe(path)}: {what}, every byte is as it was written")
        click.echo(f"identity sha256:{found['identity']}")


def _check(bundle: Bundle, *, hidden: bool) -> None:
    with show.progress_bar("checking", hidden=hidden) as progress:
        bundle.verify(progress)


def _facts(bundle: Bundle, *, verified: bool) -> dict[str, Any]:
    footer, frames = bundle.footer, bundle.table.frames
    conf: dict[str, list[str]] = {}
    for key, value in bundle.table.conf:
        conf.setdefault(key, []).append(value)
    return {
        "bundle": bundle.path,
        "format": rules.VERSION,
        "identity": bundle.identity,
        "size": footer.file_size,
        "written": os.stat(bundle.path).st_mtime,
        "launcher": {"size": footer.launcher_size, "sha256": footer.launcher_digest.hex()},
        "payload": {
            "size": footer.payload_size,
            "frames": len(frames),
            "decompressed": sum(frame.size for frame in frames),
        },
        "table": footer.table_size,
        "command": bundle.meta.get("command"),
        "cwd": bundle.meta.get("cwd"),
        "host": bundle.meta.get("host"),
        "summary": bundle.meta["summary"],
        "conf": conf,
        "incomplete": conf.get("incomplete", []),
        "warnings": bundle.meta.get("warnings", []),
        "verified": verified,
    }


# CONF keys of which a person wants to know only how many there are, and of what
_COUNTED = {key: rule.counted for key, rule in rules.CONF.items() if rule.counted}


def _origin(host: dict[str, str]) -> str:
    """Say in one line where a bundle was traced."""
    libc = f"glibc {host['libc_version']}" if host.get("libc_version") else ""
    machine = " ".join(filter(None, (host.get("machine"), host.get("cpu_level"))))
    kernel = f"Linux {host['kernel']}" if host.get("kernel") else ""
    parts = (host.get("hostname"), host.get("os_name"), libc, kernel, machine)
    return ", ".join(str(part) for part in parts if part)


def _info_lines(facts: dict[str, Any]) -> list[str]:
    summary, payload, name = facts["summary"], facts["payload"], safe(facts["bundle"])
    host = facts["host"] if isinstance(facts["host"], dict) else {}
    verdicts = summary.get("verdicts") or {}
    counts = ", ".join(f"{number} {safe(kind)}" for kind, number in sorted(verdicts.items()))
    decompressed = size_text(payload["decompressed"])
    lines = [
        f"bundle       {name}, {size_text(facts['size'])}, format {facts['format']}",
        f"written      {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(facts['written']))}",
        f"identity     sha256:{facts['identity']}" + ("  (everything verified)" if facts["verified"] else ""),
        f"command      {safe(shlex.join(facts['conf']['arg']))}",
        f"traced on    {safe(_origin(host))}",
        f"launcher     {facts['launcher']['size']} bytes",
        f"payload      {payload['size']} bytes in {payload['frames']} frames, {decompressed} unpacked",
        f"             tail -c +{facts['launcher']['size'] + 1} {name} | zstd -d | tar t",
        f"paths        {counts}",
    ]
    for key, values in facts["conf"].items():
        if key in _COUNTED:
            lines.append(f"{key:<12} {count_text(len(values), _COUNTED[key])} (--json lists them)")
        elif key not in ("arg", "incomplete"):
            lines += [f"{safe(key):<12} {safe(value)}" for value in values]
    lines += [f"incomplete   {safe(reason)}" for reason in facts["incomplete"]]
    lines += [f"changed      {safe(path)}: differs from the bundle's, which is used" for path in facts["changed"]]
    return lines + [f"warning      {safe(str(text))}" for text in facts["warnings"]]


@click.command()
@click.argument("arguments", metavar="[BUNDLE] [PATH]...", nargs=-1, shell_complete=files)
@bundle_option
@click.option("-l", "--long", "long_format", is_flag=True, help="Also type, permissions, size, time and link target.")
@click.option("--du", is_flag=True, help="Show sizes by package, module and directory, and what leaves each out.")
@json_option
def ls(*, arguments: tuple[str, ...], named: str | None, long_format: bool, du: bool, as_json: bool) -> None:
    """List what travels in a bundle: everything, or PATHs and what is below them."""
    name, paths = split(arguments, named)
    with open_bundle(name) as bundle:
        if du:
            if paths:
                raise UsageError("--du is of the whole bundle", hint=f"sdee ls --du {safe(shlex.quote(name))}")
            _show_sizes(groups(bundle), as_json=as_json)
            return
        wanted, missing = _select(paths, bundle)
        entries = [e for e in bundle.table.entries if not paths or any(_is_below(e.path, path) for path in wanted)]
    if as_json:
        show.print_json([_entry_object(entry) for entry in entries])
    elif entries:
        click.echo("\n".join(_long(entry, bundle) if long_format else safe(entry.path) for entry in entries))
    for path in missing:
        _not_found(path, bundle)
    if missing:
        sys.exit(NO_MATCH)


def _show_sizes(found: list[Group], *, as_json: bool) -> None:
    if as_json:
        show.print_json([asdict(group) for group in found])
        return
    for group in found[:SHOWN]:
        option = f"  --exclude {safe(shlex.quote(group.glob))}" if group.glob else ""
        files = count_text(group.files, "file")
        click.echo(f"{size_text(group.size):>9}  {files:>12}  {group.kind:<9}  {safe(group.name)}{option}")
    rest = found[SHOWN:]
    if rest:
        click.echo(
            f"{size_text(sum(g.size for g in rest)):>9}  {count_text(len(rest), 'more group')}: --json lists all"
        )


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _entry_object(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry_of(entry)), "mode": f"{stat.S_IMODE(entry.mode):04o}"}


def _long(entry: Entry, bundle: Bundle) -> str:
    size = bundle.entries[entry.link].size if entry.hard_link else entry.size
    try:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.mtime_ns // 1_000_000_000))
    except (OverflowError, OSError, ValueError):  # a year that localtime(3) cannot name
        when = str(entry.mtime_ns // 1_000_000_000)
    arrow = " => " if entry.hard_link else " -> "
    target = arrow + safe(entry.link) if entry.link else ""
    return f"{stat.filemode(entry.mode)} {size:>12} {when:>16} {safe(entry.path)}{target}"


@click.command()
@click.argument("arguments", metavar="[BUNDLE] PATH", nargs=-1, required=True, shell_complete=files)
@bundle_option
@json_option
def why(*, arguments: tuple[str, ...], named: str | None, as_json: bool) -> None:
    """Say why PATH travels or does not: the chain from the command to it.

    PATH may be absolute, relative, a glob, the end of a path such as libz.so.1, or a part of a name such as openblas.
    """
    from sdee.packer.inspect import explain  # noqa: PLC0415

    if len(arguments) > (1 if named else 2):
        raise UsageError("more than one PATH", hint="quote globs, so that the shell does not expand them")
    if len(arguments) == 1 and not named and is_bundle(arguments[0]) and os.path.exists(arguments[0]):
        raise UsageError(f"{arguments[0]!a} is a bundle, and no PATH is named", hint="sdee why BUNDLE PATH")
    name = named or (arguments[0] if len(arguments) == 2 else DEFAULT_BUNDLE)
    query = arguments[-1]
    with open_bundle(name) as bundle:
        found = [explain.explain(bundle, path) for path in explain.candidates(bundle, query, os.getcwd())]
        implied = bundle.find(_absolute(query, bundle))
        provided = explain.above(bundle, "host", _absolute(query, bundle))
        unused = explain.above(bundle, "unused", _absolute(query, bundle))
        left_out = unused or explain.above(bundle, "left-out", _absolute(query, bundle))
        near = explain.near(bundle, query) if not found else []
        command = bundle.conf("arg")
    if as_json:
        show.print_json([_explanation_object(e) for e in found])
    elif found:
        click.echo("\n\n".join("\n".join(_explanation_lines(e, command)) for e in found[:EXPLAINED]))
        if len(found) > EXPLAINED:
            click.echo(f"\nand {count_text(len(found) - EXPLAINED, 'more path')}: give more of the name (--json: all)")
    elif implied:
        click.echo(f"{safe(implied.path)}: a directory above something that travels")
    elif provided:
        click.echo(f"{safe(query)}: {VERDICTS['host']} (every bundle expects {safe(provided)} of it)")
    elif left_out:
        shows = "nor does the node's own show there" if unused else "the node's own shows there"
        click.echo(
            f"{safe(query)}: does not travel: the run did not use it; {shows} "
            f"(sdee bundle --include {safe(shlex.quote(left_out))} carries it)"
        )
    if not found and not implied and not provided and not left_out:
        _not_found(query, bundle)
        for path in near:
            click.echo(f"  near: {safe(path)}", err=True)
        sys.exit(NO_MATCH)


VERDICTS = {
    "bundle": "travels in the bundle",
    "host": "the node provides it",
    "shared": "stays on shared storage, where the node must see it",
    "produced": "does not travel: the job makes it",
    "secret": "does not travel: it may hold a secret (sdee bundle --allow lets it)",
    "absent": "did not exist when the job looked for it",
}


def _reason_text(reason: Reason) -> str:
    return safe(f"{reason.why} ({reason.detail})" if reason.detail else reason.why)


def _explanation_lines(explanation: Explanation, command: list[str]) -> list[str]:
    item = explanation.item
    package = f", part of {safe(item.package)}" if item.package else ""
    lines = [f"{safe(item.path)}: {VERDICTS[item.verdict.value]}{package}"]
    lines.append(f"  {safe(shlex.join(command))}")
    lines += [f"  → {safe(hop.path)}: {_reason_text(hop.reason)}" for hop in explanation.chain]
    for reason in explanation.others:
        source = f", from {safe(reason.source)}" if reason.source else ""
        lines.append(f"  also: {_reason_text(reason)}{source}")
    return lines


def _explanation_object(explanation: Explanation) -> dict[str, Any]:
    item = explanation.item
    return {
        "path": item.path,
        "verdict": item.verdict.value,
        "package": item.package,
        "chain": [{"path": h.path, "why": h.reason.why, "detail": h.reason.detail} for h in explanation.chain],
        "reasons": [{"why": r.why, "from": r.source, "detail": r.detail} for r in item.reasons],
    }


@click.command()
@click.argument("arguments", metavar="[BUNDLE] PATH", nargs=-1, required=True, shell_complete=files)
@bundle_option
@json_option
def cat(*, arguments: tuple[str, ...], named: str | None, as_json: bool) -> None:
    """Write a file of a bundle to standard output; links are followed within the bundle."""
    name, paths = split(arguments, named)
    if len(paths) != 1:
        raise UsageError("sdee cat takes one PATH", hint="sdee cat BUNDLE PATH")
    with open_bundle(name) as bundle:
        entry = bundle.find(_absolute(paths[0], bundle))
        if entry and stat.S_ISDIR(entry.mode):
            click.echo(f"sdee: {safe(paths[0])}: is a directory", err=True)
            sys.exit(NO_MATCH)
        if not entry:
            _not_found(paths[0], bundle)
            sys.exit(NO_MATCH)
        if as_json:
            content = base64.b64encode(b"".join(bundle.read_file(entry.path))).decode()
            show.print_json({**_entry_object(entry), "base64": content})
            return
        out = sys.stdout.buffer
        for data in bundle.read_file(entry.path):
            out.write(data)
        out.flush()


@click.command()
@click.argument("arguments", metavar="[BUNDLE] [PATH]...", nargs=-1, shell_complete=files)
@bundle_option
@click.option("-C", "--directory", default=".", type=click.Path(), help="Where to. [default: here]")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@json_option
def extract(*, arguments: tuple[str, ...], named: str | None, directory: str, force: bool, as_json: bool) -> None:
    """Unpack a bundle, or PATHs of it and what is below them, into a directory.

    Modes, times and links are kept; files become yours. Nothing is written outside the directory.
    """
    name, paths = split(arguments, named)
    with open_bundle(name) as bundle:
        wanted, missing = _select(paths, bundle)
        if missing:
            for path in missing:
                _not_found(path, bundle)
            sys.exit(NO_MATCH)
        entries = select(bundle, wanted)
        with show.progress_bar("extracting", hidden=as_json) as progress:
            extract_entries(bundle, entries, directory, force=force, progress=progress)
    files = sum(stat.S_ISREG(entry.mode) for entry in entries)
    size = sum(entry.size for entry in entries)
    if as_json:
        show.print_json({"directory": os.path.abspath(directory), "files": files, "size": size})
    else:
        click.echo(f"{safe(directory)}: {count_text(files, 'file')}, {size_text(size)}")
