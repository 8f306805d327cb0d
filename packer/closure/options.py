"""The options that shape a closure."""

from __future__ import annotations

from dataclasses import dataclass

from sdee.packer import knowledge


@dataclass(frozen=True)
class ClosureOptions:
    """What the user asked for: `include`, `exclude` and `allow` are globs on absolute paths.

    A glob is fnmatch's (`*` goes past slashes, `**` means the same), and naming a directory means all of it. `expand`:
    "packages" lets the whole distribution package of each file that the run used travel. `host` and `shared` are globs
    of what the node provides and of what stays on shared storage, beside what knowledge.py has; the environments are
    globs of variables; `without_units` names unit classes that shall not widen. `package_limit`: bytes
    that whole packages of programs and their data may add; `software_limit`: bytes that the unused parts of software
    directories may add. `stand_ins`: files that travel in place of others where the job starts one of
    knowledge.COMPANIONS, (path, file).
    """

    minimal: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    with_data: bool = False
    allow: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    fixed_environment: tuple[str, ...] = ()
    live_environment: tuple[str, ...] = ()
    without_units: tuple[str, ...] = ()
    stand_ins: tuple[tuple[str, str], ...] = ()
    package_limit: int = knowledge.PACKAGES_LIMIT
    software_limit: int = knowledge.SOFTWARE_LIMIT
