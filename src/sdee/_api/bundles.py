"""`sdee.bundle()` and `sdee.verify()`, and a bundle as a value that can be run."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal, overload

from sdee._api.words import StrPath, one_or_more, quiet, words_of
from sdee.errors import CommandFailedError, UsageError
from sdee.packer.format import reader
from sdee.packer.inspect.entries import Entry, entry_of
from sdee.packer.inspect.report import Report
from sdee.packer.model import Verdict
from sdee.workflow import apart, bundling, running, summary, verifying
from sdee.workflow.running import Deployed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sdee._api.traces import Trace
    from sdee._api.words import Words

__all__ = ["Bundle", "Deployed", "Entry", "LeftOut", "Report", "bundle", "open_bundle", "verify"]

_LEVELS = range(1, 20)


@dataclass(frozen=True)
class LeftOut:
    """What the bundle does not hold though the job used it, or might; `why` is for people."""

    path: str
    why: str


@dataclass(frozen=True)
class Bundle:
    """A bundle in the file `path` (absolute). It can be given to a pool of processes.

    `identity`: the SHA-256 that tells it from others; `size` in bytes; `command`: what run() runs, in `cwd`; `status`:
    with what that ended when it was traced. `incomplete`: why something may be missing; `warnings`: what else a user
    should look at. `left_out`: files that may hold secrets, and large parts of software directories. `shared`: what
    stays on storage that the nodes must see, inputs mostly.
    """

    path: str
    identity: str
    size: int
    command: tuple[str, ...]
    cwd: str
    status: int | None
    incomplete: tuple[str, ...]
    warnings: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    shared: tuple[str, ...]

    def __fspath__(self) -> str:
        """Return its path, so that functions that take a path also take a bundle."""
        return self.path

    def entries(self) -> tuple[Entry, ...]:
        """Return what travels, sorted by path. Raises errors.BundleError: it is gone, or another one by now."""
        return self._entries

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        with self._open() as opened:
            return tuple(map(entry_of, opened.table.entries))

    def read(self, path: StrPath) -> bytes:
        """Return the content of a file of the bundle; links are followed in it. Raises errors.BundleError."""
        with self._open() as opened:
            return b"".join(opened.read_file(os.path.join(self.cwd, os.fspath(path))))

    def _open(self) -> reader.Bundle:
        return reader.open_bundle(self.path)

    @overload
    def run(
        self,
        arguments: Words = ...,
        *,
        text: Literal[True],
        command: StrPath | None = ...,
        root: str = ...,
        variables: Mapping[str, str] | None = ...,
        save: StrPath | None = ...,
        force: bool = ...,
        quiet: bool = ...,
        cwd: StrPath | None = ...,
        env: Mapping[str, str] | None = ...,
        stdin: int | IO[Any] | None = ...,
        input: str | None = ...,
        stdout: int | IO[Any] | None = ...,
        stderr: int | IO[Any] | None = ...,
        capture_output: bool = ...,
        timeout: float | None = ...,
        check: bool = ...,
    ) -> subprocess.CompletedProcess[str]: ...

    @overload
    def run(
        self,
        arguments: Words = ...,
        *,
        text: Literal[False] = ...,
        command: StrPath | None = ...,
        root: str = ...,
        variables: Mapping[str, str] | None = ...,
        save: StrPath | None = ...,
        force: bool = ...,
        quiet: bool = ...,
        cwd: StrPath | None = ...,
        env: Mapping[str, str] | None = ...,
        stdin: int | IO[Any] | None = ...,
        input: bytes | None = ...,
        stdout: int | IO[Any] | None = ...,
        stderr: int | IO[Any] | None = ...,
        capture_output: bool = ...,
        timeout: float | None = ...,
        check: bool = ...,
    ) -> subprocess.CompletedProcess[bytes]: ...

    def run(
        self,
        arguments: Words = (),
        *,
        text: bool = False,
        command: StrPath | None = None,
        root: str = "auto",
        variables: Mapping[str, str] | None = None,
        save: StrPath | None = None,
        force: bool = False,
        quiet: bool = True,
        cwd: StrPath | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = None,
        input: str | bytes | None = None,  # noqa: A002 - subprocess's name for it
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[Any]:
        """Run the bundle here, as subprocess.run() runs a program: the exit status and the output are the job's own.

        Without `arguments` the recorded command line runs, with them the recorded program (of an interpreter: the
        script) with these, or `command`, a program of the bundle. `root`: "auto", "merged" or "closed"; `variables`:
        for the job, whatever is recorded; `save`: a directory for what the job writes outside of live directories;
        `force`: run though the node lacks what the bundle expects; `quiet`: False lets sdee's own warnings stand in
        the job's standard error. `cwd`: the job's, instead of the recorded one. `env`: the variables that the job would
        have here, of which those that decide on software are as recorded. All else is as of subprocess.run().

        Raises errors.SdeeError only where the job could not be run, or its results not kept: BundleError, KernelError,
        NodeError, ResourceError, CommandNotFoundError, OutputError. With `check` subprocess.CalledProcessError when the
        job fails; subprocess.TimeoutExpired after `timeout` seconds.
        """
        words = [f"--root={root}"]
        given = {"--command": command, "--save": save, "--chdir": None if cwd is None else os.path.abspath(cwd)}
        words += [f"{name}={os.fspath(value)}" for name, value in given.items() if value is not None]
        words += [f"--pass-env={name}={value}" for name, value in (variables or {}).items()]
        words += [name for name, value in (("--force", force), ("--quiet", quiet)) if value]
        how: dict[str, Any] = {"text": text, "env": env, "timeout": timeout, "stdout": stdout, "stderr": stderr}
        how |= {"input": input} if input is not None else {}
        how |= {"stdin": stdin} if stdin is not None or input is None else {}
        done = running.launch(
            [*words, "--", self.path, *words_of(arguments, "arguments")], capture_output=capture_output, **how
        )
        if check:
            done.check_returncode()
        return done

    def deploy(self, directory: StrPath | None = None) -> Deployed:
        """Unpack the bundle on this node for later runs; it stays until undeploy(). Raises errors.SdeeError.

        `directory`: where; None for the first of /dev/shm, /tmp and /var/tmp that has room.
        """
        return running.deploy(self.path, _deploy_options(directory))

    def undeploy(self, directory: StrPath | None = None) -> None:
        """Remove what deploy() with the same directory has unpacked. Raises errors.ResourceError: it is in use."""
        running.undeploy(self.path, _deploy_options(directory))


def _deploy_options(directory: StrPath | None) -> list[str]:
    return [] if directory is None else [f"--deploy-dir={os.path.abspath(directory)}"]


def open_bundle(path: StrPath) -> Bundle:
    """Open an existing bundle and check its table of contents.

    Raises errors.BundleError: it cannot be read, is none, damaged, hostile, or of a newer format.
    """
    name = os.path.abspath(path)
    with reader.open_bundle(name) as opened:
        secret = [
            LeftOut(item.path, f"it may hold a secret: {item.reasons[0].detail or item.reasons[0].why}")
            for item in opened.items.values()
            if item.verdict is Verdict.SECRET
        ]
        large = [LeftOut(path, "it is large and the run did not use it") for path in opened.conf("left-out")]
        return Bundle(
            path=name,
            identity=opened.identity,
            size=opened.footer.file_size,
            command=tuple(opened.conf("arg")),
            cwd=next(iter(opened.conf("cwd")), "/"),
            status=opened.meta.get("status"),
            incomplete=tuple(opened.conf("incomplete")),
            warnings=tuple(opened.meta.get("warnings", ())),
            left_out=(*secret, *large),
            shared=tuple(item.path for item in opened.items.values() if item.verdict is Verdict.SHARED),
        )


def bundle(
    traces: Trace | StrPath | Iterable[Trace | StrPath],
    output: StrPath = "bundle.sdee",
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    allow: Sequence[str] = (),
    expand: Sequence[Literal["packages"]] = (),
    minimal: bool = False,
    with_data: bool = False,
    level: int | None = None,
    reuse: Iterable[StrPath] = (),
    cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Bundle:
    """Pack what traced commands need into one executable file, `output`; an older one there is replaced at the end.

    `traces`: one or several of the same job. The others are the options of `sdee bundle`: globs of what travels, too
    (`include`), does not (`exclude`), or travels though it may hold a secret (`allow`); `expand=["packages"]`;
    `minimal`: only what the run used; `with_data`: input data, too; `level`: zstd's, 1 to 19; `reuse`: older bundles
    from which unchanged data is taken; `cache=False`: read unchanged files again. What sdee.toml says counts as well.
    `progress` is called with the bytes that are done and those in all, `notice` with sentences that a user should see;
    `Bundle.warnings` has those that stay true.

    Raises errors.TraceError, InputError (a file cannot be read), OutputError, BundleError (one of `reuse`), UsageError.
    On any error, KeyboardInterrupt included, no file is left behind, and an older `output` is untouched.
    """
    if level is not None and level not in _LEVELS:
        raise UsageError(f"the level is {level}, and must be from 1 to 19")
    if wrong := [word for word in words_of(expand, "expand") if word != "packages"]:
        raise UsageError(f"unknown value of expand: {wrong[0]!r}", hint="one of: packages")
    name = os.path.abspath(output)
    bundling.check_output(name)
    globs = (words_of(include, "include"), words_of(exclude, "exclude"), words_of(allow, "allow"))
    wanted = bundling.Wanted(*globs, words_of(expand, "expand"), minimal, with_data, level, no_cache=not cache)
    plan = bundling.plan(one_or_more(traces), wanted, notice or quiet)
    written = bundling.write(plan, name, reuse=one_or_more(reuse), progress=progress)
    for sentence in summary.warnings(summary.summarize(plan.closure)):
        (notice or quiet)(sentence)
    made = open_bundle(name)
    return replace(made, warnings=(*made.warnings, *written.summary.warnings))


def verify(
    bundle: Bundle | StrPath,
    arguments: Words = (),
    *,
    roots: Sequence[Literal["closed", "merged"]] = (),
    homes: Sequence[Literal["here", "empty", "foreign"]] = (),
    ignore: Sequence[str] = (),
    compare: bool = False,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
) -> Report:
    """Run a bundle here as on bare nodes; return what it misses and what differs from the traced run.

    `Report.passed` tells whether all runs were as they should be, `missing` what they missed, with the option of
    `sdee bundle` that adds it; str(report) is what `sdee verify` prints. `roots`, `homes`: the kinds of nodes to try,
    all by default; `ignore`: globs of results, and "stdout", that may differ; `compare`: run the job itself here, too.
    Nothing that the job writes stays, and what it prints is not shown.

    Raises errors.BundleError, KernelError (this machine cannot make a bare node), UsageError, and CommandFailedError
    when a signal ended the job that did not end it when it was traced.
    """
    for given, known, what in ((roots, verifying.ROOTS, "root"), (homes, verifying.HOMES, "home")):
        if wrong := [name for name in words_of(given, f"{what}s") if name not in known]:
            raise UsageError(f"there is no {what} {wrong[0]!r}", hint=f"one of: {', '.join(known)}")
    try:
        return apart.call(
            verifying.run,
            os.path.abspath(bundle),
            words_of(arguments, "arguments"),
            callbacks={},
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            roots=tuple(roots),
            homes=tuple(homes),
            ignore=words_of(ignore, "ignore"),
            compare=compare,
        )
    except verifying.JobInterrupted as error:
        status = error.status
        raise CommandFailedError(f"signal {status - 128} ended the job on a bare node", status=status) from error
