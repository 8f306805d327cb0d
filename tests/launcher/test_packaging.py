"""A wheel built through the sdist and installed in an empty virtual environment gives a working sdee."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from sdee.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel made from it, of a copy of what git tracks: as a clean clone has it."""
    clone = tmp_path_factory.mktemp("clone") / "sdee"
    files = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    present = [f for f in files if f and (ROOT / f).exists()]
    archive = clone.parent / "clone.tar"
    with tarfile.open(archive, "w") as tar:
        for name in present:
            tar.add(ROOT / name, name, recursive=False)
    clone.mkdir()
    run("tar", "-xf", archive, "-C", clone)
    # as `make wheel` does
    run(sys.executable, "-m", "sphinx", "-q", "-W", "-c", "docs", "-b", "man", ".", "docs/man", cwd=clone)
    run(sys.executable, "-m", "build", "-o", clone / "dist", cwd=clone)
    return clone / "dist"


def test_the_sdist_holds_the_launchers_source_and_not_the_built_one(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as tar:
        names = [n.split("/", 1)[-1] for n in tar.getnames()]
    assert "runtime/native/Makefile" in names
    assert "LICENSE" in names
    assert not any(n.endswith("sdee-launcher") for n in names)


def test_the_wheel_depends_on_the_platform_but_not_on_pythons_version(built: Path) -> None:
    wheel = next(built.glob("*.whl"))
    assert "-py3-none-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        mode = archive.getinfo("sdee/runtime/native/sdee-launcher").external_attr >> 16
    assert mode & 0o111
    assert {
        "sdee/cli/__init__.py",
        "sdee/tracer/tracefile/model.py",
        "sdee/packer/closure/build.py",
        "sdee/py.typed",
        "sdee/base/facts/ranks.toml",
        "sdee/base/facts/syscalls.txt",
    } <= names
    sources = [path for path in (ROOT / "runtime").rglob("*") if path.suffix in (".sh", ".zsh", ".fish")]
    assert len(sources) >= 16
    assert {f"sdee/{path.relative_to(ROOT)}" for path in sources} <= names


def test_the_wheel_has_a_man_page_for_each_command_and_for_the_manual(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        pages = {name.split("/share/man/")[1]: name for name in archive.namelist() if "/share/man/" in name}
        text = archive.read(pages["man1/sdee-bundle.1"]).decode()
    assert {f"man1/sdee-{name}.1" for name in COMMANDS} <= set(pages)
    assert {"man1/sdee.1", "man1/sdee-env-create.1", "man7/sdee-slurm.7", "man7/sdee-trouble.7"} <= set(pages)
    assert re.search(r"^\.SH SYNOPSIS\n(\.sp\n)?.*sdee bundle \[OPTIONS\]", text, re.MULTILINE)
    assert r"\-\-minimal" in text


def test_the_installed_wheel_traces_bundles_and_executes(built: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/pip", "install", "-q", "--disable-pip-version-check", next(built.glob("*.whl")))
    sdee = tmp_path / "venv/bin/sdee"
    assert (tmp_path / "venv/share/man/man1/sdee-trace.1").is_file()
    assert run(sdee, "trace", "--", "/bin/echo", "hello", cwd=tmp_path) == "hello\n"
    run(sdee, "bundle", cwd=tmp_path)
    assert run(sdee, "exec", "bundle.sdee", cwd=tmp_path) == "hello\n"
    assert run(tmp_path / "bundle.sdee", "again", cwd=tmp_path) == "again\n"
