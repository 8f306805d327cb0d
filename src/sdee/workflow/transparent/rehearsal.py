"""Trace and bundle what srun and sbatch start inside a private environment; print nothing on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

import sdee
from sdee.base.errors import InputError, TraceError
from sdee.base.files import private_opener, write_script
from sdee.base.interpreter import own_module
from sdee.base.text import count_text, safe, size_text
from sdee.runtime.environment import discard, private, real_commands
from sdee.runtime.environment.locations import COMMANDS
from sdee.workflow import failed_steps, preparation, serving, state
from sdee.workflow.transparent import changed_files, submissions, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdee.runtime.jobs.model import Inside
    from sdee.tracer.tracefile.model import Trace
    from sdee.workflow.preparation import Preparation
    from sdee.workflow.transparent.context import Context

PARTIAL = "partial"  # a file beside the trace: the run may not have come to all that a job needs
CHANGES = "changes"  # another: the changes of the environment that travelled for that reason
LARGE = 500_000_000  # bytes, some seconds of compression


@dataclass(frozen=True)
class Rehearsal:
    """A command to run here once.

    `name`: the job manager's command that asks for it; `shown`: the command for people; `directory`: where its things
    are; `variables`: of a job of one task; `interactive`: what it will run nobody knows yet; `stands_in`: it is
    another one of the sweep that is submitted; `caller`: its variables where they are not ours.
    """

    name: str
    command: tuple[str, ...]
    shown: str
    directory: str
    cwd: str
    stdin: str
    variables: dict[str, str] = field(default_factory=dict)
    interactive: bool = False
    stands_in: bool = False
    caller: dict[str, str] | None = None


def ready(rehearsal: Rehearsal, include: Sequence[str], before: Callable[[], None], context: Context) -> str:
    """Return a bundle of the command; make it first if it is missing or out of date.

    `include`: paths that travel though the run did not use them; `before`: called when it is to run. Raises SdeeError.
    """
    directory = rehearsal.directory
    with preparation.locked(directory):
        todo = _plan(rehearsal, context.say, no_trace=False)
        if rehearsal.stands_in:
            write_script(os.path.join(directory, PARTIAL), "")
            _say(
                context,
                rehearsal,
                "skipping the trial run: similar commands were traced already; bundling all changes of the environment"
                " instead",
            )
        elif todo.trace_why:
            before()
            _trace(rehearsal, todo, context)
        found = changed_files.inside() if rehearsal.interactive or _is_partial(directory) else changed_files.NONE
        more = found.paths
        todo = _plan(rehearsal, context.say, no_trace=True, outgrown=_outgrown(directory, more))
        if not todo.bundle_why:
            return todo.bundle
        files = f"{count_text(len(more), 'file')}, {size_text(found.size)}"
        notice = f"bundling {files}; this takes a while" if found.size > LARGE else ""
        with _shared(rehearsal, context.say) if more else contextlib.nullcontext("") as shared:
            bundle = preparation.make_bundle(
                todo, context.say, include=(*include, *more), shared=shared, notice=notice, quiet=True
            )
        write_script(os.path.join(directory, CHANGES), _lines(more))
        return bundle


def _is_partial(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, PARTIAL))


def _outgrown(directory: str, more: Sequence[str]) -> str:
    """Return why a bundle with all changes of the environment is out of date: some are new, others gone."""
    path, known = os.path.join(directory, CHANGES), None
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        known = file.read()
    return "the environment has changed" if more and known != _lines(more) else ""


@contextlib.contextmanager
def _shared(rehearsal: Rehearsal, say: Callable[[str], None]) -> Iterator[str]:
    """Give, locked, the directory of bundles with all changes of the environment: one does for many commands."""
    parent, key = os.path.dirname(rehearsal.directory), (sdee.__version__, json.dumps(state.settings_now(say)))
    directory = preparation.directory_of(parent, "all-changes", rehearsal.cwd, *key)
    with preparation.locked(directory):
        yield directory


def _lines(paths: Sequence[str]) -> str:
    return "".join(f"{path}\n" for path in paths)


def _say(context: Context, rehearsal: Rehearsal, sentence: str) -> None:
    context.say(f"{rehearsal.name}: {safe(rehearsal.shown)}: {safe(sentence)}")


def readable(path: str) -> str:
    """Return a file that can be the rehearsal's standard input, else ""."""
    return os.path.abspath(path) if path and os.path.isfile(path) else ""


def place(say: Callable[[str], None]) -> str:
    """Return the directory below which things of jobs are kept: here, or in the user's home where the nodes would not
    find them here.
    """
    home = os.path.expanduser("~")
    if (private.here() or not os.access(".", os.W_OK | os.X_OK)) and os.access(home, os.W_OK | os.X_OK):
        return preparation.own_directory(say, home)
    return preparation.own_directory(say)


def _plan(rehearsal: Rehearsal, say: Callable[[str], None], *, no_trace: bool, outgrown: str = "") -> Preparation:
    return preparation.plan(
        rehearsal.directory,
        rehearsal.command,
        rehearsal.cwd,
        rehearsal.stdin,
        say=say,
        retrace=False,
        no_trace=no_trace,
        outgrown=outgrown,
    )


def _trace(rehearsal: Rehearsal, todo: Preparation, context: Context) -> None:
    """Run the command here once under trace. Its output goes to a file; a failure does not stop the job."""
    from sdee.tracer.tracefile.reader import read_traces  # noqa: PLC0415

    log, partial = (os.path.join(todo.directory, name) for name in ("rehearsal.log", PARTIAL))
    program = os.path.join(todo.directory, "rehearsal.sh")
    front, record = real_commands.FRONT, os.path.join(todo.directory, submissions.NAME)
    write_script(program, context.inside.rehearsal_program(front, record))
    for path in (partial, record, log, os.path.join(todo.directory, discard.REAL)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    shown = safe(rehearsal.shown)
    _say(
        context,
        rehearsal,
        "trial run here first, for the trace; then it runs in a bundle of this environment"
        f" (output: {_short(log)}; SDEE_TRANSPARENT=0 turns this off)",
    )
    if private.here():
        context.say(f"{os.getcwd()!a} belongs to the environment: the nodes do not see it")
    caller = dict(os.environ) if rehearsal.caller is None else rehearsal.caller
    environment = caller | rehearsal.variables | {"SDEE_REHEARSAL": program}
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # mpirun refuses root else
    environment.pop("SDEE_REAL", None)
    before = time.monotonic()
    try:
        with open(rehearsal.stdin or os.devnull, "rb") as stdin, open(log, "wb", opener=private_opener) as file:
            ended = _run(todo, environment, rehearsal.cwd, (stdin, file))
    except OSError as error:
        raise InputError(f"cannot run {shown!a} here: {error.filename}: {error.strerror}") from error
    if ended and not os.path.exists(todo.trace):
        hint = f"give it more time: {sweep.LIMIT}=60"
        raise TraceError(f"sdee ended {shown} after {sweep.limit()} s, before the tracer began", hint=hint)
    if not os.path.exists(todo.trace):
        raise TraceError(f"sdee could not trace {shown}", hint=_end_of(log))
    with contextlib.suppress(OSError), open(os.path.join(todo.directory, discard.REAL), encoding="utf-8") as file:
        for line in file:
            context.say(
                f"warning: files that the trial run wrote to {line.strip()} are real, because overlayfs cannot cover it"
            )
    _judge(todo, read_traces([todo.trace]), time.monotonic() - before, _short(log), context, ended=ended)


def _judge(todo: Preparation, trace: Trace, took: float, log: str, context: Context, *, ended: bool) -> None:
    """Keep the result of the trial run. `took`: its seconds; `ended`: sdee ended it early; `log`: for people."""
    known = state.of_trace(trace, todo.trace)
    step = None if ended or known.status else failed_steps.failed(trace, context.inside.rehearsed)
    why = ""
    if ended:
        known = replace(known, status=0)  # it will not be tried again
        why = f"sdee ended the trial run after {sweep.limit()} s"
    elif known.status or step:  # it is tried again the next time, for a minute in all
        took += sweep.seconds_of(todo.directory)
        status = known.status or (step[1] if step else 0)
        known = replace(known, status=0 if took > sweep.limit() else status)
        why = f"{safe(step[0])} ended with status {step[1]} here ({log})" if step else f"the trial run failed ({log})"
    elif submissions.are_made(todo.directory, context.inside):
        why = "the job submits scripts that it makes itself"
    if why:  # it, or they, may need what the run has not come to
        write_script(os.path.join(todo.directory, PARTIAL), "")
        context.say(f"{why}; bundling all changes of the environment instead")
    sweep.note_seconds(todo.directory, took)
    state.save(todo.directory, state.State(known, state.load(todo.directory).bundle))


def _run(todo: Preparation, environment: Mapping[str, str], cwd: str, streams: tuple[BinaryIO, BinaryIO]) -> bool:
    """Run it; tell whether sdee had to end it early."""
    own = (str(os.getpid()), todo.directory)
    command = own_module("sdee.__main__", "rehearse", *own, "trace", "-q", "-o", todo.trace, "--", *todo.command)
    stdin, log = streams
    process = subprocess.Popen(
        command, env=environment, cwd=cwd, stdin=stdin, stdout=log, stderr=log, start_new_session=True
    )
    try:
        process.wait(sweep.limit())
    except subprocess.TimeoutExpired:
        _end(process, signal.SIGTERM)
        return True
    except KeyboardInterrupt:
        _end(process, signal.SIGINT)
        raise
    return False


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End the traced command and its tracer."""
    process.send_signal(number)  # which the tracer passes on
    for later in (signal.SIGTERM, signal.SIGKILL):
        try:
            process.wait(5)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, later)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return safe(path if relative.startswith("..") else relative)


def _end_of(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            return file.read()[-1000:].strip()
    except OSError:
        return ""


def fronts() -> tuple[str, ...]:
    """Return the paths of all the job manager's commands that sdee-front replaces here."""
    found = (shutil.which(name) for name in sorted(os.listdir(os.path.join(COMMANDS, "real"))))
    return tuple(path for path in found if path)


def serve(directory: str, bundle: str, inside: Inside) -> tuple[str, ...]:
    """Make, in a directory, what serves a bundle on the nodes; return the words before it. Raises OutputError."""
    return serving.prepare(directory, bundle, real_commands.FRONT, inside)
