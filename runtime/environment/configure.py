"""What an environment has of its own from the beginning: accounts, the package manager's settings, shells."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING

from sdee.base.files import beside, lines, text_of
from sdee.runtime.environment import accounts, real_ids
from sdee.runtime.environment.owners import record_as_hosts

if TYPE_CHECKING:
    from sdee.runtime.environment.store import Environment

HOMES = "/var/home"
OWN_FILES = "own-files"  # below base/: path and SHA-256 of each file that was written into the environment

APT = """// Written by sdee: the environment has one user, and no second one to run downloads as.
APT::Sandbox::User "root";
"""
POLICY = """#!/bin/sh
# Written by sdee: packages start no services in an environment (invoke-rc.d(8)). Remove this file if they should.
exit 101
"""

# The shells' system-wide start-up files, which each have one line added: they are read before the user's own, and a
# line in the user's own files would be there outside, too. Debian's names; others read /etc/profile.d from theirs.
START_FILES = {"/etc/bash.bashrc": "/etc/sdee/shell.sh", "/etc/zsh/zshrc": "/etc/sdee/shell.zsh"}
MARK = "# written by sdee"

# bash runs all elements of PROMPT_COMMAND (5.1): `PROMPT_COMMAND=…` in ~/.bashrc sets the first, and ours is the last.
# A PS1 that shows $debian_chroot, as Debian's ~/.bashrc has it, shows the environment already.
# `module`: where the host has it, login shells define it and the shells below inherit it. Installed inside, no login
# shell comes: `sdee shell` starts none, since /etc/profile would reset the PATH that the user has made.
SH = beside(__file__, "shells/prompt.sh")
ZSH = beside(__file__, "shells/prompt.zsh")
FISH = beside(__file__, "shells/prompt.fish")
# A start-up file is a conffile: dpkg would ask about one that was changed, and fail where nobody answers. So our lines
# are away while dpkg works, and a shell that is installed gets its line when dpkg has done.
START = (
    beside(__file__, "shells/start-files.sh")
    .replace("@MARK@", MARK)
    .replace("@FILES@", "\n".join(f"{file} {ours}" for file, ours in START_FILES.items()))
)
DPKG = """# Written by sdee: /etc/sdee/start-files says what for
pre-invoke=[ ! -x /etc/sdee/start-files ] || /etc/sdee/start-files off
post-invoke=[ ! -x /etc/sdee/start-files ] || /etc/sdee/start-files on
"""


def configure(environment: Environment, home: str) -> None:
    """Write what differs from the host inside: accounts, the package manager's settings, shells."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    users = accounts.passwd(text_of("/etc/passwd"), home, shell)
    _write(environment, "/etc/passwd", users)
    _write(environment, "/etc/shadow", accounts.shadow(users), 0o640)
    if os.path.exists("/etc/gshadow"):
        _write(environment, "/etc/gshadow", accounts.gshadow(text_of("/etc/group")), 0o640)
    _as_hosts(environment, "/etc/shadow", "/etc/gshadow")
    if os.path.isdir("/var/lib/dpkg"):
        _write(environment, "/etc/apt/apt.conf.d/99sdee", APT)
        _write(environment, "/usr/sbin/policy-rc.d", POLICY, 0o755)
        _write(environment, "/etc/dpkg/dpkg.cfg.d/sdee", DPKG)
    _homes(environment)
    _shells(environment)


def _shells(environment: Environment) -> None:
    """Let interactive shells show the environment, also those that will be installed in it."""
    _write(environment, "/etc/debian_chroot", f"{environment.name}\n")
    for directory in ("/etc/sdee", "/etc/fish", "/etc/fish/conf.d"):
        _directory(environment, directory)
    _write(environment, "/etc/sdee/shell.sh", SH)
    _write(environment, "/etc/sdee/shell.zsh", ZSH)
    _write(environment, "/etc/sdee/start-files", START, 0o755)
    _write(environment, "/etc/profile.d/sdee.sh", "[ ! -r /etc/sdee/shell.sh ] || . /etc/sdee/shell.sh\n")
    _write(environment, "/etc/fish/conf.d/sdee.fish", FISH)
    start_files(environment)


def start_files(environment: Environment) -> None:
    """Write the shells' start-up files as the host has them now, with our line; none that was changed inside."""
    written = lines(text_of(environment.path("base", OWN_FILES)))
    for path, ours in START_FILES.items():
        own = environment.upper(path)
        if own is None or not os.path.isfile(path):
            continue
        text = f"{text_of(path)}[ ! -r {ours} ] || . {ours} {MARK}\n"
        unchanged = not os.path.lexists(own) or f"{path}\t{fingerprint(own)}" in written
        if unchanged and text_of(own) != text:
            _write(environment, path, text)


def _directory(environment: Environment, path: str) -> None:
    target = environment.upper(path)
    if target is not None and not os.path.isdir(target):
        os.mkdir(target)
        os.chmod(target, 0o755)
        note_own(environment, path)


def _homes(environment: Environment) -> None:
    """Let adduser(8) and useradd(8) make homes in /var/home: /home is the host's own, where the user may make none."""
    if environment.upper(HOMES) is None or environment.upper("/home") is not None:
        return
    _directory(environment, HOMES)
    for path, key in (("/etc/adduser.conf", "DHOME"), ("/etc/default/useradd", "HOME")):
        text = text_of(path)
        if text:
            line = f"{key}={HOMES}"
            changed, found = re.subn(rf"(?m)^#?\s*{key}=.*$", line, text, count=1)
            _write(environment, path, changed if found else f"{text}{line}\n")


def _write(environment: Environment, path: str, text: str, mode: int = 0o644) -> None:
    target = environment.upper(path)
    if target is None or not os.path.isdir(os.path.dirname(target)):
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)  # the empty file for Fedora's /etc/shadow has mode 0000, too
    with open(target, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(target, mode)
    note_own(environment, path)


def _as_hosts(environment: Environment, *paths: str) -> None:
    """Give files that we wrote the owners that the host's have: chage(1) reads shadow by its group."""
    there = [(path, own) for path in paths if os.path.lexists(path) and (own := environment.own_file(path))]
    made = environment.plan()
    if made.ranges:
        real_ids.give(environment, made, {(os.fsencode(path), os.fsencode(own)) for path, own in there})
        return
    for path, own in there:
        record_as_hosts(path, own)


def note_own(environment: Environment, path: str) -> None:
    """Note that a path was written into the environment by us: `sdee env diff` passes it over while it is as it was."""
    line = f"{path}\t{fingerprint(environment.upper(path) or '')}"
    if line not in lines(text_of(environment.path("base", OWN_FILES))):
        with open(environment.path("base", OWN_FILES), "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def fingerprint(path: str) -> str:
    """Return the SHA-256 of a file, "-" for a directory, "" where there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except IsADirectoryError:
        return "-"
    except OSError:
        return ""
