"""RPM packages, from a database that rpm itself made: who owns a file, and what belongs to its package."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from closure_support import TraceMaker, verdict, why
from sdee.base import rpm
from sdee.packer import knowledge
from sdee.packer.filesystem import FileSystem
from sdee.packer.packages import Packages

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """Name: {name}
Version: 1.2
Release: 3
Summary: a package of the tests
License: none
BuildArch: noarch
%description
It has some files.
%install
mkdir -p %{{buildroot}}{top}/opt/{name}/data %{{buildroot}}{top}/lib
cd %{{buildroot}}{top}/opt/{name}
echo '#!/bin/sh' > run; chmod 755 run; ln -s run alias
echo x > data/table; echo y > 'data/of two words'; echo z > 'data/été'
seq -f data/%%g 1 {count} | xargs touch
echo l > %{{buildroot}}{top}/lib/lib{name}.so.1
%files
{top}/opt/{name}
{top}/lib/lib{name}.so.1
"""

pytestmark = pytest.mark.skipif(not shutil.which("rpmbuild"), reason="there is no rpmbuild")


def run(home: Path, *command: str | Path) -> None:
    """Run a command; Debian's rpm keeps a database in the home."""
    environment = {**os.environ, "HOME": str(home)}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database, `rpm`, and two packages installed below it; `lib` is a link, as on merged /usr."""
    top = tmp_path_factory.mktemp("rpm")
    build = tmp_path_factory.mktemp("build")
    for name, count in (("probe", 20), ("other", 3000)):
        (build / f"{name}.spec").write_text(SPEC.format(name=name, top=top, count=count))
        plain = ["--define", f"_topdir {build}", "--define", "__os_install_post %{nil}"]
        run(build, "rpmbuild", "-bb", *plain, build / f"{name}.spec")
    (top / "usr" / "lib").mkdir(parents=True)
    (top / "lib").symlink_to("usr/lib")
    run(build, "rpm", "--dbpath", top / "rpm", "--initdb")
    for package in (build / "RPMS" / "noarch").iterdir():
        run(build, "rpm", "--dbpath", top / "rpm", "-i", "--nodeps", "--force-debian", package)
    assert (top / "usr" / "lib" / "libprobe.so.1").exists()
    return top


@pytest.fixture(autouse=True)
def database(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpm, "DIRECTORIES", (str(top / "nowhere"), str(top / "rpm")))
    monkeypatch.setattr(knowledge, "TEMPORARY_ROOTS", ())


def test_the_owner_of_a_file_is_known_with_its_version(top: Path) -> None:
    mine = [top / "opt/probe/run", top / "opt/probe/data/été", top / "opt/probe/data/of two words"]
    others = [top / f"opt/other/data/{n}" for n in range(1, 3001)]
    free = top / "opt/probe/made-by-hand"
    found = Packages(FileSystem()).owners(map(str, [*mine, *others, free]))
    assert {found[str(path)] for path in mine} == {"probe 1.2-3"}
    assert {found[str(path)] for path in others} == {"other 1.2-3"}
    assert str(free) not in found


def test_a_path_that_the_package_has_through_a_link_is_found_without(top: Path) -> None:
    owners = Packages(FileSystem()).owners([f"{top}/usr/lib/libprobe.so.1", f"{top}/lib/libprobe.so.1"])
    assert owners == {f"{top}/usr/lib/libprobe.so.1": "probe 1.2-3"}


def test_debian_packages_are_known_beside(top: Path) -> None:
    found = Packages(FileSystem()).owners(["/usr/bin/zstd", f"{top}/opt/probe/run"])
    assert found["/usr/bin/zstd"].startswith("zstd ")
    assert len(found) == 2


def test_a_package_travels_as_a_whole_when_asked_for(top: Path, tmp_path: Path) -> None:
    made = TraceMaker(str(tmp_path))
    made.software_limit = 0
    used, unused = made.use(top / "opt/probe/run"), top / "opt/probe/data/table"
    closure = made.closure(package_limit=0)
    assert closure.items[used].package == "probe 1.2-3"
    assert (verdict(closure, used), verdict(closure, unused)) == ("bundle", "nothing")
    closure = made.closure(expand=("packages",))
    for path in (unused, top / "opt/probe/alias", top / "opt/probe/data/été", top / "usr/lib/libprobe.so.1"):
        assert verdict(closure, path) == "bundle"
        assert "the package probe 1.2-3" in why(closure, path) or "symbolic link" in why(closure, path)
    assert verdict(closure, top / "opt/other/run") == "nothing"


def test_files_of_a_package_that_were_removed_are_passed_over(top: Path) -> None:
    gone = top / "opt/probe/data/20"
    assert str(gone) in Packages(FileSystem()).files("probe")
    gone.unlink()
    assert str(gone) not in Packages(FileSystem()).files("probe 1.2-3")


def test_without_a_database_rpm_is_not_asked_and_makes_none(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpm, "DIRECTORIES", (str(tmp_path / "none"),))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Packages(FileSystem()).owners([f"{top}/opt/probe/run"]) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_leaves_files_without_owners(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rpmdb.sqlite").write_bytes(b"no database at all" * 1000)
    monkeypatch.setattr(rpm, "DIRECTORIES", (str(tmp_path),))
    found = Packages(FileSystem()).owners(["/usr/bin/zstd", f"{top}/opt/probe/run"])
    assert list(found) == ["/usr/bin/zstd"]
