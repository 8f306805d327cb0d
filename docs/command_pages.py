"""A page for each command of sdee, made from the command itself: synopsis, description, options.

click holds the text of all commands but `sdee exec`, whose options stand in the launcher: its --help is read.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes

from sdee.cli import COMMANDS, cli
from sdee.runtime.programs import launcher_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sphinx.application import Sphinx

WIDTH = 10_000  # click shall break no line: the page does
CHAPTER = {  # where the manual says more about a command
    "trace": "tracing", "bundle": "bundling", "exec": "running", "deploy": "running", "undeploy": "running",
    "submit": "slurm", "wrap": "slurm", "verify": "trouble", "why": "bundling", "diff": "tracing", "config": "bundling",
    "env": "environment", "shell": "environment", "doctor": "trouble",
}  # fmt: skip


def context(words: list[str]) -> click.Context:
    """Return the context of a command: `["env", "create"]`."""
    wide: dict[str, Any] = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    found = click.Context(cli, info_name="sdee", **cli.context_settings, **wide)
    for word in words:
        assert isinstance(found.command, click.Group)
        command = found.command.get_command(found, word)
        assert command is not None, words
        found = click.Context(command, info_name=word, parent=found, **{**command.context_settings, **wide})
    return found


def commands() -> Iterator[tuple[list[str], str]]:
    """Yield the words and the one-line help of each command, and of each command of a group."""
    for name, known in COMMANDS.items():
        yield [name], known[1]
        here = context([name])
        if isinstance(here.command, click.Group):
            for below in here.command.list_commands(here):
                yield [name, below], context([name, below]).command.get_short_help_str(WIDTH)


def write_stubs(folder: Path) -> dict[str, str]:
    """Write the pages, of which the directive below makes the content; return name (`sdee-env-create`) and summary."""
    folder.mkdir(exist_ok=True)
    found = {}
    for words, summary in commands():
        name = "-".join(["sdee", *words])
        found[name] = summary[0].lower() + summary[1:].rstrip(".")
        text = f"# sdee {' '.join(words)}\n\n```{{command}} {' '.join(words)}\n```\n"
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
    for old in {page.stem for page in folder.glob("*.md")} - set(found):
        (folder / f"{old}.md").unlink()
    return found


def inline(text: str) -> list[nodes.Node]:
    """Return a sentence with its `words` set as such."""
    parts = re.split(r"`([^`]+)`", text)
    return [nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts) if part]


def paragraphs(text: str) -> list[nodes.Node]:
    """Return a help text: paragraphs, and blocks that begin with click's mark for text to be left alone."""
    found: list[nodes.Node] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if block.lstrip().startswith("\b"):
            lines = block.lstrip().removeprefix("\b").strip("\n").split("\n")
            margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
            found.append(nodes.literal_block("", "\n".join(line[margin:] for line in lines), language="none"))
        elif block.strip():
            found.append(nodes.paragraph("", "", *inline(" ".join(block.split()))))
    return found


def definitions(pairs: list[tuple[str, str]]) -> nodes.definition_list:
    """Return options with what they do."""
    found = nodes.definition_list()
    for term, text in pairs:
        meaning = nodes.definition("", nodes.paragraph("", "", *inline(" ".join(text.split()))))
        found += nodes.definition_list_item("", nodes.term("", "", nodes.literal("", term)), meaning)
    return found


def section(title: str, *content: nodes.Node) -> nodes.section:
    """Return a section, if there is something to put into it."""
    return nodes.section("", nodes.title("", title), *content, ids=[nodes.make_id(title)])


def link(document: str, text: str) -> addnodes.pending_xref:
    """Return a link to a page that shows as another man page's name."""
    return addnodes.pending_xref(
        "", nodes.inline("", text), refdomain="std", reftype="doc", reftarget=f"/docs/{document}", refexplicit=True,
        refwarn=True, refdoc="docs/index",
    )  # fmt: skip


def see_also(*pages: tuple[str, str]) -> nodes.section:
    """Return links to other pages, in one line."""
    line: list[nodes.Node] = []
    for document, text in pages:
        line += [nodes.Text(", ")] * bool(line) + [link(document, text)]
    return section("See also", nodes.paragraph("", "", *line))


def launcher_help() -> tuple[str, str, list[tuple[str, str]], str]:
    """Return synopsis, description, options and closing text of `sdee exec --help`."""
    done = subprocess.run(
        ["sdee exec", "--help"], executable=launcher_path(), capture_output=True, text=True, check=True
    )
    usage, _, rest = done.stdout.partition("\n\n")
    about, _, rest = rest.partition("\n\n")
    block, _, end = rest.partition("\n\n")
    options: list[tuple[str, str]] = []
    for line in block.splitlines():
        begins = re.match(r"  (-\S.*?) {2,}(\S.*)", line) or re.match(r"  (-[^ ]+(?: [^ ]+)?) (.*)", line)
        if begins:
            options.append((begins[1], begins[2]))
        elif line.strip():
            options[-1] = (options[-1][0], f"{options[-1][1]} {line.strip()}")
    return usage.removeprefix("Usage: "), about, options, end


def options_of(here: click.Context) -> list[tuple[str, str]]:
    """Return the options of a command as click shows them."""
    params = [param for param in here.command.get_params(here) if isinstance(param, click.Option)]
    records = [param.get_help_record(here) for param in params]
    return [record for record in records if record is not None]


class CommandPage(Directive):
    """`{command} env create`: all that sdee knows about a command; without words about `sdee` itself."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        """Return the sections of the page."""
        words = list(self.arguments)
        if words and words[0] in ("exec", "deploy", "undeploy"):
            return [*self.launched(words[0]), self.end(words)]
        here = context(words)
        synopsis = " ".join([here.command_path, *here.command.collect_usage_pieces(here)])
        found = [
            section("Synopsis", nodes.paragraph("", "", nodes.literal("", synopsis))),
            section("Description", *paragraphs(here.command.help or "")),
        ]
        if isinstance(here.command, click.Group):
            below = [w for w, _ in commands() if w[:-1] == words]
            listed = definitions([(" ".join(["sdee", *w]), s) for w, s in commands() if w in below])
            for w, item in zip(below, listed.findall(nodes.term), strict=True):
                name = "-".join(["sdee", *w])
                item.children[0].replace_self(link(f"commands/{name}", f"{name}(1)"))
            found.append(section("Commands", listed))
        found.append(section("Options", definitions(options_of(here))))
        return [*found, self.end(words)] if words else found

    def launched(self, name: str) -> list[nodes.Node]:
        """Return the page of a command that the launcher carries out."""
        usage, about, options, end = launcher_help()
        if name != "exec":
            more = " With `--json` it prints JSON." if name == "deploy" else ""
            text = f"{COMMANDS[name][1]} It takes the options of sdee-exec(1).{more}"
            return [
                section("Synopsis", nodes.paragraph("", "", nodes.literal("", f"sdee {name} [OPTIONS] bundle.sdee"))),
                section("Description", nodes.paragraph("", text)),
            ]
        return [
            section("Synopsis", nodes.paragraph("", "", nodes.literal("", usage))),
            section("Description", *paragraphs(about)),
            section("Options", definitions(options)),
            section(
                "Variables and exit status",
                *(nodes.literal_block("", p, language="none") for p in end.strip("\n").split("\n\n")),
            ),
        ]

    def end(self, words: list[str]) -> nodes.section:
        """Return where to read on."""
        chapter = CHAPTER.get(words[0])
        pages = [("sdee", "sdee(1)"), ("exit-codes", "sdee-exit-codes(7)")]
        if chapter:
            pages.insert(1, (chapter, f"sdee-{chapter}(7)"))
        if words[0] in ("deploy", "undeploy"):
            pages.insert(1, ("commands/sdee-exec", "sdee-exec(1)"))
        return see_also(*pages)


def for_man(app: Sphinx, page: nodes.document, name: str) -> None:  # noqa: ARG001 - Sphinx's signature
    """Let a page read as man pages do: no pictures, names of other pages in bold, and a heading for how it begins."""
    if app.builder.name != "man":
        return
    for picture in list(page.findall(nodes.figure)):
        picture.parent.remove(picture)
    for reference in list(page.findall(nodes.reference)):
        uri = reference.get("refuri", "")
        if not uri.startswith(("http:", "https:")):
            text = reference.astext()
            reference.replace_self(nodes.strong("", text) if re.fullmatch(r"sdee\S*\(\d\)", text) else nodes.Text(text))
    for top in page.children:
        if isinstance(top, nodes.section):
            begins = [i for i, child in enumerate(top.children) if isinstance(child, nodes.section)]
            opening = top.children[1 : begins[0] if begins else None]
            if opening:
                top[1 : 1 + len(opening)] = [section("Description", *opening)]


def always(app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:  # noqa: ARG001
    """Return the pages that Sphinx shall read each time: their content stands in sdee's code and in the launcher."""
    return [name for name in env.found_docs if name == "docs/sdee" or name.startswith("docs/commands/")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive (Sphinx calls this)."""
    app.add_directive("command", CommandPage)
    app.connect("env-get-outdated", always)
    app.connect("doctree-resolved", for_man)
    return {"parallel_read_safe": True}
