"""One table of options: the command line, the variables and both helps of the launcher say the same."""

from __future__ import annotations

import re
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
    outer = {name: "0" for name in variables if name not in ("SDEE_ROOT", "SDEE_MPI", "SDEE_COMMAND", "SDEE_CHDIR")}
    outer |= {"SDEE_SAVE": work, "SDEE_DEPLOY_DIR": work, "SDEE_MPI": "bundle", "SDEE_CHDIR": "/", "SDEE_ENV": "OWN"}
    job = run([bundle], env=outer | {"PATH": "/usr/bin:/bin", "OWN": "1", "SDEE_OTHER": "1"})
    assert "SDEE_OTHER=1" in job.stdout.splitlines(), job.stderr
    assert [line for line in job.stdout.splitlines() if line.partition("=")[0] in variables] == []


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
        (["--env", "=x", "b"], "'=x' is no environment variable"),
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
