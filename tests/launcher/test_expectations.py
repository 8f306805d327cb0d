"""What the closure says a node must have or must not show: CPU, kernel, drivers' libraries, absent paths."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from closure_support import TraceMaker, conf, verdict, write
from launcher_tools import REPO
from sdee.packer.closure.build import build_closure
from sdee.packer.closure.host_libraries import NEVER, families
from sdee.packer.closure.options import ClosureOptions
from sdee.packer.elf.demands import NOTHING, Demands, read_demands
from sdee.packer.elf.objects import ElfReader
from sdee.packer.filesystem import FileSystem

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = f"{REPO}/fixtures/hostlib/driver.c"
LIBC = os.path.realpath("/lib/x86_64-linux-gnu/libc.so.6")


@pytest.fixture
def made(tmp_path: Path) -> TraceMaker:
    (tmp_path / "work").mkdir()
    return TraceMaker(str(tmp_path / "work"))


def program(directory: Path, name: str, *flags: str, source: str = "int main(void) { return 0; }\n") -> str:
    path = write(directory / f"{name}.c", source)
    subprocess.run(["gcc", path, "-o", directory / name, *flags], check=True)
    return str(directory / name)


# ---- CPU and kernel ----


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v4"])
def test_the_cpu_level_that_a_used_program_is_marked_with_is_told(made: TraceMaker, tmp_path: Path, level: str) -> None:
    path = program(tmp_path, "app", f"-Wl,-z,{level}")
    made.execute(path)
    closure = made.closure()
    assert conf(closure, "isa") == [f"{level} {path}"]
    assert conf(closure, "cpu") == ["x86-64-v3"]


def test_a_program_for_every_cpu_demands_none_but_names_its_oldest_kernel(made: TraceMaker, tmp_path: Path) -> None:
    path = program(tmp_path, "app")
    made.execute(path)
    closure = made.closure()
    assert conf(closure, "isa") == []
    assert conf(closure, "kernel") == [f"3.2.0 {path}"]


def test_what_only_a_widening_adds_demands_nothing(made: TraceMaker, tmp_path: Path) -> None:
    path = program(tmp_path, "app", "-Wl,-z,x86-64-v4")
    made.execute("/usr/bin/true")
    assert conf(made.closure(include=(path,)), "isa") == []


def test_notes_are_read_as_readelf_reads_them() -> None:
    found = ElfReader(FileSystem()).read(LIBC)
    assert found is not None
    said = subprocess.run(["readelf", "-n", LIBC], capture_output=True, text=True, check=True).stdout
    assert f"ABI: {'.'.join(map(str, found.demands.kernel))}" in said
    assert ("x86-64-v" in said) == (found.demands.level > 0)


def test_damaged_notes_demand_nothing() -> None:
    tag = struct.pack("<3I4s4I", 4, 16, 1, b"GNU\0", 0, 4, 11, 0)
    assert read_demands(iter([tag]), little_endian=True, align=8) == Demands(0, (4, 11, 0))
    for cut in range(len(tag)):
        assert read_demands(iter([tag[:cut]]), little_endian=True, align=8) == NOTHING
    huge = struct.pack("<3I4s", 4, 0xFFFFFFFF, 5, b"GNU\0") + bytes(64)
    assert read_demands(iter([huge]), little_endian=True, align=8) == NOTHING


# ---- the node's own libraries ----


def stand_in(directory: Path) -> Path:
    """Return a libcuda.so.1 with a symbol version, and the directory to link with."""
    directory.mkdir()
    script = write(directory / "versions", "CUDA_1.0 { global: cuDriverGetVersion; local: *; };\n")
    library = directory / "libcuda.so.1"
    flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", f"-Wl,--version-script={script}"]
    subprocess.run(["gcc", *flags, DRIVER, "-o", library], check=True)
    return library


def test_a_driver_library_that_a_program_starts_with_must_be_on_the_node(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lief", None)  # only MPI's symbols are worth a quarter of a second
    library = stand_in(tmp_path / "driver")
    path = str(tmp_path / "app")
    flags = [f"-L{library.parent}", "-l:libcuda.so.1", f"-Wl,-rpath,{library.parent}"]
    subprocess.run(["gcc", f"{REPO}/fixtures/hostlib/linked.c", "-o", path, *flags], check=True)
    made.execute(path, "/lib64/ld-linux-x86-64.so.2")
    made.use(library)
    closure = made.closure()
    assert verdict(closure, library) == "host"
    assert conf(closure, "host-need") == [f"libcuda.so.1 must {path} CUDA_1.0"]
    assert conf(closure, "host-used") == ["libcuda.so.1"]
    assert conf(closure, "host-family")[0].startswith("nvidia never libcuda.so* ")
    assert conf(closure, "library-directory")[0] == "/lib/x86_64-linux-gnu"
    libc = next(value for value in conf(closure, "provides") if value.startswith("libc.so.6 "))
    newest = subprocess.run(["readelf", "-V", LIBC], capture_output=True, text=True, check=True).stdout
    assert all(version in newest for version in libc.split()[1:])
    assert len(libc.split()) > 20


def test_a_driver_library_that_was_only_looked_for_is_found_later_and_not_hidden(made: TraceMaker) -> None:
    made.execute("/usr/bin/true", "/lib64/ld-linux-x86-64.so.2")
    missing = made.use("/usr/lib/x86_64-linux-gnu/libcuda.so.1", existed=False)
    other = made.use("/usr/lib/x86_64-linux-gnu/libsomething-else.so.1", existed=False)
    closure = made.closure()
    assert conf(closure, "host-need") == []
    assert conf(closure, "host-used") == []
    assert [value.split()[0] for value in conf(closure, "host-family")] == ["nvidia"]
    assert conf(closure, "absent") == [other]
    assert verdict(closure, missing) == "absent"


def test_a_job_without_such_libraries_tells_nothing_of_them(made: TraceMaker) -> None:
    made.execute("/usr/bin/true", "/lib64/ld-linux-x86-64.so.2")
    closure = made.closure()
    for key in ("host-need", "host-family", "library-directory", "provides"):
        assert conf(closure, key) == []


def test_a_library_that_the_site_names_as_its_own_is_treated_as_a_drivers(made: TraceMaker, tmp_path: Path) -> None:
    library = stand_in(tmp_path / "driver")
    own = library.rename(library.parent / "libsite mpi.so.40")
    made.execute("/usr/bin/true", "/lib64/ld-linux-x86-64.so.2")
    made.use(own)
    closure = build_closure(made.trace(), ClosureOptions(host=("*/libsite mpi.so*",)))
    assert verdict(closure, own) == "host"
    assert conf(closure, "host-family") == ["site never libsite?mpi.so*"]


@pytest.mark.skipif(shutil.which("mpicc") is None, reason="no mpicc")
def test_what_a_program_calls_of_its_mpi_is_told(made: TraceMaker, tmp_path: Path) -> None:
    path = str(tmp_path / "ring")
    subprocess.run(["mpicc", f"{REPO}/fixtures/mpi/ring.c", "-o", path], check=True)
    made.execute(path, "/lib64/ld-linux-x86-64.so.2")
    closure = made.closure()
    (symbols,) = conf(closure, "host-symbols")
    soname, by, *names = symbols.split()
    assert soname.startswith("libmpi.so.")
    assert by == path
    assert {"MPI_Init", "MPI_Send", "MPI_Recv", "MPI_Finalize"} <= set(names)
    assert not {"printf", "malloc"} & set(names)
    assert any(value.startswith("mpi asked ") for value in conf(closure, "host-family"))


def test_an_mpi_that_was_looked_for_where_it_is_not_is_passed_over_in_silence(
    made: TraceMaker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As mpi4py does, which has a module for each."""
    library = program(tmp_path, "libmpi.so.7", "-shared", "-fPIC", source="int MPI_Init(void) { return 0; }\n")
    caller = "int MPI_Init(void); int f(void) { return MPI_Init(); }\n"
    module = program(tmp_path, "MPI.so", "-shared", "-fPIC", f"-L{tmp_path}", "-l:libmpi.so.7", source=caller)
    os.unlink(library)
    made.execute("/usr/bin/true")
    made.use(module)
    made.use(library, existed=False)
    closure = made.closure()
    assert verdict(closure, module) == "bundle"
    assert conf(closure, "host-symbols") == []
    assert capfd.readouterr() == ("", "")


def test_the_table_of_families_is_whole() -> None:
    assert {"nvidia", "rocm", "verbs", "level-zero", "opencl"} <= {family.name for family in families()}
    for family in families():
        assert family.libraries, family.name
        assert all(path == os.path.normpath(path) for path in family.paths)
    nvidia = families()[0]
    assert nvidia.mode == NEVER
    assert nvidia.has("/usr/lib/libnvidia-ml.so.535.104")
    assert not nvidia.has("/usr/local/cuda/lib64/stubs/libcuda.so")
    assert not nvidia.has("/usr/lib/libcudart.so.12")


# ---- what was not there ----


def test_absent_paths_of_the_system_are_told_once_and_by_their_outermost_name(made: TraceMaker) -> None:
    made.execute("/usr/bin/true")
    for path in ("/etc/no-such.conf", "/usr/lib/no-such/a", "/usr/lib/no-such/b/c", "/lib/no-such/a", "/opt/no-such/x"):
        made.use(path, "probe", existed=False)
    made.use(f"{made.cwd}/restart.chk", "probe", existed=False)
    made.use("/proc/no-such", "probe", existed=False)
    made.use("/home/somebody/.rc", "probe", existed=False)
    above = "/opt" if not os.path.lexists("/opt") else "/opt/no-such"
    assert conf(made.closure(), "absent") == ["/etc/no-such.conf", above, "/usr/lib/no-such"]


def test_what_was_there_and_is_gone_is_not_hidden_on_the_node(made: TraceMaker) -> None:
    made.execute("/usr/bin/true")
    made.use("/etc/was-there-once", "probe", existed=True)
    assert conf(made.closure(), "absent") == []


def test_a_name_that_is_there_now_is_not_told_as_absent(made: TraceMaker) -> None:
    assert shutil.which("true")
    made.execute("/usr/bin/true")
    made.use("/etc/passwd-", "probe", existed=False)
    made.use("/etc/debian_version", "probe", existed=False)
    assert "/etc/debian_version" not in conf(made.closure(), "absent")
