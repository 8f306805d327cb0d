"""Builds the static C programs: the launcher of every bundle, sdee-env and sdee-front. All else: pyproject.toml."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "runtime" / "native"
PROGRAMS = ("sdee-launcher", "sdee-env", "sdee-front")  # what make builds there


class BuildLauncher(Command):
    """`make` in their folder, then the executables go where package data is looked for."""

    description = "build the static C programs"
    user_options: list[tuple[str, str | None, str]] = []  # noqa: RUF012 - setuptools wants a class attribute
    editable_mode = False
    build_lib: str | None

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        try:
            subprocess.run(["make", "-s", "-C", str(SOURCE), *PROGRAMS], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(
                f"error: the static C programs could not be built: {error}\n"
                "  they need make, a C compiler that links statically (musl-gcc, or gcc with libc.a) and libzstd.a\n"
                "  hint: apt-get install make gcc musl-tools libzstd-dev, or install the wheel, which has them"
            )
        if not self.editable_mode:
            self._target.mkdir(parents=True, exist_ok=True)
            for program in PROGRAMS:
                shutil.copy2(SOURCE / program, self._target / program)

    @property
    def _target(self) -> Path:
        return Path(self.build_lib or ".") / "sdee" / "runtime" / "native"

    def get_source_files(self) -> list[str]:
        sources = [SOURCE / "Makefile", *SOURCE.rglob("*.[ch]")]
        return sorted(str(path.relative_to(HERE)) for path in sources)

    def get_outputs(self) -> list[str]:
        return [str(self._target / program) for program in PROGRAMS]

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


# `make docs` makes them; without it the wheel has none
MANUAL = sorted(str(page.relative_to(HERE)) for page in HERE.glob("docs/man/*.[17]"))

setup(
    data_files=[(f"share/man/man{section}", [page for page in MANUAL if page.endswith(section)]) for section in "17"],
    distclass=MachineCode,
    cmdclass={"build": Build, "build_launcher": BuildLauncher, "bdist_wheel": PlatformWheel},
)
