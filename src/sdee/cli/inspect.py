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
from sdee.base.paths import is_below_any
from sdee.base.text import count_text, safe, size_text
from sdee.cli import output as show
from sdee.cli.completion import files
from sdee.cli.named import DEFAULT_BUNDLE, bundle_option, only_one
from sdee.packer.format import rules
from sdee.packer.format.extract import extract as extract_entries
from sdee.packer.format.extract import select
from sdee.packer.format.reader import is_bundle, open_bundle
from sdee.packer.inspect.entries import entry_of, job_path, named
from sdee.packer.inspect.facts import facts_of
from sdee.packer.inspect.sizes import groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdee.packer.format.reader import Bundle
    from sdee.packer.format.table import Entry
    from sdee.packer.inspect.explain import Answer, Explanation
    from sdee.packer.inspect.sizes import Group
    from sdee.packer.model import Reason

NO_MATCH = 1  # as grep: docs/exit-codes.md
SHOWN = 30  # groups of files
EXPLAINED = 20  # paths that a part of a name means

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def split(arguments: Sequence[str], chosen: str | None) -> tuple[str, list[str]]:
    """Split `[BUNDLE] [PATH]...`: the first is the bundle if it looks like one, else bundle.sdee is meant.

    `chosen`: by -b: then all are paths.
    """
    if chosen:
        return chosen, list(arguments)
    if arguments and (is_bundle(arguments[0]) or not os.path.exists(DEFAULT_BUNDLE)):
        return arguments[0], list(arguments[1:])
    return DEFAULT_BUNDLE, list(arguments)


def _not_found(path: str, bundle: Bundle) -> None:
    """Say that a path does not travel, and why if the bundle knows it."""
    item = bundle.items.get(job_path(bundle, path))
    entry = bundle.entries.get(job_path(bundle, path))
    why = f"not in {safe(bundle.path)}"
    if entry and stat.S_ISLNK(entry.mode):
        why = f"a symbolic link to {safe(entry.link)}, which is not in {safe(bundle.path)}"
    elif item and item.verdict.value != "bundle":
        why += f": {VERDICTS[item.verdict.value]}"
    click.echo(f"sdee: {safe(path)}: {why}", err=True)


@click.command()
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@bundle_option
@click.option("--verify", is_flag=True, hidden=True)  # before 0.2.0; now sdee check
@json_option
def info(*, bundle_path: str | None, chosen: str | None, verify: bool, as_json: bool) -> None:
    """Show what a bundle is: command, origin, sizes, what the node must provide, what may be missing."""
    with open_bundle(only_one(bundle_path, chosen) or DEFAULT_BUNDLE) as bundle:
        if verify:
            _check(bundle, hidden=as_json)
        facts = facts_of(bundle, verified=verify)
    if as_json:
        show.print_json(facts)
        return
    click.echo("\n".join(_info_lines(facts)))


@click.command()
@click.argument("bundle_path", metavar="[BUNDLE]", required=False, shell_complete=files)
@bundle_option
@json_option
def check(*, bundle_path: str | None, chosen: str | None, as_json: bool) -> None:
    """Check every byte of a bundle: all digests and checksums, and each file as it is unpacked."""
    path = only_one(bundle_path, chosen) or DEFAULT_BUNDLE
    with open_bundle(path) as bundle:
        _check(bundle, hidden=as_json)
        number = sum(stat.S_ISREG(entry.mode) for entry in bundle.table.entries)
        size = bundle.footer.file_size
        found = {"bundle": bundle.path, "identity": bundle.identity, "files": number, "size": size}
    if as_json:
        show.print_json(found)
    else:
        what = f"{count_text(number, 'file')}, {size_text(size)}"
        click.echo(f"{safe(path)}: {what}, every byte is as sdee wrote it")
        click.echo(f"identity sha256:{found['identity']}")


def _check(bundle: Bundle, *, hidden: bool) -> None:
    with show.progress_bar("checking", hidden=hidden) as progress:
        bundle.verify(progress)


# CONF keys of which a person wants to know only how many there are, and of what
_COUNTED = {key: rule.counted for key, rule in rules.CONF.items() if rule.counted}


def _origin(host: dict[str, str]) -> str:
    """Return where a bundle was traced, in one line."""
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
    lines += [
        f"changed      {safe(path)}: differs from the bundle's; the job uses the bundle's" for path in facts["changed"]
    ]
    return lines + [f"warning      {safe(str(text))}" for text in facts["warnings"]]


@click.command()
@click.argument("arguments", metavar="[BUNDLE] [PATH]...", nargs=-1, shell_complete=files)
@bundle_option
@click.option(
    "-l", "--long", "long_format", is_flag=True, help="List type, permissions, size, time and link target, too."
)
@click.option("--du", is_flag=True, help="Show sizes by package, module and directory, with their --exclude.")
@json_option
def ls(*, arguments: tuple[str, ...], chosen: str | None, long_format: bool, du: bool, as_json: bool) -> None:
    """List what travels in a bundle: everything, or PATHs and what is below them."""
    name, paths = split(arguments, chosen)
    with open_bundle(name) as bundle:
        if du:
            if paths:
                raise UsageError(
                    "--du shows the whole bundle, not single paths", hint=f"sdee ls --du {safe(shlex.quote(name))}"
                )
            _show_sizes(groups(bundle), as_json=as_json)
            return
        wanted, missing = named(bundle, paths)
        entries = [e for e in bundle.table.entries if not paths or is_below_any(e.path, wanted)]
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
def why(*, arguments: tuple[str, ...], chosen: str | None, as_json: bool) -> None:
    """Say why PATH travels or does not: the chain from the command to it.

    PATH may be absolute, relative, a glob, the end of a path such as libz.so.1, or a part of a name such as openblas.
    """
    from sdee.packer.inspect import explain  # noqa: PLC0415

    if len(arguments) > (1 if chosen else 2):
        raise UsageError("more than one PATH", hint="quote globs, so that the shell does not expand them")
    if len(arguments) == 1 and not chosen and is_bundle(arguments[0]) and os.path.exists(arguments[0]):
        raise UsageError(f"{arguments[0]!a} is a bundle, but PATH is missing", hint="sdee why BUNDLE PATH")
    name = chosen or (arguments[0] if len(arguments) == 2 else DEFAULT_BUNDLE)
    query = arguments[-1]
    with open_bundle(name) as bundle:
        answer = explain.answer(bundle, query, os.getcwd())
        command = bundle.conf("arg")
    if as_json:
        show.print_json([_explanation_object(e) for e in answer.explanations])
    elif answer.explanations:
        _print_explanations(answer.explanations, command)
    elif answer.known:
        click.echo(_implied_line(query, answer))
    if not answer.known:
        _not_found(query, bundle)
        for path in answer.near:
            click.echo(f"  near: {safe(path)}", err=True)
        sys.exit(NO_MATCH)


def _implied_line(query: str, answer: Answer) -> str:
    """Say what becomes of a path that no item names, but something above or below it."""
    if answer.implied:
        return f"{safe(answer.implied)}: a directory above something that travels"
    if answer.provided:
        return f"{safe(query)}: {VERDICTS['host']} (every bundle expects {safe(answer.provided)} of it)"
    shows = "and the job does not see the node's own there" if answer.unused else "the job sees the node's own there"
    top = safe(shlex.quote(answer.unused or answer.left_out))
    return f"{safe(query)}: does not travel: the run did not use it; {shows} (sdee bundle --include {top} packs it)"


VERDICTS = {
    "bundle": "travels in the bundle",
    "host": "the node provides it",
    "shared": "stays on shared storage, where the node must see it",
    "produced": "does not travel: the job makes it",
    "secret": "does not travel: it may hold a secret (sdee bundle --allow packs it)",
    "absent": "did not exist when the job looked for it",
}


def _reason_text(reason: Reason) -> str:
    return safe(f"{reason.why} ({reason.detail})" if reason.detail else reason.why)


def _print_explanations(found: Sequence[Explanation], command: list[str]) -> None:
    click.echo("\n\n".join("\n".join(_explanation_lines(e, command)) for e in found[:EXPLAINED]))
    if len(found) > EXPLAINED:
        click.echo(f"\nand {count_text(len(found) - EXPLAINED, 'more path')}: give more of the name (--json: all)")


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
def cat(*, arguments: tuple[str, ...], chosen: str | None, as_json: bool) -> None:
    """Write a file of a bundle to standard output; links are followed within the bundle."""
    name, paths = split(arguments, chosen)
    if len(paths) != 1:
        raise UsageError("sdee cat takes one PATH", hint="sdee cat BUNDLE PATH")
    with open_bundle(name) as bundle:
        entry = bundle.find(job_path(bundle, paths[0]))
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
@click.option("-C", "--directory", default=".", type=click.Path(), help="Unpack into this directory.  [default: here]")
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def extract(*, arguments: tuple[str, ...], chosen: str | None, directory: str, force: bool, as_json: bool) -> None:
    """Unpack a bundle, or PATHs of it and what is below them, into a directory.

    Modes, times and links are kept; files become yours. Nothing is written outside the directory.
    """
    name, paths = split(arguments, chosen)
    with open_bundle(name) as bundle:
        wanted, missing = named(bundle, paths)
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
