"""Every console session of README.md and of the manual (docs/) prints what it shows when an ordinary user runs it.

All pages are run one after the other in one directory, so that the manual goes on where README.md ends.
A `python` block whose first line is a comment with a file's name stands for that file.
tests/cluster/test_submit_readme.py runs those of `console slurm` and `console gridengine` blocks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/tracing.md",
    "docs/running.md",
    "docs/trouble.md",
    "docs/environment.md",
    "docs/bundling.md",
    "docs/python.md",
)
MARK = "@@sdee-readme@@"
# What differs from run to run in an output that is shown as it was once: measures, digests, numbers of jobs, the home
LOOSE = {
    "number": (r"\d[\d,.]*(?= (?:MB|s|paths|files|links|directories)\b)", r"\d[\d,.]*"),
    "digest": (r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b", r"[0-9a-f]+"),
    "job": (r"(?<=[Jj]ob )\d+", r"\d+"),
    "home": (r"/home/you", r"/\S+?"),
    "python": (r"(?<=python)3\.\d+", r"3\.\d+"),
    "anything": (r"…", r".*?"),
}
_LOOSE = re.compile("|".join(f"(?P<{name}>{found})" for name, (found, _) in LOOSE.items()))


def manual() -> dict[str, str]:
    """Return the text of README.md and of each page of the manual, by name."""
    return {
        name: (ROOT / name).read_text()
        for name in ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
    }


def commands(block: str) -> list[tuple[str, str]]:
    """(command, expected output) for each `$ ` line of a console block, in order."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, expected.strip("\n")) for command, _, expected in parts]


def sessions(text: str) -> list[tuple[str, str]]:
    """Return the commands of a page's console blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [command for block in blocks for command in commands(block)]


def files() -> dict[str, str]:
    """Return the files that the pages show, by name: Python, C and scripts."""
    text = "\n".join(manual().values())
    found = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    found.update(re.findall(r"^```c\n// (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    scripts = re.findall(r"^```bash\n(#!.*\n# (\S+)\n(?:.*\n)*?)```", text, re.MULTILINE)
    return {**found, **{name: script for script, name in scripts}}


def matches(expected: str, output: str) -> bool:
    """Compare: what LOOSE names stands for anything of its kind, and runs of blanks for one another."""
    pattern, at, expected = "", 0, re.sub(r"[ \t]+", " ", expected)
    for found in _LOOSE.finditer(expected):
        pattern += re.escape(expected[at : found.start()]) + LOOSE[found.lastgroup or ""][1]
        at = found.end()
    pattern += re.escape(expected[at:])
    return re.fullmatch(pattern, re.sub(r"[ \t]+", " ", output.strip("\n")), re.DOTALL) is not None


def difference(page: str, command: str, expected: str, output: str) -> str:
    """Return what a test says of a command that printed something else."""
    return f"$ {command}\n--- {page}\n{expected}\n--- printed\n{output}"


def test_the_comparison_sees_a_difference() -> None:
    assert matches("a … c", "a b c")
    assert not matches("a … c", "a b d")
    assert matches("in 5.7 s, 4,216 files of job 1", "in 12 s, 7 files of job 23")
    assert not matches("largest 5.7", "largest 5.8")
    assert not matches("in 5.7 s", "in no s")
    assert matches("/home/you/venv/lib/python3.11", "/tmp/x/venv/lib/python3.13")
    assert not matches("/home/you/venv", "/tmp/x/other")
    assert matches("sha256:4967a09c8dee", "sha256:4b784287db3e74703")
    assert not matches("cafebabe", "deadbeef")


def test_each_page_with_sessions_is_run() -> None:
    found = {name for name, text in manual().items() if sessions(text)}
    assert found == set(PAGES)
    assert len(sessions(manual()["README.md"])) >= 8
    assert {"job.py", "ranks.py", "solver.c", "job.sh"} <= set(files())


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # all sessions are one set-up: 75 s, and 420 s at a load of 17
]


@pytest.fixture(scope="module")
def printed() -> dict[str, list[str]]:
    """Run the sessions of all pages and return what each command printed, by page."""
    steps = {page: sessions(manual()[page]) for page in PAGES}
    # Not pytest's tmp_path: the user could not search its parents, and a test changes no directory but its own
    home = Path(tempfile.mkdtemp(prefix="sdee-readme-"))
    os.chown(home, 1001, 1001)
    for name, text in files().items():
        (home / name).write_text(text)
        os.chown(home / name, 1001, 1001)
    script = "".join(f"echo '{MARK}'\n{command}\n" for page in PAGES for command, _ in steps[page])
    done = subprocess.run(
        ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", "bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        cwd=home,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "USER": "tester",
        },
    )
    outputs = done.stdout.split(MARK + "\n")[1:]
    assert len(outputs) == sum(map(len, steps.values())), done.stdout
    shutil.rmtree(home)
    return {page: [outputs.pop(0) for _ in steps[page]] for page in PAGES}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become an ordinary user in a directory of its own")
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_prints_what_it_shows(page: str, printed: dict[str, list[str]]) -> None:
    steps = zip(sessions(manual()[page]), printed[page], strict=True)
    wrong = [difference(page, *step, output) for step, output in steps if not matches(step[1], output)]
    assert not wrong, "\n".join(wrong)
