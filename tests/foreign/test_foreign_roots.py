"""The foreign systems and the nodes on them are what the other tests take them for."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from foreign.node import run_on_node
from foreign.roots import CACHE, ROOTS, root_path

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.foreign
DEBIAN = [name for name, root in ROOTS.items() if root.suite]


@pytest.fixture
def shared() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="sdee-foreign-", dir="/home")
    os.chmod(path, 0o777)
    shutil.copy("/bin/busybox", path)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("name", DEBIAN)
def test_a_debian_root_is_of_its_release_and_has_no_python(name: str) -> None:
    with open(os.path.join(root_path(name), "etc/os-release"), encoding="utf-8") as file:
        assert f"VERSION_CODENAME={name}\n" in file.read()
    script = "type -P python3 gcc java gmx; id -u; touch /usr/x 2>/dev/null || echo read-only"
    result = run_on_node(root_path(name), ["/bin/bash", "-c", script])
    assert result.stdout == b"1001\nread-only\n", result


@pytest.mark.parametrize("name", DEBIAN)
def test_a_node_lets_users_make_user_namespaces(name: str) -> None:
    result = run_on_node(root_path(name), ["/usr/bin/unshare", "-Urm", "/usr/bin/id", "-u"])
    assert (result.status, result.stdout) == (0, b"0\n"), result


def test_the_empty_root_holds_no_file() -> None:
    files = [name for _, _, names in os.walk(root_path("empty")) for name in names]
    assert files == []


@pytest.mark.parametrize("name", ROOTS)
def test_a_node_sees_shared_directories_and_nothing_else_of_this_machine(name: str, shared: str) -> None:
    script = f"cd {shared}; echo out >made; test -e {CACHE} || echo no cache; test -e /work || echo no checkout"
    result = run_on_node(root_path(name), [f"{shared}/busybox", "sh", "-c", script], shared=(shared,))
    assert (result.status, result.stdout) == (0, b"no cache\nno checkout\n"), result
    with open(f"{shared}/made", encoding="ascii") as file:
        assert file.read() == "out\n"
    assert (result.left.processes, result.left.mounts, result.left.files) == ([], [], [])


def test_what_a_program_leaves_on_a_node_is_reported(shared: str) -> None:
    script = f"{shared}/busybox touch /tmp/t /dev/shm/s; {shared}/busybox sleep 100 & exit 3"
    result = run_on_node(root_path("empty"), [f"{shared}/busybox", "sh", "-c", script], shared=(shared,))
    assert result.status == 3
    assert result.left.files == ["/dev/shm/s", "/tmp/t"]
    assert len(result.left.processes) == 1
    assert "sleep 100" in result.left.processes[0]


def test_a_program_killed_by_a_signal_gives_the_shells_status(shared: str) -> None:
    result = run_on_node(root_path("empty"), [f"{shared}/busybox", "sh", "-c", "kill -9 $$"], shared=(shared,))
    assert result.status == 137
