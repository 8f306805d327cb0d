"""fixtures/format: a small bundle for each rule of docs/bundle-format.md, by every reader that there is."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import REPO, built, run
from sdee.base.errors import BundleError
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

# What each reader judges otherwise than the manifest says
_PYTHON = """
path-long path-4050 umask-bad-0 umask-bad-1 live-bad-2 live-bad-3 live-bad-4 live-bad-5 tree-bad-2 tree-bad-3
tree-bad-4 tree-bad-5 left-out-bad-2 left-out-bad-3 left-out-bad-4 left-out-bad-5 unused-bad-2 unused-bad-3
unused-bad-4 unused-bad-5 host-bad-2 host-bad-3 host-bad-4 host-bad-5 fallback-bad-3 fallback-bad-4
fallback-bad-5 fallback-bad-6 absent-bad-0 absent-bad-1 absent-bad-2 absent-bad-3 absent-bad-4 absent-bad-5
absent-bad-6 looked-for-bad-0 looked-for-bad-1 cpu-bad-0 cpu-bad-1 isa-bad-0 isa-bad-1 kernel-bad-0
kernel-bad-1 kernel-bad-2 library-directory-bad-0 library-directory-bad-1 host-family-bad-0 host-family-bad-1
host-family-bad-2 host-need-bad-0 host-need-bad-1 host-need-bad-2 host-symbols-bad-0 host-symbols-bad-1
host-used-bad-0 host-used-bad-1 provides-bad-0 cpu-twice isa-twice kernel-twice cpu-3 live-long tree-long
fallback-long host-long absent-long
"""
_LAUNCHER = """
sections-7 sections-16 footer-no-launcher section-gap table-end digest-directory machine-bad-0 machine-bad-1
machine-bad-2 umask-bad-6 env-bad-1 live-env-bad-0 fixed-env-bad-0 rlimit-bad-0 rlimit-bad-1 rlimit-bad-2
rlimit-bad-3 rlimit-bad-4 rlimit-bad-5 rlimit-bad-6 libc-bad-0 libc-bad-1 interpreter-bad-0 fallback-bad-0
fallback-bad-1 fallback-bad-2 fallback-bad-3 fallback-bad-4 fallback-bad-5 fallback-bad-6 absent-bad-0
absent-bad-1 absent-bad-2 absent-bad-3 absent-bad-4 absent-bad-5 absent-bad-6 shared-bad-0 shared-bad-1
looked-for-bad-0 looked-for-bad-1 cpu-bad-0 cpu-bad-1 isa-bad-0 isa-bad-1 kernel-bad-0 kernel-bad-1
kernel-bad-2 library-directory-bad-0 library-directory-bad-1 host-family-bad-0 host-family-bad-1
host-family-bad-2 host-need-bad-0 host-need-bad-1 host-need-bad-2 host-symbols-bad-0 host-symbols-bad-1
host-used-bad-0 host-used-bad-1 provides-bad-0 machine-twice program-twice cwd-twice umask-twice os-missing
os-twice libc-twice cpu-twice isa-twice kernel-twice cpu-3 fallback-long absent-long
"""
NOT_YET = {"python": _PYTHON, "launcher": _LAUNCHER, "asan": _LAUNCHER}


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
    assert wrong.keys() == set(NOT_YET[reader].split())
