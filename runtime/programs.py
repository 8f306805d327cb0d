"""Where the three static programs of this installation are. Imports next to nothing: `sdee exec` asks."""

from __future__ import annotations

import os

_HERE = os.path.dirname(os.path.abspath(__file__))
LAUNCHER = os.path.join(_HERE, "native", "sdee-launcher")
ENV = os.path.join(_HERE, "native", "sdee-env")
FRONT = os.path.join(_HERE, "native", "sdee-front")


def launcher_path() -> str:
    """Return the path of the launcher, which is every bundle's beginning. Raises InternalError."""
    return _installed(LAUNCHER)


def env_path() -> str:
    """Return the path of sdee-env, which starts private environments. Raises InternalError."""
    return _installed(ENV)


def front_path() -> str:
    """Return the path of sdee-front, a job manager's command in an environment. Raises InternalError."""
    return _installed(FRONT)


def _installed(path: str) -> str:
    if not os.access(path, os.X_OK):
        from sdee.base.errors import InternalError  # noqa: PLC0415

        raise InternalError(
            f"this installation of sdee has no program at {path}",
            hint="in a checkout: make launcher (needs musl-tools, libzstd-dev); else reinstall sdee-hpc",
        )
    return path
