"""Builds the launcher, the static C program that every bundle carries. Everything else is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

HERE = Path(__file__).resolve().parent
LAUNCHER = HERE / "runtime" / "launcher"


class BuildLauncher(Command):
    """`make` in runtime/launcher, then the executable goes where package data is looked for."""

    description = "build the static launcher"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012 - setuptools wants a class attribute
    editable_mode = False
    build_lib: str | None

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        try:
            subprocess.run(["make", "-s", "-C", str(LAUNCHER), "sdee-launcher"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(
                f"error: the launcher could not be built: {error}\n"
                "  it needs make, a C compiler that links statically (musl-gcc, or gcc with libc.a) and libzstd.a\n"
                "  hint: apt-get install make gcc musl-tools libzstd-dev, or install the wheel, which carries it built"
            )
        if not self.editable_mode:
            target = Path(self.build_lib or ".") / "sdee" / "runtime" / "launcher"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(LAUNCHER / "sdee-launcher", target / "sdee-launcher")

    def get_source_files(self) -> list[str]:
        names = sorted(os.listdir(LAUNCHER))
        return [f"runtime/launcher/{n}" for n in names if n.endswith((".c", ".h")) or n == "Makefile"]

    def get_outputs(self) -> list[str]:
        return [str(Path(self.build_lib or ".") / "sdee" / "runtime" / "launcher" / "sdee-launcher")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    sub_commands = [*build.sub_commands, ("build_launcher", None)]  # noqa: RUF012


class MachineCode(Distribution):
    """The launcher makes it one: installed into platlib, in a wheel for one platform."""

    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    """py3-none-linux_ARCH: the launcher is machine code but knows nothing of Python's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(distclass=MachineCode, cmdclass={"build": Build, "build_launcher": BuildLauncher, "bdist_wheel": PlatformWheel})
