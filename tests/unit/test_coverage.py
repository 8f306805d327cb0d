"""May a command run in the bundle of another one? Only where that holds all it asks for, as it is now."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bundles import CONF, closure_of, launcher
from sdee.packer.format.reader import open_bundle
from sdee.packer.format.writer import write_bundle
from sdee.packer.inspect.coverage import lacking, with_both

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdee.packer.model import Closure


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files, one of them twice, a link to a directory, a directory of the command's own things."""
    top = tmp_path / "tree"
    for name in ("lib/a.so", "lib/again.so", "bin/tool", "share/text", "jobs/one/run"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name.replace("again", "a"))
        os.utime(top / name, ns=(5, 5))
    (top / "lib64").symlink_to("lib")
    return top


def asked(tree: Path, *without: str) -> Closure:
    """Return the closure of a command that needs all of the tree but some."""
    closure = closure_of(tree, str(tree))
    return replace(closure, items={k: v for k, v in closure.items.items() if k not in {f"{tree}/{n}" for n in without}})


def with_conf(closure: Closure, *pairs: tuple[str, str], without: str = "") -> Closure:
    return replace(closure, conf=(*(pair for pair in closure.conf if pair[0] != without), *pairs))


def why_not(tree: Path, closure: Closure) -> str:
    """Return why a command may not run in the bundle that was made, as the tree is now."""
    with open_bundle(f"{tree}.sdee") as opened:
        lack = lacking(opened, closure, (f"{tree}/jobs",))
    return lack.why.replace(str(tree), "") if lack else ""


def bundle(tree: Path, closure: Closure) -> None:
    write_bundle(closure, launcher(tree.parent), f"{tree}.sdee", level=1)


def test_a_command_that_needs_the_same_or_less_may(tree: Path) -> None:
    bundle(tree, asked(tree))
    assert why_not(tree, asked(tree)) == ""
    assert why_not(tree, asked(tree, "bin/tool", "lib64")) == ""
    (tree / "jobs/two").mkdir()
    (tree / "jobs/one/run").rename(tree / "jobs/two/run")
    assert why_not(tree, asked(tree)) == "", "what lies there the nodes see"


def test_directories_above_what_the_nodes_see_do_not_count(tree: Path) -> None:
    """A command that is a script there asks for them, one by its name does not."""
    by_name, script = closure_of(tree / "bin", f"{tree}/bin"), closure_of(tree / "jobs/one", f"{tree}/jobs/one")
    bundle(tree, by_name)
    with open_bundle(f"{tree}.sdee") as opened:
        assert lacking(opened, script, (f"{tree}/jobs/one",)) is None
        unseen = lacking(opened, script, (f"{tree}/elsewhere",))
    assert unseen
    assert unseen.why == f"it lacks {tree}/jobs"


def _replace(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda top: (top / "lib/new.so").touch(), "it lacks /lib/new.so"),
        (lambda top: (top / "lib/again.so").write_text("other, longer"), "/lib/again.so has changed"),
        (lambda top: os.utime(top / "lib/a.so", ns=(6, 6)), "/lib/a.so has changed"),
        (lambda top: (top / "bin/tool").chmod(0o700), "/bin/tool has changed"),
        (lambda top: (top / "share/text").unlink(), "/share/text has changed"),
        (lambda top: _replace(top / "share/text"), "/share/text has changed"),
        (lambda top: ((top / "lib64").unlink(), (top / "lib64").symlink_to("lib/")), "/lib64 has changed"),
    ],
)
@pytest.mark.parametrize("without", [(), ("lib/a.so", "lib/again.so", "bin/tool", "share/text", "lib64")])
def test_it_may_not_when_something_has_changed_be_it_what_it_does_not_need(
    tree: Path, change: Callable[[Path], object], why: str, without: tuple[str, ...]
) -> None:
    bundle(tree, asked(tree))
    change(tree)
    assert why_not(tree, asked(tree, *without)) == why


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ([("env", "X=1")], [("env", "X=1")], ""),
        ([("env", "_=/a"), ("env", "PWD=/a")], [("env", "_=/b")], ""),
        ([("env", "X=1")], [("env", "X=2")], "env differs: X=1"),
        ([], [("env", "X=2")], "env differs: X=2"),
        ([("live", "/scratch")], [], "live differs: /scratch"),
        ([], [("live", "/scratch")], ""),
        ([("absent", "/usr/local/bin/tool")], [], "absent differs: /usr/local/bin/tool"),
        ([], [("tree", "/home/me/venv")], "tree differs: /home/me/venv"),
        ([("isa", "x86-64-v2 /usr/bin/a")], [("isa", "x86-64-v2 /usr/bin/b")], ""),
        ([("isa", "x86-64-v2 /usr/bin/a")], [("isa", "x86-64-v3 /usr/bin/a")], "isa differs: x86-64-v2"),
        ([("shared", "/data/in"), ("arg", "more")], [("shared", "/data/other")], ""),
    ],
)
def test_what_the_launcher_is_told_has_to_suit_both(
    tree: Path, ours: list[tuple[str, str]], theirs: list[tuple[str, str]], why: str
) -> None:
    bundle(tree, with_conf(asked(tree), *theirs))
    assert why_not(tree, with_conf(asked(tree), *ours)) == why


def test_another_umask_or_machine_is_another_job(tree: Path) -> None:
    bundle(tree, asked(tree))
    assert ("umask", "0022") in CONF
    assert why_not(tree, with_conf(asked(tree), ("umask", "0077"), without="umask")) == "umask differs: 0022"
    other = with_conf(asked(tree), ("machine", "aarch64"), without="machine")
    assert why_not(tree, other) == "machine differs: aarch64"


def test_of_two_that_differ_a_new_bundle_serves_both(tree: Path) -> None:
    first, second = asked(tree, "share/text", "lib64"), asked(tree, "bin/tool", "lib/a.so")
    bundle(tree, with_conf(first, ("absent", "/first"), ("absent", str(tree / "bin/came")), ("host", "/dev")))
    (tree / "bin/came").touch()
    (tree / "lib/again.so").touch()
    with open_bundle(f"{tree}.sdee") as opened:
        lack = lacking(opened, with_conf(second, ("absent", "/second")), (f"{tree}/jobs",))
        assert lack is not None
        assert (lack.why, lack.mends) == ("absent differs: /second", True)
        both = with_both(opened, with_conf(asked(tree, "bin/tool", "lib/a.so"), ("absent", "/second")))
    joined = [value for key, value in both.conf if key in ("absent", "host")]
    assert joined == ["/run/munge", "/second", "/first", "/dev"], "the other is there now"
    bundle(tree, both)
    assert why_not(tree, with_conf(asked(tree, "share/text"), ("absent", "/first"))) == ""
    assert why_not(tree, with_conf(asked(tree, "bin/tool", "lib/a.so"), ("absent", "/second"))) == ""


def test_of_two_that_cannot_be_one_none_is_made(tree: Path) -> None:
    bundle(tree, with_conf(asked(tree), ("env", "X=1"), ("absent", "/first")))
    with open_bundle(f"{tree}.sdee") as opened:
        lack = lacking(opened, with_conf(asked(tree), ("env", "X=2"), ("absent", "/second")), ())
    assert lack is not None
    assert (lack.why, lack.mends) == ("env differs: X=1", False)


def test_what_lies_in_live_directories_is_each_commands_own(tree: Path) -> None:
    bundle(tree, with_conf(asked(tree), ("live", str(tree))))
    less = with_conf(asked(tree, "bin/tool"), ("live", str(tree)))
    assert why_not(tree, with_conf(asked(tree), ("live", str(tree)))) == ""
    assert why_not(tree, less) == "/bin/tool is another command's"
    with open_bundle(f"{tree}.sdee") as opened:
        assert with_both(opened, less).items.keys() == less.items.keys()
        other = with_conf(asked(tree, "bin/tool"), ("live", "/elsewhere"))
        assert with_both(opened, other).items.keys() == less.items.keys(), "of either"
