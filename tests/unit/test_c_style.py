"""The stated style of C: what `make lint` says of lines (runtime/native/style.awk)."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../runtime/native/style.awk")

GOOD = """\
enum kind { ONE, TWO };

int f(const struct entry *entry, int a)
{
    const struct entry other = (struct entry){
        .a = a,
    };
    if (a > 0) {
        g(&other,
          entry);
    } else {
        return 1;
    }
    return 2;
}
"""
BAD = {
    "longer than 160": ("return 1;", f"return 1; /* {'x' * 140} */"),
    "blanks at its end": ("return 1;", "return 1; "),
    "a tab": ("        return 1;", "\treturn 1;"),
    "four spaces": ("    return 2;", "      return 2;"),
    "before the parenthesis": ("if (a", "if(a"),
    "before the brace": ("> 0) {", "> 0){"),
    "on a line of its own": ("int a)\n{", "int a) {"),
    "stands on its line": ("> 0) {", "> 0)\n    {"),
    "else stands after": ("} else {", "}\n    else {"),
}


@pytest.mark.parametrize("awk", [awk for awk in ("mawk", "gawk") if shutil.which(awk)])
def test_each_rule_finds_what_is_against_it_and_nothing_else(tmp_path: Path, awk: str) -> None:
    def said(text: str) -> list[str]:
        (tmp_path / "x.c").write_text(text)
        done = subprocess.run(
            [awk, "-f", RULES, "x.c"], cwd=tmp_path, capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
        )
        lines = done.stdout.splitlines()
        assert done.returncode == bool(lines), done.stderr
        return lines

    assert said(GOOD) == []
    for rule, (right, wrong) in BAD.items():
        assert right in GOOD
        (line,) = said(GOOD.replace(right, wrong))
        assert rule in line
