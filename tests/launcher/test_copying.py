"""Copies of files by the C programs: what the job wrote, and the host's files in environments."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from launcher_tools import SOURCES

if TYPE_CHECKING:
    from pathlib import Path

# pread(2) of the copy: before the second one somebody makes the file shorter
DRIVER = """
#include "lib/copy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static off_t shorter;
static int reads;
ssize_t __real_pread(int fd, void *data, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t at)
{
    if (++reads == 2 && shorter > 0)
        (void)!ftruncate(fd, shorter);
    return __real_pread(fd, data, size, at);
}
ssize_t __wrap_copy_file_range(int from, off_t *at, int to, off_t *there, size_t size, unsigned flags)
{
    (void)from, (void)at, (void)to, (void)there, (void)size, (void)flags;
    errno = EXDEV;
    return -1;
}

int main(int count, char **arguments)
{
    shorter = count > 3 ? atol(arguments[3]) : 0;
    const int from = open(arguments[1], O_RDWR), to = open(arguments[2], O_CREAT | O_TRUNC | O_RDWR, 0600);
    return -copy_content(from, to);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("copy")
    (place / "driver.c").write_text(DRIVER)
    options = ["-D_GNU_SOURCE", "-Wall", "-Werror", f"-I{SOURCES}", "-Wl,--wrap=pread,--wrap=copy_file_range"]
    sources = [str(place / "driver.c"), f"{SOURCES}/lib/copy.c"]
    subprocess.run(["gcc", *options, *sources, "-o", place / "driver"], check=True)
    return place / "driver"


@pytest.mark.parametrize("length", [0, 1, 70_000, 100_000])
def test_of_a_file_that_becomes_shorter_meanwhile_there_is_what_it_has_then(
    program: Path, tmp_path: Path, length: int
) -> None:
    """As with cp(1). Zeros up to the first size would be a wrong result that nobody notices."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"x" * 200_000)
    subprocess.run([program, source, copy], check=True)
    assert copy.read_bytes() == source.read_bytes()
    subprocess.run([program, source, copy, str(length)], check=True)
    assert copy.read_bytes() == (b"x" * length or b"x" * 200_000)


def test_holes_stay_holes_to_the_end(program: Path, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"begin")
    with source.open("r+b") as file:
        file.truncate(64 << 20)
    subprocess.run([program, source, copy], check=True)
    assert copy.stat().st_size == 64 << 20
    assert copy.stat().st_blocks < 1000
    assert copy.read_bytes()[:6] == b"begin\0"


def test_a_full_disk_is_told_by_its_number(program: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1000)
    assert subprocess.run([program, source, "/dev/full"], check=False).returncode == 28  # ENOSPC
