"""RPM databases, the host's and an environment's: asked through rpm(8), since their formats are its own.

rpm is given a copy to read, made for the question: an ordinary user may not open a SQLite database in a directory that
they cannot write when its -shm file is missing, and an environment's database lies in two layers, perhaps mounted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdee.base.files import lines, read_text
from sdee.base.rpm import DATABASES, DIRECTORIES, query
from sdee.runtime.environment.stamp import stamp_line
from sdee.runtime.environment.upper_layer import is_opaque, is_whiteout
from sdee.runtime.programs import env_path

if TYPE_CHECKING:
    from sdee.runtime.environment.store import Environment

_BESIDE = ("-wal", "-shm")  # SQLite's log of what is not yet in the database, and the index of that
_CONFIGURATION = 1  # RPMFILE_CONFIG, rpmfiles.h
# rpm(8), --queryformat: a line for each package, followed by one for each of its files
_QUERY = (
    r"P\t%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"
    r"[F\t%{FILENAMES}\t%{FILEFLAGS}\t%{FILEDIGESTS}\n]"
)


@dataclass
class Packages:
    """What a database says: versions by name and architecture (kernels have several), and the package of each path,
    "" for a directory that several have.

    `configuration` has the digest of each configuration file as packed, hexadecimal: SHA-256, or MD5 if it is shorter.
    """

    versions: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    configuration: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Both:
    """The host's packages and the environment's; `problem` says which database could not be read, and why."""

    host: Packages
    own: Packages
    problem: str = ""


def parse(said: str) -> Packages:
    """Return what rpm has printed for _QUERY."""
    found = Packages()
    name = ""
    for line in said.split("\n"):
        fields = line.split("\t")
        if fields[0] == "P" and len(fields) == 4:
            name = fields[1]
            found.versions.setdefault((name, fields[2]), []).append(fields[3])
        elif fields[0] == "F" and len(fields) == 4 and fields[1].startswith("/"):
            found.owners[fields[1]] = name if found.owners.get(fields[1], name) == name else ""
            if fields[2].isdigit() and int(fields[2]) & _CONFIGURATION and fields[3]:
                found.configuration[fields[1]] = fields[3]
    return found


def host_directory() -> str | None:
    """Return where the host has its database."""
    for directory in DIRECTORIES:
        if any(os.path.exists(os.path.join(directory, name)) for name in DATABASES):
            return os.path.realpath(directory)
    return None


def listing(environment: Environment, directory: str) -> dict[str, str]:
    """Return the regular files of a directory as the environment shows it: where each lies, by name."""
    upper = environment.upper(directory)
    found: dict[str, str] = {}
    if upper is None or not is_opaque(upper):
        found = _regular(directory)
    if upper is not None:
        own = _regular(upper)
        found = {name: path for name, path in found.items() if not _is_removed(os.path.join(upper, name))}
        found.update(own)
    return found


def _regular(directory: str) -> dict[str, str]:
    try:
        return {entry.name: entry.path for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False)}
    except OSError:
        return {}


def _is_removed(path: str) -> bool:
    try:
        return is_whiteout(os.lstat(path))
    except OSError:
        return False


def _own_directory(environment: Environment) -> str | None:
    """Return where the environment has its database, by the path inside."""
    for directory in dict.fromkeys(os.path.realpath(directory) for directory in DIRECTORIES):
        if any(name in DATABASES for name in listing(environment, directory)):
            return directory
    return None


def _has_own(environment: Environment, directory: str) -> bool:
    """Tell whether anything that says what is installed is the environment's."""
    upper = environment.upper(directory)
    if upper is None:
        return False
    if any(_size(os.path.join(upper, name)) is not None for name in DATABASES):
        return True
    return bool(_size(os.path.join(upper, DATABASES[0] + _BESIDE[0])))


def _size(path: str) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None


def both(environment: Environment) -> Both:
    """Return the packages of the host and of the environment. The same object twice where it has changed none."""
    there, here = host_directory(), _own_directory(environment)
    if there is None and here is None:
        return Both(Packages(), Packages())
    host, problem = _ask(environment, _regular(there)) if there else (Packages(), "")
    if here == there and here is not None and not _has_own(environment, here):
        return Both(host, host, problem and f"the host's RPM database cannot be read: {problem}")
    own, own_problem = _ask(environment, listing(environment, here)) if here else (Packages(), "")
    problems = [
        f"{whose} RPM database cannot be read: {said}"
        for whose, said in (("the host's", problem), ("the environment's", own_problem))
        if said
    ]
    if problems:  # half of a comparison would show all packages as added or removed
        return Both(Packages(owners=host.owners), Packages(owners=own.owners), "; ".join(problems))
    return Both(host, own)


def _ask(environment: Environment, files: dict[str, str]) -> tuple[Packages, str]:
    """Ask a copy of a database: the host's rpm, or else the environment's, inside. Return why if neither answers."""
    problem = "neither the host nor the environment has rpm"
    place = environment.upper("/var/tmp") or environment.directory
    copy = tempfile.mkdtemp(prefix=".sdee-rpm-", dir=place)
    try:
        for name, path in files.items():
            if not name.startswith(".") and not name.endswith(_BESIDE[1]):
                shutil.copyfile(path, os.path.join(copy, name))
        inside = os.path.join("/var/tmp", os.path.basename(copy))
        enter = [env_path(), "enter", environment.directory, environment.name]
        for before, directory in (([], copy), (enter, inside)):
            if not before and not shutil.which("rpm"):
                continue
            done = query(directory, _QUERY, *before)
            found = parse(done.stdout)
            if found.versions or (done.returncode == 0 and not done.stderr):
                return found, ""
            said = [line for line in done.stderr.splitlines() if line]
            if done.returncode != 127:  # that is: there is no rpm inside
                problem = said[0].removeprefix("error: ") if said else f"rpm ended with status {done.returncode}"
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return Packages(), problem


def own_databases(environment: Environment) -> list[str]:
    """Return the environment's own files, by their paths inside, that say what is installed and that it has changed.

    A copy that is as the host's was when that was last noted is none: own-on-write keeps size and time. Nor is an empty
    log: SQLite makes one when root inside reads.
    """
    noted = set(lines(read_text(environment.path("stamp"))))
    found = []
    for directory in dict.fromkeys(os.path.realpath(directory) for directory in DIRECTORIES):
        upper = environment.upper(directory)
        if upper is None:
            continue
        for name in (*DATABASES, DATABASES[0] + _BESIDE[0]):
            own = os.path.join(upper, name)
            path = os.path.join(directory, name)
            if not _size(own) and not _is_removed(own):
                continue
            if stamp_line(own).replace(own, path, 1) not in noted:
                found.append(path)
    return found


def fingerprint(environment: Environment) -> str:
    """Return the SHA-256 of the host's list of RPM packages, "" where it has none or cannot be asked."""
    host = both(environment).host.versions
    text = "".join(f"{name} {arch} {' '.join(sorted(host[name, arch]))}\n" for name, arch in sorted(host))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if host else ""


def forget_copies(environment: Environment) -> None:
    """Remove the environment's copies of a database that it has not changed: the host's, which is newer, shows again.

    SQLite's log would be applied to the host's new database if it stayed.
    """
    for directory in dict.fromkeys(os.path.realpath(directory) for directory in DIRECTORIES):
        upper = environment.upper(directory)
        for name in _regular(upper or ""):
            if name in DATABASES or name.endswith(_BESIDE):
                os.unlink(os.path.join(upper or "", name))
