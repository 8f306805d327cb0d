"""RPM's database: where it lies, and how rpm(8) is asked, since its formats are its own."""

from __future__ import annotations

import subprocess

# Where rpm has its database, newer systems first, and the names it has by format (sqlite, ndb, Berkeley DB). Where
# there is none rpm is not asked: it would make an empty one in the home
DIRECTORIES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
DATABASES = ("rpmdb.sqlite", "Packages.db", "Packages")
_PATIENCE = 120  # seconds; 2,000 packages with 300,000 files take 1


def query(database: str, form: str, *before: str) -> subprocess.CompletedProcess[str]:
    """Ask for all packages; `form`: rpm(8), --queryformat; `before`: words before the command. Raises OSError."""
    command = [*before, "rpm", "--dbpath", database, "--query", "--all", "--queryformat", form]
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"rpm does not answer within {_PATIENCE} s\n")
