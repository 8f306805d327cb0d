"""`{graphviz} FILE` where dot(1) is not installed: the page shows the source of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class Source(Directive):
    """Take sphinx.ext.graphviz's options, and show the file."""

    required_arguments = 1
    option_spec = {"alt": directives.unchanged, "caption": directives.unchanged}  # noqa: RUF012 - docutils' way

    def run(self) -> list[nodes.Node]:
        """Return the source as a literal block."""
        text = (Path(__file__).parent / self.arguments[0]).read_text()
        return [nodes.literal_block("", text, language="none")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive (Sphinx calls this)."""
    app.add_directive("graphviz", Source)
    return {"parallel_read_safe": True}
