"""musl's rules, compared with its loader's --list."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elf_support import Workshop, rpath, runpath, we_say

LOADER = "/lib/ld-musl-x86_64.so.1"

pytestmark = pytest.mark.skipif(not shutil.which("musl-gcc") or not Path(LOADER).exists(), reason="no musl here")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, "musl-gcc")


def musl_says(program: str, libpath: str = "") -> dict[str, str | None]:
    """Return what musl's loader finds for a program, by name: None where it finds nothing."""
    environment = {"LD_LIBRARY_PATH": libpath} if libpath else {}
    run = subprocess.run([LOADER, "--list", program], env=environment, capture_output=True, text=True, check=False)
    found: dict[str, str | None] = {
        m[1]: m[2] for m in re.finditer(r"^\t(\S+) => (\S+) \(0x", run.stdout, re.MULTILINE)
    }
    missing = re.findall(r"Error loading shared library (\S+):", run.stderr)
    assert found or missing, run.stdout + run.stderr
    return found | dict.fromkeys(missing)


def agree(program: str, libpath: str = "") -> dict[str, str | None]:
    real = musl_says(program, libpath)
    ours = we_say(program, libpath or None)
    assert {name: path for name, path in ours.items() if name != "libc.so"} == {
        name: path for name, path in real.items() if name != "libc.so"
    }
    return real


def test_ld_library_path_comes_before_an_rpath(shop: Workshop) -> None:
    for directory in ("first", "second"):
        shop.library(f"{directory}/libx.so")
    program = shop.program("program", "first/libx.so", flags=rpath(shop("first")))
    assert agree(program, shop("second"))["libx.so"] == shop("second/libx.so")
    assert agree(program)["libx.so"] == shop("first/libx.so")


def test_a_runpath_is_inherited(shop: Workshop) -> None:
    shop.library("lib/libdeep.so")
    shop.library("lib/libmid.so", "lib/libdeep.so")
    program = shop.program("program", "lib/libmid.so", flags=runpath(shop("lib")))
    assert agree(program)["libdeep.so"] == shop("lib/libdeep.so")


def test_libc_is_the_loader_itself(shop: Workshop) -> None:
    assert we_say(shop.program("program"))["libc.so"] == LOADER


def test_a_library_that_is_nowhere_is_a_miss_and_glibcs_cache_is_not_asked(shop: Workshop) -> None:
    shop.library("lib/libz.so.1")  # glibc's cache has one of that name
    program = shop.program("program", "lib/libz.so.1")
    assert agree(program)["libz.so.1"] is None
