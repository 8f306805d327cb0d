"""Files of an environment that are damaged: a message that says which, never a bug in sdee."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdee.base.errors import InputError
from sdee.runtime.environment import plan
from sdee.runtime.environment.store import Environment

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "sdee-env 1\nrange\t1 2 3 4\nbind\t/scratch\x85\u2028\r\f/x\nlive\t/home\n"


def test_a_plan_is_read_as_it_was_written_whatever_its_paths_hold(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(GOOD.encode())
    found = Environment("x", str(tmp_path)).plan()
    assert found.text() == GOOD
    assert found.steps[0].path == "/scratch\x85\u2028\r\f/x"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1), ("sdee-env 2\n", 1), ("sdee-env 1\nbind\n", 2), ("sdee-env 1\nrange\t1 2 3\n", 2),
        ("sdee-env 1\nrange\n", 2), ("sdee-env 1\nlive\t/a\nrange\ta b c d\n", 3),
        ("sdee-env 1\nbind\t1\t2\t3\t4\t5\n", 2), ("sdee-env 1\n\n", 2),
    ],
)  # fmt: skip
def test_a_damaged_plan_is_told_by_its_line(text: str, line: int) -> None:
    with pytest.raises(InputError, match=f"line {line} of its mount plan is unknown to this sdee"):
        plan.read(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"binds":1}', '{"binds":[],"x":1}', "[" * 100_000, '"x"'])
def test_damaged_settings_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json' is damaged"):
        Environment("x", str(tmp_path)).settings()
