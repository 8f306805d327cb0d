"""What each record of a trace holds: docs/trace-format.md, as shapes that a reader checks."""

from __future__ import annotations

import re
from typing import Any

from sdee.base.typed import many, maybe, named, number, path, record, row, text, truth, whole

_COPY = re.compile(r"[0-9]{1,20}", re.ASCII)


def _copy(value: Any) -> None:
    """Check the name of a copy in `<trace>.saved/`: never a path out of it."""
    if not isinstance(value, str) or not _COPY.fullmatch(value):
        raise ValueError("is not the name of a copy")


_HOST = record(
    {},
    {
        "os": named(text),
        "libc": named(text),
        "kernel": text,
        "machine": text,
        "cpu_level": text,
        "hostname": text,
        "mounts": many(row(text, text)),
    },
)
HEADER = record(
    {
        "command": many(text, 1),
        "program": path,
        "cwd": text,
        "env": named(text),
        "env_dropped": many(text),
        "umask": whole,
        "rlimits": named(row(whole, whole)),
        "uid": whole,
        "gid": whole,
        "home": text,
        "engine": text,
        "host": _HOST,
    },
    {"version": text},
)
# Kinds besides the header; a later version of the same format may add some
RECORDS = {
    "process": record({"pid": whole, "ppid": whole}),
    "exec": record(
        {
            "pid": whole,
            "path": text,
            "argv": many(text),
            "interpreters": many(text),
            "libpath": maybe(text),
            "setid": truth,
        }
    ),
    "path": record(
        {
            "path": path,
            "ops": many(text),
            "pid": whole,
            "exists": truth,
            "kind": maybe(text),
            "hops": many(row(path, text)),
            "real": text,
        },
        {"made": truth, "size": whole, "mtime_ns": whole},
    ),
    "socket": record({"path": text}, {"pid": whole}),
    "group": record({"gid": whole}, {"pid": whole}),
    "saved": record(
        {"path": path, "copy": maybe(_copy), "size": whole, "mtime_ns": whole, "mode": whole}, {"why": text}
    ),
    "listing": record({"path": path, "names": many(text)}),
    "result": record({"path": path, "kind": text}, {"size": whole, "sha256": text, "target": text}),
    "exit": record({"pid": whole, "status": whole}),
    "incomplete": record({"why": text}, {"pid": whole, "detail": text}),
    "end": record(
        {"status": whole},
        {"calls": whole, "seconds": number, "time": number, "stdout": maybe(record({"size": whole, "sha256": text}))},
    ),
}
