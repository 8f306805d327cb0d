"""The console sessions of README.md and docs/python.md, run as they stand, as an ordinary user; outputs are compared.

A `python` block whose first line is a comment with a file's name stands for that file.

In an expected output `…` stands for anything, also for several lines. A block that begins with `# as root` or that
is not marked `console` is not a session.
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
README = ROOT / "README.md"
DOCUMENTS = {"README.md": 8, "docs/python.md": 2}  # and how many commands are in it at least
MARK = "@@sdee-readme@@"


def sessions(document: Path) -> list[tuple[str, str]]:
    """(command, expected output) for each `$ ` line of a document's console blocks, in order."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found.append((command, expected.strip("\n")))
    return found


def files(document: Path = README) -> dict[str, str]:
    """Return the files that a document shows, by name."""
    return dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL))


def matches(expected: str, output: str) -> bool:
    """Compare, `…` standing for anything and runs of blanks for one another."""
    pattern = ".*?".join(re.escape(re.sub(r"[ \t]+", " ", piece)) for piece in expected.split("…"))
    return re.fullmatch(pattern, re.sub(r"[ \t]+", " ", output.strip("\n")), re.DOTALL) is not None


def test_the_comparison_sees_a_difference() -> None:
    assert matches("a … c", "a b c")
    assert not matches("a … c", "a b d")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become an ordinary user in a directory of its own")
@pytest.mark.parametrize(("document", "least"), DOCUMENTS.items())
def test_every_command_of_a_document_prints_what_the_document_shows(document: str, least: int) -> None:
    steps = sessions(ROOT / document)
    assert len(steps) >= least
    # Not pytest's tmp_path: the user could not search its parents, and a test changes no directory but its own
    home = Path(tempfile.mkdtemp(prefix="sdee-readme-"))
    os.chown(home, 1001, 1001)
    for name, text in files(ROOT / document).items():
        (home / name).write_text(text)
    script = "".join(f"echo '{MARK}'\n{command}\n" for command, _ in steps)
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
    assert len(outputs) == len(steps), done.stdout
    for (command, expected), output in zip(steps, outputs, strict=True):
        assert matches(expected, output), f"in {home}: $ {command}\n--- {document}\n{expected}\n--- printed\n{output}"
    shutil.rmtree(home)  # a failed test keeps its directory
