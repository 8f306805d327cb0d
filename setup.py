"""Builds the static C programs: the launcher of every bundle, sdee-env and sdee-front. All else: pyproject.toml."""

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
# folder of runtime/ → what make builds there
PROGRAMS = {"launcher": "sdee-launcher", "environment": "sdee-env", "front": "sdee-front"}


class BuildLauncher(Command):
    """`make` in their folders, then the executables go where package data is looked for."""

    description = "build the static C programs"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012 - setuptools wants a class attribute
    editable_mode = False
    build_lib: str | None

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        for folder, program in PROGRAMS.items():
            source = HERE / "runtime" / folder
            try:
                subprocess.run(["make", "-s", "-C", str(source), program], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                sys.exit(
                    f"error: {program} could not be built: {error}\n"
                    "  it needs make, a C compiler that links statically (musl-gcc, or gcc with libc.a) and libzstd.a\n"
                    "  hint: apt-get install make gcc musl-tools libzstd-dev, or install the wheel, which has them"
                )
            if not self.editable_mode:
                target = self._target(folder)
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / program, target / program)

    def _target(self, folder: str) -> Path:
        return Path(self.build_lib or ".") / "sdee" / "runtime" / folder

    def get_source_files(self) -> list[str]:
        return [
            f"runtime/{folder}/{name}"
            for folder in PROGRAMS
            for name in sorted(os.listdir(HERE / "runtime" / folder))
            if name.endswith((".c", ".h")) or name == "Makefile"
        ]

    def get_outputs(self) -> list[str]:
        return [str(self._target(folder) / program) for folder, program in PROGRAMS.items()]

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
