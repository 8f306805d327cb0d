"""fixtures/format: a small bundle for each rule of docs/bundle-format.md, by every reader that there is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import REPO, built, run
from sdee.base.errors import BundleError
from sdee.packer.format import rules
from sdee.packer.format.reader import open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VECTORS = os.path.join(REPO, "fixtures", "format")
BUNDLE, NODE = 241, 244
with open(os.path.join(VECTORS, "manifest.toml"), "rb") as manifest:
    RULES: dict[str, dict[str, str]] = tomllib.load(manifest)


def python(path: str) -> str:
    """Return why the reader in Python refuses a file, "" when it does not."""
    try:
        open_bundle(path).close()
    except BundleError as error:
        return str(error)
    return ""


def launcher(program: str) -> Callable[[str], str]:
    """Return how a launcher reads a file: why it refuses it, "" when it would run it, as far as the node goes."""

    def read(path: str) -> str:
        done = run([built(program), "--dry-run", "--force", path], env={"ASAN_OPTIONS": "detect_leaks=0"})
        assert "Sanitizer" not in done.stderr, done.stderr
        assert done.returncode in (0, BUNDLE, NODE), (done.returncode, done.stderr)
        return done.stderr if done.returncode == BUNDLE else ""

    return read


READERS = {"python": python, "launcher": launcher("sdee-launcher"), "asan": launcher("sdee-launcher-asan")}


def test_the_manifest_names_each_vector() -> None:
    files = {name.removesuffix(".sdee") for name in os.listdir(VECTORS) if name.endswith(".sdee")}
    assert files == RULES.keys()
    assert all(rule.keys() in ({"accept"}, {"refuse"}) for rule in RULES.values())


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_judges_every_vector_alike(reader: str) -> None:
    if reader != "python" and os.uname().machine != "x86_64":
        pytest.skip("the vectors are of x86-64, and a launcher refuses other nodes first")
    wrong = {}
    for name, rule in RULES.items():
        why = READERS[reader](os.path.join(VECTORS, f"{name}.sdee"))
        if bool(why) != ("refuse" in rule):
            wrong[name] = why or f"accepted: {rule['refuse']}"
    assert wrong == {}


def test_each_key_of_conf_has_vectors_on_both_sides() -> None:
    """But those whose value may be anything, as often as it likes."""
    for key, rule in rules.CONF.items():
        sides = {side for name, sides in RULES.items() if name.startswith(f"{key}-") for side in sides}
        both = rule.shape != b"(?:.*)" or rule.least
        assert sides | {"accept"} == ({"accept", "refuse"} if both else {"accept"}), key


def test_the_generated_files_are_what_the_tables_say() -> None:
    assert subprocess.run([sys.executable, f"{REPO}/.ci/generate", "--check"], check=False).returncode == 0
