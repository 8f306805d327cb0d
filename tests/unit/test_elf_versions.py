"""Symbol versions as packer/elf reads them: compared with lief, which reads them by code of its own."""

from __future__ import annotations

import glob
import os
import random
import struct
from typing import TYPE_CHECKING

import lief
import pytest

from sdee.packer.elf.objects import Versions, read_versions

if TYPE_CHECKING:
    from pathlib import Path

LIBC = os.path.realpath("/lib/x86_64-linux-gnu/libc.so.6")
LIBRARIES = [
    LIBC,
    *sorted({os.path.realpath(path) for path in glob.glob("/lib/x86_64-linux-gnu/lib*.so.*")} - {LIBC})[:150],
]
SECTIONS = struct.Struct("<Q"), 0x28  # e_shoff


def by_lief(path: str) -> tuple[dict[str, list[str]], list[str]]:
    binary = lief.ELF.parse(path)
    assert binary is not None
    required: dict[str, list[str]] = {}
    for need in binary.symbols_version_requirement:
        required.setdefault(str(need.name), []).extend(str(a.name) for a in need.get_auxiliary_symbols())
    defined = [str(next(iter(d.auxiliary_symbols)).name) for d in binary.symbols_version_definition]
    return {name: sorted(found) for name, found in required.items()}, defined


def ours(path: str) -> tuple[dict[str, list[str]], list[str]]:
    found = read_versions(path)
    return {name: sorted(versions) for name, versions in found.required.items()}, list(found.defined)


def test_the_versions_of_this_machines_libraries_are_those_that_lief_reads() -> None:
    found = {path: ours(path) for path in LIBRARIES}
    assert found == {path: by_lief(path) for path in LIBRARIES}
    assert sum(bool(required) for required, _ in found.values()) > 50
    assert len(found[LIBC][1]) > 20


def test_sections_need_not_be_there(tmp_path: Path) -> None:
    """As sstrip(1) leaves an object: the loader does not read them either."""
    data = bytearray(open(LIBC, "rb").read())  # noqa: SIM115
    SECTIONS[0].pack_into(data, SECTIONS[1], 0)
    data[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    (tmp_path / "libc.so.6").write_bytes(data)
    assert ours(str(tmp_path / "libc.so.6")) == ours(LIBC)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(57)])
def test_what_is_no_object_has_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert read_versions(str(tmp_path / "x")) == read_versions(str(tmp_path / "nosuch")) == Versions({}, ())


def test_a_damaged_object_ends_in_time_and_without_an_error(tmp_path: Path) -> None:
    dice, path = random.Random(7), tmp_path / "x"
    small = min((p for p in LIBRARIES if by_lief(p)[0]), key=os.path.getsize)
    with open(small, "rb") as file:
        whole = file.read()
    for _ in range(100):
        data = bytearray(whole)
        for at in dice.sample(range(len(data)), 40):
            data[at] = dice.choice((0, 1, 0x7F, 0xFF))
        path.write_bytes(data)
        read_versions(str(path))
