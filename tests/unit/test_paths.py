"""Questions to paths: the table of directories answers as comparing with each of them does."""

from __future__ import annotations

import tarfile

from hypothesis import given
from hypothesis import strategies as st

from sdee.base.paths import Tops, is_below, is_below_any
from sdee.packer.format.headers import _by_tarfile, header
from sdee.packer.format.layout import Node

PATHS = st.lists(st.sampled_from(("a", "b", "ab", "a.b", "é")), max_size=5).map(lambda names: "/" + "/".join(names))


@given(st.lists(PATHS, max_size=6), st.lists(PATHS, max_size=20))
def test_a_table_of_directories_answers_as_comparing_with_each_does(directories: list[str], paths: list[str]) -> None:
    tops = Tops(directories)
    for path in paths:
        assert tops.innermost(path) == max((d for d in directories if is_below(path, d)), key=len, default="")
        assert tops.holds(path) == is_below_any(path, tuple(directories))


def test_what_is_no_absolute_path_is_below_nothing() -> None:
    assert [Tops(("/", "/a")).innermost(path) for path in ("", "a", "a/b", "..")] == ["", "", "", ""]
    assert Tops(("/",)).innermost("/") == "/"
    assert not Tops(())


def test_a_path_of_20_000_names_is_no_recursion() -> None:
    deep = "/a" * 20_000
    assert Tops(("/a/a",)).innermost(deep) == "/a/a"


LENGTHS = st.sampled_from((1, 9, 98, 99, 100, 101, 180, 485, 486, 984, 985, 986, 987, 988, 989, 3000))
NAMES = st.tuples(LENGTHS, st.sampled_from("né\udc80")).map(lambda pair: "n" * (pair[0] - 1) + pair[1])
TIMES = st.sampled_from((0, 5 * 10**9, 1_700_000_000_123_456_789, 1, -1, -(10**9), 8**11 * 10**9 - 1, 8**11 * 10**9))
KINDS = st.sampled_from((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE))


NODES = st.builds(lambda name, mode, mtime: Node(f"/{name}", mode, mtime), NAMES, st.integers(0, 0o7777), TIMES)


@given(NODES, NAMES, KINDS, st.sampled_from((0, 1, 4095, 8**11 - 1, 8**11)))
def test_a_header_is_the_one_that_tarfile_makes(node: Node, link: str, kind: bytes, size: int) -> None:
    size = size if kind == tarfile.REGTYPE else 0
    link = link if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    assert header(node, kind, size=size, link=link) == _by_tarfile(node, kind, size, link)
