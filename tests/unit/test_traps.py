"""docs/traps.md names a fixture or a test for each trap: they exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "traps.md").read_text()


def known() -> set[str]:
    texts = (path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    return {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}


def test_every_proof_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 40
    assert named <= known()
    programs = set(re.findall(r"`(\w+\.(?:c|sh|py))`", TEXT))
    assert len(programs) > 20
    assert programs <= {name for area in ("trace", "ranks", "ways") for name in os.listdir(ROOT / "fixtures" / area)}


def test_every_row_has_a_proof_or_says_that_it_is_not_handled() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| trap")]
    assert len(rows) > 40
    assert [row for row in rows if "`" not in row.split("|")[3] and "Not handled" not in row] == []
