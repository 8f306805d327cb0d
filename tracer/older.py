"""The trace that stands where a new one is to be written: set aside until the new run has ended.

A run that a signal ended shows less than the one before it, and must not replace that one; nor must a trace that is
not whole, since the disk was full.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from sdee.base.files import open_regular
from sdee.tracer.saved import remove as remove_copies
from sdee.tracer.tracefile.model import COPIES

_ASIDE, _INTERRUPTED = ".old", ".interrupted"
SUFFIXES = (_ASIDE, _INTERRUPTED)
_TAIL = 64 << 10  # bytes: the last record, `end`, is shorter


def names(path: str) -> tuple[str, ...]:
    """Return the names that sdee gives to things while it writes the trace at `path`."""
    traces = (path, *(path + end for end in SUFFIXES))
    return (*traces, *(trace + COPIES for trace in traces))


def set_aside(path: str) -> bool:
    """Rename the trace at `path` and its copies if its run ended well; tell whether one is aside.

    A trace that another tracer is writing has no end yet, and is left to that one. One that a killed tracer had set
    aside still is.
    """
    try:
        if _is_of_another(path + _ASIDE):
            return False
        if not _ended_well(path):
            return _ended_well(path + _ASIDE)
        os.rename(path, path + _ASIDE)
    except OSError:
        return False
    _move_copies(path, path + _ASIDE)
    return True


def put_back(path: str) -> str:
    """Put the trace that was set aside back at `path`; return the new name of the one that stands there, or ""."""
    new = path + _INTERRUPTED
    try:
        if _is_of_another(new):
            os.unlink(path)
            new = ""
        else:
            os.rename(path, new)
    except OSError:
        new = ""
    _move_copies(path, new)
    with contextlib.suppress(OSError):
        os.rename(path + _ASIDE, path)
        _move_copies(path + _ASIDE, path)
    return new


def forget(path: str) -> None:
    """Remove the trace that was set aside, and that of an interrupted run: the one at `path` replaces both."""
    for name in (path + _ASIDE, path + _INTERRUPTED):
        with contextlib.suppress(OSError):
            if not _is_of_another(name):
                os.unlink(name)
        _move_copies(name, "")


def _ended_well(path: str) -> bool:
    """Tell whether `path` is a trace of the user's whose command ended with status 0. Raises OSError."""
    if not stat.S_ISREG(os.lstat(path).st_mode) or _is_of_another(path):
        return False
    with open(open_regular(path), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        last = file.read().rstrip().rpartition(b"\n")[2]
    try:
        record = json.loads(last)
        return bool(record["t"] == "end" and record["status"] == 0)
    except (ValueError, KeyError, TypeError):
        return False


def _is_of_another(path: str) -> bool:
    """Tell whether a file of another user has that name: what stands there is theirs."""
    try:
        return os.lstat(path).st_uid != os.geteuid()
    except OSError:
        return False


def _move_copies(path: str, new: str) -> None:
    """Rename a trace's directory of copies; remove it when `new` is "". What has the new name already goes."""
    remove_copies((new or path) + COPIES)
    if new:
        with contextlib.suppress(OSError):
            os.rename(path + COPIES, new + COPIES)
