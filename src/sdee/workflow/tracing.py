"""Tracing a command, and what to say about any trace."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sdee.base.errors import KernelError, OutputError
from sdee.base.process import flush
from sdee.base.secrets.tokens import redact
from sdee.base.text import count_text, safe
from sdee.tracer import host, session
from sdee.tracer.engine import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdee.runtime.launch.cold_home import Step
    from sdee.tracer.limit import Limit


@dataclass(frozen=True)
class Wanted:
    """How a command is to be traced. `output`: the trace, with patterns (expand_name); `append`: add a run to it.

    `cold`: in a home without caches; this process is then in it, too. `keeps_older`: an older trace stays when a signal
    ends this run. `environment`: the command's, None for this process's; `variables`: more of it, where it has none of
    that name. `limit`: when it is ended, None for never.
    """

    output: str
    engine: str = "auto"
    append: bool = False
    cold: bool = False
    keeps_older: bool = False
    environment: Mapping[str, str] | None = None
    variables: Mapping[str, str] | None = None
    limit: Limit | None = None


@dataclass(frozen=True)
class Recorded:
    """A traced run. `output`: the absolute path that was asked for; `trace`: where the trace is.

    That is another path, or "" for none, where an older one stays (`keeps_older`). `command`: without what looked like
    a secret (`blanked`).

    `status`: the command's, 128+n when signal n (`signal`, else 0) ended it; `incomplete`: why the trace may be, and
    how often; `dropped`: variables that looked like secrets; `discarded`: what it wrote into the home that `cold`
    covered; `error`: why the trace could not be written to its end; `ended`: the wanted limit ended it.
    """

    trace: str
    output: str
    command: tuple[str, ...]
    program: str
    engine: str
    status: int
    signal: int
    calls: int
    paths: int
    processes: int
    seconds: float
    incomplete: dict[str, int]
    dropped: tuple[str, ...]
    blanked: bool
    discarded: tuple[str, ...]
    error: OutputError | None
    ended: bool = False


def record(command: Sequence[str], wanted: Wanted, *, say: Callable[[str], None], verbose: bool = False) -> Recorded:
    """Run a command in this process's place and record it; this process must have one thread (workflow/apart.py).

    `say`: told what the user should know meanwhile; `verbose`: also what will be done. Raises CommandNotFoundError,
    CommandNotExecutableError, OutputError when the trace cannot be begun, KernelError, UsageError.
    """
    plan = session.plan(command, wanted.output, append=wanted.append, environment=wanted.environment)
    plan = plan._replace(environment={**(wanted.variables or {}), **plan.environment}, keeps_older=wanted.keeps_older)
    plan = plan._replace(limit=wanted.limit)
    chosen = choose.choose(wanted.engine)
    if verbose:
        say(f"executing {plan.program} under {chosen.name}, recording to {plan.output}")
    plan, covered = _cold(plan) if wanted.cold else (plan, ())
    result = session.run(plan, chosen, say)
    error = None
    if result.write_error:
        why = f"cannot write the trace {plan.output!r}: {result.write_error.strerror}"
        error = OutputError(why, hint="choose another place with -o FILE")
    return Recorded(
        trace=result.output,
        output=plan.output,
        command=tuple(redact(plan.command)),
        program=plan.program,
        engine=chosen.name,
        status=result.status,
        signal=result.signal,
        calls=result.calls,
        paths=result.paths,
        processes=result.processes,
        seconds=result.seconds,
        incomplete=result.incomplete,
        dropped=result.dropped,
        blanked=result.blanked,
        discarded=_discarded(covered),
        error=error,
        ended=result.ended,
    )


def facts(recorded: Recorded) -> dict[str, Any]:
    """Return what --json prints. `blanked` is there as `command`, `error` as an exit status; none has a limit."""
    found = asdict(recorded) | {
        "trace": recorded.trace or None,
        "older": recorded.output if recorded.output != recorded.trace else None,
        "seconds": round(recorded.seconds, 3),
        "incomplete": list(recorded.incomplete),
    }
    return {name: value for name, value in found.items() if name not in ("output", "blanked", "error", "ended")}


def _cold(plan: session.Plan) -> tuple[session.Plan, Sequence[Step]]:
    """Cover the home for this process and the job. Raises KernelError."""
    from sdee.runtime.launch import cold_home  # noqa: PLC0415 - seldom needed

    words = (os.path.abspath(word) for word in (plan.program, *plan.command[1:]))
    keep = [os.getcwd(), os.path.dirname(plan.output), *(path for path in words if os.path.lexists(path))]
    plan = plan._replace(mounts=host.mounts(host.mounts_text()))
    try:
        steps = cold_home.plan(os.path.expanduser("~"), keep, plan.environment)
        cold_home.enter(steps)
    except OSError as error:
        hint = "`sdee doctor` says what is missing; without --cold the command runs in your home as it is"
        raise KernelError(f"--cold cannot cover your home: {error}", hint=hint) from error
    return plan, steps


def _discarded(covered: Sequence[Step]) -> tuple[str, ...]:
    if not covered:
        return ()
    from sdee.runtime.launch import cold_home  # noqa: PLC0415 - seldom needed

    return tuple(cold_home.discarded(covered))


@contextlib.contextmanager
def replaced(standard: Mapping[int, int]) -> Iterator[None]:
    """Let standard files be other open ones meanwhile, for this process and what it starts."""
    flush()
    saved = {number: _copy(number) for number in standard}
    for number, other in standard.items():
        os.dup2(other, number)
    try:
        yield
    finally:
        for number, descriptor in saved.items():
            if descriptor is None:
                os.close(number)
                continue
            os.dup2(descriptor, number)
            os.close(descriptor)


def _copy(number: int) -> int | None:
    """Return a copy of a descriptor; None where it is closed."""
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return None


def summary(recorded: Recorded, called: str = "") -> list[str]:
    """Return what was recorded, in one sentence, and further ones of what the user should know.

    `called`: the command for people, "" for its own name.
    """
    try:
        name, place = os.path.relpath(recorded.trace or recorded.output), os.path.relpath(recorded.output)
    except FileNotFoundError:  # the job removed the directory that it was started in
        name = place = recorded.output
    name, place = (recorded.output, recorded.output) if place.startswith("..") else (name, place)
    parts = [count_text(recorded.paths, "path"), count_text(recorded.processes, "process"), f"{recorded.seconds:.1f} s"]
    if recorded.dropped:
        more = f" and {len(recorded.dropped) - 3} more" if len(recorded.dropped) > 3 else ""
        parts.append(f"left out as secrets: {', '.join(map(safe, recorded.dropped[:3]))}{more}")
    said = [f"traced {called or os.path.basename(recorded.command[0])}: {', '.join(parts)} → {name}"]
    said += _unlike_a_good_run(recorded)
    if recorded.trace != recorded.output:
        said.append(f"{place} still holds the earlier run")
    if recorded.blanked:
        said.append(
            "sdee did not record what looks like a secret in the command line: give the bundle all arguments again"
        )
    for why, count in recorded.incomplete.items():
        said.append(f"the trace may be incomplete: {why}" + (f" ({count} times)" if count > 1 else ""))
    if recorded.incomplete:
        said.append("to add what may be missing: sdee bundle --include GLOB")
    return said


def _unlike_a_good_run(recorded: Recorded) -> list[str]:
    """Return what to say of a command that failed: the trace lacks what it would have used later."""
    if not recorded.status or recorded.ended:
        return []
    number = recorded.signal or (recorded.status - 128 if recorded.status > 128 else 0)
    named = f"a signal ended the command ({_signal_name(number)})"
    ended = named if number else f"the command failed with status {recorded.status}"
    return [f"warning: {ended}: the trace holds what it used until then"]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
