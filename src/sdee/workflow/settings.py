"""Read the policy file sdee.toml: default options of `sdee bundle` for a site or a job, and where each comes from."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import platformdirs

from sdee.base import trust
from sdee.base.errors import UsageError
from sdee.base.files import open_regular
from sdee.base.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "sdee.toml"
# Measured with 4 MiB frames on two cores. Files seen of a numpy/scipy/pandas job, 167 MB: level 3 52.0 MB, 6 48.4,
# 7 47.8, 8 47.5, 9 47.2, 12 46.9 (tar | gzip -6: 56.3); seconds of processor: 6 2.8, 7 2.9, 8 3.8, 9 4.0. 500 MB of
# /usr/lib: 3 155 MB in 2.0 s, 6 145 MB in 4.9 s, 9 141 MB in 6.8 s, 12 140 MB in 10.5 s. 7 costs what 6 does.
DEFAULT_LEVEL = 7
# key → whether it is a list of strings, and what it does: `sdee config` prints it
KEYS: dict[str, tuple[type, str]] = {
    "include": (list, "globs that travel too"),
    "exclude": (list, "globs that do not travel"),
    "allow": (list, "globs that travel though they may hold secrets"),
    "expand": (list, 'widen to: "packages"'),
    "host": (list, "globs that the node provides: drivers, a site's own libraries"),
    "shared": (list, "globs that stay on shared storage"),
    "fixed-environment": (list, "globs of variables that stay as recorded"),
    "live-environment": (list, "globs of variables that are taken from where the bundle runs"),
    "without-units": (list, "class names of closure units that add nothing (see packer/units)"),
    "software-limit": (int, "MB that unused parts of software directories may add (256)"),
    "package-limit": (int, "MB that whole packages of programs and of the data they used may add (128)"),
    "minimal": (bool, "only what the run used"),
    "with-data": (bool, "input data travels too"),
    "level": (int, "zstd compression level, 1 to 19"),
    "trust": (list, "globs of directories whose sdee.toml you trust, whoever owns it; only in your own file"),
}
_said: set[str] = set()  # settings are read several times


@dataclass(frozen=True)
class Value:
    """One setting and the file that it came from; several files add to lists, the nearer file wins otherwise."""

    value: Any
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """All settings by key; a key that no file names is not there. `ignored`: files, and why sdee ignores them."""

    values: dict[str, Value] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    ignored: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: Any) -> Any:
        """Return a setting."""
        found = self.values.get(key)
        return found.value if found else default


def places() -> list[str]:
    """Return where policy files may be, the farthest first: the user's configuration directory, here beside the job."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # removed: nothing lies there
        here = "/proc/self/cwd"
    try:
        own = platformdirs.user_config_dir("sdee")
    except RuntimeError:  # neither HOME nor an account tells where
        own = "/nonexistent/.config/sdee"
    return [os.path.join(own, NAME), os.path.join(here, NAME)]


def load(say: Callable[[str], None]) -> Policy:
    """Read the policy files that exist; the one here counts when it is the user's own or root's (trust.py), or trusted.

    `say`: told, once, that one does not count. Raises UsageError that names file, line and key.
    """
    values: dict[str, Value] = {}
    read: list[str] = []
    ignored: dict[str, str] = {}
    own, here = places()
    for path in (own, here):
        why = trust.distrusted(path) if path == here and not _is_trusted(here, values) else ""
        if why:
            ignored[path] = why
            _say_ignored(path, why, say)
            continue
        if not os.path.exists(path):
            continue
        read.append(path)
        for key, value in _read(path, trusted=path == own or _is_trusted(path, values)).items():
            before = values.get(key)
            if isinstance(value, list):
                farther = before or Value([], ())
                found = _absolute(key, value, os.path.dirname(path))
                values[key] = Value([*farther.value, *found], (*farther.origins, path))
            else:
                values[key] = Value(value, (path,))
    return Policy(values, tuple(read), ignored)


def _is_trusted(path: str, values: dict[str, Value]) -> bool:
    directory = os.path.dirname(path)
    return "trust" in values and any(fnmatchcase(directory, glob.rstrip("/")) for glob in values["trust"].value)


def _say_ignored(path: str, why: str, say: Callable[[str], None]) -> None:
    if path not in _said:
        hint = f'add trust = ["{os.path.dirname(path)}"] to {places()[0]}, or make a copy of your own'
        say(f"warning: ignoring {safe(path)}: {why}\n  hint: {safe(hint)}")
    _said.add(path)


def _read(path: str, *, trusted: bool) -> dict[str, Any]:
    try:
        with open(open_regular(path), "rb") as file:
            if not trusted and (why := trust.distrusted_state(os.fstat(file.fileno()), path)):
                raise UsageError(f"the policy file {path!a} was replaced: {why}")
            text = file.read()
        raw = tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"cannot read the policy file {path!a}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path!a}: {error}", hint="the policy file is TOML: https://toml.io") from error
    for key, value in raw.items():
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise UsageError(f"{path!a}, line {_line(text, key)}: there is no key {key!r}", hint=f"keys: {known}")
        kind = KEYS[key][0]
        strings = kind is not list or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        if not isinstance(value, kind) or not strings or (kind is int and isinstance(value, bool)):
            wanted = {list: "a list of strings", bool: "true or false", int: "a whole number"}[kind]
            raise UsageError(f"{path!a}, line {_line(text, key)}: {key} must be {wanted}")
    if "trust" in raw and path != places()[0]:
        raise UsageError(f"{path!a}, line {_line(text, 'trust')}: trust counts in {places()[0]!a} only")
    if not 1 <= raw.get("level", 1) <= 19:
        raise UsageError(f"{path!a}, line {_line(text, 'level')}: level must be from 1 to 19")
    for key in ("package-limit", "software-limit"):
        if raw.get(key, 0) < 0:
            raise UsageError(f"{path!a}, line {_line(text, key)}: {key} must be 0 or more")
    return raw


def _line(text: bytes, key: str) -> int:
    match = re.search(rf'^[ \t]*["\[]?{re.escape(key)}\b'.encode(), text, re.MULTILINE)
    return text[: match.start()].count(b"\n") + 1 if match else 1


def _absolute(key: str, values: list[str], directory: str) -> list[str]:
    """Take globs of paths from the file's own directory, unless they begin with `*` or `/`."""
    if key not in {"include", "exclude", "allow", "host", "shared"}:
        return values
    return [v if v.startswith(("*", "/")) else os.path.normpath(os.path.join(directory, v)) for v in values]
