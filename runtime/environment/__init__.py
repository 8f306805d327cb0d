"""A private environment in which the user is root over the login node's own system: its state, its program."""

from __future__ import annotations

import os

_NATIVE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native")
PROGRAM = os.path.join(_NATIVE, "sdee-env")
FRONT = os.path.join(_NATIVE, "sdee-front")


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


def program() -> str:
    """Return the path of this installation's sdee-env. Raises sdee.errors.InternalError when it has none."""
    return _installed(PROGRAM)


def front() -> str:
    """Return the path of this installation's sdee-front. Raises sdee.errors.InternalError when it has none."""
    return _installed(FRONT)


def _installed(path: str) -> str:
    if not os.access(path, os.X_OK):
        from sdee.errors import InternalError  # noqa: PLC0415

        raise InternalError(
            f"this installation of sdee has no program at {path}",
            hint="in a checkout: make launcher (needs musl-tools); else reinstall sdee-hpc",
        )
    return path
