"""The errors that functions of `sdee` raise, each a SdeeError with `message`, `hint`, `tried` and `exit_code`."""

from __future__ import annotations

from sdee.base.errors import (
    BundleError,
    CommandFailedError,
    CommandNotExecutableError,
    CommandNotFoundError,
    ExitCode,
    InputError,
    InternalError,
    KernelError,
    NodeError,
    OutputError,
    ResourceError,
    SdeeError,
    TraceError,
    UsageError,
)

__all__ = [
    "BundleError",
    "CommandFailedError",
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "ExitCode",
    "InputError",
    "InternalError",
    "KernelError",
    "NodeError",
    "OutputError",
    "ResourceError",
    "SdeeError",
    "TraceError",
    "UsageError",
]
