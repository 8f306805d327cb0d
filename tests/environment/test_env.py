"""`sdee env`: make, enter, share, end and remove environments, as an ordinary user."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

from env_support import SDEE, UID, User, a_user, becomes, needs_root, processes_of
from sdee.base import mountinfo
from sdee.runtime.environment import locations, plan
from sdee.runtime.environment.enter import parse
from sdee.runtime.environment.plan import installation
from waiting import states_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine")
        yield made


def test_the_base_directory_is_what_platformdirs_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDEE_ENV_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert locations.base_directory() == f"{platformdirs.user_data_dir('sdee')}/environments"
    monkeypatch.setenv("XDG_DATA_HOME", "/data/mine")
    assert locations.base_directory() == f"{platformdirs.user_data_dir('sdee')}/environments"
    monkeypatch.setenv("SDEE_ENV_DIR", "/scratch/envs")
    assert locations.base_directory() == "/scratch/envs"


def test_the_light_parser_leaves_to_click_what_needs_explaining() -> None:
    assert parse(["mine"]) == ([], "mine", [])
    assert parse(["mine", "--x11", "--", "ls", "--x11"]) == (["--x11"], "mine", ["ls", "--x11"])
    assert parse([]) is None
    assert parse(["--help"]) is None
    assert parse(["mine", "ls"]) is None
    assert parse(["--", "ls"]) is None


def test_an_environment_is_the_users_alone(user: User) -> None:
    for directory in (user.state("mine"), user.state("mine").parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert directory.stat().st_uid == UID


def test_inside_the_user_is_root_over_the_hosts_own_files(user: User) -> None:
    assert user.inside("mine", "id -u; id -un; pwd").split() == ["0", "root", str(user.home)]
    assert user.inside("mine", "cat /etc/os-release") == Path("/etc/os-release").read_text()
    assert user.inside("mine", "touch /usr/bin/made-inside && ls /usr/bin/made-inside") == "/usr/bin/made-inside\n"
    assert not Path("/usr/bin/made-inside").exists()
    assert user.inside("mine", "ls /usr/bin/made-inside") == "/usr/bin/made-inside\n"


def test_shell_and_env_enter_are_the_same(user: User) -> None:
    assert user.sdee("shell", "mine", "--", "id", "-u").stdout == "0\n"


def test_the_commands_exit_status_and_signals_pass_through(user: User) -> None:
    assert user.sdee("env", "enter", "mine", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    assert user.sdee("env", "enter", "mine", "--", "sh", "-c", "kill -9 $$", check=False).returncode == -9
    missing = user.sdee("env", "enter", "mine", "--", "no-such-program", check=False)
    assert missing.returncode == 127
    assert "cannot run no-such-program" in missing.stderr
    assert user.sdee("env", "enter", "mine", "--", "/etc/passwd", check=False).returncode == 126


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_that_another_process_sends_reaches_the_command(user: User, number: signal.Signals) -> None:
    script = f"trap 'echo got it; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    running = user.start(str(SDEE), "env", "enter", "mine", "--", "bash", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    output, _ = running.communicate(timeout=60)
    assert (output, running.returncode) == ("got it\n", 5)


def test_signals_that_were_ignored_stay_ignored(user: User) -> None:
    def ignored(command: str) -> str:
        return user.run("sh", "-c", f"{command} {SDEE} env enter mine -- grep SigIgn /proc/self/status").stdout

    assert int(ignored("trap '' HUP INT;").split()[1], 16) & 0b11 == 0b11  # as nohup(1), and sh for what it starts by &
    assert int(ignored("").split()[1], 16) & 0b11 == 0


def test_programs_of_usr_local_are_found_whatever_path_was(user: User) -> None:
    user.inside("mine", "ln -s /bin/echo /usr/local/bin/local-tool")
    done = user.run(
        "env", "PATH=/usr/bin:/bin", str(SDEE), "env", "enter", "mine", "--", "local-tool", "found"
    )  # cron(8)'s PATH
    assert done.stdout == "found\n"


def test_environments_do_not_nest_and_say_so(user: User) -> None:
    create = user.inside("mine", f"SDEE_ENV_DIR=~/nested {SDEE} env create inner; echo status $?")
    assert "you are in an environment already" in create
    assert "status 242" in create
    assert not (user.home / "nested").exists()
    assert "which hides all environments" in user.inside("mine", f"{SDEE} env enter mine -- true; true")


def test_mistakes_get_an_error_that_helps(user: User) -> None:
    def error(*arguments: str) -> tuple[int, str]:
        done = user.sdee("env", *arguments, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    code, text = error("enter", "other", "--", "true")
    assert code == 246
    assert "there is no environment other" in text
    assert "existing ones: mine" in text
    code, text = error("create", "mine")
    assert code == 246
    assert "exists already" in text
    code, text = error("create", "../mine")
    assert code == 2
    assert "is not a valid name of an environment" in text
    code, text = error("enter", "../mine", "--", "true")
    assert code == 2
    code, text = error("create", "x", "--bind", "/no/such")
    assert code == 2
    assert "--bind /no/such" in text
    code, text = error("enter")
    assert code == 2
    assert "Missing argument" in text


def test_two_terminals_share_an_environment_and_it_ends_with_the_last_process(user: User) -> None:
    first = user.start(
        str(SDEE), "env", "enter", "mine", "--", "sh", "-c", "echo one >/tmp/shared; echo ready; read line"
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    assert user.inside("mine", "cat /tmp/shared; tr '\\0' ' ' </proc/2/cmdline").startswith("one\nsh -c echo one")
    assert "running" in user.sdee("env", "list").stdout
    refused = user.sdee("env", "remove", "mine", check=False)
    assert refused.returncode == 246
    assert "is in use" in refused.stderr
    first.communicate("\n", timeout=60)
    wait_for(lambda: "running" not in user.sdee("env", "list").stdout, "it runs on")
    wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))  # the kernel unmounts meanwhile
    # only mount points: of the home, and of the sdee under test where that lies in /tmp
    kept = {
        Path(path).relative_to("/tmp").parts[0]
        for path in (str(user.home), *installation())
        if path.startswith("/tmp/")
    }
    assert set(user.inside("mine", "ls -A /tmp").split()) == kept


def test_the_list_shows_sizes_when_asked(user: User) -> None:
    def size() -> int:
        listed = user.sdee("env", "list", "--sizes").stdout
        (number,) = re.findall(r"(?m)^mine +\S+ +([0-9.]+) MB  20", listed) or [listed]
        return round(float(number))

    before = size()
    user.inside("mine", "head -c 20000000 /dev/urandom >/usr/local/large")
    wait_for(lambda: "running" not in user.sdee("env", "list").stdout, "it runs on")
    assert 19 <= size() - before <= 22
    assert " MB " not in user.sdee("env", "list").stdout
    user.inside("mine", "rm /usr/local/large")


def test_a_background_process_keeps_the_environment_until_stop(user: User) -> None:
    user.inside("mine", "setsid sleep 1000 >/dev/null 2>&1 </dev/null & :")
    assert "running" in user.sdee("env", "list").stdout
    assert user.inside("mine", "cat /proc/[0-9]*/comm").split().count("sleep") == 1
    assert "ended" in user.sdee("env", "stop", "mine").stdout
    wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))  # the kernel unmounts meanwhile


def test_kill_9_of_everything_leaves_no_mount_and_a_consistent_environment(user: User) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    busy = user.start(
        str(SDEE),
        "env",
        "enter",
        "mine",
        "--",
        "bash",
        "-c",
        "echo kept >/usr/local/kept; echo ready; while :; do cp /bin/ls /usr/local/x; done",
    )
    assert busy.stdout is not None
    assert busy.stdout.readline() == "ready\n"
    wait_for(lambda: bool(states_of("cp /bin/ls")), "it does not copy")
    user.run("kill", "-9", "-1", check=False)  # all processes of this user, whose number is only the tests'
    busy.wait(timeout=60)
    wait_for(lambda: processes_of(UID) == [], lambda: processes_of(UID))
    assert Path("/proc/self/mountinfo").read_text() == before
    assert user.inside("mine", "cat /usr/local/kept; cmp -s /bin/ls /usr/local/x || echo half") in (
        "kept\n",
        "kept\nhalf\n",
    )


def test_what_is_removed_is_gone(user: User) -> None:
    user.sdee("env", "create", "brief")
    user.inside("brief", "mkdir /opt/d; touch /opt/d/f; chmod 0 /opt/d/f /opt/d; chown 33 /usr/bin/env")
    user.sdee("env", "remove", "brief")
    assert [p.name for p in user.state("brief").parent.iterdir()] == ["mine"]


def test_a_create_that_fails_leaves_nothing(user: User) -> None:
    (user.home / "full").mkdir(exist_ok=True)
    done = user.sdee("env", "create", "x", variables={"SDEE_ENV_DIR": "/proc/mine"}, check=False)
    assert done.returncode == 247
    assert "SDEE_ENV_DIR" in done.stderr


def test_a_file_system_without_upper_layers_is_refused_with_the_remedy(user: User) -> None:
    # overlayfs itself, as in a container's root: the kernel refuses it as the place of an upper layer in a user namespace
    script = f"""
        set -e; cd {user.home}; mkdir -p lower upper work merged; mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged
        chown {UID}:{UID} merged
        export SDEE_ENV_DIR={user.home}/merged/envs; exec {" ".join(becomes(UID))} {SDEE} env create other"""
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False, env=user.environ
    )
    assert done.returncode == 242, done.stderr
    assert "overlayfs cannot have its upper layer in" in done.stderr
    assert "(overlayfs)" in done.stderr
    assert "hint: set SDEE_ENV_DIR to a directory on a local disk" in done.stderr
    assert not any((user.home / "merged").glob("envs/*"))


def test_users_without_namespaces_are_told_so(tmp_path: Path) -> None:
    script = f"echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all {SDEE} env create x"
    variables = {**os.environ, "SDEE_ENV_DIR": str(tmp_path / "envs")}
    done = subprocess.run(
        ["unshare", "-Ur", "bash", "-c", script], capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 242, done.stderr
    assert "the kernel allows you none (the limit user.max_user_namespaces is 0)" in done.stderr
    assert list((tmp_path / "envs").iterdir()) == []


def test_home_is_the_users_own_and_tmp_is_not(user: User) -> None:
    user.inside("mine", "echo from inside >~/note; touch /tmp/only-inside; touch /var/tmp/only-inside")
    assert (user.home / "note").read_text() == "from inside\n"
    assert (user.home / "note").stat().st_uid == UID
    assert not Path("/tmp/only-inside").exists()
    assert not Path("/var/tmp/only-inside").exists()
    assert user.inside("mine", "ls /var/tmp") == "only-inside\n"
    assert user.inside("mine", "getent passwd root").split(":")[5] == str(user.home)


def test_a_working_directory_that_is_not_inside_is_told(user: User) -> None:
    done = subprocess.run(
        [*becomes(UID), str(SDEE), "env", "enter", "mine", "--", "pwd"],
        cwd="/tmp",
        capture_output=True,
        text=True,
        check=True,
        env=user.environ,
    )
    assert done.stdout == "/tmp\n"
    done = subprocess.run(
        [*becomes(UID), str(SDEE), "env", "enter", "mine", "--", "pwd"],
        cwd="/run/lock",
        capture_output=True,
        text=True,
        check=True,
        env=user.environ,
    )
    assert done.stdout == "/run/lock\n"


def test_bind_shows_a_directory_of_the_host(user: User) -> None:
    shown = user.home.parent / f"{user.home.name}-shown"
    shown.mkdir()
    try:
        os.chown(shown, UID, UID)
        user.sdee("env", "create", "bound", "--bind", str(shown))
        user.inside("bound", f"echo hello >{shown}/file")
        assert (shown / "file").read_text() == "hello\n"
        assert "No such file" in user.inside("mine", f"ls {shown}", check=False)
        user.sdee("env", "remove", "bound")
    finally:
        subprocess.run(["rm", "-rf", str(shown)], check=True)


def test_an_interactive_shell_shows_the_environment_and_has_job_control(user: User) -> None:
    (user.home / ".bashrc").write_text("PS1='my prompt> '\n")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(user.home)
        os.execvpe("setpriv", [*becomes(UID), str(SDEE), "shell", "mine"], user.environ)
    seen = ""

    def expect(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < deadline, f"waited for {text!r} in {seen!r}"
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 4096).decode(errors="replace")
        seen = seen.partition(text)[2]

    expect("(mine) my prompt> ")
    os.write(terminal, b"sleep 1000\n")
    wait_for(lambda: states_of("sleep 1000") == ["S"], lambda: states_of("sleep 1000"))
    os.write(terminal, b"\x1a")  # Ctrl-Z
    expect("Stopped")
    os.write(terminal, b"fg\n")
    wait_for(lambda: states_of("sleep 1000") == ["S"], lambda: states_of("sleep 1000"))
    os.write(terminal, b"\x03")  # Ctrl-C
    expect("my prompt> ")
    os.write(terminal, b"echo status $?\n")
    expect("status 130")
    os.write(terminal, b"exit 9\n")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    os.close(terminal)


def test_displays_and_agents_are_shown_only_on_request(user: User) -> None:
    (user.home / "agent").touch()
    variables = {"SSH_AUTH_SOCK": str(user.home / "agent"), "DISPLAY": ":7", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}
    show = ["--", "sh", "-c", "echo ${SSH_AUTH_SOCK:-none} ${DISPLAY:-none} ${DBUS_SESSION_BUS_ADDRESS:-none}"]
    assert user.sdee("env", "enter", "mine", *show, variables=variables).stdout == "none none none\n"
    shown = user.sdee("env", "enter", "mine", "--x11", "--ssh-agent", *show, variables=variables).stdout
    assert shown == f"{user.home}/agent :7 none\n"


def test_debuggers_work_inside(user: User) -> None:
    assert "write(1" in user.inside("mine", "strace -e trace=write echo hello")
    assert "exited normally" in user.inside("mine", "gdb -batch -ex run /bin/true")


def test_a_directory_with_mounts_in_it_is_split(tmp_path: Path) -> None:
    text = "".join(
        f"1 1 0:1 / {path} rw - {kind} x rw\n" for path, kind in (("/", "ext4"), ("/var/lib/dpkg", "rpc_pipefs"))
    )
    made = plan.build(mountinfo.parse(text), str(tmp_path), str(tmp_path))
    kinds = {step.path: step.kind for step in made.steps}
    assert kinds["/usr"] == "overlay"
    assert kinds["/var"] == "overlay"
    assert {step.path: step.lower for step in made.shadows} == {"/var": "shadow/var", "/var/lib": "shadow/var-lib"}
    assert kinds["/var/lib/dpkg"] == "bind"
    assert kinds["/var/lib/apt"] == "overlay"
    assert plan.read(made.text()).steps == made.steps


def test_mountinfo_with_escapes_is_read() -> None:
    assert mountinfo.parse("1 1 0:1 / /a\\040b rw - nfs4 host:/x rw\n") == (
        mountinfo.Mount("/a b", "nfs4", "host:/x", "0:1"),
    )
    assert re.fullmatch(r"/.*", mountinfo.of_this_machine()[0].path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_environments_complete(user: User, shell: str) -> None:
    def complete(words: str) -> str:
        given = {
            "_SDEE_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        if shell == "fish":
            given["COMP_CWORD"] = words.rsplit(" ", maxsplit=1)[-1]
        return user.run(str(SDEE), variables=given).stdout

    assert "shell" in complete("sdee sh")
    assert "enter" in complete("sdee env en")
    assert "mine" in complete("sdee env enter m")
    assert "--minimal" in complete("sdee bundle --mi")
    script = user.run(str(SDEE), variables={"_SDEE_COMPLETE": f"{shell}_source"}).stdout
    assert "_SDEE_COMPLETE" in script
    if shutil.which(shell):
        (user.home / "completion").write_text(script)
        assert user.run(shell, "-n", "completion").stderr == ""
