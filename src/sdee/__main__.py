"""Entry point. `sdee exec` and `sdee shell` go straight to their C programs, without click and the packer."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; what must start quickly is replaced by a C program, everything else is click's."""
    if len(sys.argv) > 1 and sys.argv[1] in ("exec", "deploy", "undeploy"):
        from sdee.runtime.execute import main as execute  # noqa: PLC0415

        execute(([] if sys.argv[1] == "exec" else [f"--{sys.argv[1]}"]) + sys.argv[2:])
    if sys.argv[1:2] == ["shell"] or sys.argv[1:3] == ["env", "enter"]:
        from sdee.runtime.environment.enter import main as enter  # noqa: PLC0415

        enter(sys.argv[2 if sys.argv[1] == "shell" else 3 :])  # returns where click shall explain
    from sdee.cli import main as cli  # noqa: PLC0415

    cli()


if __name__ == "__main__":
    main()
