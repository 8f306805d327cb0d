"""The words of messages, --help, documents and comments: none of the phrases that readers had to read twice.

Each phrase has its plain form, which a failure prints. CONTRIBUTING.md names the rules.
"""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from sdee.cli import cli
from sdee.runtime.programs import launcher_path

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("src", "tracer", "packer", "runtime", "docs", "*.md")
KINDS = {".py", ".c", ".h", ".sh", ".bash", ".zsh", ".md", ".toml", ".txt"}
USER_PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "tracing",
            "bundling",
            "running",
            "software",
            "slurm",
            "managers",
            "python",
            "environment",
            "trouble",
            "limits",
            "exit-codes",
            "sdee",
        )
    ),
)
MOST = 12  # words in an option's help, without what stands in () or [] behind it
NO_VERBS = {"a", "also", "an", "how", "no", "not", "that", "the", "these", "this", "too", "what", "where"}

# phrase, in any case and across line breaks → plain form
PLAIN = {
    r"in vain": "missing, not found",
    r"to be had": "unavailable",
    r"not to be found": "cannot find",
    r"as ever": "as usual",
    r"all the same": "nevertheless, anyway",
    r"in (its|their|his) stead": "instead",
    r"in the midst": "during",
    r"spares? (you|the|them)": "say who does what: 'sdee writes the script for you'",
    r"(is|are|was|were) said": "say who says it: 'sdee says so', 'a warning names it'",
    r"(is|are|was|were) told": "say who tells whom, or 'gets', 'learns'",
    r"stands? for": "replaces, means, represents",
    r"(it|they) behaves? as without": "behaves exactly as it does untraced",
    r"serves in any case": "reused as well",
    r"anew": "again",
    r"takes? the place of": "replaces",
    r"passed over": "skipped, ignored",
    r"speaks? of": "says",
    r"foretold": "guessed, predictable",
    r"bitten": "say what failed",
    r"is none of": "is not one of",
    r"had not missed": "found in the traced run",
    r"is not run here first": "skipping the trial run",
    r"is written: no": "files are real",
    r"there is none yet": "no ... yet; create one: COMMAND",
    r"is [`'\"{][^`\"]{1,30}[`'\"}] meant": "did you mean ...?",
    r"is of use only": "works only",
    r"lets? it count": "reads it",
    r"(dead )?door|guest|knock(s|ed)?": "no metaphors: listener, member, joined",
    r"for ever": "forever",
}

# words of the code that no message and no document has → plain form
OF_THE_CODE = {
    r"rehears(e|es|ed|ing|als?)": "trial run",
    r"drafts?": "path",
    r"tracees?": "process of the job",
}


@cache
def _texts() -> dict[str, str]:
    """Return the text of each file that users or newcomers read, by name."""
    listed = subprocess.run(["git", "ls-files", *PARTS], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [ROOT / name for name in listed.stdout.split("\n")]
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for path in found
        if path.suffix in KINDS and path.is_file() and not path.is_symlink()
    }


@cache
def _plain_texts() -> dict[str, str]:
    return {name: _plain(text) for name, text in _texts().items()}


@cache
def _plain_messages() -> list[tuple[str, str]]:
    return [(name, _plain(text)) for name, text in _messages()]


def _found(text: str, phrase: str) -> Iterator[tuple[int, str]]:
    """Yield line and words of each place in a plain text."""
    words = phrase.replace(" ", "[ \\n]+")
    for match in re.finditer(rf"(?<![\w/.-])(?:{words})(?![\w/-])", text, re.IGNORECASE):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match.group().split())


def _plain(text: str) -> str:
    """Return a text without what begins or ends lines of comments and literals, so that words follow each other."""
    return re.sub(r"[ \t\"']*\n[ \t]*(?:[*#>]|/\*|f?[\"'])?[ \t]*", "\n", text)


def _messages() -> Iterator[tuple[str, str]]:
    """Yield name and text: literals of several words that are no docstrings, and documents without their code."""
    for name, text in _texts().items():
        if name.endswith(".py"):
            yield name, "\n".join(_literals(ast.parse(text)))
        elif name.endswith((".c", ".h")):
            yield name, "\n".join(text for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', text) if " " in text)
        elif name in USER_PAGES:
            yield name, re.sub(r"```.*?^```|`[^`\n]*`|\]\([^)]*\)", "", text, flags=re.DOTALL | re.MULTILINE)


def _literals(tree: ast.AST) -> Iterator[str]:
    documented = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and ast.get_docstring(node)
    ]
    docstrings = [first.value for first in documented if isinstance(first, ast.Expr)]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in docstrings
            and " " in node.value
        ):
            yield node.value


def test_a_phrase_is_found_across_lines_and_literals() -> None:
    for text in (
        "as ever",
        "runs\nAs  ever.",
        "runs as\n  ever",
        '"runs as"\n    " ever"',
        "/* as\n * ever */",
        "# as\n# ever",
    ):
        assert [words.split()[-1].lower() for _, words in _found(_plain(text), "as ever")] == ["ever"], text
    assert list(_found("was everything has-ever as-ever", "as ever")) == []
    assert [line for line, _ in _found("a\nb\nmade anew", "anew")] == [3]


@pytest.mark.parametrize("phrase", PLAIN)
def test_no_text_has_a_phrase_that_needs_a_second_reading(phrase: str) -> None:
    found = [f"{name}:{line}: {words}" for name, text in _plain_texts().items() for line, words in _found(text, phrase)]
    assert not found, f"plain: {PLAIN[phrase]}\n" + "\n".join(found)


@pytest.mark.parametrize("word", OF_THE_CODE)
def test_no_message_has_a_word_of_the_code(word: str) -> None:
    found = [f"{name}: {line}: {w}" for name, text in _plain_messages() for line, w in _found(text, word)]
    assert not found, f"plain: {OF_THE_CODE[word]}\n" + "\n".join(found)


def _options() -> Iterator[tuple[str, str]]:
    """Yield option and help of all commands, and of the launcher."""

    def below(command: click.Command, name: str, above: click.Context | None) -> Iterator[tuple[str, str]]:
        settings = {} if above else cli.context_settings  # click keeps the help option that it makes first
        context = click.Context(command, above, info_name=name, **settings)
        for param in command.get_params(context):
            if isinstance(param, click.Option) and param.help and not param.hidden:
                yield f"{name} {param.opts[-1]}", param.help
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                if found := command.get_command(context, sub):
                    yield from below(found, f"{name} {sub}", context)

    yield from below(cli, "sdee", None)
    shown = subprocess.run([launcher_path(), "--help"], capture_output=True, text=True, check=True).stdout
    for option, text in re.findall(r"^  (--[\w-]+)(?: \S+)?  +(.+(?:\n {29}.+)*)", shown, re.MULTILINE):
        yield f"sdee exec {option}", " ".join(text.split())


def test_help_of_an_option_is_a_short_verb_phrase() -> None:
    options = dict(_options())
    assert len(options) > 60, options
    assert {"sdee bundle --allow", "sdee env create --bind", "sdee exec --chdir"} <= options.keys()
    first = {
        name: re.sub(r"\([^)]*\)|\[[^]]*\]|\b(?:auto|merged|closed|host|NAME|0): .*", "", text).split(". ")[0]
        for name, text in options.items()
    }
    assert {name: text for name, text in first.items() if len(text.split()) > MOST} == {}
    assert {name: text for name, text in options.items() if text.split()[0].lower() in NO_VERBS} == {}
