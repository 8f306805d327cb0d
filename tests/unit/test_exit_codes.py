"""Exit codes: src/sdee/base/errors.py, runtime/native/lib/exit_codes.h and docs/exit-codes.md say the same."""

from __future__ import annotations

import pickle
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdee import errors as public
from sdee.base import errors
from sdee.base.errors import ExitCode, SdeeError

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
TABLE = {code.name: code.value for code in ExitCode}


def test_the_launcher_has_the_same_codes() -> None:
    text = (ROOT / "runtime" / "native" / "lib" / "exit_codes.h").read_text()
    assert {name: int(value) for name, value in re.findall(r"\bEXIT_(\w+)\s*=\s*(\d+)", text)} == TABLE


def test_the_document_has_the_same_codes() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    assert {name: int(value) for value, name in re.findall(r"^\| (\d+) \| (\w+) \|", text, re.MULTILINE)} == TABLE


def test_the_launcher_uses_its_names_only() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "runtime" / "native").rglob("*.c"))
    used = set(re.findall(r"\bEXIT_([A-Z_]+)\b", sources)) - {"SUCCESS", "FAILURE"}
    assert used <= set(TABLE)
    assert "BUNDLE" in used
    assert not re.search(r"\b(?:_?exit|return)\s*\(?\s*24[0-7]\b", sources)


def test_every_code_has_one_error_class_and_every_class_a_code() -> None:
    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SdeeError) and c is not SdeeError
    ]
    classes.remove(errors.CommandFailedError)  # it has the status of a command
    assert sorted(c.exit_code for c in classes) == sorted(ExitCode)


def classes_of(module: ModuleType) -> dict[str, type]:
    return {name: c for name, c in vars(module).items() if isinstance(c, type) and issubclass(c, (SdeeError, ExitCode))}


def test_the_public_module_has_every_error() -> None:
    assert classes_of(public) == classes_of(errors)
    assert sorted(public.__all__) == sorted(classes_of(errors))


@pytest.mark.parametrize("kind", [c for c in classes_of(errors).values() if c is not ExitCode])
def test_an_error_comes_whole_out_of_a_pool_of_processes(kind: type[SdeeError]) -> None:
    error = kind("why", hint="do this", tried=("one", "two"))
    error.exit_code = 7
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.hint, copy.tried) == (kind, "why", "do this", ("one", "two"))
    assert (copy.exit_code, copy.__notes__) == (7, ["tried: one", "tried: two", "hint: do this"])


def test_a_traceback_shows_the_hint() -> None:
    shown = "".join(traceback.format_exception(errors.NodeError("no /proc", hint="mount it")))
    assert ("hint: mount it" in shown) is (sys.version_info >= (3, 11))
    assert "hint" not in "".join(traceback.format_exception(errors.NodeError("no /proc")))


@pytest.mark.parametrize("code", ExitCode)
def test_codes_collide_neither_with_signals_nor_with_common_statuses(code: ExitCode) -> None:
    assert code in (2, 126, 127) or 128 + 64 < code < 255


def test_an_error_shows_what_was_tried_and_a_hint() -> None:
    error = errors.KernelError(
        "no user namespace", tried=("unshare: EPERM", "setns: EPERM"), hint="ask the administrator"
    )
    assert error.render().splitlines() == [
        "sdee: error: no user namespace",
        "  tried: unshare: EPERM",
        "  tried: setns: EPERM",
        "  hint: ask the administrator",
    ]
