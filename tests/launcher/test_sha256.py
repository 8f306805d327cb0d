"""The launcher's SHA-256, by the CPU's own instructions and without, against Python's."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from launcher_tools import SOURCES

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = """
#include "launcher/bundle/sha256.h"
#include <stdio.h>

int main(void)
{
    static unsigned char data[1 << 20], digest[32];
    sha256(data, fread(data, 1, sizeof data, stdin), digest);
    return fwrite(digest, 1, sizeof digest, stdout) != sizeof digest;
}
"""


@pytest.mark.parametrize("flags", [[], ["-DSHA256_PLAIN"]])
def test_digests_are_those_of_hashlib(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    program = tmp_path / "driver"
    options = ["-Wall", "-Werror", "-O2", *flags, f"-I{SOURCES}"]
    subprocess.run(
        ["gcc", *options, tmp_path / "driver.c", f"{SOURCES}/launcher/bundle/sha256.c", "-o", program], check=True
    )
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 4096, 99_999):
        data = os.urandom(size)
        done = subprocess.run([program], input=data, capture_output=True, check=True)
        assert done.stdout == hashlib.sha256(data).digest(), size
