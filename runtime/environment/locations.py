"""Where environments are and what is where in them. Imports next to nothing: entering is to be quick."""

from __future__ import annotations

import os

from sdee.base.at_start import COMMANDS_DIRECTORY

COMMANDS = COMMANDS_DIRECTORY  # inside: what stands in place of the job manager's commands (runtime/native/front/)
STATE_COMMANDS = "commands"  # the directory of an environment's state that is bound there
PROGRAMS = "/usr/bin"  # where Debian has the job manager's commands
DIVERTED = "/usr/lib/sdee"  # where a package's own are, inside
HOST_PROGRAMS = f"{COMMANDS}/host"  # the host's PROGRAMS, inside (plan.py)
DIVERSIONS = "/var/lib/dpkg/diversions"


def base_directory() -> str:
    """Return where environments are: SDEE_ENV_DIR, else the XDG data directory.

    What platformdirs.user_data_dir would say, without the milliseconds of importing it: entering is to be quick. A test
    compares the two.
    """
    own = os.environ.get("SDEE_ENV_DIR", "")
    if own.strip():
        return os.path.abspath(own)
    data = os.environ.get("XDG_DATA_HOME", "").strip() or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(os.path.abspath(data), "sdee", "environments")
