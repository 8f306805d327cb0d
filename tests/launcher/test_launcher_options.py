"""One table of options: the command line, the variables and both helps of the launcher say the same."""

from __future__ import annotations

import os
import re
import tempfile
from typing import TYPE_CHECKING

import pytest

import bundle_maker
from launcher_tools import built, open_directory, run, script

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = 2


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def test_each_option_is_a_variable_and_both_helps_name_it(work: str) -> None:
    bundle = script("true").write(f"{work}/b.sdee")
    options = re.findall(r"^  --([a-z-]+)", run([built("sdee-launcher"), "--help"]).stdout, re.MULTILINE)
    variables = re.findall(r"^  (SDEE_\w+)=", run([bundle, "--sdee-help"]).stdout, re.MULTILINE)
    assert len(options) >= 17
    assert variables == ["SDEE_" + name.upper().replace("-", "_") for name in options]


def test_no_variable_of_an_option_reaches_the_job(work: str) -> None:
    bundle = script("env", programs=("env",), live_env=["*"]).write(f"{work}/b.sdee")
    variables = re.findall(r"^  (SDEE_\w+)=", run([bundle, "--sdee-help"]).stdout, re.MULTILINE)
    apart = ("SDEE_ROOT", "SDEE_WAY", "SDEE_MPI", "SDEE_COMMAND", "SDEE_CHDIR", "SDEE_ERROR_FD")
    outer = {name: "0" for name in variables if name not in apart}
    outer |= {"SDEE_SAVE": work, "SDEE_DEPLOY_DIR": work, "SDEE_MPI": "bundle", "SDEE_CHDIR": "/"}
    outer |= {"SDEE_UNPACK": "eager", "SDEE_PASS_ENV": "OWN", "SDEE_ENV": "OWN"}  # the second is its older name
    job = run([bundle], env=outer | {"PATH": "/usr/bin:/bin", "OWN": "1", "SDEE_OTHER": "1"})
    assert "SDEE_OTHER=1" in job.stdout.splitlines(), job.stderr
    assert [n for line in job.stdout.splitlines() if (n := line.partition("=")[0]) in (*variables, "SDEE_ENV")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nosuch", "b"], "there is no option '--nosuch'"),
        (["-x", "b"], "there is no option '-x'"),
        (["-hx"], "there is no option '-x'"),
        (["--debug=1", "b"], "there is no option '--debug=1'"),
        (["--help=1", "b"], "there is no option '--help=1'"),
        (["--de", "b"], "there is no option '--de'"),  # deploy, deploy-dir, debug
        (["--root"], "option --root needs a value"),
        (["--root=", "b"], "--root cannot be ''"),
        (["--chdir=", "b"], "--chdir cannot be empty"),
        (["--threads", "x", "b"], "--threads cannot be 'x'"),
        (["--pass-env", "=x", "b"], "'=x' is not a variable"),
        ([], "no bundle is given"),
    ],
)
def test_a_mistake_is_named(words: list[str], message: str) -> None:
    result = run([built("sdee-launcher"), *words])
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert result.stderr.startswith(f"sdee: error: {message}\n")


def test_a_mistake_in_a_variable_is_named(work: str) -> None:
    result = run([script("true").write(f"{work}/b.sdee")], ROOT="elsewhere")
    assert (result.returncode, result.stderr.splitlines()[0]) == (USAGE, "sdee: error: SDEE_ROOT cannot be 'elsewhere'")


def test_what_follows_the_bundle_is_the_jobs_and_names_may_be_short(work: str) -> None:
    bundle = bundle_maker.job(built("sdee-launcher"), ["/bin/echo"]).write(f"{work}/b.sdee")
    result = run([built("sdee-launcher"), "--thr=1", "--root", "closed", "--", bundle, "--debug", "-h", "--", "-x"])
    assert (result.returncode, result.stdout) == (0, "--debug -h -- -x\n"), result.stderr


def errors_of(command: list[str]) -> tuple[int, str, str]:
    """Return exit status, standard error, and what came by the descriptor that --error-fd names."""
    with tempfile.TemporaryFile() as file:
        words = [word.replace("@", str(file.fileno())) for word in command]
        done = run(words, pass_fds=[file.fileno()])
        return done.returncode, done.stderr, os.pread(file.fileno(), 1 << 16, 0).decode()


def test_a_program_that_starts_bundles_can_tell_errors_of_sdee_from_the_jobs(work: str) -> None:
    launcher = built("sdee-launcher")
    fails = script("echo of the job >&2; exit 241").write(f"{work}/b.sdee")
    assert errors_of([launcher, "--error-fd=@", fails]) == (241, "of the job\n", "")
    status, said, error = errors_of([launcher, "--error-fd=@", f"{work}/none.sdee"])
    assert (status, said, error.splitlines()[0]) == (
        241, "", f"sdee: error: cannot open {work}/none.sdee: No such file or directory"
    )  # fmt: skip
    status, said, error = errors_of([launcher, "--error-fd=@", "--nosuch", fails])
    assert (status, said, error.splitlines()[0]) == (USAGE, "", "sdee: error: there is no option '--nosuch'")
    # by the process that was to become the job, and by the variable
    status, said, error = errors_of(["/usr/bin/env", "SDEE_ERROR_FD=@", "SDEE_COMMAND=nosuch", fails])
    assert (status, said) == (127, "")
    assert error.startswith("sdee: error: ")


def test_the_job_does_not_get_the_descriptor_of_errors_nor_its_variable(work: str) -> None:
    bundle = script("ls -l /proc/self/fd; env", programs=("env", "ls"), live_env=["*"]).write(f"{work}/b.sdee")
    with tempfile.TemporaryFile(dir=work) as file:
        outer = {"PATH": "/usr/bin:/bin", "SDEE_ERROR_FD": str(file.fileno())}
        job = run([bundle], env=outer, pass_fds=[file.fileno()])
        assert f"{work}/" not in job.stdout
        assert "SDEE_ERROR_FD" not in job.stdout
        del outer["SDEE_ERROR_FD"]  # the other side
        assert f"{work}/" in run([bundle], env=outer, pass_fds=[file.fileno()]).stdout


@pytest.mark.parametrize("number", ["0", "2", "99", "x", ""])
def test_errors_go_to_no_descriptor_that_is_not_there_or_the_jobs(number: str) -> None:
    result = run([built("sdee-launcher"), f"--error-fd={number}", "b"])
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        USAGE, f"sdee: error: --error-fd cannot be '{number}'"
    )  # fmt: skip
