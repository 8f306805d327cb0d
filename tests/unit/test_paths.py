"""Questions to paths: the table of directories answers as comparing with each of them does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdee.base.paths import Tops, is_below, is_below_any

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
