"""ld.so.cache, and what is compiled into a loader: compared with ldconfig and with the loader's own word."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from elf_support import LOADER, Workshop, active_hwcaps, loader_says, needs_here, rpath
from sdee.packer.elf.glibc import GlibcRules, LoaderFacts, read_facts
from sdee.packer.elf.ldcache import parse_cache
from sdee.packer.elf.objects import ElfReader
from sdee.packer.elf.search import Context, Loaded
from sdee.packer.filesystem import FileSystem

LDCONFIG = shutil.which("ldconfig", path="/usr/sbin:/sbin") or "ldconfig"


def ldconfig_says(cache: str) -> list[tuple[str, str]]:
    text = subprocess.run([LDCONFIG, "-p", "-C", cache], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\t(\S+) \(.*\) => (\S+)$", text, re.MULTILINE)


def make_cache(shop: Workshop, *directories: str) -> str:
    """Write a cache of these directories as ldconfig does, and return its path."""
    conf = Path(shop("ld.so.conf"))
    conf.write_text("".join(f"{shop(d)}\n" for d in directories))
    cache = shop("ld.so.cache")
    subprocess.run([LDCONFIG, "-X", "-C", cache, "-f", str(conf)], check=True, capture_output=True)
    return cache


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_the_systems_cache_reads_as_ldconfig_prints_it() -> None:
    entries = parse_cache(Path("/etc/ld.so.cache").read_bytes())
    assert [(e.soname, e.path) for e in entries] == ldconfig_says("/etc/ld.so.cache")


def test_entries_for_cpu_levels_keep_their_level(shop: Workshop) -> None:
    shop.library("lib/libx.so.1")
    shop.library("lib/glibc-hwcaps/x86-64-v2/libx.so.1")
    shop.library("lib/glibc-hwcaps/x86-64-v3/libx.so.1")
    entries = [e for e in parse_cache(Path(make_cache(shop, "lib")).read_bytes()) if e.soname == "libx.so.1"]
    levels = {e.hwcap: e.path for e in entries if e.path.startswith(shop("lib"))}
    assert levels[""] == shop("lib/libx.so.1")
    assert levels["x86-64-v3"] == shop("lib/glibc-hwcaps/x86-64-v3/libx.so.1")


def test_a_cache_that_begins_with_the_old_format_reads_the_same() -> None:
    new = Path("/etc/ld.so.cache").read_bytes()
    if new.startswith(b"ld.so-1.7.0"):
        new = new[new.index(b"glibc-ld.so.cache1.1") :]
    old = b"ld.so-1.7.0\0" + struct.pack("=I", 3) + bytes(36)
    padded = old + bytes(-len(old) % 8)
    assert parse_cache(padded + new) == parse_cache(new) != ()


def test_a_damaged_cache_has_no_entries_and_breaks_nothing() -> None:
    data = Path("/etc/ld.so.cache").read_bytes()
    assert parse_cache(b"") == parse_cache(data[:30]) == parse_cache(data[:200]) == parse_cache(b"nonsense" * 20) == ()
    for position in range(0, 200, 7):
        parse_cache(data[:position] + b"\xff" * 8 + data[position + 8 :])


def test_what_a_loader_was_compiled_with_is_read_off_its_bytes() -> None:
    said = subprocess.run([LOADER, "--list-diagnostics"], capture_output=True, text=True, check=True).stdout
    directories = re.findall(r'^path\.system_dirs\[.*\]="(.*)/"$', said, re.MULTILINE)
    lib = re.search(r'^dl_dst_lib="(.*)"$', said, re.MULTILINE)
    sysconfdir = re.search(r'^path\.sysconfdir="(.*)"$', said, re.MULTILINE)
    facts = read_facts(Path(LOADER).read_bytes())
    assert list(facts.system_dirs) == directories
    assert lib is not None
    assert facts.lib == lib[1]
    assert sysconfdir is not None
    assert facts.cache == f"{sysconfdir[1]}/ld.so.cache"


def test_of_a_loader_that_says_nothing_the_plain_defaults_are_taken() -> None:
    assert read_facts(b"nothing", 64).system_dirs == ("/lib64", "/usr/lib64")
    assert read_facts(b"nothing", 32).system_dirs == ("/lib", "/usr/lib")


def with_cache(program: str, cache: str) -> dict[str, str | None]:
    """What packer/elf finds for a program when this cache is the system's."""
    fs = FileSystem()
    reader = ElfReader(fs)
    rules = GlibcRules(fs, reader, LoaderFacts(cache, read_facts(Path(LOADER).read_bytes()).system_dirs))
    found = reader.read(program)
    assert found is not None
    link = Loaded(program, found, os.path.dirname(program))
    context = Context(hwcaps=active_hwcaps())
    return {name: rules.search(name, link, context).path for name in found.needed}


def under_cache(program: str, cache: str) -> dict[str, str | None]:
    """What the real loader finds then: in a mount namespace where the cache lies over /etc/ld.so.cache."""
    script = 'mount --bind "$1" /etc/ld.so.cache && LD_TRACE_LOADED_OBJECTS=1 "$2"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", cache, program]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"no mount namespace here: {run.stderr.strip()}")
    return {m[1]: m[3] for m in re.finditer(r"^\s*(\S+) => (not found|(\S+) \(0x.*)$", run.stdout, re.MULTILINE)}


def test_a_library_that_only_the_cache_knows_is_found(shop: Workshop) -> None:
    shop.library("lib/libonly.so.1")
    program = shop.program("program", "lib/libonly.so.1")
    assert loader_says(program)["libonly.so.1"] is None
    cache = make_cache(shop, "lib")
    ours = with_cache(program, cache)
    assert ours["libonly.so.1"] == shop("lib/libonly.so.1")
    assert ours["libonly.so.1"] == under_cache(program, cache)["libonly.so.1"]


def test_the_caches_entry_for_this_cpu_wins(shop: Workshop) -> None:
    shop.library("lib/libonly.so.1")
    shop.library("lib/glibc-hwcaps/x86-64-v2/libonly.so.1")
    program = shop.program("program", "lib/libonly.so.1")
    cache = make_cache(shop, "lib")
    ours = with_cache(program, cache)["libonly.so.1"]
    assert ours == under_cache(program, cache)["libonly.so.1"]
    assert ("x86-64-v2" in (ours or "")) == ("x86-64-v2" in active_hwcaps())


def test_an_rpath_comes_before_the_cache(shop: Workshop) -> None:
    shop.library("lib/libonly.so.1")
    shop.library("own/libonly.so.1")
    program = shop.program("program", "lib/libonly.so.1", flags=rpath(shop("own")))
    found = {s.name: s.path for s in needs_here().of_program(program, None)}
    cache = make_cache(shop, "lib")
    assert found["libonly.so.1"] == with_cache(program, cache)["libonly.so.1"] == shop("own/libonly.so.1")
