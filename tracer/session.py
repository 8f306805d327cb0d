"""One traced run: what `sdee trace` will do as a value (Plan), and run() which does it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import sdee
from sdee.base import process
from sdee.base.secrets.tokens import redact
from sdee.tracer import host, older, results
from sdee.tracer.engine import tracee
from sdee.tracer.job_recorder import JobRecorder
from sdee.tracer.limit import Limit, LimitedRecorder
from sdee.tracer.recorder import Recorder
from sdee.tracer.saved import Saver
from sdee.tracer.tracefile.model import COPIES, FORMAT
from sdee.tracer.tracefile.writer import Writer, expand_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdee.tracer.engine.interface import Engine


_BY_SIGNAL = 128  # and above: the status of a shell whose command a signal ended


class Plan(NamedTuple):
    """A command to trace. `program` is for execve as a shell would give it; `output` the trace's absolute path."""

    command: tuple[str, ...]
    program: str
    environment: dict[str, str]
    output: str
    append: bool
    listings: bool = False  # record the names in listed directories, too
    launcher: str = ""  # record the job of the program at this path alone
    mounts: list[list[str]] | None = None  # of the machine, where this process has others
    keeps_older: bool = False  # an older trace stays at its place when a signal ends this run
    limit: Limit | None = None


class Result(NamedTuple):
    """What came of it. `status`: the job's, as a shell shows it (128+n by signal n); `signal`: n, else 0."""

    status: int
    signal: int
    calls: int
    paths: int
    processes: int
    seconds: float
    incomplete: dict[str, int]  # reason → how often
    dropped: tuple[str, ...]  # environment variables that looked like secrets
    blanked: bool  # the command line holds what looked like a secret
    write_error: OSError | None
    output: str  # the trace: not the plan's where an older one stays
    ended: bool = False  # the plan's limit ended it


def plan(
    command: Sequence[str], output: str, *, append: bool = False, environment: Mapping[str, str] | None = None
) -> Plan:
    """Find the program and expand the trace's name. `environment`: the job's, None for the one of this process.

    Raises CommandNotFoundError, CommandNotExecutableError, UsageError.
    """
    environment = process.original_environment() if environment is None else dict(environment)
    program = tracee.find_program(command[0], environment.get("PATH"))
    name = os.path.abspath(expand_name(output, environment))
    return Plan(tuple(command), program, environment, name, append)


def _header(plan: Plan, engine: str) -> dict[str, object]:
    environment, dropped = host.split_environment(plan.environment)
    umask = os.umask(0o077)
    os.umask(umask)
    cwd = os.readlink("/proc/self/cwd")  # getcwd(3) fails in a directory that was removed
    return {
        "sdee": FORMAT,
        "version": sdee.__version__,
        "engine": engine,
        "command": redact(plan.command),
        "program": _absolute(plan.program, cwd),
        "cwd": cwd,
        "env": environment,
        "env_dropped": dropped,
        "umask": umask,
        "rlimits": host.rlimits(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "home": os.path.expanduser("~"),
        "host": host.facts() | ({"mounts": plan.mounts} if plan.mounts is not None else {}),
    }


def _absolute(program: str, cwd: str) -> str:
    """Return the absolute path of a program, by its own name, without `..`: what precedes one may be a link."""
    path = os.path.join(cwd, program)
    if ".." not in path.split("/"):
        return os.path.normpath(path)
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)


def run(plan: Plan, engine: Engine, notice: Callable[[str], None]) -> Result:
    """Trace the command to its end. `notice` shows the user a sentence meanwhile.

    Raises OutputError when the trace cannot be begun, KernelError and the errors of execve (engine.Engine.run).
    """
    if plan.append or not plan.keeps_older or not older.set_aside(plan.output):
        return _record(plan, engine, notice)
    try:
        result = _record(plan, engine, notice)
    except BaseException:
        older.put_back(plan.output)
        raise
    if result.signal or result.status >= _BY_SIGNAL or result.write_error:
        return result._replace(output=older.put_back(plan.output))
    older.forget(plan.output)
    return result


def _recorder(plan: Plan, writer: Writer, saver: Saver, notice: Callable[[str], None]) -> Recorder:
    """Return the recorder that the plan asks for: of the job of a launcher, of a run with a limit, or of all."""
    if plan.launcher:
        return JobRecorder(plan.launcher, writer, saver, notice, listings=plan.listings)
    if plan.limit:
        return LimitedRecorder(writer, saver, notice, plan.limit, listings=plan.listings)
    return Recorder(writer, saver, notice, listings=plan.listings)


def _record(plan: Plan, engine: Engine, notice: Callable[[str], None]) -> Result:
    writer = Writer(plan.output, append=plan.append)
    saver = Saver(plan.output + COPIES, keep=plan.append)
    header = _header(plan, engine.name)
    writer.record("header", **header)
    writer.flush()
    recorder = _recorder(plan, writer, saver, notice)
    for name in older.names(plan.output):  # a job that looks at each file here finds them, and needs none
        recorder.records.made(os.path.realpath(name))
    begun, output = time.monotonic(), results.Output.begin()
    try:
        code = os.waitstatus_to_exitcode(engine.run(plan.program, plan.command, plan.environment, recorder))
        status = code if code >= 0 else 128 - code
        seconds = time.monotonic() - begun
        ended = time.time()
        stdout = output.end() if output else {}
        for result in results.left_by(*recorder.written()):
            writer.record("result", **result)
        end = {"status": status, "calls": recorder.calls, "seconds": round(seconds, 6), "time": ended}
        writer.record("end", **end, **({"stdout": stdout} if stdout else {}))
    finally:
        writer.close()
    records = recorder.records
    dropped = tuple(host.split_environment(plan.environment)[1])
    return Result(
        status,
        max(0, -code),
        recorder.calls,
        records.paths,
        records.processes,
        seconds,
        records.reasons,
        dropped,
        header["command"] != list(plan.command),
        writer.error,
        plan.output,
        isinstance(recorder, LimitedRecorder) and recorder.ended,
    )
