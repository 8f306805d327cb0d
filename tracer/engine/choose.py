"""Choosing an engine: by proof on a small child, never by a kernel's version."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, cast

from sdee.base.errors import KernelError, SdeeError, UsageError
from sdee.base.interpreter import own_python
from sdee.tracer.engine import linux, memory
from sdee.tracer.syscalls import CALLS

if TYPE_CHECKING:
    from sdee.tracer.engine.interface import Engine

# name → module, class; in the order of preference
ENGINES = {
    "unotify": ("sdee.tracer.engine.unotify", "UnotifyEngine"),
    "ptrace": ("sdee.tracer.engine.ptrace", "PtraceEngine"),
}
_PROGRAMS = ("/bin/true", "/usr/bin/true")


def load(name: str) -> Engine:
    """Return the engine called `name`, not proved. Raises UsageError for an unknown one."""
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}", hint=f"one of: auto, {', '.join(ENGINES)}")
    module, class_name = ENGINES[name]
    return cast("Engine", getattr(import_module(module), class_name)())


class _Proof:
    """A handler that looks for the start of the proof's program and reads its path from memory."""

    def __init__(self) -> None:
        self.programs: list[bytes] = []
        self.reasons: list[str] = []

    def stop(self, tid: int, arch: int, nr: int, args: tuple[int, ...]) -> None:
        call = CALLS.get(arch, {}).get(nr)
        if call is not None and call.name == "execve":
            try:
                self.programs.append(memory.read_cstring(tid, args[0]))
            except OSError as error:
                self.reasons.append(f"cannot read the memory of the job: {error.strerror}")

    def process(self, pid: int, ppid: int) -> None:
        pass

    def exit(self, pid: int, status: int) -> None:
        pass

    def incomplete(self, why: str, pid: int | None = None, detail: str = "") -> None:  # noqa: ARG002
        self.reasons.append(f"{why} {detail}".strip())

    def waiting(self, *, ends_them: bool) -> None:
        pass

    def pulse(self) -> None:
        pass


def prove(engine: Engine) -> str | None:
    """Run a small program under `engine`; return None when its path was seen, else why it was not."""
    argv = next(([path] for path in _PROGRAMS if os.access(path, os.X_OK)), None) or own_python("")
    program, proof = argv[0], _Proof()
    try:
        status = engine.run(program, argv, {"LC_ALL": "C"}, proof)
    except SdeeError as error:
        return error.message
    except OSError as error:
        return f"{error.strerror}"
    if proof.reasons:
        return proof.reasons[0]
    if os.fsencode(program) not in proof.programs:
        return "a child's execve was not seen"
    return None if status == 0 else f"a child ended with wait status {status}"


def choose(name: str) -> Engine:
    """Return the engine called `name`, or for `auto` the first that passes its proof.

    Raises KernelError when none does, with what was tried; UsageError for an unknown name.
    """
    unsupported = linux.supported()
    if unsupported:
        raise KernelError(f"tracing is not possible here: {unsupported}")
    tried = []
    for candidate in ENGINES if name == "auto" else (name,):
        engine = load(candidate)
        why = prove(engine)
        if why is None:
            return engine
        tried.append(f"{candidate}: {why}")
    raise KernelError(
        "no trace engine works on this machine" if name == "auto" else f"the engine {name} does not work here",
        tried=tuple(tried),
        hint="`sdee doctor` says why; in a container, allow the system calls seccomp and process_vm_readv",
    )
