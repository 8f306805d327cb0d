"""Java: a JDK or JRE finds everything from where its real path lies, so it travels whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sdee.packer.units.base import Unit, View, Widening

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a compiler or a person needs, never a running program
_NOT_RUN = frozenset(("jmods", "include", "man", "demo", "sample", "legal", "docs"))


class Jdk(Unit):
    """JAVA_HOME: the directory above lib/server/libjvm.so (8 and older: jre/lib/ARCH/server)."""

    def widen(self, view: View) -> Iterator[Widening]:
        """Yield each Java home whose virtual machine was loaded."""
        done: set[str] = set()
        for path in view.seen:
            if os.path.basename(path) != "libjvm.so":
                continue
            home = self._home(view, path)
            if not home or home in done:
                continue
            done.add(home)
            paths = [p for p in view.tree(home, _NOT_RUN) if os.path.basename(p) != "src.zip"]
            # Debian keeps the configuration in /etc, and links to it file by file and by directory
            targets = {view.fs.resolve(p).real for p in paths if view.fs.is_dir(p)}
            outside = [t for t in sorted(targets) if not (t + "/").startswith(home + "/")]
            paths += [p for top in outside for p in view.tree(top)]
            yield Widening(f"the Java runtime {home}", path, tuple(paths))

    @staticmethod
    def _home(view: View, library: str) -> str:
        directory = os.path.dirname(library)
        while directory != "/":
            if view.fs.is_file(f"{directory}/release") or view.fs.is_file(f"{directory}/bin/java"):
                return directory
            directory = os.path.dirname(directory)
        return ""
