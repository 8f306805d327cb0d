"""Traces made by hand, of files that are really there, and what the closure says of them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sdee.packer import knowledge
from sdee.packer.closure.build import build_closure
from sdee.packer.closure.options import ClosureOptions
from sdee.tracer.tracefile.model import Access, Exec, Host, Process, Run, Saved, Trace

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from sdee.packer.model import Closure

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket", stat.S_IFIFO: "fifo"}


class TraceMaker:
    """Collects accesses; a path's existence, kind and links are those of the file system now."""

    def __init__(self, cwd: str, home: str = "/home/nobody-at-all") -> None:
        self.cwd = cwd
        self.home = home
        self.env: dict[str, str] = {}
        self.env_dropped: tuple[str, ...] = ()
        self.rlimits: dict[str, tuple[int, int]] = {}
        self.mounts: tuple[tuple[str, str], ...] = ()
        self.command: tuple[str, ...] = ("true",)
        self.program = "/usr/bin/true"
        self.accesses: dict[str, Access] = {}
        self.execs: list[Exec] = []
        self.processes: list[Process] = [Process(1, 0, 0)]
        self.saved: dict[str, Saved] = {}
        self.sockets: list[str] = []
        self.incomplete: tuple[str, ...] = ()
        self.software_limit = knowledge.SOFTWARE_LIMIT

    def use(self, path: str | Path, *ops: str, existed: bool | None = None, pid: int = 1) -> str:
        """Record what was done to a path; without ops it was read."""
        path = str(path)
        there = os.path.lexists(path) if existed is None else existed
        status = os.lstat(path) if os.path.lexists(path) else None
        kind = KINDS.get(stat.S_IFMT(status.st_mode)) if status and there else None
        real = os.path.realpath(path) if there else path
        access = self.accesses.setdefault(
            path, Access(path, len(self.accesses), pid, existed=there, kind=kind, real=real)
        )
        access.ops |= set(ops or ("read",))
        return path

    def execute(self, path: str | Path, *interpreters: str, libpath: str | None = None, pid: int = 1) -> str:
        self.use(path, "exec", pid=pid)
        for interpreter in interpreters:
            self.use(interpreter, "read", pid=pid)
        self.execs.append(Exec(pid, str(path), (str(path),), interpreters, libpath, setid=False))
        return str(path)

    def trace(self) -> Trace:
        host = Host("debian", "12", "Debian 12", "6.1", "x86_64", "x86-64-v3", mounts=self.mounts)
        run = Run(
            self.command,
            self.program,
            self.cwd,
            self.env,
            self.env_dropped,
            0o22,
            self.rlimits,
            1000,
            1000,
            self.home,
            "unotify",
            host,
            0,
        )
        return Trace(
            (run,),
            tuple(self.processes),
            tuple(self.execs),
            self.accesses,
            tuple(self.sockets),
            self.saved,
            self.incomplete,
        )

    def closure(
        self,
        *,
        minimal: bool = False,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        with_data: bool = False,
        allow: tuple[str, ...] = (),
        expand: tuple[str, ...] = (),
        stand_ins: tuple[tuple[str, str], ...] = (),
        package_limit: int = knowledge.PACKAGES_LIMIT,
    ) -> Closure:
        options = ClosureOptions(
            minimal,
            include,
            exclude,
            with_data,
            allow,
            expand,
            stand_ins=stand_ins,
            package_limit=package_limit,
            software_limit=self.software_limit,
        )
        return build_closure(self.trace(), options)


def trace_for_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    """Return a trace whose working directory is tmp_path/work; what lies beside it is as good as a system directory.

    Software directories bring nothing of their own (test_software.py), so that tests see what units bring.
    """
    monkeypatch.setattr(knowledge, "TEMPORARY_ROOTS", ())
    (tmp_path / "work").mkdir()
    maker = TraceMaker(str(tmp_path / "work"))
    maker.software_limit = 0
    return maker


def verdict(closure: Closure, path: str | Path) -> str:
    """Return a path's verdict as a word, "nothing" when the closure does not know it."""
    item = closure.items.get(str(path))
    return item.verdict.value if item else "nothing"


def why(closure: Closure, path: str | Path) -> str:
    """Return all reasons of a path as one text."""
    return "; ".join(f"{r.why} {r.source} {r.detail}".strip() for r in closure.items[str(path)].reasons)


def conf(closure: Closure, key: str) -> list[str]:
    return [value for name, value in closure.conf if name == key]


def write(path: Path, content: str | bytes = "content\n", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path
