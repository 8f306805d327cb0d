"""Run a bundle once on a bare node of this machine, under trace, for `sdee verify`."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sdee.base import facts
from sdee.base.errors import KernelError, OutputError
from sdee.base.files import sha256
from sdee.base.interpreter import own_module
from sdee.packer.inspect.outcome import Observed
from sdee.packer.inspect.verify import job_part, places, what_a_node_has
from sdee.runtime.launch import bare_node, rerun
from sdee.tracer import results, session
from sdee.tracer.engine import choose
from sdee.tracer.tracefile.model import Result
from sdee.tracer.tracefile.reader import read_traces
from sdee.workflow import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sdee.packer.format.reader import Bundle
    from sdee.packer.inspect.outcome import Expected

ELSEWHERE = "/home/sdee-elsewhere"  # the foreign home
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SAID = 5  # lines of standard error that are kept


@dataclass(frozen=True)
class Case:
    """A kind of node: its root and home (outcome.Observed), and what it has."""

    root: str
    home: str
    spec: bare_node.Spec

    @property
    def elsewhere(self) -> str:
        """Return where the home is, "" for where the traced run had it."""
        return ELSEWHERE if self.home == "foreign" else ""


def cases(bundle: Bundle, roots: Sequence[str], homes: Sequence[str]) -> list[Case]:
    """Return the nodes to try: the closed root with each home, and the merged root with the first of them.

    An empty home that has all that the job finds here is not tried twice.
    """
    found: list[Case] = []
    for root in roots:
        for home in homes if root == roots[0] else homes[:1]:
            spec = _spec(bundle, root, home)
            if spec is not None and all(spec != case.spec for case in found):
                found.append(Case(root, home, spec))
    return found


def _spec(bundle: Bundle, root: str, home: str) -> bare_node.Spec | None:
    """Return what a node has; None where the bundle does not tell the job's home."""
    recorded = places(bundle).home
    if home != "here" and not recorded:
        return None
    directories, inputs = what_a_node_has(bundle, home=home == "here")
    texts: tuple[tuple[str, str], ...] = ()
    if home == "foreign":
        cwd = places(bundle).cwd
        directories = (
            *(d for d in directories if d not in (recorded, os.path.realpath(recorded)) or d in cwd),
            ELSEWHERE,
        )
        texts = (("/etc/passwd", _accounts(ELSEWHERE)),)
    if root == "merged":
        # the bundle lies over the node's own system: one that is there, and has nothing
        inputs = (*facts.system_directories("trial"), *inputs)
    return bare_node.Spec(directories, inputs, texts=texts)


def _accounts(home: str) -> str:
    """Return this machine's user database, with another home for this user."""
    with open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().splitlines()
    user = str(os.getuid())
    others = [line for line in lines if line.split(":")[2:3] != [user]]
    try:
        entry = pwd.getpwuid(os.getuid())
        own = ":".join((entry.pw_name, "x", user, str(entry.pw_gid), entry.pw_gecos, home, entry.pw_shell))
    except KeyError:
        own = f"user:x:{user}:{os.getgid()}::{home}:/bin/sh"
    return "\n".join([own, *others, ""])


@contextlib.contextmanager
def _input(*, first: bool) -> Iterator[None]:
    """Give each run the same standard input: a file from where it stood; a pipe can be read by the `first` run only."""
    try:
        start = os.lseek(0, 0, os.SEEK_CUR)
    except OSError:  # a pipe, a terminal, or closed
        start = -1
    if start >= 0 or first or os.isatty(0):
        yield
        if start >= 0:
            os.lseek(0, start, os.SEEK_SET)
        return
    saved, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(nothing)


class JobInterrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal that ends a command, went to the job. `status`: what it ended with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def observe(
    bundle: Bundle, case: Case, arguments: Sequence[str], expected: Expected, show: Callable[[bytes], None] | None
) -> Observed:
    """Run a bundle on a node under trace. `show`: given what the job printed, unless that went to standard error.

    Raises KernelError when this machine cannot make a bare node.
    """
    shown = show is not None
    with tempfile.TemporaryDirectory(prefix="sdee-verify-") as scratch:
        # a regular file, as in a batch job: a pipe would be none of what the job had
        outputs = [
            os.open(f"{scratch}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in ("out", "err")
        ]
        try:
            live = shown and expected.stdout is None
            output, error = 2 if live else outputs[0], 2 if shown and case.root == bare_node.ROOTS[0] else outputs[1]
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with ours, theirs, tracing.replaced({1: output, 2: error}), _input(first=shown):
                done, trace = _run(bundle, case, arguments, scratch, theirs)
                theirs.close()
                left = _left(ours, case, bundle, expected)
            if show is not None and not live:
                with open(f"{scratch}/out", "rb") as file:
                    show(file.read())
            stdout = None if live else _stdout(f"{scratch}/out")
            with open(f"{scratch}/err", encoding="utf-8", errors="replace") as file:
                said = tuple(file.read().splitlines()[-_SAID:])
        finally:
            for fd in outputs:
                os.close(fd)
        if done.write_error:
            raise _no_room(scratch, done.write_error)
        status = done.status
        if done.signal in _INTERRUPTS and status != expected.status:
            raise JobInterrupted(status)
        with open(trace, encoding="ascii") as file:
            kept = job_part(file, bare_node.PROGRAM)
        begun = any('"t":"exec"' in line for line in kept)
        if status == bare_node.CANNOT and not begun:
            raise KernelError("this machine cannot make a bare node", hint="`sdee doctor` says what is missing")
        refused = status == KernelError.exit_code and not begun and case.root == "merged"
        with open(trace, "w", encoding="ascii") as file:
            file.writelines(kept)
        found = read_traces([trace])
    why = (said[0].removeprefix("sdee: error: ") if said else "the kernel refuses it") if refused else ""
    return Observed(
        case.root,
        case.home,
        case.elsewhere,
        None if refused else status,
        why,
        found,
        left,
        stdout,
        () if refused else said,
    )


def _no_room(scratch: str, error: OSError) -> OutputError:
    hint = "TMPDIR names another place"
    return OutputError(f"cannot write below {os.path.dirname(scratch)!a}: {error.strerror}", hint=hint)


def _run(
    bundle: Bundle, case: Case, arguments: Sequence[str], scratch: str, report: socket.socket
) -> tuple[session.Result, str]:
    """Return how the job ended, and the trace's path."""
    spec, trace = os.path.join(scratch, "spec"), os.path.join(scratch, "trace")
    os.set_inheritable(report.fileno(), True)
    with open(spec, "w", encoding="ascii") as file:
        file.write(replace(case.spec, report=report.fileno()).text())
    command = own_module(bare_node.__name__, spec, os.path.abspath(bundle.path), *arguments)
    plan = session.plan(command, trace, append=False)
    environment = {k: v for k, v in plan.environment.items() if not k.startswith("SDEE_")}
    # FORCE: what this machine has no driver for is for the node to say
    environment |= {"SDEE_ROOT": case.root, "SDEE_QUIET": "1", "SDEE_FORCE": "1", "SDEE_JOIN": "never"}
    if case.elsewhere:
        environment["HOME"] = case.elsewhere
    plan = plan._replace(environment=environment, listings=True, launcher=bare_node.PROGRAM)
    return session.run(plan, choose.choose("auto"), _ignore), trace


def _ignore(sentence: str) -> None:
    """Ignore messages of the tracer: this trace is not for a bundle."""


def bare(bundle: Bundle, arguments: Sequence[str]) -> tuple[int, Result]:
    """Run the bare job here and discard what it writes; return its status and its standard output.

    Raises KernelError when what it writes cannot be discarded.
    """
    with tempfile.TemporaryDirectory(prefix="sdee-verify-") as scratch:
        kept, space = (os.path.join(scratch, name) for name in ("kept", "space"))
        for path in (kept, space):
            os.mkdir(path)
        (program, *_), argv = bundle.conf("program"), bundle.conf("arg")
        argv = [*argv[: bundle.kept_words], *arguments] if arguments else argv
        where = (*bundle.conf("cwd")[:1], *bundle.conf("umask")[:1])
        command = own_module(rerun.__name__, kept, space, *where, program, *argv)
        marker = os.path.join(kept, "error")
        with open(f"{kept}/out", "wb") as out, open(marker, "wb") as error, _input(first=False):
            done = subprocess.run(command, env=_environment(bundle), stdout=out, stderr=error, check=False)
        with open(marker, encoding="utf-8", errors="replace") as file:
            said = file.readline().strip()
        if done.returncode == bare_node.CANNOT and said.startswith("sdee: error: "):
            hint = "leave out --compare"
            raise KernelError(said.removeprefix("sdee: error: "), hint=hint)
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return status, _stdout(f"{kept}/out")


def _environment(bundle: Bundle) -> dict[str, str]:
    """Return the variables that the launcher would give the job here (runtime/native/launcher/run/variables.c)."""
    pairs = (pair.partition("=") for pair in bundle.conf("env"))
    recorded = {name: value for name, _, value in pairs}
    fixed = bundle.conf("fixed-env")
    own = {n: v for n, v in os.environ.items() if not any(fnmatchcase(n, g) for g in fixed) and n[:5] != "SDEE_"}
    return recorded | own


def _left(end: socket.socket, case: Case, bundle: Bundle, expected: Expected) -> dict[str, Result]:
    """Return what the job left at the expected paths, by their names in the traced run."""
    end.setblocking(False)
    try:
        _, descriptors, _, _ = socket.recv_fds(end, 16, 1)
    except BlockingIOError:  # the node was not made
        return {}
    found = {}
    where = places(bundle, case.elsewhere)
    for root in descriptors:
        for path in expected.results:
            for there in where.there(path):
                with contextlib.suppress(OSError):
                    if fields := results.look(f"/proc/self/fd/{root}{there}"):
                        found[path] = Result(**{**fields, "path": path})  # type: ignore[arg-type]
                        break
        os.close(root)
    return found


def _stdout(path: str) -> Result:
    size = os.path.getsize(path)
    return Result("", "file", size, sha256(path, 0, size))
