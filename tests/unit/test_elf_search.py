"""ld.so(8)'s rules, one fixture each, compared with what the real loader does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from elf_support import (
    Workshop,
    active_hwcaps,
    loader_says,
    loader_tried,
    needs_here,
    rpath,
    runpath,
    searches,
    we_say,
)
from sdee.packer.elf.search import HWCAPS


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def agree(program: str, libpath: str | None = None, cwd: str = "/") -> dict[str, str | None]:
    """Assert that the loader and packer/elf load the same, and return it."""
    environment = {} if libpath is None else {"LD_LIBRARY_PATH": libpath}
    real = loader_says(program, environment, cwd)
    assert we_say(program, libpath, cwd) == real
    return real


def test_an_rpath_is_inherited_by_dependencies(shop: Workshop) -> None:
    shop.library("lib/libdeep.so")
    shop.library("lib/libmid.so", "lib/libdeep.so")
    program = shop.program("program", "lib/libmid.so", flags=rpath("$ORIGIN/lib"))
    assert agree(program)["libdeep.so"] == shop("lib/libdeep.so")


def test_a_runpath_is_not_inherited_by_dependencies(shop: Workshop) -> None:
    shop.library("lib/libdeep.so")
    shop.library("lib/libmid.so", "lib/libdeep.so")
    program = shop.program("program", "lib/libmid.so", flags=runpath("$ORIGIN/lib"))
    real = agree(program)
    assert real["libmid.so"] == shop("lib/libmid.so")
    assert real["libdeep.so"] is None


def test_a_library_with_a_runpath_does_not_use_the_programs_rpath_but_passes_it_on(shop: Workshop) -> None:
    shop.library("lib/libdeep.so")
    shop.library("lib/libmid.so", "lib/libdeep.so")
    shop.library("lib/libtop.so", "lib/libmid.so", flags=runpath(shop("other")))
    shutil.copytree(shop("lib"), shop("other"))
    os.unlink(shop("other/libdeep.so"))
    program = shop.program("program", "lib/libtop.so", flags=rpath("$ORIGIN/lib"))
    real = agree(program)
    assert real["libmid.so"] == shop("other/libmid.so")
    assert real["libdeep.so"] == shop("lib/libdeep.so")


def test_an_rpath_comes_before_ld_library_path(shop: Workshop) -> None:
    for directory in ("first", "second"):
        shop.library(f"{directory}/libx.so")
    program = shop.program("program", "first/libx.so", flags=rpath(shop("first")))
    assert agree(program, shop("second"))["libx.so"] == shop("first/libx.so")


def test_a_runpath_comes_after_ld_library_path(shop: Workshop) -> None:
    for directory in ("first", "second"):
        shop.library(f"{directory}/libx.so")
    program = shop.program("program", "first/libx.so", flags=runpath(shop("first")))
    assert agree(program, shop("second"))["libx.so"] == shop("second/libx.so")
    assert agree(program)["libx.so"] == shop("first/libx.so")


def test_ld_library_path_takes_semicolons_tokens_and_empty_elements(shop: Workshop) -> None:
    for name in ("liba.so", "libb.so", "libc1.so"):
        shop.library(f"build/{name}")
    program = shop.program("bin/program", "build/liba.so", "build/libb.so", "build/libc1.so")
    for directory, name in (("one", "liba.so"), ("two", "libb.so"), ("here", "libc1.so")):
        os.makedirs(shop(directory), exist_ok=True)
        os.rename(shop(f"build/{name}"), shop(f"{directory}/{name}"))
    libpath = f"{shop('one')};$ORIGIN/../two:"
    real = agree(program, libpath, cwd=shop("here"))
    assert real["liba.so"] is not None
    assert real["libb.so"] is not None
    assert real["libc1.so"] is not None


def test_origin_of_a_program_is_where_its_file_is_and_not_the_link_to_it(shop: Workshop) -> None:
    shop.library("real/lib/libx.so")
    shop.program("real/bin/program", "real/lib/libx.so", flags=runpath("$ORIGIN/../lib"))
    link = shop.link("elsewhere/program", "../real/bin/program")
    assert os.path.realpath(agree(link)["libx.so"] or "") == shop("real/lib/libx.so")


def test_origin_of_a_library_is_where_the_link_to_it_is(shop: Workshop) -> None:
    shop.library("store/libdeep.so")
    shop.library("store/libx.so", "store/libdeep.so", flags=runpath("$ORIGIN"))
    shop.link("links/libx.so", "../store/libx.so")
    program = shop.program("program", "store/libx.so", flags=runpath(shop("links")))
    assert agree(program)["libdeep.so"] is None
    shutil.copy(shop("store/libdeep.so"), shop("links/libdeep.so"))
    assert agree(program)["libdeep.so"] == shop("links/libdeep.so")


@pytest.mark.parametrize("token", ["$LIB", "${LIB}", "$PLATFORM", "${PLATFORM}"])
def test_tokens_are_expanded(shop: Workshop, token: str) -> None:
    shop.library("build/libx.so")
    program = shop.program("program", "build/libx.so", flags=runpath(f"${{ORIGIN}}/{token}"))
    names = ("lib/x86_64-linux-gnu", "lib64", "lib") if "LIB" in token else ("haswell", "xeon_phi", "x86_64")
    for name in names:
        os.makedirs(shop(name), exist_ok=True)
        shutil.copy(shop("build/libx.so"), shop(f"{name}/libx.so"))
    real = loader_says(program)["libx.so"]
    ours = we_say(program)["libx.so"]
    assert real is not None
    if "LIB" in token:
        assert ours == real
    else:  # which platform it is depends on the CPU that the job will meet: any of them may be found here
        assert os.path.basename(os.path.dirname(ours or "")) in names


def test_a_token_with_more_letters_is_none(shop: Workshop) -> None:
    shop.library("ORIGINAL/libx.so")
    program = shop.program("program", "ORIGINAL/libx.so", flags=runpath("$ORIGINAL", "$ORIGIN/$LIBX"))
    assert agree(program)["libx.so"] is None


def test_a_relative_path_is_taken_from_the_working_directory(shop: Workshop) -> None:
    shop.library("lib/libx.so")
    program = shop.program("program", "lib/libx.so", flags=runpath("lib"))
    assert agree(program, cwd=shop("lib"))["libx.so"] is None
    assert agree(program, cwd=shop(""))["libx.so"] == shop("lib/libx.so")


def test_a_library_answers_to_its_soname_once_it_is_loaded_by_another_name(shop: Workshop) -> None:
    shop.library("lib/libreal.so.1", soname="libreal.so.1")
    shop.library("lib/libuser.so", "lib/libreal.so.1")
    shop.link("lib/libalias.so", "libreal.so.1")
    shop.library("stub/libalias.so")
    program = shop.program("program", "stub/libalias.so", "lib/libuser.so", flags=runpath("$ORIGIN/lib"))
    real = loader_says(program)
    ours = we_say(program)
    assert real["libalias.so"] == ours["libalias.so"] == shop("lib/libalias.so")
    assert "libreal.so.1" not in ours  # libuser.so has no path to it, and needs none
    assert real.get("libreal.so.1") in (None, shop("lib/libalias.so"))
    assert "not found" not in subprocess.run([program], capture_output=True, text=True, check=True).stderr


def test_a_soname_that_is_no_file_is_a_miss(shop: Workshop) -> None:
    shop.library("lib/libfile.so", soname="libother.so.7")
    program = shop.program("program", "lib/libfile.so", flags=runpath("$ORIGIN/lib"))
    assert agree(program)["libother.so.7"] is None
    shop.link("lib/libother.so.7", "libfile.so")
    assert agree(program)["libother.so.7"] == shop("lib/libother.so.7")


def test_a_chain_of_links_is_loaded_by_its_first_name(shop: Workshop) -> None:
    shop.library("lib/libx.so.1.2.3", soname="libx.so.1")
    shop.link("lib/libx.so.1.2", "libx.so.1.2.3")
    shop.link("lib/libx.so.1", "libx.so.1.2")
    program = shop.program("program", "lib/libx.so.1.2.3", flags=runpath("$ORIGIN/lib"))
    assert agree(program)["libx.so.1"] == shop("lib/libx.so.1")


def test_a_library_of_another_class_or_machine_is_passed_over(shop: Workshop) -> None:
    shop.library("good/libx.so")
    program = shop.program("program", "good/libx.so", flags=runpath(shop("class"), shop("machine"), shop("good")))
    data = Path(shop("good/libx.so")).read_bytes()
    os.makedirs(shop("class"))
    os.makedirs(shop("machine"))
    Path(shop("machine/libx.so")).write_bytes(data[:18] + (183).to_bytes(2, "little") + data[20:])  # EM_AARCH64
    i386 = ["gcc", "-m32", "-nostdlib", "-shared", "-fPIC", "-o", shop("class/libx.so"), "-x", "c", os.devnull]
    if subprocess.run(i386, capture_output=True, check=False).returncode:  # no 32-bit compiler here
        Path(shop("class/libx.so")).write_bytes(data[:18] + (62).to_bytes(2, "little") + data[20:])
        os.unlink(shop("class/libx.so"))
    assert agree(program)["libx.so"] == shop("good/libx.so")
    considered = searches(program)["libx.so"].considered
    assert f"{shop('machine')}/libx.so (wrong ELF class or machine)" in considered


def test_a_miss_lists_every_path_that_the_loader_tries_and_in_its_order(shop: Workshop) -> None:
    shop.library("build/libgone.so")
    program = shop.program("program", "build/libgone.so", flags=runpath(shop("one"), "$ORIGIN/two"))
    os.unlink(shop("build/libgone.so"))
    for directory in ("one", "two", "path"):
        os.makedirs(shop(directory))
    search = searches(program, shop("path"))["libgone.so"]
    assert search.path is None
    assert list(search.considered) == loader_tried(program, "libgone.so", {"LD_LIBRARY_PATH": shop("path")})


def test_what_is_found_says_how(shop: Workshop) -> None:
    shop.library("lib/libx.so")
    program = shop.program("program", "lib/libx.so", flags=runpath("$ORIGIN/lib"))
    found = searches(program)
    assert found["libx.so"].how == f"RUNPATH of {program}"
    assert found["libc.so.6"].how == "listed in /etc/ld.so.cache"


def test_the_default_directories_are_not_searched_for_an_object_linked_nodefaultlib(shop: Workshop) -> None:
    program = shop.program("program", flags=("-Wl,-z,nodefaultlib",))
    assert agree(program)["libc.so.6"] is None
    assert agree(shop.program("plain"))["libc.so.6"] is not None


@pytest.mark.parametrize("option", ["-f", "-F"])
def test_auxiliary_and_filter_libraries_are_loaded(shop: Workshop, option: str) -> None:
    shop.library("lib/libfiltee.so")
    shop.library("lib/libx.so", flags=(f"-Wl,{option},libfiltee.so", *runpath("$ORIGIN")))
    program = shop.program("program", "lib/libx.so", flags=runpath("$ORIGIN/lib"))
    assert agree(program)["libfiltee.so"] == shop("lib/libfiltee.so")


def test_an_auxiliary_library_that_is_missing_is_no_miss(shop: Workshop) -> None:
    shop.library("lib/libx.so", flags=("-Wl,-f,libnowhere.so",))
    program = shop.program("program", "lib/libx.so", flags=runpath("$ORIGIN/lib"))
    needs = needs_here()
    assert [s.name for s in needs.of_program(program, None) if s.path is None] == ["libnowhere.so"]
    assert needs.misses == []
    subprocess.run([program], check=True)


def test_the_cpus_sub_directory_is_chosen_and_its_siblings_are_named(shop: Workshop) -> None:
    levels = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
    shop.library("lib/libx.so")
    for level in levels:
        shop.library(f"lib/glibc-hwcaps/{level}/libx.so")
    program = shop.program("program", "lib/libx.so", flags=runpath("$ORIGIN/lib"))
    real = agree(program)["libx.so"]
    best = active_hwcaps()[:1]
    assert real == (shop(f"lib/glibc-hwcaps/{best[0]}/libx.so") if best else shop("lib/libx.so"))
    found = searches(program)["libx.so"]
    assert {real, *found.siblings} == {shop("lib/libx.so"), *(shop(f"lib/glibc-hwcaps/{v}/libx.so") for v in levels)}


def test_levels_of_cpus_are_tried_best_first() -> None:
    assert HWCAPS["x86-64-v3"] == ("x86-64-v3", "x86-64-v2")
    assert active_hwcaps() in {(), *HWCAPS.values()}


def test_a_plugin_is_found_by_the_hosts_runpath_and_its_needs_by_its_own(shop: Workshop) -> None:
    shop.library("plugins/private/libhelper.so")
    plugin = shop.library("plugins/plugin.so", "plugins/private/libhelper.so", flags=runpath("$ORIGIN/private"))
    host = shop.program("bin/host", source="plugin_host.c", flags=runpath("$ORIGIN/../plugins"))
    out = subprocess.run([host, "plugin.so"], capture_output=True, text=True, check=True).stdout.splitlines()
    needs = needs_here()
    list(needs.of_program(host, None))
    found = {search.name: search.path for search in needs.of_file(plugin)}
    assert found["libhelper.so"] == shop("plugins/private/libhelper.so")
    assert any(os.path.samefile(line, found["libhelper.so"]) for line in out)


def test_a_plugins_needs_are_found_by_the_rpath_of_the_program_that_loads_it(shop: Workshop) -> None:
    shop.library("lib/libhelper.so")
    plugin = shop.library("plugins/plugin.so", "lib/libhelper.so")
    host = shop.program("bin/host", source="plugin_host.c", flags=rpath(shop("lib")))
    out = subprocess.run([host, plugin], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shop("lib/libhelper.so") in out
    alone = needs_here()
    assert {s.name: s.path for s in alone.of_file(plugin)}["libhelper.so"] is None
    needs = needs_here()
    list(needs.of_program(host, None))
    assert {s.name: s.path for s in needs.of_file(plugin)}["libhelper.so"] == shop("lib/libhelper.so")


def test_libraries_announced_by_a_dlopen_note_are_found(shop: Workshop) -> None:
    shop.library("lib/libzip_fixture.so.1")
    shop.library("lib/libtls_fixture.so.3")
    plugin = shop.library("lib/libx.so", source="dlopen_note.c", flags=runpath("$ORIGIN"))
    found = {search.name: search for search in needs_here().of_file(plugin)}
    assert found["libzip_fixture.so.1"].path == shop("lib/libzip_fixture.so.1")
    assert found["libtls_fixture.so.3"].path == shop("lib/libtls_fixture.so.3")
    assert found["libzip_fixture.so.1"].how.startswith("dlopen note, recommended for zip")
    assert not any("absent" in name for name in found)


def test_a_static_program_needs_nothing(shop: Workshop) -> None:
    program = shop.program("program", flags=("-static",))
    needs = needs_here()
    assert list(needs.of_program(program, None)) == []
    assert list(needs.of_file(program)) == []
    assert needs.misses == []


def test_a_damaged_object_is_none(shop: Workshop) -> None:
    program = shop.program("program")
    data = Path(program).read_bytes()
    needs = needs_here()
    assert needs.known(program) is not None
    for size in (3, 20, 63, 100, 200):
        broken = shop(f"broken{size}")
        Path(broken).write_bytes(data[:size])
        assert needs.known(broken) is None or not needs.known(broken).needed  # type: ignore[union-attr]


def test_programs_of_this_machine_load_what_the_real_loader_loads() -> None:
    """The whole search, on whatever programs there are here: each of them must agree."""
    compared = 0
    for name in sorted(os.listdir("/usr/bin"))[::12]:
        path = f"/usr/bin/{name}"
        found = needs_here().known(os.path.realpath(path))
        if found is None or found.interpreter != "/lib64/ld-linux-x86-64.so.2" or os.stat(path).st_mode & 0o6000:
            continue
        ours, real = we_say(path), loader_says(path)
        assert {n: p for n, p in ours.items() if "/" not in n} == real, path
        compared += 1
    assert compared > 10
