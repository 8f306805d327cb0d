"""Sphinx: the manual as HTML (build/docs) and as man pages (docs/man). `make docs` builds both.

The source directory is the whole checkout, so that links between README.md, ARCHITECTURE.md and docs/ are the same
here and on a forge.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import command_pages  # noqa: E402 - beside this file

import sdee  # noqa: E402

project = "sdee"
author = "the authors of sdee"
release = version = sdee.__version__
extensions = ["myst_parser", "command_pages", "sphinx.ext.graphviz" if shutil.which("dot") else "picture_sources"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/commands/*.md"]
# Sphinx need not walk through these
exclude_patterns = [".*", "bench", "build", "dist", "fixtures", "packer", "runtime", "src", "tests", "tracer"]
highlight_language = "none"
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # README's and others' top headings are theirs
graphviz_output_format = "svg"
smartquotes = False  # they would make a dash of two hyphens

html_theme = "furo"
html_title = f"sdee {release}"
html_show_sphinx = html_show_copyright = html_copy_source = False

COMMANDS = command_pages.write_stubs(HERE / "commands")
CHAPTERS = {
    "tracing": "what sdee trace records",
    "bundling": "what travels in a bundle, and what does not",
    "running": "how a bundle runs, and where",
    "software": "Python, conda, R and modules with sdee",
    "slurm": "batch jobs with sdee submit and sdee wrap",
    "managers": "Grid Engine and other job managers",
    "python": "sdee from Python",
    "environment": "private environments",
    "trouble": "what to do when a job fails",
    "limits": "what sdee cannot do",
    "administrators": "what a site must allow for bundles",
    "exit-codes": "what sdee's exit statuses mean",
}
man_pages = [
    ("docs/sdee", "sdee", "run a job on a compute node as it ran on the login node", [], 1),
    *((f"docs/commands/{name}", name, summary, [], 1) for name, summary in COMMANDS.items()),
    *((f"docs/{name}", f"sdee-{name}", summary, [], 7) for name, summary in CHAPTERS.items()),
]
