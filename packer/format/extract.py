"""Unpack a bundle into a directory, and nowhere else.

Paths are walked component by component from a descriptor of that directory, no symbolic link is ever followed, and no
file is opened that was there before: a hostile bundle, or links planted in the directory, lead nowhere.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from sdee.base.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdee.packer.format.reader import Bundle
    from sdee.packer.format.table import Entry

    Progress = Callable[[int, int], None]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def select(bundle: Bundle, paths: Sequence[str]) -> list[Entry]:
    """Return the entries of `paths`, of what is below them and of their parents; all of them when `paths` is empty.

    A hard link whose target is not among them becomes a regular file with that content.
    """
    chosen = {path.rstrip("/") for path in paths}
    everything = not chosen or "" in chosen
    wanted = [e for e in bundle.table.entries if everything or not chosen.isdisjoint(_upwards(e.path))]
    kept = {path for entry in wanted for path in _upwards(entry.path)}
    stand_ins: dict[str, str] = {}  # target that was not asked for → first link to it
    entries = []
    for entry in (e for e in bundle.table.entries if e.path in kept):
        if not entry.hard_link or entry.link in kept:
            entries.append(entry)
        elif entry.link in stand_ins:
            entries.append(replace(entry, link=stand_ins[entry.link]))
        else:
            target = bundle.entries[entry.link]
            stand_ins[entry.link] = entry.path
            entries.append(replace(entry, link="", hard_link=False, size=target.size, offset=target.offset))
    return entries


def _upwards(path: str) -> list[str]:
    """Return the path and all its parents but the root."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(2, len(parts) + 1)]


def extract(
    bundle: Bundle,
    entries: Sequence[Entry],
    directory: str,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write entries (as `select` returns them) below `directory`, made if missing, with modes, times and links.

    Files belong to the caller. `force` replaces files that are there already; directories that are there keep their
    modes and times. Raises OutputError (something is there, no space, no permission) and BundleError (damaged).
    """
    try:
        os.makedirs(directory, exist_ok=True)
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OutputError(f"{directory!a} cannot be used: {error.strerror}") from error
    tree = _Tree(root)
    try:
        _check_space(root, directory, entries)
        _check_clear(tree, entries, directory, force=force)
        _write(tree, bundle, entries, progress)
    except OSError as error:
        why = "a symbolic link is in the way" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
        raise OutputError(f"{tree.at!a} cannot be written below {directory!a}: {why}") from error
    finally:
        tree.close()


class _Tree:
    """System calls on paths below one directory that follow no link. `at` is the path last asked for."""

    def __init__(self, root: int) -> None:
        self.at = "/"
        self._root = root
        self._parent = ("", root)

    def close(self) -> None:
        self._leave()
        os.close(self._root)

    def _leave(self) -> None:
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = ("", self._root)

    def _enter(self, path: str) -> tuple[str, int]:
        """Return the last component and a descriptor of the directory that holds it (openat(2) for each component)."""
        self.at = path
        parent, _, name = path.rpartition("/")
        if parent != self._parent[0]:
            self._leave()
            fd = self._root
            for part in parent.split("/")[1:]:
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=fd)
                finally:
                    if fd != self._root:
                        os.close(fd)
                fd = below
            self._parent = (parent, fd)
        return name, self._parent[1]

    def status(self, path: str) -> os.stat_result | None:
        """Return lstat(2), None if nothing is there."""
        try:
            name, parent = self._enter(path)
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def mkdir(self, path: str) -> None:
        name, parent = self._enter(path)
        os.mkdir(name, 0o700, dir_fd=parent)

    def create(self, path: str) -> int:
        name, parent = self._enter(path)
        return os.open(name, _NEW_FILE, 0o600, dir_fd=parent)

    def unlink(self, path: str) -> None:
        with suppress(FileNotFoundError):
            name, parent = self._enter(path)
            os.unlink(name, dir_fd=parent)

    def rmdir(self, path: str) -> None:
        """Remove a directory; one that is not there or that somebody used meanwhile is left."""
        with suppress(OSError):
            name, parent = self._enter(path)
            os.rmdir(name, dir_fd=parent)

    def symlink(self, entry: Entry) -> None:
        name, parent = self._enter(entry.path)
        os.symlink(entry.link, name, dir_fd=parent)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def link(self, target: str, path: str) -> None:
        target_name, parent = self._enter(target)
        source = os.dup(parent)
        try:
            name, parent = self._enter(path)
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def finish_directory(self, entry: Entry) -> None:
        name, parent = self._enter(entry.path)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        _finish(fd, entry)


def _finish(fd: int, entry: Entry) -> None:
    """Set mode and times of an open file or directory and close it."""
    try:
        os.fchmod(fd, stat.S_IMODE(entry.mode))
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(fd)


def _check_space(root: int, directory: str, entries: Sequence[Entry]) -> None:
    space = os.fstatvfs(root)
    free, needed = space.f_bavail * space.f_frsize, sum(e.size for e in entries)
    if needed > free:
        raise OutputError(f"{directory!a} has {free} bytes free, the files need {needed}")


def _check_clear(tree: _Tree, entries: Sequence[Entry], directory: str, *, force: bool) -> None:
    """Raise OutputError unless nothing is where files go (with `force`: no directory is)."""
    in_the_way = []
    for entry in entries:
        status = tree.status(entry.path)
        if status is None:
            continue
        if stat.S_ISDIR(entry.mode) != stat.S_ISDIR(status.st_mode):
            raise OutputError(f"{entry.path!a} is there already below {directory!a}, and of another type")
        if not stat.S_ISDIR(entry.mode):
            in_the_way.append(entry.path)
    if in_the_way and not force:
        raise OutputError(
            f"{len(in_the_way)} of the files are there already below {directory!a}",
            tried=tuple(f"{path!a}" for path in in_the_way[:5]),
            hint="give an empty directory with -C, or --force to replace them",
        )
    for path in in_the_way:
        tree.unlink(path)


def _write(tree: _Tree, bundle: Bundle, entries: Sequence[Entry], progress: Progress | None) -> None:
    """Write everything, or nothing: of what was begun and failed (damage, a full disk, Ctrl-C) nothing stays."""
    made = [e for e in entries if stat.S_ISDIR(e.mode) and not tree.status(e.path)]
    try:
        for entry in made:
            tree.mkdir(entry.path)
        _fill(tree, bundle, entries, progress)
        for entry in reversed(made):
            tree.finish_directory(entry)
    except BaseException:
        for entry in entries:  # _check_clear() saw that none was there before
            if not stat.S_ISDIR(entry.mode):
                tree.unlink(entry.path)
        for entry in reversed(made):
            tree.rmdir(entry.path)
        raise


def _fill(tree: _Tree, bundle: Bundle, entries: Sequence[Entry], progress: Progress | None) -> None:
    for entry in entries:
        if stat.S_ISLNK(entry.mode):
            tree.symlink(entry)
        elif stat.S_ISREG(entry.mode) and not entry.size and not entry.hard_link:
            _finish(tree.create(entry.path), entry)
    files = [e for e in entries if stat.S_ISREG(e.mode) and not e.hard_link]
    current, fd = None, -1
    try:
        for entry, data in bundle.contents(files, progress=progress):
            if entry is not current:
                if current:
                    done, fd = fd, -1
                    _finish(done, current)
                current, fd = entry, tree.create(entry.path)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        if current:
            done, fd = fd, -1
            _finish(done, current)
    finally:
        if fd >= 0:
            os.close(fd)
    for entry in entries:
        if entry.hard_link:
            tree.link(entry.link, entry.path)
