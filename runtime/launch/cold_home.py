"""Make a home without caches and settings, as a new user has it, for `sdee trace --cold`.

Caches and profiles of the login node hide what it takes to make them: a compile cache hides the compiler. So an empty
directory covers the home, in which only software, visible entries and the working directory appear again. It lies at
its own path: programs that take it from the user database see the same, and a trace has its paths. What is written in
the covering directory is in memory, and gone with the command.

Works as an ordinary user, by a user namespace, as bare_node.py does.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdee.base.libc import MS_BIND, MS_REC, mount
from sdee.base.paths import is_in
from sdee.runtime.launch.namespaces import own_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SOURCE = "sdee-discarded"  # of the covering file systems: tracer/host.py looks past it
SIZE = "size=2g"  # then writes fail with ENOSPC: memory of a login node is everybody's
# XDG Base Directory Specification 0.8: the variable, and the default below the home
XDG = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_STATE_HOME": ".local/state",
    "XDG_DATA_HOME": ".local/share",
}
_OF_A_CACHE = re.compile(r"(^|_)CACHE(_|$)|CACHEPREFIX$", re.IGNORECASE)  # NUMBA_CACHE_DIR, PYTHONPYCACHEPREFIX
_MAY_HOLD_SOFTWARE = "XDG_DATA_HOME"
_MARKS = frozenset(("pyvenv.cfg", "conda-meta", "site-packages", "dist-packages", "node_modules"))
_CODE = (
    ".py",
    ".pm",
    ".pl",
    ".rb",
    ".jl",
    ".so",
    ".jar",
    ".js",
    ".mjs",
    ".lua",
    ".tcl",
    ".rdb",
    ".sh",
    ".ml",
    ".rs",
    ".go",
)
_DEPTH, _LOOKED_AT = 5, 2000  # of directories that are searched for software: a home may be on slow storage


@dataclass(frozen=True)
class Step:
    """One mount: `kind` is "cover" (an empty directory), "show" (what was at the path before, again) or "link"."""

    kind: str
    path: str


def plan(home: str, keep: Sequence[str], environment: Mapping[str, str]) -> tuple[Step, ...]:
    """Return what to mount so that `home` is a new one; directories come before what is in them. Nothing is changed.

    `keep`: paths that must stay as they are with all that is in them: the working directory, where the trace is
    written. `environment`: what its variables name in the home stays, but for caches. Paths are absolute.
    Raises OSError.
    """
    home = os.path.realpath(home)
    if home == "/":
        raise OSError(errno.EINVAL, "the home is the root directory")
    caches = _caches(home, environment)
    named = (*map(os.path.realpath, keep), *_named(environment, caches))
    steps: list[Step] = []
    if any(home == path or is_in(home, path) for path in map(os.path.realpath, keep)):
        # The home is the working directory, and stays. Its hidden directories can be covered, one by one
        steps += [step for path in _entries(home, hidden=True) for step in _hidden(path, caches, named)]
    else:
        steps.append(Step("cover", home))
        steps += [_show(path) for path in _entries(home, hidden=False)]
        steps += [
            step
            for path in _entries(home, hidden=True)
            for step in _hidden(path, caches, named)
            if step.kind != "cover"
        ]
    for path in sorted(caches):
        above = [step for step in steps if path == step.path or is_in(path, step.path)]
        shown = not above or max(above, key=lambda step: len(step.path)).kind == "show"
        if shown and os.path.isdir(path):
            steps += _covered(path, caches, named)
    return tuple(dict.fromkeys(steps))


def _caches(home: str, environment: Mapping[str, str]) -> dict[str, bool]:
    """Return the directories in which programs keep things for themselves, and whether software may lie there, too."""
    found: dict[str, bool] = {}
    for variable, default in XDG.items():
        path = environment.get(variable) or os.path.join(home, default)
        found[os.path.realpath(path)] = variable == _MAY_HOLD_SOFTWARE
    for variable, path in environment.items():
        if _OF_A_CACHE.search(variable) and path.startswith("/") and path != "/" and os.path.isdir(path):
            found.setdefault(os.path.realpath(path), False)
    return found


def _named(environment: Mapping[str, str], caches: Iterable[str]) -> Iterator[str]:
    """Yield the paths that variables name (PATH, VIRTUAL_ENV, R_LIBS_USER): where software is searched."""
    for name, value in environment.items():
        for path in value.split(":"):
            if path.startswith("/") and name not in ("HOME", "OLDPWD", *XDG) and os.path.lexists(path):
                real = os.path.realpath(path)
                if real not in caches:
                    yield real


def _entries(directory: str, *, hidden: bool) -> list[str]:
    names = sorted(name for name in os.listdir(directory) if name.startswith(".") == hidden)
    return [os.path.join(directory, name) for name in names]


def _hidden(path: str, caches: Mapping[str, bool], named: Sequence[str]) -> Iterator[Step]:
    """Yield what becomes of a hidden entry of the home: software is shown, all else is covered."""
    real = os.path.realpath(path)
    if os.path.islink(path) or not os.path.isdir(path):
        # A link leads to a larger disk, perhaps: ~/.conda
        software = os.path.isdir(real) and real not in caches and _holds_software(real)
        if software or any(kept == real or is_in(kept, real) for kept in named):
            yield _show(path)
    elif path in caches:
        yield from _covered(path, caches, named)
    elif any(is_in(cache, path) for cache in caches):  # ~/.local
        for name in sorted(os.listdir(path)):
            yield from _hidden(os.path.join(path, name), caches, named)
    elif path in named or _holds_software(path):
        yield _show(path)
    else:
        yield Step("cover", path)
        yield from (_show(kept) for kept in named if is_in(kept, path))


def _covered(path: str, caches: Mapping[str, bool], named: Sequence[str]) -> Iterator[Step]:
    """Yield what becomes of a directory in which programs keep things: empty, but for what is named or software."""
    yield Step("cover", path)
    for entry in (os.path.join(path, name) for name in sorted(os.listdir(path))):
        if os.path.isdir(entry) and caches[path] and _holds_software(entry):
            yield _show(entry)
        else:  # a virtual environment may lie in a cache: Poetry's do
            yield from (_show(kept) for kept in named if kept == entry or is_in(kept, entry))


def _holds_software(top: str) -> bool:
    """Return whether a program or a module of some language lies in a directory, as far as a short look tells."""
    for looked, (directory, below, files) in enumerate(os.walk(top)):
        below[:] = [name for name in below if "cache" not in name.lower()]  # a compiler's: ~/.triton/cache/*.so
        if looked > _LOOKED_AT or not _MARKS.isdisjoint(below) or not _MARKS.isdisjoint(files):
            return True
        if any(name.endswith(_CODE) for name in files) or any(_is_program(directory, name) for name in files):
            return True
        if directory.removeprefix(top).count("/") >= _DEPTH:
            below.clear()
    return False


def _is_program(directory: str, name: str) -> bool:
    try:
        mode = os.lstat(os.path.join(directory, name)).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR)


def _show(path: str) -> Step:
    return Step("link" if os.path.islink(path) else "show", path)


def enter(steps: Sequence[Step]) -> None:
    """Mount, for this process and its children. The process must have one thread. Raises OSError."""
    here = os.getcwd()
    own_namespaces()  # first: a bind of what is open from another mount namespace is refused
    before = {step.path: _held(step) for step in steps if step.kind != "cover"}
    modes = {step.path: stat.S_IMODE(os.stat(step.path).st_mode) for step in steps if step.kind == "cover"}
    try:
        for step in steps:
            if step.kind == "cover":
                os.makedirs(step.path, exist_ok=True)
                mount(SOURCE, step.path, "tmpfs", 0, f"{SIZE},mode={modes[step.path]:o}")
                continue
            os.makedirs(os.path.dirname(step.path), exist_ok=True)
            held = before[step.path]
            if isinstance(held, str):
                os.symlink(held, step.path)
                continue
            _point(step.path, directory=stat.S_ISDIR(os.fstat(held).st_mode))
            mount(f"/proc/self/fd/{held}", step.path, "", MS_BIND | MS_REC)
        os.chdir(here)  # the same directory, by the mounts that are there now
    finally:
        for fd in before.values():
            if isinstance(fd, int):
                os.close(fd)


def _held(step: Step) -> int | str:
    return os.readlink(step.path) if step.kind == "link" else os.open(step.path, os.O_PATH | os.O_CLOEXEC)


def _point(path: str, *, directory: bool) -> None:
    """Make a mount point, unless there is one."""
    if directory:
        os.makedirs(path, exist_ok=True)
    elif not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def discarded(steps: Sequence[Step]) -> list[str]:
    """Return the visible names that the command made in what covers directories: they are gone with this process."""
    shown = {step.path for step in steps}
    tops = [step.path for step in steps if step.kind == "cover" and not os.path.basename(step.path).startswith(".")]
    return [path for top in tops for path in _entries(top, hidden=False) if path not in shown]
