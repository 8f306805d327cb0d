"""Entry point. `sdee exec` goes straight to the launcher: it must not pay for importing click and the packer."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; `exec`, `deploy`, `undeploy` are replaced by the launcher, everything else is click's."""
    if len(sys.argv) > 1 and sys.argv[1] in ("exec", "deploy", "undeploy"):
        from sdee.runtime.execute import main as execute  # noqa: PLC0415

        execute(([] if sys.argv[1] == "exec" else [f"--{sys.argv[1]}"]) + sys.argv[2:])
    from sdee.cli import main as cli  # noqa: PLC0415

    cli()


if __name__ == "__main__":
    main()
