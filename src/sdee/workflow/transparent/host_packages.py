"""Choose what of the host travels when the programs are unknown: what packages need, and interactive tools.

In a bundle there is nothing of the node's own. A shell on a node without ls, or a program without the plugins of the
host's MPI, is of no use, and the whole host is too large.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from functools import cache
from typing import TYPE_CHECKING

from sdee.base import dpkg
from sdee.base.files import text_of
from sdee.runtime.environment.locations import COMMANDS
from sdee.runtime.jobs.options import names as words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Packages of Debian's and of RPM's that are not marked as essential (dpkg) or of which all are named (rpm)
TYPED = frozenset(
    words("""
    bc bzip2 curl diffutils file gawk less lsof nano procps python3 rsync time vim vim-tiny wget xz-utils zstd
    bash coreutils findutils glibc-common grep gzip hostname ncurses-base procps-ng python3-libs sed tar util-linux
    vim-minimal which xz
""")
)
_FIELD = re.compile(r"(?m)^(Package|Status|Essential|Depends|Pre-Depends|Provides): (.*)$")
_ALTERNATIVES = f"{dpkg.DATABASE}/alternatives"


def files() -> list[str]:
    """Return paths of the host's packages that are essential, in TYPED, or needed by one of the environment's."""
    from sdee.packer.filesystem import FileSystem  # noqa: PLC0415
    from sdee.packer.packages import Packages  # noqa: PLC0415

    wanted = set(TYPED)
    wanted |= needed(text_of(dpkg.STATUS), _own())
    packages = Packages(FileSystem())
    found = {path for name in wanted for path in packages.files(name)}
    return sorted({*found, *_chosen(found), *_compiled(found)})


def _own() -> set[str]:
    """Return the packages that were installed in the environment: dpkg has written their lists of files."""
    lists = glob.glob(f"{COMMANDS}/layers/var/upper{dpkg.INFO.removeprefix('/var')}/*.list")
    return set(map(dpkg.package_of, lists))


def needed(status: str, own: Iterable[str]) -> set[str]:
    """Return the packages of dpkg's status(5) that are essential, or that `own` depend on, each with all it needs."""
    packages: dict[str, dict[str, str]] = {}
    providers: dict[str, list[str]] = {}
    for paragraph in dpkg.stanzas(status).values():
        fields = dict(_FIELD.findall(paragraph))
        if fields.get("Status", "").endswith(" installed"):
            packages[fields["Package"]] = fields
            for name in _names(fields.get("Provides", "")):
                providers.setdefault(name, []).append(fields["Package"])
    todo = [n for n, fields in packages.items() if fields.get("Essential") == "yes" or n in TYPED]
    todo += [name for name in own if name in packages]
    found = set(todo)
    while todo:
        fields = packages[todo.pop()]
        for name in (*_names(fields.get("Depends", "")), *_names(fields.get("Pre-Depends", ""))):
            new = {*providers.get(name, ()), *([name] if name in packages else [])} - found
            found |= new
            todo += new
    return found


def _names(relation: str) -> Iterator[str]:
    """Yield the packages of a relation field, deb-control(5): "a (>= 1) | b:any, c"."""
    for part in re.split(r"[,|]", relation):
        if match := re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", part):
            yield match[1]


def _chosen(found: set[str]) -> Iterator[str]:
    """Yield the links that update-alternatives(1) keeps to files among `found`, as /usr/bin/awk is."""
    real_directory = cache(os.path.realpath)  # each part of a path is asked for, and that stops inside
    real = {os.path.join(real_directory(os.path.dirname(path)), os.path.basename(path)) for path in found}
    with contextlib.suppress(OSError):
        for name in os.listdir(_ALTERNATIVES):
            with open(f"{_ALTERNATIVES}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                link = file.read().split("\n", 2)[1:2]
            if link and os.path.realpath(link[0]) in real:
                yield link[0]


def _compiled(found: set[str]) -> Iterator[str]:
    """Yield the bytecode of Python's modules among `found`: packages make it when they are installed."""
    for directory in {os.path.dirname(path) for path in found if path.endswith(".py")}:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"{directory}/__pycache__"):
                if f"{directory}/{name.partition('.')[0]}.py" in found:
                    yield f"{directory}/__pycache__/{name}"
