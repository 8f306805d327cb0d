"""Builds ELF fixtures, and asks the real loaders what they load: what packer/elf says is compared with that."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from sdee.packer.elf.needs import Needs
from sdee.packer.filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdee.packer.elf.search import Search

SOURCES = Path(__file__).resolve().parent.parent / "fixtures" / "elf"
LOADER = "/lib64/ld-linux-x86-64.so.2"


class Workshop:
    """A directory in which libraries and programs are linked; paths are relative to it."""

    def __init__(self, top: Path, compiler: str = "gcc") -> None:
        self.top = top
        self.compiler = compiler

    def __call__(self, name: str) -> str:
        return str(self.top / name)

    def library(
        self, name: str, *needs: str, soname: str = "", flags: tuple[str, ...] = (), source: str = "library.c"
    ) -> str:
        """Link a shared library that needs others of this directory; its soname is its file name unless given."""
        soname = soname or os.path.basename(name)
        return self._link(name, source, needs, ("-shared", "-fPIC", f"-Wl,-soname,{soname}", *flags))

    def program(self, name: str, *needs: str, flags: tuple[str, ...] = (), source: str = "program.c") -> str:
        """Link a program that needs libraries of this directory."""
        return self._link(name, source, needs, flags)

    def _link(self, name: str, source: str, needs: tuple[str, ...], flags: tuple[str, ...]) -> str:
        out = self.top / name
        out.parent.mkdir(parents=True, exist_ok=True)
        lenient = ("-Wl,--no-as-needed", "-Wl,--unresolved-symbols=ignore-all")
        libraries = [str(self.top / need) for need in needs]
        command = [self.compiler, "-o", str(out), str(SOURCES / source), *lenient, *libraries, *flags]
        subprocess.run(command, check=True, capture_output=True)
        return str(out)

    def link(self, name: str, target: str) -> str:
        """Make a symbolic link."""
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return str(path)


def rpath(*directories: str) -> tuple[str, ...]:
    return (f"-Wl,-rpath,{':'.join(directories)}", "-Wl,--disable-new-dtags")


def runpath(*directories: str) -> tuple[str, ...]:
    return (f"-Wl,-rpath,{':'.join(directories)}", "-Wl,--enable-new-dtags")


def loader_says(program: str, env: Mapping[str, str] | None = None, cwd: str = "/") -> dict[str, str | None]:
    """Return what ld.so loads for a program, by the name it was asked for: None where it finds nothing (ld.so(8)).

    Paths are absolute; ld.so shows one that it built from a relative directory as relative to the working directory,
    and leaves out the arrow where that gives the name itself.
    """
    environment = {"LD_TRACE_LOADED_OBJECTS": "1", "LC_ALL": "C", **(env or {})}
    run = subprocess.run([program], env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    found: dict[str, str | None] = {}
    for line in run.stdout.splitlines():
        if match := re.match(r"\s*(\S+) => (not found|(\S+) \(0x)", line):
            found[match[1]] = match[3] and os.path.join(cwd, match[3])
        elif (match := re.match(r"\s*([^/\s]+) \(0x", line)) and not match[1].startswith("linux-vdso"):
            found[match[1]] = os.path.join(cwd, match[1])
    assert found, f"{program}: the loader said nothing: {run.stdout}{run.stderr}"
    return found


def loader_tried(program: str, name: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the files that ld.so tried for a name, in order, without sub-directories for hardware capabilities."""
    environment = {"LD_DEBUG": "libs", "LC_ALL": "C", **(env or {})}
    run = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    tried: list[str] = []
    inside = False
    for line in run.stderr.splitlines():
        if "find library=" in line:
            inside = f"find library={name} " in line
        elif inside and (match := re.search(r"trying file=(\S+)", line)):
            tried.append(match[1])
    legacy = re.compile(r"/(glibc-hwcaps/[^/]+|tls|haswell|xeon_phi|avx512_1|x86_64|sse2|i686)(/|$)")
    return [path for path in tried if not legacy.search(os.path.dirname(path))]


def active_hwcaps() -> tuple[str, ...]:
    """Return the glibc-hwcaps sub-directories that this machine's loader searches, best first."""
    text = subprocess.run([LOADER, "--help"], capture_output=True, text=True, check=True).stdout
    return tuple(re.findall(r"^  (x86-64-v\d) \(supported, searched\)", text, re.MULTILINE))


def needs_here(libpath: str | None = None, cwd: str = "/") -> Needs:
    return Needs(FileSystem(), active_hwcaps(), libpath, cwd)


def searches(program: str, libpath: str | None = None, cwd: str = "/") -> dict[str, Search]:
    """Return what packer/elf finds for a program, by name."""
    return {search.name: search for search in needs_here(libpath, cwd).of_program(program, libpath)}


def we_say(program: str, libpath: str | None = None, cwd: str = "/") -> dict[str, str | None]:
    """Return the same as loader_says, found by packer/elf without running anything."""
    return {name: search.path for name, search in searches(program, libpath, cwd).items()}
