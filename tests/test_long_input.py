"""Text of a megabyte in one line, as nobody writes it by hand: looked through in a time that grows with its length."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from sdee.base.errors import UsageError
from sdee.packer.units import code, python_index, shell
from sdee.runtime.jobs import scripts
from sdee.runtime.jobs.model import Wrapping
from sdee.workflow import wrapping as wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 1 << 20
PATIENCE = 4  # s; quadratic ones take minutes


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < PATIENCE


def long(unit: str, end: str = "") -> str:
    return unit * (SIZE // len(unit)) + end


@pytest.mark.parametrize(
    "unit", ["exec ", "env a ", "srun", "srun-", " srun.", "command\\", "/", " ", "exec srun-", "a"]
)
def test_a_script_is_looked_through_for_launchers(unit: str) -> None:
    wrap._check_lines(f"#!/bin/sh\n{long(unit)}\n", ("srun", "mpirun"), "job.sh", print)


@pytest.mark.parametrize(
    ("line", "past"),
    [
        ("exec srun a", True), ("exec  -a x srun a", True), ("srun a", False), ("/usr/bin/srun a", True),
        ("\\srun a", True), ("exec a; srun b", False), ("a | env X=1 srun b", True), ("exec a & srun b", False),
        ("exec srun-more", False), ("exec srun.sh", False), ("execute srun", False), ("exec mysrun", False),
        ("time exec a # srun", False), ("exec\tsrun", True), ("exec srun", True), ("x-env srun", True),
    ],
)  # fmt: skip
def test_what_starts_a_launcher_past_the_shell_is_told_as_before(line: str, *, past: bool) -> None:
    words = wrap._PAST_THE_SHELL.pattern
    quadratic = re.compile(rf"({words}[^|;&#]*\s|/|\\)srun\b(?![.-])")
    assert bool(quadratic.search(line)) == past
    if past:
        with pytest.raises(UsageError, match="starts srun past the shell"):
            wrap._check_lines(f"#!/bin/sh\n{line}\n", ("srun",), "job.sh", print)
    else:
        wrap._check_lines(f"#!/bin/sh\n{line}\n", ("srun",), "job.sh", print)


@pytest.mark.parametrize("unit", [" ", "a ", "-", " -", "\t-j"])
def test_a_preamble_is_put_into_a_script(unit: str) -> None:
    wrapping = Wrapping("job.sh", f"#!/bin/sh\n#SBATCH {long(unit)}\ntrue\n", bundle="/b.sdee")
    assert "--job-name=x" in scripts.insert(wrapping, "#SBATCH", "preamble", "--job-name=x")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("#SBATCH -J a", True), ("#SBATCH  --time=1 --job-name=a", True), ("#SBATCH --time=1 -N2", True),
        ("#SBATCH --time=1", False), ("#SBATCH-J a", False), ("#SBATCH x-J a", False), ("#SBATCH\t-J a", True),
    ],
)  # fmt: skip
def test_an_option_that_names_the_job_is_seen_as_before(line: str, *, names: bool) -> None:
    wrapping = Wrapping("job.sh", f"#!/bin/sh\n{line}\ntrue\n", bundle="/b.sdee")
    assert ("#SBATCH --job-name=x" in scripts.insert(wrapping, "#SBATCH", "", "--job-name=x")) is not names


@pytest.mark.parametrize(
    "unit", ["a", "a.", ".", "import ", " ", "\t\n ", "from a", "from ", "a,", "from a.b ", "from a\n"]
)
def test_python_is_looked_through_for_imports(unit: str) -> None:
    list(python_index.IMPORT.finditer(f"from {long(unit)} x".encode()))


@pytest.mark.parametrize(
    "text", ["from a.b.c import d", "from a import d", "from a . b import d", "import a.b, c as d"]
)
def test_imports_are_found_as_before(text: str) -> None:
    quadratic = rb"(?m)^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+([A-Za-z_]\w*)[\w.]*[ \t]+import\b)"
    assert python_index.IMPORT.findall(text.encode()) == re.findall(quadratic, text.encode())


UNITS = [
    "then/.",
    "/.",
    "/a",
    "a.",
    "/.a",
    "=a",
    "a=",
    "exec ",
    "exec/",
    "-",
    "a ",
    "source [a",
    "source(",
    "library(",
    "use ",
]
UNITS += [
    "require",
    "require ",
    "a::",
    "a.b::",
    "import'",
    '"',
    "from '",
    "[",
    "source [",
    " a.tcl",
    "autoload :a,",
    "do 'a",
    "qw(",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "names", [shell._COMMAND, shell._WORD, shell._FILE, *(language.names for language in code.LANGUAGES)]
)
def test_code_is_looked_through_for_names(names: re.Pattern[str], unit: str) -> None:
    size = shell._SCRIPT_LIMIT if names in (shell._COMMAND, shell._WORD) else SIZE >> 2
    text = unit * (size // len(unit))
    for whole in (text, f"exec {text}=", f"source [{text}"):
        for _ in names.finditer(whole):
            pass
