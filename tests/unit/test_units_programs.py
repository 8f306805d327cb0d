"""Units: what a program may open, start or load though the traced run did nothing there."""

from __future__ import annotations

import glob
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from closure_support import TraceMaker, trace_for_units, verdict, why, write
from sdee.packer.packages import Packages
from sdee.packer.units import libraries, resources, shell
from sdee.tracer.tracefile.model import Exec

if TYPE_CHECKING:
    from pathlib import Path


ELF = b"\x7fELF" + bytes(60)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    return trace_for_units(tmp_path, monkeypatch)


def compiled(path: Path, text: str, *flags: str) -> Path:
    """Compile a program or library that has a text in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f'const char *volatile where = "{text}"; int main(void) {{ return where[0]; }}'
    command = ["gcc", "-x", "c", "-", "-x", "none", "-o", str(path), *flags]
    subprocess.run(command, input=source.encode(), check=True)
    return path


def test_directories_that_a_program_names_in_its_file_travel_untouched(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    text = f"-I{usr}/share/tables:{usr}/lib/x86_64-linux-gnu/formats/1.2/ x{usr}/lib/inside"
    text += f" {usr}/share/doc {usr}/share/gone"
    made.execute(compiled(usr / "bin" / "tool", text))
    travels = [
        write(usr / "share" / "tables" / "colours"),
        write(usr / "lib" / "x86_64-linux-gnu" / "formats" / "1.2" / "flac.so"),
        write(usr / "libexec" / "formats" / "helper"),
    ]
    stays = [
        write(usr / "share" / "doc" / "people"),
        write(usr / "lib" / "inside" / "x"),
        write(usr / "lib" / "other" / "x"),
    ]
    closure = made.closure()
    assert [verdict(closure, p) for p in (*travels, *stays)] == ["bundle"] * 3 + ["nothing"] * 3
    assert f"belongs to {usr}/bin/tool the resources of formats" in why(closure, travels[1])
    assert verdict(made.closure(minimal=True), travels[0]) == "nothing"


def test_a_loaded_library_names_its_plugins_and_glibc_does_not(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    made.use(compiled(usr / "lib" / "libcodec.so.3", f"{usr}/lib/codec", "-shared", "-fPIC"))
    made.use(compiled(usr / "lib" / "libm.so.6", f"{usr}/lib/mathematics", "-shared", "-fPIC"))
    plugin, not_ours = write(usr / "lib" / "codec" / "x.so"), write(usr / "lib" / "mathematics" / "x")
    closure = made.closure()
    assert [verdict(closure, p) for p in (plugin, not_ours)] == ["bundle", "nothing"]


def test_what_has_a_programs_name_is_its_own_also_where_others_add_to_it(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    made.execute(write(usr / "bin" / "plain", "#!/bin/sh\n", 0o755))
    own, others = (
        write(usr / "share" / "plain" / "x"),
        write(usr / "lib" / "x86_64-linux-gnu" / "zsh" / "5.9" / "math.so"),
    )
    closure = made.closure()
    assert [verdict(closure, p) for p in (own, others)] == ["bundle", "nothing"]
    made.execute(write(usr / "bin" / "zsh", "#!/bin/sh\n", 0o755))
    made.execute(write(usr / "bin" / "doc", "#!/bin/sh\n", 0o755))
    people = write(usr / "share" / "doc" / "x")
    closure = made.closure()
    assert [verdict(closure, p) for p in (own, others, people)] == ["bundle", "bundle", "nothing"]


def test_a_plugin_that_would_bring_too_much_is_left_out_and_the_others_are_not(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usr = tmp_path / "usr"
    made.execute(write(usr / "bin" / "tool", "#!/bin/sh\n", 0o755))
    huge = compiled(tmp_path / "huge" / "libhuge.so", "x", "-shared", "-fPIC")
    link = ("-Wl,--no-as-needed", str(huge), f"-Wl,-rpath,{huge.parent}")
    light = compiled(usr / "lib" / "tool" / "light.so", "x", "-shared", "-fPIC")
    heavy = compiled(usr / "lib" / "tool" / "heavy.so", "x", "-shared", "-fPIC", *link)
    plugins = [light, heavy]
    assert {verdict(made.closure(), p) for p in (*plugins, huge)} == {"bundle"}
    os.truncate(huge, huge.stat().st_size + (1 << 20))
    monkeypatch.setattr(resources, "UNTOUCHED_LIMIT", 1 << 20)
    closure = made.closure()
    assert [verdict(closure, p) for p in (*plugins, huge)] == ["bundle", "nothing", "nothing"]
    said = "the resources of tool is larger than 1 MB: the bundle lacks 1 of its"
    assert any(said in text for text in closure.warnings)


def test_a_module_that_is_opened_through_a_link_counts_by_its_own_name(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    made.execute(write(usr / "bin" / "interpreter", "#!/bin/sh\n", 0o755))
    lib = usr / "lib" / "x86_64-linux-gnu"
    write(lib / "liblua5.4-socket.so.2.0.0")
    (lib / "lua" / "5.4" / "socket").mkdir(parents=True)
    (lib / "lua" / "5.4" / "socket" / "core.so").symlink_to("../../../liblua5.4-socket.so.2.0.0")
    made.use(lib / "lua" / "5.4" / "socket" / "core.so")
    unseen = [
        write(lib / "lua" / "5.4" / "mime" / "core.so"),
        write(usr / "share" / "lua" / "5.4" / "socket" / "url.lua"),
    ]
    assert [verdict(made.closure(), p) for p in unseen] == ["bundle"] * 2


def test_perl_that_loaded_nothing_brings_its_core(made: TraceMaker) -> None:
    made.execute("/usr/bin/perl")
    (posix,) = glob.glob("/usr/lib/*/perl/5.*/POSIX.pm")[:1] or pytest.skip("no Perl with POSIX here")
    assert verdict(made.closure(), os.path.realpath(posix)) == "bundle"
    assert verdict(made.closure(minimal=True), os.path.realpath(posix)) == "nothing"


def test_of_an_executed_programs_package_the_other_programs_travel(made: TraceMaker) -> None:
    made.execute("/usr/bin/zstd")
    closure = made.closure()
    assert verdict(closure, "/usr/bin/zstdgrep") == "bundle"
    assert "belongs to /usr/bin/zstd the package zstd " in why(closure, "/usr/bin/zstdgrep")
    assert verdict(closure, "/usr/share/doc/zstd/copyright") == "nothing"
    assert verdict(closure, "/usr/share/man/man1/zstdgrep.1.gz") == "nothing"
    assert {verdict(made.closure(minimal=True), p) for p in ("/usr/bin/zstdgrep", "/usr/bin/pzstd")} == {"nothing"}


@pytest.mark.parametrize(("depends", "travels"), [("libc6 (>= 2.34), perl:any | perl5", True), ("libc6", False)])
def test_an_interpreter_travels_with_a_package_that_depends_on_it(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depends: str, *, travels: bool
) -> None:
    """VCFtools: a program in C++ and Perl scripts. Samtools, which has a Perl script, too, depends on no Perl."""
    program = write(tmp_path / "usr" / "bin" / "tool", ELF, 0o755)
    script = write(tmp_path / "usr" / "bin" / "tool-query", "#!/usr/bin/perl -w\n", 0o755)
    write(tmp_path / "dpkg" / "info" / "tool.list", f"{program}\n{script}\n")
    stanza = f"Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nDepends: {depends}\n"
    write(tmp_path / "dpkg" / "status", stanza)
    monkeypatch.setattr("sdee.packer.closure.build.Packages", lambda fs: Packages(fs, str(tmp_path / "dpkg")))
    made.execute(program)
    closure = made.closure()
    assert verdict(closure, script) == "bundle"
    perl = [os.path.realpath("/usr/bin/perl"), *glob.glob("/usr/share/perl/5.*.*/Getopt/Long.pm")]
    assert [verdict(closure, path) for path in perl] == ["bundle" if travels else "nothing"] * 2
    if travels:
        assert f"belongs to {program} the interpreter of its package's scripts" in why(closure, perl[0])
        assert verdict(made.closure(minimal=True), perl[0]) == "nothing"


def test_over_the_limit_only_what_was_used_travels_of_a_package_and_that_is_said(made: TraceMaker) -> None:
    made.execute("/usr/bin/zstd")
    made.execute("/usr/bin/xz")
    closure = made.closure(package_limit=0)
    assert {verdict(closure, p) for p in ("/usr/bin/zstdgrep", "/usr/bin/xzgrep")} == {"nothing"}
    (said,) = [text for text in closure.warnings if "package-limit" in text]
    assert "whole packages add at most 0 MB" in said
    assert "xz-utils" in said
    assert "zstd" in said
    every = made.closure()
    of_xz = [i for p, i in every.items.items() if i.kind == "file" and "the package xz-utils" in why(every, p)]
    closure = made.closure(package_limit=sum(item.size for item in of_xz))  # its scripts are smaller than pzstd
    assert [verdict(closure, p) for p in ("/usr/bin/xzgrep", "/usr/bin/pzstd")] == ["bundle", "nothing"]


def test_programs_of_an_essential_package_have_nothing_to_do_with_each_other(made: TraceMaker) -> None:
    made.execute("/usr/bin/ls")
    assert verdict(made.closure(), "/usr/bin/sha512sum") == "nothing"
    assert verdict(made.closure(expand=("packages",)), "/usr/bin/sha512sum") == "bundle"


def test_all_packages_travel_whole_when_asked_for(made: TraceMaker) -> None:
    made.use("/lib/x86_64-linux-gnu/liblzma.so.5")
    made.execute("/usr/bin/zstd")
    closure = made.closure(expand=("packages",), package_limit=0)
    assert verdict(closure, "/usr/bin/zstdgrep") == "bundle"
    assert not [text for text in closure.warnings if "package-limit" in text]
    assert closure.package_limit is None


@pytest.mark.parametrize("how", ["argument", "argument with options", "sourced"])
def test_a_script_that_a_shell_is_told_to_run_or_sources_is_read(made: TraceMaker, tmp_path: Path, how: str) -> None:
    script = write(tmp_path / "work" / "t.sh", "test -e x || comm a b\n")
    made.env["PATH"] = "/usr/bin:/bin"
    argv = {"argument": ["bash", "./t.sh"], "argument with options": ["bash", "-ex", "t.sh"]}.get(how, ["bash"])
    made.use("/usr/bin/bash", "exec")
    made.execs.append(Exec(1, "/usr/bin/bash", tuple(argv), (), None, setid=False))
    assert verdict(made.closure(), "/usr/bin/comm") == "nothing"  # the run read no script
    made.use(script)
    closure = made.closure()
    assert f"belongs to {script} programs that a script names" in why(closure, "/usr/bin/comm")
    made.execs.clear()
    assert verdict(made.closure(), "/usr/bin/comm") == "nothing"  # read by no shell


def test_what_a_script_names_that_came_with_a_program_travels_while_it_is_small(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usr = tmp_path / "usr"
    made.env["PATH"] = "/usr/bin:/bin"
    made.execute(write(usr / "bin" / "tool", "#!/bin/sh\n", 0o755))
    text = '#!/bin/sh\nlines=$(comm a b | tac)\nnl=${NL:-nl}\n\techo "say, base64 or cksum"\n'
    text += "if perl -e 1; then :; fi\ngcc -v\n"
    helper = write(usr / "lib" / "tool" / "helper", text, 0o755)
    closure = made.closure()
    programs = [f"/usr/bin/{name}" for name in ("comm", "tac", "nl")]
    assert [verdict(closure, path) for path in programs] == ["bundle"] * 3
    assert f"belongs to {helper} programs that a script names" in why(closure, programs[0])
    # Perl without its library and gcc without cc1 are no use to a script that may never call them
    others = [f"/usr/bin/{name}" for name in ("base64", "cksum", "perl", "gcc")]
    assert [verdict(closure, path) for path in others] == ["nothing"] * 4
    monkeypatch.setattr(shell, "_EACH_LIMIT", 1000)
    assert [verdict(made.closure(), path) for path in programs] == ["nothing"] * 3


def test_a_library_that_is_named_for_dlopen_travels_while_it_is_small(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = tmp_path / "usr" / "lib"
    made.use(compiled(lib / "libloaded.so.1", "x", "-shared", "-fPIC"))
    named, other = write(lib / "libnamed.so.2"), write(lib / "libother.so.3")
    program = tmp_path / "usr" / "bin" / "tool"
    made.execute(compiled(program, "libnamed.so.2"))
    assert verdict(made.closure(), named) == "nothing"  # a text, but nothing that opens libraries
    source = 'extern void *dlopen(const char *, int);\nint main(void) { return dlopen("libnamed.so.2", 1) == 0; }'
    subprocess.run(["gcc", "-x", "c", "-", "-o", str(program)], input=source.encode(), check=True)
    closure = made.closure()
    assert [verdict(closure, path) for path in (named, other)] == ["bundle", "nothing"]
    assert f"belongs to {program} what is opened by name" in why(closure, named)
    monkeypatch.setattr(libraries, "_EACH", 3)
    closure = made.closure()
    assert verdict(closure, named) == "nothing"
    assert any(f"too large to travel: {named}" in text for text in closure.warnings)


@pytest.mark.parametrize("calls", ["execvp", "system", "puts"])
def test_programs_that_a_loaded_library_has_in_it_for_execvp_travel(
    made: TraceMaker, tmp_path: Path, calls: str
) -> None:
    opt = tmp_path / "opt"
    made.env["PATH"] = str(opt / "bin")
    text = f"{calls}\\0make-font\\0pack %s\\0the-third is missing"
    made.use(compiled(opt / "lib" / "libfonts.so.6", f"\\0{text}", "-shared", "-fPIC"))
    font = write(opt / "bin" / "make-font", "#!/bin/sh\nexec helper-of-it\n", 0o755)
    others = [write(opt / "bin" / name, "#!/bin/sh\n", 0o755) for name in ("pack", "helper-of-it")]
    stays = write(opt / "bin" / "the-third", "#!/bin/sh\n", 0o755)
    closure = made.closure()
    expected = ["nothing" if calls == "puts" else "bundle"] * 3
    assert [verdict(closure, path) for path in (font, *others, stays)] == [*expected, "nothing"]
    if calls != "puts":
        assert f"belongs to {opt}/lib/libfonts.so.6 programs that a program names" in why(closure, font)
        assert f"belongs to {font} programs that a script names" in why(closure, others[1])


def test_a_library_that_python_code_opens_with_ctypes_travels(made: TraceMaker, tmp_path: Path) -> None:
    made.use("/usr/lib/x86_64-linux-gnu/libz.so.1")
    code = "from ctypes import CDLL\nimport ctypes.util\n"
    code += "def f():\n    CDLL('liblzma.so.5')\n    ctypes.util.find_library('bz2')\n"
    made.use(write(tmp_path / "work" / "main.py", code))
    closure = made.closure()
    found = [p for p in ("liblzma.so.5", "libbz2.so.1.0") if f"/usr/lib/x86_64-linux-gnu/{p}" in closure.items]
    assert found == ["liblzma.so.5", "libbz2.so.1.0"]
    assert verdict(closure, os.path.realpath("/sbin/ldconfig")) == "bundle"
    write(tmp_path / "work" / "main.py", "from ctypes import CDLL\n")
    assert verdict(made.closure(), os.path.realpath("/usr/lib/x86_64-linux-gnu/liblzma.so.5")) == "nothing"


def test_a_compiler_brings_its_assembler_and_linker(made: TraceMaker, tmp_path: Path) -> None:
    paths = {
        name: write(tmp_path / "own" / name, "#!/bin/sh\n", 0o755) for name in ("gcc-99", "gcc-and-more", "as", "ar")
    }
    linker = write(tmp_path / "path" / "ld", "#!/bin/sh\n", 0o755)
    made.env["PATH"] = str(tmp_path / "path")
    made.execute(paths["gcc-and-more"])
    assert [verdict(made.closure(), path) for path in (paths["as"], linker)] == ["nothing"] * 2
    made.execute(paths["gcc-99"])
    closure = made.closure()
    assert [verdict(closure, path) for path in (paths["as"], linker, paths["ar"])] == ["bundle", "bundle", "nothing"]
    assert f"belongs to {paths['gcc-99']} what gcc-99 starts" in why(closure, linker)


def test_a_compilers_driver_brings_its_compilers_of_c_and_cxx(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    travels = [write(usr / "lib" / "gcc" / "some-linux-gnu" / "99" / name, ELF) for name in ("cc1", "cc1plus")]
    travels += [write(usr / "bin" / "g++", "#!/bin/sh\n", 0o755), write(usr / "include" / "c++" / "99" / "vector")]
    stays = [
        write(usr / "lib" / "gcc" / "some-linux-gnu" / "99" / "lto1", ELF),
        write(usr / "include" / "c++" / "98" / "x"),
    ]
    made.execute(write(usr / "bin" / "some-linux-gnu-gcc-99", ELF, 0o755))
    travels.append(write(usr / "bin" / "some-linux-gnu-g++-99", ELF, 0o755))
    (usr / "bin" / "some-linux-gnu-g++").symlink_to("some-linux-gnu-g++-99")
    travels.append(usr / "bin" / "some-linux-gnu-g++")
    closure = made.closure()
    assert [verdict(closure, path) for path in (*travels, *stays)] == ["bundle"] * 6 + ["nothing"] * 2


def test_a_compilers_driver_that_only_a_script_names_brings_the_same(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    made.env["PATH"] = str(usr / "bin")
    home = usr / "lib" / "gcc" / "some-linux-gnu" / "99"
    travels = [write(home / name, ELF) for name in ("cc1", "crtbegin.o", "include/stddef.h")]
    travels += [write(usr / "bin" / name, ELF, 0o755) for name in ("some-linux-gnu-gcc-99", "as")]
    (usr / "bin" / "gcc").symlink_to("some-linux-gnu-gcc-99")
    made.execute("/usr/bin/bash")
    script = write(tmp_path / "work" / "job.sh", "[ $# -eq 0 ] || true\n")
    made.execs.append(Exec(1, "/usr/bin/bash", ("bash", "job.sh"), (), None, setid=False))
    made.use(script)
    assert {verdict(made.closure(), path) for path in travels} == {"nothing"}
    script.write_text("[ $# -eq 0 ] || gcc x.c\n")
    closure = made.closure()
    assert {verdict(closure, path) for path in travels} == {"bundle"}
    assert verdict(closure, write(home / "lto1", ELF)) == "nothing"


def test_settings_that_a_program_names_travel(made: TraceMaker, tmp_path: Path) -> None:
    opt = tmp_path / "opt"
    made.execute(compiled(opt / "bin" / "tool", f"{opt}/etc/tool/tool.conf:{opt}/etc/secret"))
    travels = [write(opt / "etc" / "tool" / "tool.conf"), write(opt / "etc" / "tool" / "tool.conf.d" / "10-more")]
    stays = [write(opt / "etc" / "tool" / "key"), write(opt / "etc" / "secret", mode=0o600)]
    closure = made.closure()
    assert [verdict(closure, path) for path in (*travels, *stays)] == ["bundle"] * 2 + ["nothing"] * 2
    assert f"belongs to {opt}/bin/tool what tool names" in why(closure, travels[0])
    made.execute("/usr/bin/ssh")
    assert verdict(made.closure(), "/etc/ssh/ssh_config") == "bundle"
    assert verdict(made.closure(minimal=True), "/etc/ssh/ssh_config") == "nothing"


@pytest.mark.parametrize("who", ["program", "library"])
def test_what_settings_name_travels_data_only_where_the_program_itself_names_the_settings(
    made: TraceMaker, tmp_path: Path, who: str
) -> None:
    opt = tmp_path / "opt"
    if who == "program":
        made.execute(compiled(opt / "bin" / "tool", f"file://{opt}/etc/xml/catalog is used"))
    else:
        made.use(compiled(opt / "lib" / "libx.so.2", f"file://{opt}/etc/xml/catalog", "-shared", "-fPIC"))
    style = f"{opt}/share/xml/style/current"
    settings = [
        write(opt / "etc" / "xml" / "catalog", f'<a catalog="file://{opt}/etc/xml/more.xml"/>\n'),
        write(opt / "etc" / "xml" / "more.xml", f"<b catalog='file://{style}/catalog.xml'/> {opt}/share/misc/table;"),
    ]
    data = [
        write(opt / "share" / "xml" / "style" / "current" / "catalog.xml", f"{opt}/etc/xml/catalog"),
        write(opt / "share" / "xml" / "style" / "current" / "fo" / "part.xsl"),
        write(opt / "share" / "misc" / "table"),
    ]
    stays = [
        write(opt / "share" / "misc" / "table2"),
        write(opt / "share" / "xml" / "other" / "catalog.xml"),
        write(opt / "etc" / "xml" / "unnamed.xml"),
    ]
    closure = made.closure()
    reached = ["bundle" if who == "program" else "nothing"] * 3
    assert [verdict(closure, path) for path in (*settings, *data, *stays)] == ["bundle"] * 2 + reached + ["nothing"] * 3
    assert f"what {settings[0]} leads to" in why(closure, settings[1])


def test_what_a_program_names_that_only_a_script_names_travels(made: TraceMaker, tmp_path: Path) -> None:
    usr = tmp_path / "usr"
    made.env["PATH"] = str(usr / "bin")
    library = compiled(
        usr / "lib" / "libkind.so.1", f"{usr}/share/misc/kind", "-shared", "-fPIC", "-Wl,-soname,libkind.so.1"
    )
    link = ("-Wl,--no-as-needed", str(library), f"-Wl,-rpath,{library.parent}")
    compiled(usr / "bin" / "tool", f"{usr}/lib/plugins-of-tool", *link)
    travels = [write(usr / "share" / "misc" / "kind.mgc"), write(usr / "lib" / "plugins-of-tool" / "x.so")]
    stays = write(usr / "share" / "misc" / "kinder")
    made.execute("/usr/bin/bash")
    script = write(tmp_path / "work" / "job.sh", "[ $# -eq 0 ] || true\n")
    made.execs.append(Exec(1, "/usr/bin/bash", ("bash", "job.sh"), (), None, setid=False))
    made.use(script)
    assert [verdict(made.closure(), path) for path in (*travels, stays)] == ["nothing"] * 3
    script.write_text("[ $# -eq 0 ] || tool\n")
    assert [verdict(made.closure(), path) for path in (*travels, stays)] == ["bundle"] * 2 + ["nothing"]


def test_time_zones_travel_with_a_program_that_has_their_place_in_it_and_no_c_library(
    made: TraceMaker, tmp_path: Path
) -> None:
    zone = "/usr/share/zoneinfo/Asia/Tokyo"
    made.execute(compiled(tmp_path / "go" / "other", "no zones"))
    assert verdict(made.closure(), zone) == "nothing"
    made.execute(
        compiled(tmp_path / "go" / "tool", "text/usr/share/zoneinfo/more text")
    )  # as the linker of Go joins them
    assert verdict(made.closure(), zone) == "bundle"
