"""Recording execve: the program, its arguments, and the interpreters that the kernel opens by itself."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sdee.tracer.engine import memory
from sdee.tracer.programs import Program, read_program

if TYPE_CHECKING:
    from sdee.tracer.records import Records
    from sdee.tracer.resolve import Resolved, Resolver

_DEPTH = 5  # nested #! lines, fs/exec.c
_ARGUMENTS_LIMIT = 65536
_LIBPATH = b"LD_LIBRARY_PATH="
_PROGRAMS_LIMIT = 10_000


class Execs:
    """Records programs; remembers what it has read of each file."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._programs: dict[tuple[str, int, int, int], Program] = {}

    def record(self, tid: int, found: Resolved, vectors: tuple[int, int, int], resolver: Resolver, base: str) -> None:
        """Record that `tid` is about to become `found`.

        `vectors`: the addresses of argv and envp, and the size of a pointer (4 or 8). `base`: the working directory.
        """
        records, pid = self._records, self._records.pid(tid)
        status = found.status
        executable = status and stat.S_ISREG(status.st_mode) and os.access(resolver.place(found), os.X_OK)
        if not executable:
            records.access("exec" if status is None else "probe", found, pid)
            return
        records.access("exec", found, pid)
        interpreters, setid = self._interpreters(found, pid, resolver, base)
        if setid and _no_new_privs(tid):
            records.incomplete("a set-user-ID or set-group-ID program ran without its privilege", pid, found.path)
        argv_at, envp_at, width = vectors
        argv, libpath = [], None
        try:
            pointers = memory.read_pointers(tid, argv_at, width, _ARGUMENTS_LIMIT)
            argv = [os.fsdecode(argument) for argument in memory.read_strings(tid, pointers)]
            libpath = self._library_path(tid, envp_at, width)
        except OSError as error:
            records.incomplete("sdee could not read the arguments of a program", pid, f"{found.path}: {error.strerror}")
        records.program(pid, found.path, argv, interpreters, libpath, setid=setid)

    def _library_path(self, tid: int, envp_at: int, width: int) -> str | None:
        pointers = memory.read_pointers(tid, envp_at, width, _ARGUMENTS_LIMIT)
        starts = memory.read_starts(tid, pointers, len(_LIBPATH))
        for pointer, start in zip(pointers, starts, strict=True):
            # a variable that crosses a page's end comes shorter: compare what there is
            if (
                start
                and _LIBPATH.startswith(start)
                and (text := memory.read_strings(tid, [pointer])[0]).startswith(_LIBPATH)
            ):
                return os.fsdecode(text[len(_LIBPATH) :])
        return None

    def _interpreters(self, found: Resolved, pid: int, resolver: Resolver, base: str) -> tuple[list[str], bool]:
        interpreters: list[str] = []
        current, setid = found, False
        for _ in range(_DEPTH):
            if current.status is None:
                break
            program = self._read(resolver.place(current), current.status)
            setid = setid or program.setid
            if program.interpreter is None:
                break
            script = program.script
            path = program.interpreter
            current = resolver.resolve(path if path.startswith("/") else f"{base}/{path}", pid)
            self._records.access("exec", current, pid)
            interpreters.append(current.path)
            if not script:  # ld.so needs no other
                break
        return interpreters, setid

    def _read(self, path: str, status: os.stat_result) -> Program:
        key = (path, status.st_ino, status.st_mtime_ns, status.st_mode)
        program = self._programs.get(key)
        if program is None:
            if len(self._programs) >= _PROGRAMS_LIMIT:
                self._programs.clear()
            program = self._programs[key] = read_program(path, status)
        return program


def _no_new_privs(tid: int) -> bool:
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            return b"\nNoNewPrivs:\t1" in file.read()
    except OSError:
        return False
