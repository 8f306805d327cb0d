"""What an environment has of its own from the beginning: accounts, the package manager's settings, shells."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING

from sdee.files import lines, read_text
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
SH = """# Written by sdee, for interactive shells: the environment in the prompt of bash, and of each sh that reads $ENV
# or /etc/profile; and `module`, where environment-modules or Lmod was installed inside
if [ -n "${PS1-}" ] && [ -z "${ZSH_VERSION-}" ]; then
    _sdee_name=${SDEE_ENVIRONMENT:-$(cat /etc/debian_chroot 2>/dev/null)}
    _sdee_prompt() {
        case $PS1 in
        *"($_sdee_name)"*) ;;
        *debian_chroot*) [ -n "${debian_chroot-}" ] || PS1="($_sdee_name) $PS1" ;;
        *) PS1="($_sdee_name) $PS1" ;;
        esac
    }
    if [ -z "$_sdee_name" ]; then
        :
    elif [ -n "${BASH_VERSION-}" ]; then
        eval 'PROMPT_COMMAND[99]=_sdee_prompt'
    else
        _sdee_prompt
    fi
    if [ -n "${BASH_VERSION-}" ] && shopt -q login_shell; then
        : # /etc/profile does it
    elif ! command -v module >/dev/null; then
        for _sdee_file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
            [ ! -r $_sdee_file ] || . $_sdee_file
        done
    fi
fi
"""
ZSH = """# Written by sdee, for interactive shells: the environment in the prompt, after ~/.zshrc has had its say;
# and `module`, where environment-modules or Lmod was installed inside
_sdee_name=${SDEE_ENVIRONMENT:-$(cat /etc/debian_chroot 2>/dev/null)}
_sdee_prompt() {
    [[ -z $_sdee_name || $PS1 == *"($_sdee_name)"* ]] || PS1="($_sdee_name) $PS1"
    # What ~/.zshrc has added behind us may write PS1 anew each time
    [[ $precmd_functions[-1] == _sdee_prompt ]] || precmd_functions=(${precmd_functions:#_sdee_prompt} _sdee_prompt)
}
precmd_functions+=(_sdee_prompt)
if ! (( $+functions[module] )); then
    for _sdee_file in /usr/share/modules/init/zsh /usr/share/lmod/lmod/init/zsh; do
        [[ ! -r $_sdee_file ]] || source $_sdee_file
    done
fi
"""
FISH = """# Written by sdee: the environment in the prompt; and `module`, where environment-modules or Lmod
# was installed inside
function _sdee_prompt --on-event fish_prompt
    if not set -q _sdee_name
        set -g _sdee_name $SDEE_ENVIRONMENT
        test -n "$_sdee_name"; or set -g _sdee_name (cat /etc/debian_chroot 2>/dev/null)
        set -g __fish_machine # or fish's own prompt shows /etc/debian_chroot once more
    end
    if test -n "$_sdee_name"; and not functions fish_prompt | string match -q '*_sdee_own_prompt*'
        functions -e _sdee_own_prompt
        functions -c fish_prompt _sdee_own_prompt
        function fish_prompt
            echo -n "($_sdee_name) "
            _sdee_own_prompt
        end
    end
end
if status is-interactive; and not functions -q module
    for file in /usr/share/modules/init/fish /usr/share/lmod/lmod/init/fish
        test -r $file; and source $file
    end
end
"""
# A start-up file is a conffile: dpkg would ask about one that was changed, and fail where nobody answers. So our lines
# are away while dpkg works, and a shell that is installed gets its line when dpkg has done.
START = f"""#!/bin/sh
# Written by sdee: the shells' start-up files read the files of this directory (on), or do not (off).
# /etc/dpkg/dpkg.cfg.d/sdee calls it. Who wants nothing of this removes /etc/sdee.
while read -r file ours; do
    [ -f "$file" ] || continue
    line="[ ! -r $ours ] || . $ours {MARK}"
    if [ "$1" = off ]; then
        ! grep -q '{MARK}$' "$file" || sed -i '/{MARK}$/d' "$file"
    else
        grep -q '{MARK}$' "$file" || echo "$line" >>"$file"
    fi
done <<END
{chr(10).join(f"{file} {ours}" for file, ours in START_FILES.items())}
END
exit 0
"""
DPKG = """# Written by sdee: /etc/sdee/start-files says what for
pre-invoke=[ ! -x /etc/sdee/start-files ] || /etc/sdee/start-files off
post-invoke=[ ! -x /etc/sdee/start-files ] || /etc/sdee/start-files on
"""


def configure(environment: Environment, home: str) -> None:
    """Write what differs from the host inside: accounts, the package manager's settings, shells."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    users = accounts.passwd(read_host("/etc/passwd"), home, shell)
    _write(environment, "/etc/passwd", users)
    _write(environment, "/etc/shadow", accounts.shadow(users), 0o640)
    if os.path.exists("/etc/gshadow"):
        _write(environment, "/etc/gshadow", accounts.gshadow(read_host("/etc/group")), 0o640)
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
    written = lines(read_host(environment.path("base", OWN_FILES)))
    for path, ours in START_FILES.items():
        own = environment.upper(path)
        if own is None or not os.path.isfile(path):
            continue
        text = f"{read_host(path)}[ ! -r {ours} ] || . {ours} {MARK}\n"
        unchanged = not os.path.lexists(own) or f"{path}\t{fingerprint(own)}" in written
        if unchanged and read_host(own) != text:
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
        text = read_host(path)
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
    if line not in lines(read_host(environment.path("base", OWN_FILES))):
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


def read_host(path: str) -> str:
    """Return a file of the host, "" where there is none that can be read."""
    try:
        return read_text(path)
    except OSError:
        return ""
