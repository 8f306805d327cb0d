"""The command line with which sdee starts its own Python: nothing in the current directory takes part.

`python -m` and `python -c` put the current directory first in sys.path, where another user's `json.py` or `sdee/`
would run as this one. Rejected: -P, which Python 3.10 lacks; -I, which hides an sdee that was installed by `pip install
--user` or that PYTHONPATH names.
"""

from __future__ import annotations

import os
import sys

PROGRAM = sys.executable
# site makes the other entries of sys.path absolute (site.removeduppaths): the empty one is the current directory
_GUARD = "import sys; sys.path[:] = filter(None, sys.path); "


def own_python(statements: str, *arguments: str) -> list[str]:
    """Return the command line that runs Python statements of sdee's; `arguments` are sys.argv[1:] there."""
    return [PROGRAM, "-c", _GUARD + statements, *arguments]


def own_module(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs `main(arguments)` of a module of sdee's, and ends with what it returns."""
    return own_python(_main_of(module), *arguments)


def same_module(module: str, *arguments: str) -> list[str]:
    """Return the same for a program that may have changed sys.path since it began, and found sdee by that."""
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    return own_python(f"sys.path += (p for p in {path!a} if p not in sys.path); {_main_of(module)}", *arguments)


def _main_of(module: str) -> str:
    return f"from {module} import main; sys.exit(main(sys.argv[1:]))"


def files() -> tuple[str, ...]:
    """Return the files that must be seen where such a command line is to run."""
    base = os.path.dirname(os.path.abspath(__file__))
    return PROGRAM, os.path.join(os.path.dirname(base), "__init__.py")
