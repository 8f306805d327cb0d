"""sdee: run a job on an HPC compute node exactly as it ran on the login node.

The functions and classes below are what programs use: docs/python.md. All else is private, and imported when asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not typing's: `sdee exec` imports this module, and importing that takes longer than all else
if TYPE_CHECKING:
    from sdee import errors
    from sdee._api.bundles import Bundle, Deployed, Entry, LeftOut, Report, bundle, open_bundle, verify
    from sdee._api.submissions import Submission, submit
    from sdee._api.traces import File, Trace, open_trace, trace

__version__ = "0.2.0"

__all__ = [
    "Bundle",
    "Deployed",
    "Entry",
    "File",
    "LeftOut",
    "Report",
    "Submission",
    "Trace",
    "__version__",
    "bundle",
    "errors",
    "open_bundle",
    "open_trace",
    "submit",
    "trace",
    "verify",
]

_MODULES = {
    "sdee._api.bundles": ("Bundle", "Deployed", "Entry", "LeftOut", "Report", "bundle", "open_bundle", "verify"),
    "sdee._api.submissions": ("Submission", "submit"),
    "sdee._api.traces": ("File", "Trace", "open_trace", "trace"),
}


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    from importlib import import_module  # noqa: PLC0415

    if name == "errors":
        return import_module("sdee.errors")
    for module, names in _MODULES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(module), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
