"""RubyGems: a gem of which a file was used whole, with its specification, compiled parts and what it depends on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

_GEM = re.compile(r"(?P<home>.*)/gems/(?P<gem>[\w.-]+?-\d[\w.-]*)/.")
_DEPENDENCY = re.compile(r"add_(?:runtime_)?dependency\(%q<([\w.-]+)>")
_NOT_RUN = frozenset(("test", "tests", "spec", "doc", "ext", "examples", "benchmark"))


class RubyGems(Unit):
    """GEM_HOME/{gems,specifications,extensions}: RubyGems finds a gem by its specification."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each gem once, in order of first access, then what they depend on."""
        todo = [(m["home"], m["gem"], path) for path in view.seen if (m := _GEM.match(path))]
        homes = list(dict.fromkeys(home for home, _, _ in todo))
        done: set[str] = set()
        while todo:
            home, gem, source = todo.pop(0)
            specification = f"{home}/specifications/{gem}.gemspec"
            if f"{home}/{gem}" in done or not view.fs.is_file(specification):
                continue
            done.add(f"{home}/{gem}")
            tops = [f"{home}/gems/{gem}", *_extensions(view, home, gem)]
            paths = [specification, *(path for top in tops if view.fs.is_dir(top) for path in view.tree(top, _NOT_RUN))]
            yield Widening(f"the Ruby gem {gem}", source, tuple(paths))
            for name in _DEPENDENCY.findall(os.fsdecode(view.fs.read(specification))):
                pattern = re.compile(rf"{re.escape(name)}-\d[^/]*")
                todo += [
                    (h, g, specification) for h in homes for g in view.fs.names(f"{h}/gems") if pattern.fullmatch(g)
                ]


def _extensions(view: View, home: str, gem: str) -> list[str]:
    """Return extensions/PLATFORM/API/GEM, where RubyGems keeps what it compiled."""
    platforms = [f"{home}/extensions/{name}" for name in view.fs.names(f"{home}/extensions")]
    return [f"{platform}/{api}/{gem}" for platform in platforms for api in view.fs.names(platform)]
