"""The archive's process, as root of the environment's ids (`sdee-env root`).

    own_module("sdee.runtime.environment.archive.main", write|read|owners, DIRECTORY, FILE)

That root may read and make files of any mode and owner.
"""

from __future__ import annotations

import os
import resource
import sys

from sdee.base.errors import BundleError, OutputError, SdeeError
from sdee.runtime.environment import owners
from sdee.runtime.environment.archive import read, write
from sdee.runtime.environment.store import Environment

_ADDRESS_SPACE = 4 << 30  # bytes; a record that claims more memory is no record of ours


def copy_owners(old: Environment, new: Environment) -> None:
    """Write what `owners` of one environment says about the files of its copy, which are other inodes."""
    shown = owners.Owners(old)
    owned = {}
    if shown.is_recorded():
        for step in old.plan().layers:
            for below, owner in owners.recorded_below(shown, old.path(step.argument)):
                owned[new.path(step.argument) + below] = owner
    owners.write(new, shown.outside, owned)


def main(arguments: list[str]) -> int:
    """Do it, and say in one line on standard error what failed. Lines on standard output are for the user."""
    action, directory, file = arguments
    environment = Environment(os.path.basename(directory), directory)
    try:
        if action == "write":
            write.write(environment, file)
        elif action == "owners":
            copy_owners(environment, Environment(os.path.basename(file), file))
        else:
            resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
            for line in read.read(environment, file):
                sys.stdout.write(line + "\n")
    except SdeeError as error:
        sys.stderr.write(error.render() + "\n")
        return int(error.exit_code)
    except OSError as error:
        name = getattr(error, "filename", None) or file
        sys.stderr.write(f"sdee: error: {name}: {error.strerror or error}\n")
        return int(OutputError.exit_code)
    except (*read.DAMAGED, MemoryError) as error:
        sys.stderr.write(f"sdee: error: {file} is damaged: {error or type(error).__name__}\n")
        return int(BundleError.exit_code)
    return 0
