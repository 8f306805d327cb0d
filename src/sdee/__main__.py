"""Entry point. `sdee exec` and `sdee shell` go straight to their C programs, without click and the packer."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # not typing's: importing that takes longer than all else here
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what must start quickly is replaced by a C program, everything else is click's.

    `inside` and `rehearse` are for sdee itself: what sdee-front calls, and a run in which writes are discarded.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words else ""
    if name in ("exec", "undeploy") or (name == "deploy" and "--json" not in words):
        from sdee.runtime.launch.execute import main as execute  # noqa: PLC0415

        execute(([] if name == "exec" else [f"--{name}"]) + words[1:])
    if name == "shell" or words[:2] == ["env", "enter"]:
        from sdee.runtime.environment.enter import main as enter  # noqa: PLC0415

        enter(words[1 if name == "shell" else 2 :])  # returns where click shall explain
    if name == "inside" and len(words) > 1:
        from sdee.cli.inside import main as inside  # noqa: PLC0415

        inside(words[1:])
        return
    if name == "rehearse" and len(words) > 3:
        words = _rehearsed(*words[1:])
    import gc  # noqa: PLC0415

    gc.set_threshold(100_000)  # of a bundle's time, looking at what is all in use took 9 %
    from sdee.cli import main as cli  # noqa: PLC0415

    cli(words)


def _rehearsed(parent: str, kept: str, *words: str) -> list[str]:
    """Let this process end with its parent, and discard what it writes but for that in `kept`; return what to run."""
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from sdee.base.libc import die_with_parent  # noqa: PLC0415
    from sdee.runtime.environment import discard  # noqa: PLC0415

    die_with_parent(signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(1)  # it was killed just before
    discard.writes(kept)
    return list(words)


if __name__ == "__main__":
    main()
