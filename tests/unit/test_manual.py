"""README.md and docs/ name commands, options and variables that exist; each command has a page with its options."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

import sdee
from sdee.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PASSED_ON = ("submit", "wrap")  # what they do not know is sbatch's or srun's
LAUNCHED = ("exec", "deploy", "undeploy")
sys.path.insert(0, str(ROOT / "docs"))
command_pages = pytest.importorskip("command_pages", reason="needs sphinx", exc_type=ImportError)


def named(text: str) -> list[str]:
    """Return the command lines that a page names: `sdee …` in words and in console blocks."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text) + re.findall(r"^\$ (.*)", text, re.MULTILINE)
    found = [re.split(r"[;|]|&&", re.sub(r" +#.*", "", span.replace("\\|", "|"))) for span in spans]
    return [m[1] for parts in found for part in parts if (m := re.search(r"(?:^|do |-- )(sdee .*)", part.strip()))]


def wrong(line: str) -> str:
    """Return what a command line has that sdee does not know."""
    words = shlex.split(line.replace("\\n", "").replace("'", ""))[1:]
    words = [word.rstrip("…") for word in words[: words.index("--")] if word] if "--" in words else words
    here = click.Context(cli, info_name="sdee", **cli.context_settings)
    name = ""
    while words and isinstance(here.command, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        command = here.command.get_command(here, name)
        if command is None:
            return f"command {name}"
        here = click.Context(command, info_name=name, parent=here)
    own = {option for param in here.command.get_params(here) for option in param.opts}
    if name in LAUNCHED:
        own = {word for option, _ in command_pages.launcher_help()[2] for word in re.findall(r"-[-\w]+", option)}
        own |= {"--json"} if name == "deploy" else set()  # src/sdee/cli/deploy.py
        words = words[: next((i for i, word in enumerate(words) if word.endswith(".sdee")), len(words))]
    options = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [
        option for option in options if option not in own and not any(option.startswith(o) for o in own if len(o) == 2)
    ]
    return "" if name in PASSED_ON else " ".join(unknown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_a_page_names_exist(page: Path) -> None:
    found = {line: wrong(line) for line in named(page.read_text())}
    assert {line: what for line, what in found.items() if what} == {}


def test_a_command_or_an_option_that_does_not_exist_is_found() -> None:
    assert wrong("sdee bundle --no-such") == "--no-such"
    assert wrong("sdee exec --no-such bundle.sdee --jobs-own") == "--no-such"
    assert wrong("sdee env nothing") == "command nothing"
    assert wrong("sdee trace -o x -- ./app --any") == ""
    assert len(named((ROOT / "README.md").read_text())) > 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_a_page_names_are_read_somewhere(page: Path) -> None:
    options = {word for option, _ in command_pages.launcher_help()[2] for word in re.findall(r"--([-a-z]+)", option)}
    known = {"SDEE_" + option.upper().replace("-", "_") for option in options}
    folders = ("src/sdee/cli", "src/sdee/base", "src/sdee/workflow", "runtime")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    text = "\n".join(path.read_text() for path in sources if path.suffix in (".py", ".c", ".h", ".sh"))
    unknown = set(re.findall(r"SDEE_[A-Z_]*[A-Z]", page.read_text())) - known
    assert {name for name in unknown if name not in text} == set()


def test_each_command_has_a_page_with_its_options(tmp_path: Path) -> None:
    pages = command_pages.write_stubs(tmp_path)
    assert {f"sdee-{name}" for name in COMMANDS} <= set(pages) == {page.stem for page in tmp_path.iterdir()}
    words = ["bundle"]
    shown = " ".join(term for term, _ in command_pages.options_of(command_pages.context(words)))
    assert "--minimal" in shown
    assert "-h, --help" in shown
    launched = dict(command_pages.launcher_help()[2])
    assert {"--root auto|merged|closed", "--chdir DIR", "--quiet"} <= set(launched)
    assert all(launched.values())


def test_the_readme_is_short_and_names_nothing_that_it_does_not_explain() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert re.findall(r"unotify|pivot_root|soname|closure|\bmerged\b", text) == []


def test_the_version_stands_in_one_place_and_the_other_files_follow() -> None:
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    assert re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == sdee.__version__  # type: ignore[index]
    assert f"\nversion: {sdee.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"sdee_hpc-{sdee.__version__}-py3" in (ROOT / "README.md").read_text()
