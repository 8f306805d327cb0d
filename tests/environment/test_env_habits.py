"""Users' habits in an environment, at real terminals: prompts, history, homes, `module`, completion."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import MANUALS, SDEE, UID, User, a_user, becomes, needs_root, skip_outside_of_ci
from env_terminal import shell_in, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root

PACKAGES = "zsh fish environment-modules"


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """A user whose environment has shells that the host may lack: installed inside, after `create`."""
    with a_user() as made:
        made.sdee("env", "create", "mine")
        made.leave_manuals_alone("mine")
        if "Err:" in (output := made.inside("mine", "apt-get update", check=False)):
            skip_outside_of_ci(f"no package mirror: {output}")
        made.inside("mine", f"DEBIAN_FRONTEND=noninteractive apt-get install -y {PACKAGES}")
        yield made


@pytest.fixture
def home(user: User) -> Iterator[Path]:
    """The home, in which what a test puts goes again."""
    before = set(user.home.iterdir())
    yield user.home
    for path in set(user.home.iterdir()) - before:
        subprocess.run(["rm", "-rf", str(path)], check=True)


def put(user: User, name: str, text: str) -> None:
    path = user.home / name
    user.run("mkdir", "-p", str(path.parent))
    path.write_text(text)
    os.chown(path, user.uid, user.uid)


STARSHIP = """
starship_precmd() { PS1="star $STARSHIP_STATUS> "; STARSHIP_STATUS=again; }
PROMPT_COMMAND="starship_precmd;$PROMPT_COMMAND"
"""
# shell, the user's file, its text, the prompt that is expected
PROMPTS = {
    "bash without ~/.bashrc": ("bash", ".none", "", "(mine)root@{host}:~# "),
    "bash, Debian's ~/.bashrc": ("bash", ".bashrc", "skel", "(mine)root@{host}:~# "),
    "bash, an own PS1": ("bash", ".bashrc", "PS1='own> '\n", "(mine) own> "),
    "bash, an own PROMPT_COMMAND": ("bash", ".bashrc", "PS1='own> '\nPROMPT_COMMAND='history -a'\n", "(mine) own> "),
    "bash, as starship does": ("bash", ".bashrc", STARSHIP, "(mine) star again> "),
    "bash, an array": ("bash", ".bashrc", "PS1='own> '\nPROMPT_COMMAND+=('history -a')\n", "(mine) own> "),
    "sh": ("sh", ".none", "", "(mine) # "),
    "dash": ("dash", ".none", "", "(mine) # "),
    "zsh without ~/.zshrc": ("zsh", ".zshrc", "", "(mine) {host}# "),
    "zsh, an own PROMPT": ("zsh", ".zshrc", "PROMPT='own> '\n", "(mine) own> "),
    "zsh, a function that sets it": ("zsh", ".zshrc", "precmd() { PROMPT='own> '; }\n", "(mine) own> "),
    "zsh, a hook that sets it": ("zsh", ".zshrc", "autoload -Uz add-zsh-hook\nset_it() { PROMPT='own> '; }\nadd-zsh-hook precmd set_it\n", "(mine) own> "),
    "fish": ("fish", ".none", "", "(mine) root@{host} ~# "),
    "fish, an own prompt": ("fish", ".config/fish/config.fish", "function fish_prompt\n    echo -n 'own> '\nend\n", "(mine) own> "),
}  # fmt: skip


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("case", PROMPTS)
def test_the_prompt_shows_the_environment_once(user: User, case: str) -> None:
    shell, file, text, prompt = PROMPTS[case]
    put(user, file, Path("/etc/skel/.bashrc").read_text() if text == "skel" else text)
    expected = prompt.format(host=os.uname().nodename)
    with terminal(user, *shell_in(user, "mine", shell)) as seen:
        seen.settle()
        seen.type("\n")
        seen.settle()
        seen.type("\n")
        shown = seen.settle()
        if not shown.strip():  # the terminal's echo alone: a busy machine's shell comes later
            shown += seen.settle()
        last = shown.splitlines()[-1].rstrip()  # of zsh after the spaces by which it finds the line's beginning
        assert last.endswith(expected.rstrip()), repr(shown)
        assert last.count("mine") == 1


@pytest.mark.usefixtures("home")
def test_a_prompt_command_of_the_user_runs_and_a_shell_below_shows_the_environment(user: User) -> None:
    put(user, ".bashrc", "PS1='own> '\n")
    with terminal(user, *shell_in(user, "mine"), variables={"PROMPT_COMMAND": "COUNT=$((COUNT + 1))"}) as seen:
        seen.expect("(mine) own> ")
        assert seen.ask("echo $((COUNT > 0))") == "1\n"
        seen.type("bash\n")
        seen.expect("(mine) own> ")
        seen.type("su -\n")
        seen.expect("(mine)root@")


@pytest.mark.usefixtures("home")
def test_the_prompt_is_the_users_own_where_they_want_it_so(user: User) -> None:
    user.sdee("env", "create", "plain")
    user.leave_manuals_alone("plain")
    user.inside("plain", "rm -r /etc/sdee && apt-get install -y hello && hello")
    put(user, ".bashrc", "PS1='own> '\nPROMPT_COMMAND=:\n")
    with terminal(user, *shell_in(user, "plain")) as seen:
        assert seen.expect("own> ") == ""
    user.sdee("env", "remove", "plain")


def test_start_files_are_the_distributions_own_while_dpkg_looks_at_them(user: User) -> None:
    """Else a new version of the package would ask about the changed file, and fail where nobody answers."""
    mark = "grep -c 'written by sdee$' /etc/bash.bashrc /etc/zsh/zshrc"
    assert user.inside("mine", mark) == "/etc/bash.bashrc:1\n/etc/zsh/zshrc:1\n"
    script = f"""
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y --reinstall bash zsh-common </dev/null 2>&1 | grep -i conffile
        {mark}; md5sum </etc/zsh/zshrc; dpkg-query -W -f '${{Conffiles}}' zsh-common | grep ' /etc/zsh/zshrc'
        /etc/sdee/start-files off; md5sum </etc/zsh/zshrc; dpkg --verify bash zsh-common; /etc/sdee/start-files on"""
    lines = user.inside("mine", script).splitlines()
    assert lines[:2] == ["/etc/bash.bashrc:1", "/etc/zsh/zshrc:1"]
    ours, theirs, without = (line.split()[at] for line, at in zip(lines[2:], (0, 1, 0), strict=True))
    assert ours != theirs == without
    assert "bash.bashrc" not in user.sdee("env", "diff", "--all", "mine").stdout


def test_history_and_dotfiles_are_the_users_own(user: User, home: Path) -> None:
    put(user, ".bashrc", "PS1='own> '\nalias ours='echo by alias'\n")
    with terminal(user, *shell_in(user, "mine")) as seen:
        assert seen.ask("ours") == "by alias\n"
        seen.type("echo remember-me\nexit\n")
        assert seen.status() == 0
    assert "echo remember-me\n" in (home / ".bash_history").read_text()
    assert (home / ".bash_history").stat().st_uid == UID
    with terminal(user, *shell_in(user, "mine", "zsh")) as seen:
        seen.settle()
        assert seen.ask("HISTFILE=~/.zsh_history SAVEHIST=9; print -s z-remember; fc -W; cat ~/.zsh_history").count("z-remember") == 2  # fmt: skip
    assert "z-remember" in (home / ".zsh_history").read_text()


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "fish"])
def test_home_is_home_in_every_shell(user: User, shell: str) -> None:
    output = user.inside("mine", f"{shell} -c 'cd; pwd; echo ~ $HOME ~root'")
    assert output.split() == [str(user.home)] * 4


@pytest.mark.usefixtures("home")
def test_programs_that_ask_the_accounts_find_the_same_home(user: User) -> None:
    put(user, ".ssh/config", "Host far\n  HostName 192.0.2.7\n")
    script = """
        getent passwd root | cut -d: -f6; git config --global user.name 'A User'; ssh -G far 2>/dev/null </dev/null | grep ^hostname
        env -u HOME python3 -c 'import os, pwd; print(os.path.expanduser("~"), pwd.getpwuid(os.getuid()).pw_dir)'
        git init -q ~/repository && cd ~/repository && git -c user.email=a@b commit -q --allow-empty -m first && git log --format=%an; id -un; whoami"""
    home_ = str(user.home)
    assert user.inside("mine", script).splitlines() == [home_, "hostname 192.0.2.7", f"{home_} {home_}", "A User", "root", "root"]  # fmt: skip
    assert user.run("git", "config", "user.name").stdout == "A User\n"
    assert user.run("git", "-C", "repository", "log", "--format=%an").stdout == "A User\n"


MODULEFILE = "#%Module1.0\nprepend-path PATH /opt/tool/bin\nsetenv TOOL_HOME /opt/tool\n"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("shell", ["bash", "bash -l", "zsh", "fish", "dash"])
def test_module_works_in_interactive_shells(user: User, shell: str) -> None:
    put(user, "modules/tool/1.2", MODULEFILE)
    with terminal(user, *shell_in(user, "mine", *shell.split()), variables={"MODULES_PAGER": ""}) as seen:
        seen.expect("(mine)")
        seen.settle(1)
        assert "tool/1.2" in seen.ask("module use $HOME/modules; module avail")
        assert seen.ask("module load tool; echo $TOOL_HOME") == "/opt/tool\n"
        assert "tool/1.2" in seen.ask("module list")
        assert "/opt/tool/bin" in seen.ask("echo $PATH")
        assert seen.ask('module unload tool; echo "[$TOOL_HOME]"') == "[]\n"


@pytest.mark.usefixtures("home")
def test_module_works_in_scripts_of_a_login_shell(user: User) -> None:
    put(user, "modules/tool/1.2", MODULEFILE)
    script = "module use ~/modules; module load tool; module list; echo $TOOL_HOME"
    done = user.sdee("env", "enter", "mine", "--", "bash", "-lc", f"exec 2>&1; {script}")
    assert "tool/1.2" in done.stdout
    assert done.stdout.endswith("/opt/tool\n")


@pytest.mark.usefixtures("home")
def test_the_hosts_own_module_works_inside(user: User) -> None:
    """A host that has environment-modules: installed into overlays over this machine's directories, as its root."""
    put(user, "modules/tool/1.2", MODULEFILE)
    layers = user.home / "host"
    layers.mkdir()
    mounts = "\n".join(
        f"mkdir -p {layers}/{name} && mount -t tmpfs none {layers}/{name} && mkdir {layers}/{name}/u {layers}/{name}/w && "
        f"mount -t overlay -o lowerdir=/{name},upperdir={layers}/{name}/u,workdir={layers}/{name}/w none /{name}"
        for name in ("usr", "etc", "var")
    )
    work = """
        module use ~/modules && module load tool && sdee env create onhost >/dev/null
        sdee shell onhost -- bash -c "exec 2>&1; module list; module avail; echo \\$TOOL_HOME; module unload tool; echo [\\$TOOL_HOME]"
        sdee shell onhost -- bash -ic "exec 2>&1; module list; echo \\$TOOL_HOME"
        sdee env remove onhost"""
    script = f"""
        set -e; mount --make-rprivate /
        {mounts}
        {MANUALS}; apt-get update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y environment-modules >/dev/null 2>&1
        cd {user.home}; exec {" ".join(becomes(UID))} bash -lc 'PATH={SDEE.parent}:$PATH; {work}'"""
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False, env=user.environ
    )
    assert done.stdout.count("tool/1.2") == 3, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in ("/opt/tool", "[]")] == ["/opt/tool", "[]", "/opt/tool"]


COMPLETION = {
    "bash": (".bashrc", 'PS1="own> "\neval "$(_SDEE_COMPLETE=bash_source sdee)"\n'),
    "zsh": (".zshrc", 'PROMPT="own> "\neval "$(_SDEE_COMPLETE=zsh_source sdee)"\n'),
    "fish": (".config/fish/completions/sdee.fish", "_SDEE_COMPLETE=fish_source sdee | source\n"),
}
# What is typed before the Tab key, and what the line is afterwards
COMPLETED = {
    "sdee env en": "sdee env enter ",
    "sdee sub": "sdee submit ",
    "sdee shell o": "sdee shell other-one ",
    "sdee env enter o": "sdee env enter other-one ",
    "sdee env remove o": "sdee env remove other-one ",
    "sdee bundle --mini": "sdee bundle --minimal ",
    "sdee submit --retr": "sdee submit --retrace ",
    "sdee bundle --whole-p": "sdee bundle --whole-packages ",
    "sdee exec files/b": "sdee exec files/bundle.sdee ",
    "sdee info files/b": "sdee info files/bundle.sdee ",
    "sdee trace -o files/o": "sdee trace -o files/other.txt ",
    "sdee trace -- ls files/o": "sdee trace -- ls files/other.txt ",
    "sdee trace -- setpri": "sdee trace -- setpriv ",
    "sdee submit -- setpri": "sdee submit -- setpriv ",
    "sdee submit files/o": "sdee submit files/other.txt ",
    "sdee env enter other-one -- setpri": "sdee env enter other-one -- setpriv ",
    "sdee env export other-one -o files/o": "sdee env export other-one -o files/other.txt ",
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("shell", COMPLETION)
def test_the_documented_lines_complete_commands_options_names_and_files(user: User, shell: str) -> None:
    file, text = COMPLETION[shell]
    assert text.splitlines()[-1] in (Path(__file__).parents[2] / "docs/environment.md").read_text()
    put(user, file, text)
    for name in ("bundle.sdee", "other.txt"):
        put(user, f"files/{name}", "")
    base = f"SDEE_ENV_DIR={user.home}/others"
    user.run("env", base, str(SDEE), "env", "create", "other-one")
    wrong = {}
    with terminal(user, *shell_in(user, "mine", "env", base, shell), variables={"TERM": "xterm"}) as seen:
        seen.expect("(mine)")
        seen.settle(2)
        for typed, line in COMPLETED.items():
            seen.type(f"{typed}\t")
            seen.settle_with(line.split()[-1][len(typed.split()[-1]) :])
            seen.type("END\x01echo '\x05'\n")  # Ctrl-A, Ctrl-E: quoted as a whole the line is shown, and not run
            shown = seen.settle_with(f"{line}END\n")
            if f"\n{line}END\n" not in shown:
                wrong[typed] = shown
    assert wrong == {}
