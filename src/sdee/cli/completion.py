"""What the Tab key offers beyond click's own: files, programs, and a zsh that is not set up for completion yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem, ZshComplete, add_completion_class

if TYPE_CHECKING:
    import click


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's signature
    """Let the shell complete a file's name: "file" is click's word for that."""
    return [CompletionItem(incomplete, type="file")]


def command_line(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a program of PATH, then its arguments."""
    return program_or_file(bool(ctx.params.get(param.name or "")), incomplete)


def program_or_file(has_program: bool, incomplete: str) -> list[CompletionItem]:
    """Complete a program's name for the first word; a file's name elsewhere, or if no program matches."""
    found = [] if has_program or "/" in incomplete or not incomplete else programs(incomplete)
    return [CompletionItem(name) for name in found] or [CompletionItem(incomplete, type="file")]


def programs(beginning: str) -> list[str]:
    """Return the names of programs in PATH with this beginning."""
    found: set[str] = set()
    for directory in os.environ.get("PATH", "").split(":"):
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        found.update(
            name for name in names if name.startswith(beginning) and os.access(os.path.join(directory, name), os.X_OK)
        )
    return sorted(found)


class _Zsh(ZshComplete):
    """click's, after compinit(1): without it there is no `compdef`, and click's text ends in an error."""

    source_template = (
        "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n" + ZshComplete.source_template
    )


add_completion_class(_Zsh)
