"""Targets in Python: only the classes of sdee.base.errors leave, in bounded time and memory. With libFuzzer's options:

    python tests/fuzz/python_targets.py TARGET [-max_total_time=SECONDS …] [FILE or DIRECTORY…]

With atheris (coverage-guided); without it inputs are changed at random. Files alone are run once each.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shlex
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "unit")]

try:
    import atheris
except ImportError:
    atheris = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if atheris is not None and __name__ == "__main__":
    with atheris.instrument_imports(
        include=["sdee", "tarfile", "tomllib", "shlex", "json"], enable_loader_override=False
    ):
        from sdee.base import patterns, typed
        from sdee.base.errors import SdeeError
        from sdee.packer.format import reader, table
        from sdee.runtime.environment import plan as environment_plan
        from sdee.runtime.environment.archive import header, read
        from sdee.runtime.environment.store import Environment
        from sdee.runtime.jobs import options, scripts
        from sdee.runtime.jobs.model import Wrapping
        from sdee.tracer.tracefile import model, shapes  # noqa: F401 - instrumented before they are used
        from sdee.tracer.tracefile import reader as trace_reader
        from sdee.workflow import settings
else:
    from sdee.base import patterns, typed
    from sdee.base.errors import SdeeError
    from sdee.packer.format import reader, table
    from sdee.runtime.environment import plan as environment_plan
    from sdee.runtime.environment.archive import header, read
    from sdee.runtime.environment.store import Environment
    from sdee.runtime.jobs import options, scripts
    from sdee.runtime.jobs.model import Wrapping
    from sdee.tracer.tracefile import reader as trace_reader
    from sdee.workflow import settings

import zstandard

import test_hostile_readers as known
from bundles import CONF, LAUNCHER, assemble, file_entry, frame, meta_frame

MEMORY = 1024  # MB
PATIENCE = 10  # s


@lru_cache
def directory() -> str:
    """Return a directory of this process in memory."""
    return tempfile.mkdtemp(prefix="sdee-fuzz.", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def written(data: bytes) -> str:
    """Return the path of a file with this content."""
    path = os.path.join(directory(), "input")
    with open(path, "wb") as file:
        file.write(data)
    return path


def on_trace(data: bytes) -> None:
    """A trace file."""
    trace_reader.read_traces([written(data)])


def use(path: str) -> None:
    """Read all of a bundle."""
    with reader.open_bundle(path) as bundle:
        assert all(table.is_normal(name) for name in bundle.entries)
        bundle.conf("arg")
        for name in list(bundle.entries)[:4]:
            for _ in bundle.read_file(name):
                pass
        assert isinstance(bundle.items, dict)
        bundle.verify()


def on_bundle(data: bytes) -> None:
    """A whole bundle, and u16 size of the payload, payload, table, around which the digests fit."""
    for content in (data, with_footer(data)):
        try:
            use(written(content))
        except SdeeError:  # noqa: PERF203
            continue


def with_footer(data: bytes) -> bytes:
    """Return a bundle with this payload and table."""
    size = min(int.from_bytes(data[:2], "little"), max(len(data) - 2, 0))
    payload, contents = data[2 : 2 + size], data[2 + size :]
    digests = hashlib.sha256(contents).digest(), hashlib.sha256(LAUNCHER).digest()
    footer = table.Footer(len(LAUNCHER), len(payload), len(contents), *digests)
    return LAUNCHER + payload + struct.pack("<II", 0x184D2A50, len(contents)) + contents + footer.pack()


def on_meta(data: bytes) -> None:
    """The JSON of META."""
    use(written(assemble([], meta=meta_frame(data))))


def on_typed(data: bytes) -> None:
    """JSON of any shape: ValueError is what the decoder's callers turn into their own."""
    try:
        value = typed.loads(data, values=100_000)
    except ValueError:
        return
    for shape in (typed.text, typed.path, typed.whole, typed.number, typed.many(typed.text), typed.named(typed.whole)):
        try:
            shape(value)
        except ValueError:  # noqa: PERF203
            continue


def mend_sums(data: bytes) -> bytes:
    """Return a tar archive in which the headers' checksums are right."""
    whole = bytearray(data)
    for at in range(0, len(whole) - 511, 512):
        if whole[at + 257 : at + 262] == b"ustar":
            whole[at + 148 : at + 156] = b" " * 8
            whole[at + 148 : at + 156] = b"%06o\0 " % sum(whole[at : at + 512])
    return bytes(whole)


def on_archive(data: bytes) -> None:
    """An exported environment, as tar. What archive/main.py catches may leave, too; nothing is written outside."""
    top = os.path.join(directory(), "environment")
    shutil.rmtree(top, ignore_errors=True)
    for part in ("layers/opt/upper", "base"):
        os.makedirs(os.path.join(top, part))
    for name, text in (("plan", "sdee-env 1\noverlay\t/opt\tlayers/opt/upper\tlayers/opt/work\n"), ("stamp", "")):
        with open(os.path.join(top, name), "w", encoding="ascii") as file:
            file.write(text)
    path = written(zstandard.compress(mend_sums(data)))
    try:
        header.read_header(path)
        read.read(Environment("x", top), path)
    except (SdeeError, OSError, MemoryError, *read.DAMAGED):
        pass
    assert set(os.listdir(directory())) == {"environment", "input"}, os.listdir(directory())
    assert set(os.listdir(top)) <= {"layers", "base", "plan", "stamp", "owners"}, os.listdir(top)


def on_policy(data: bytes) -> None:
    """sdee.toml."""
    settings._read(written(data), trusted=True)


def on_plan(data: bytes) -> None:
    """An environment's mount plan, as Python reads it."""
    environment_plan.read(os.fsdecode(data).replace("\0", ""))


def on_script(data: bytes) -> None:
    """A batch script: its shell, its directives and their options, the preamble."""
    text = data.decode("utf-8", "surrogateescape")
    known_options = options.table_of_help(text, frozenset({"job-name", "chdir"}), frozenset({"exclusive"}))
    for act in (
        lambda: scripts.shell_of(text, "job.sh"),
        lambda: scripts.insert(Wrapping("job.sh", text, "b.sdee"), "#SBATCH", "true", "-J x"),
        lambda: list(options.read_options(scripts.directives(text, "#SBATCH"), known_options)),
        lambda: options.split_getopt(text.split(), {"--mine": True, "--flag": False}, known_options),
        lambda: patterns.expand(text, {"j": "$id"}, shlex.quote),
        lambda: scripts.heading("sdee", text.split("\n"), "again"),
    ):
        try:
            act()
        except SdeeError:  # noqa: PERF203
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    "py-trace": on_trace, "py-bundle": on_bundle, "py-meta": on_meta, "py-typed": on_typed, "py-archive": on_archive,
    "py-policy": on_policy, "py-plan": on_plan, "py-script": on_script,
}  # fmt: skip


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return an archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def tar_member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", headers: dict[str, str] | None = None
) -> tarfile.TarInfo:
    """Return a member."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.pax_headers = kind, link, headers or {}
    return member


def archive_seeds() -> list[bytes]:
    """Archives with one of each kind, one with holes, one that leads out."""
    first = {"format": header.FORMAT, "settings": {"name": "x", "system": "Debian 12", "binds": []}}
    head = (tar_member(header.HEADER), json.dumps(first).encode())
    kinds = [
        (tar_member("root/opt/d", tarfile.DIRTYPE), b""),
        (tar_member("root/opt/d/f", headers={"mtime": "1.5"}), b"content"),
        (tar_member("root/opt/l", tarfile.SYMTYPE, "/etc"), b""),
        (tar_member("root/opt/h", tarfile.LNKTYPE, "root/opt/d/f"), b""),
        (tar_member("root/opt/p", tarfile.FIFOTYPE), b""), (tar_member("base/etc-passwd"), b"root:x:0:0::/:\n"),
        (tar_member("root/opt/a", headers={f"{header.XATTR}user.a": "b"}), b""),
    ]  # fmt: skip
    end = (tar_member(header.END), b"6\n")
    holes = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "root/opt/s",
        "GNU.sparse.realsize": "99",
    }
    sparse = (tar_member("root/opt/s", headers=holes), b"1\n10\n4\n".ljust(512, b"\0") + b"data")
    out = [
        (tar_member(name, kind, link), b"")
        for name, kind, link in (("root/opt/l", tarfile.SYMTYPE, "/"), ("root/opt/l/x", tarfile.REGTYPE, ""))
    ]
    return [
        tar_of(head, *kinds, end),
        tar_of(head, sparse, (tar_member(header.END), b"1\n")),
        tar_of(head, *out, end),
        tar_of(head),
    ]


def lines(*records: object) -> bytes:
    """Return records, one a line."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with."""
    if target == "py-trace":
        return [lines(known.HEADER, *known.RECORDS), *(lines(known.HEADER, record) for record in known.RECORDS)]
    if target in ("py-meta", "py-typed"):
        return [
            json.dumps(known.META).encode(),
            b'{"items":[],"summary":{}}',
            *(json.dumps(v).encode() for v in known.HOSTILE[:-1]),
        ]
    if target == "py-bundle":
        stream = b"content".ljust(512, b"\0")
        whole = assemble([file_entry("/a", b"content")], [frame(stream)])
        payload = frame(stream)
        contents = table.pack_table(
            table.Table((file_entry("/a", b"content"),), (table.Frame(len(payload), len(stream)),), CONF, meta_frame())
        )
        return [whole, struct.pack("<H", len(payload)) + payload + contents, b"\0\0" + contents]
    if target == "py-archive":
        return archive_seeds()
    if target == "py-policy":
        return [
            b'include = ["/a/*", "b"]\nlevel = 3\nminimal = true\nsoftware-limit = 10\n',
            b"[a]\nb = 1\n",
            b"trust = []\n",
        ]
    if target == "py-plan":
        return [b"sdee-env 1\nrange\t1 2 3 4\ndir\t/a\nlink\t/bin\tusr/bin\noverlay\t/usr\ta\tb\tc\nbind\t/home\n"]
    return [
        b"#!/bin/bash\n#SBATCH -N2 --job-name=a --chdir '/x y' # c\n#SBATCH hetjob\n# x\nsrun job\n#SBATCH -x\n",
        b"#!/usr/bin/env -S A=1 bash\r\n", b"  -J, --job-name=name  x\n      --mem=MB\n", b"-N 2 --mine v -- job %j %%",
    ]  # fmt: skip


def write_seeds(target: str, place: str) -> None:
    """Write inputs to begin with, and what was found before, into a directory."""
    for number, data in enumerate(seeds(target)):
        with open(os.path.join(place, f"seed-{number:02d}"), "wb") as file:
            file.write(data)
    before = os.path.join(HERE, "found", target)
    for name in sorted(os.listdir(before)) if os.path.isdir(before) else ():
        shutil.copy(os.path.join(before, name), place)


def run(target: str, data: bytes) -> None:
    """Run one input. What leaves but SdeeError is a finding; and 10 seconds are too many."""
    start = time.monotonic()
    try:
        TARGETS[target](data)
    except SdeeError as error:
        assert "\033" not in error.render()  # noqa: PT017
    spent = time.monotonic() - start
    assert spent < PATIENCE, f"{spent:.0f} s"


def changed(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Return an input a little changed, as byte mutators do."""
    whole = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        at = dice.randrange(len(whole) + 1)
        size = dice.choice((1, 1, 2, 4, 16, 64))
        kind = dice.randrange(5)
        if kind == 0 and whole:
            whole[at % len(whole)] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del whole[at : at + size]
        elif kind == 2:
            whole[at:at] = whole[(start := dice.randrange(len(whole) + 1)) : start + size]
        elif kind == 3:
            other = dice.choice(others)
            whole[at : at + size] = other[(start := dice.randrange(len(other) + 1)) : start + size]
        else:
            whole[at : at + 1] = dice.choice((b"\0", b"\xff", b"\n", b"/", b"[", b'"', b"-1", b"99999999999999999999"))
    return bytes(whole)


def peak() -> int:
    """Return the most memory that this process had, in kB; getrusage(2) knows that of who started it, too."""
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("VmHWM:")).split()[1])


def at_random(target: str, seconds: float, inputs: list[bytes], findings: str) -> None:
    """Change inputs at random for so long; end with the first finding, written down."""
    dice = random.Random()
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = changed(dice.choice(inputs), inputs, dice)
        count += 1
        try:
            run(target, data)
            assert peak() < MEMORY << 10, "too much memory"
        except BaseException:  # noqa: BLE001 - as atheris: whatever leaves is a finding
            traceback.print_exc()
            with open(f"{findings}crash-{hashlib.sha1(data).hexdigest()}", "wb") as file:
                file.write(data)
            sys.exit(1)
    sys.stderr.write(f"stat::number_of_executed_units: {count}\n")


def contents(paths: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the files that are named, and those in directories that are."""
    for path in paths:
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else [""]:
            with open(os.path.join(path, name) if name else path, "rb") as file:
                yield os.path.join(path, name), file.read()


def main() -> None:
    """Fuzz one target, or run the files that are named."""
    target, *rest = sys.argv[1:]
    flags = dict(word[1:].split("=", 1) for word in rest if word.startswith("-"))
    paths = [word for word in rest if not word.startswith("-")]
    try:
        if not flags:
            for name, data in contents(paths):
                sys.stderr.write(f"input {name}\n")
                run(target, data)
        elif atheris is None:
            inputs = [data for _, data in contents(paths)]
            at_random(target, float(flags["max_total_time"]), inputs, flags["artifact_prefix"])
        else:
            atheris.Setup([sys.argv[0], *rest], lambda data: run(target, data))
            atheris.Fuzz()
    finally:
        shutil.rmtree(directory(), ignore_errors=True)


if __name__ == "__main__":
    main()
