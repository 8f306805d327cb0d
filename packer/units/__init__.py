"""Units: files that make sense only together. One module for each type; UNITS is the registry."""

from __future__ import annotations

from sdee.packer.units.base import Unit, View, Widening, fitting
from sdee.packer.units.code import NamedModules
from sdee.packer.units.companions import Companions, Toolchains
from sdee.packer.units.costs import Costs
from sdee.packer.units.interpreters import Interpreters
from sdee.packer.units.java import Jdk
from sdee.packer.units.libraries import OpenedByName
from sdee.packer.units.node import NodePackages
from sdee.packer.units.packages import WHOLE_PACKAGE, ProgramPackages
from sdee.packer.units.perl import PerlCore, PerlModules
from sdee.packer.units.python import Distributions, ProjectPackages, StandardLibrary, VirtualEnvironments
from sdee.packer.units.python_code import PythonImports
from sdee.packer.units.r import RHome, RPackages
from sdee.packer.units.resources import NamedFiles, ProgramResources
from sdee.packer.units.ruby import RubyGems
from sdee.packer.units.settings import NamedBySettings
from sdee.packer.units.shell import ScriptCommands, StartedByName, UnitScripts, named_files
from sdee.packer.units.system import (
    Certificates,
    CompilerSupport,
    CxxHeaders,
    Fonts,
    Gconv,
    Headers,
    LibraryData,
    Locales,
    Terminfo,
)

UNITS: tuple[Unit, ...] = (
    Interpreters(),
    ScriptCommands(),
    PythonImports(),
    NamedModules(),
    StandardLibrary(),
    Distributions(),
    ProjectPackages(),
    VirtualEnvironments(),
    PerlCore(),
    PerlModules(),
    RubyGems(),
    RHome(),
    RPackages(),
    NodePackages(),
    Gconv(),
    Locales(),
    Terminfo(),
    Certificates(),
    CompilerSupport(),
    CxxHeaders(),
    Headers(),
    Fonts(),
    Jdk(),
    ProgramResources(),
    NamedFiles(),
    NamedBySettings(),
    Companions(),
    Toolchains(),
    LibraryData(),
    OpenedByName(),
    StartedByName(),
    ProgramPackages(),
    UnitScripts(),
)

__all__ = ["UNITS", "WHOLE_PACKAGE", "Costs", "Unit", "View", "Widening", "fitting", "named_files"]
