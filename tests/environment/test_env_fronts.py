"""What stands in place of Slurm's commands in a private environment, where no Slurm answers; dpkg and those files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import UID, User, a_user, becomes, needs_root, skip_outside_of_ci
from sdee.runtime.environment import enter, locations, private, stand_ins
from sdee.runtime.jobs import passed
from sdee.runtime.jobs.slurm.inside import SlurmInside
from sdee.runtime.programs import FRONT

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).resolve().parents[2]


def run_front(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run sdee-front under another name."""
    return subprocess.run(
        [name, *arguments], executable=FRONT, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def serve(outside: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose calls are served; the variable FRONT is sdee-front's path."""
    return run_front("sdee-front", "serve", str(outside), *command, **{**os.environ, "FRONT": FRONT})


def source(path: str) -> str:
    with open(os.path.join(REPO, "runtime", path), encoding="utf-8") as file:
        return file.read()


def test_outside_of_an_environment_and_of_a_job_it_says_what_it_is() -> None:
    done = run_front("srun", "hostname")
    assert done.returncode == 244
    assert "works only inside `sdee env` or in a job that sdee submitted" in done.stderr
    assert run_front("squeue").returncode == 127
    assert run_front("sdee-front").returncode == 2


def test_a_call_is_served_with_its_descriptors_variables_directory_and_end(tmp_path: Path) -> None:
    outside, bin_ = tmp_path / "outside", tmp_path / "bin"
    outside.mkdir()
    bin_.mkdir()
    (outside / "srun").write_text(
        '#!/bin/sh\nread line; echo "$line|$PWD|$GIVEN|$1|$2"; echo "$SDEE_INSIDE_PATH" >&2; echo "$PATH" >&2; exit 7\n'
    )
    (outside / "srun").chmod(0o755)
    for name in ("srun", "uname", "nosuch-outside"):
        shutil.copy(FRONT, bin_ / name)
    script = (
        f"cd {bin_}; export GIVEN=yes PATH={bin_}:$PATH;"
        " echo in | srun a 'b c'; echo status $?; /bin/sh -c 'kill -9 $$'; uname -s; nosuch-outside; echo status $?"
    )
    done = serve(outside, "/bin/bash", "-c", script)
    assert done.stdout == f"in|{bin_}|yes|a|b c\nstatus 7\nLinux\nstatus 127\n", done.stderr
    said = done.stderr.splitlines()
    assert said[0].startswith(f"{bin_}:")  # the caller's, for the tasks
    assert said[1] == os.environ["PATH"]  # the server's own
    assert "cannot run the node's own nosuch-outside" in done.stderr


def test_a_server_outlives_signals_to_the_job_and_keeps_the_nodes_variables(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text('#!/bin/sh\necho "$PATH $SDEE_INSIDE_PATH"\n')
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "bin").mkdir()
    shutil.copy(FRONT, tmp_path / "bin" / "srun")
    script = f"trap : INT; kill -INT 0; echo $PATH ${{SDEE_INSIDE_PATH-none}}; {tmp_path}/bin/srun"
    command = ["setsid", "sdee-front", "serve", str(tmp_path), "/bin/bash", "-c", script]
    environment = {"PATH": f"{os.path.dirname(FRONT)}:/usr/bin:/bin", "SDEE_INSIDE_PATH": "/inside"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (f"/inside none\n{environment['PATH']} /inside\n", "")


def test_variables_that_a_shell_drops_get_through_it(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text('#!/bin/dash\nenv | grep -c "^[^=]*[.%]"; exec "$FRONT" pass env\n')
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "bin").mkdir()
    shutil.copy(FRONT, tmp_path / "bin" / "srun")
    call = "f() { echo called; }; export -f f; env A.B=dotted ./bin/srun"
    done = serve(tmp_path, "/bin/bash", "-c", f"cd {tmp_path}; {call}")
    count, *found = done.stdout.splitlines()
    assert count == "0", "this shell drops nothing"
    assert "A.B=dotted" in found
    assert "BASH_FUNC_f%%=() {  echo called" in found
    assert not [line for line in found if line.startswith("SDEE_PASSED")]
    given = {"A.B": "1", "f%%": "() {\n}", "plain": "2", "7": "", "é": "3"}
    hidden = passed.hidden(given)
    assert "plain" in hidden
    assert hidden.keys() - {"plain"} == {f"SDEE_PASSED_{number}" for number in range(4)}
    assert passed.shown(hidden) == given


def test_umask_and_limits_are_the_callers(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\numask; ulimit -Sn; ulimit -Hn; ulimit -Sc\n")
    (tmp_path / "srun").chmod(0o755)
    calls = 'umask 027; ulimit -Sn 99; ulimit -Hn 999; ulimit -Sc 0; exec -a srun "$FRONT"'
    done = serve(tmp_path, "/bin/bash", "-c", calls)
    assert done.stdout == "0027\n99\n999\n0\n", done.stderr


def test_a_caller_ends_by_the_signal_that_ended_the_command_and_takes_it_along(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text(
        '#!/bin/sh\ntrap "echo term; exit 9" TERM\n[ -z "$1" ] || kill -KILL $$\necho up\nsleep 30 & wait\n'
    )
    (tmp_path / "srun").chmod(0o755)
    shutil.copy(FRONT, tmp_path / "call")
    # `exec -a`: the name that it is called by is what counts
    calls = 'f() { exec -a srun "$FRONT" "$@"; }; (f now); echo "status $?"; f & sleep 1; kill $!; wait $!;'
    calls += ' echo "status $?"'
    done = serve(tmp_path, "/bin/bash", "-c", calls)
    assert done.stdout == "status 137\nup\nterm\nstatus 9\n", done.stderr


def test_a_call_that_is_no_call_ends_nothing(tmp_path: Path) -> None:
    script = """import os, socket
address = "\\0" + os.environ["SDEE_OUTSIDE"]
for noise in (b"", b"x", b"\\0" * 64, b"eeds" + b"\\xff" * 12, os.urandom(4096)):
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(address)
        end.sendall(noise)
os.execv(os.environ["FRONT"], ["true"])
"""
    done = serve(tmp_path, "python3", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")


@needs_root
@pytest.mark.parametrize(("uid", "served"), [(UID, False), (0, True)])
def test_another_user_who_has_taken_the_servers_name_gets_nothing(uid: int, served: bool) -> None:
    """The server has ended, a process of the job has not: anybody may bind the name, which is for all to see."""
    name = f"sdee-outside-{os.getpid()}-{uid}"
    with socket.socket(socket.AF_UNIX) as thief:
        thief.bind(f"\0{name}")
        thief.listen()
        variables = {"SDEE_OUTSIDE": name, "SECRET": "1", "PATH": os.environ["PATH"]}
        command = [*becomes(uid), "bash", "-c", 'exec -a srun "$0" x', str(FRONT)]
        call = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
        with thief.accept()[0] as end:
            got = end.recv(1 << 16) + end.recv(1 << 16)
        _, said = call.communicate(timeout=60)
    assert ("another user holds the server's name" in said, b"SECRET=1" in got) == (not served, served)


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    if not stand_ins.of_packages():
        skip_outside_of_ci("this machine has no Slurm of Debian's")
    with a_user() as made:
        made.sdee("env", "create", "mine")
        yield made


@needs_root
def test_another_version_of_sdee_brings_its_own_sdee_front_into_environments_that_are_there(user: User) -> None:
    user.inside("mine", "echo old >/usr/bin/srun; echo old >/run/sdee/sdee-front; echo own >/usr/bin/own-tool")
    user.sdee("env", "stop", "mine")
    look = (
        "cmp /usr/bin/srun /run/sdee/sdee-front && srun --nosuch; echo $?; cat /usr/bin/own-tool; rm /usr/bin/own-tool"
    )
    assert user.inside("mine", f"SDEE_OUTSIDE=nosuch; export SDEE_OUTSIDE; {look}").endswith("\n244\nown\n")


@needs_root
def test_dpkg_replaces_and_removes_what_sdee_front_stands_for(user: User) -> None:
    assert user.changes("mine") == []
    look = "readlink -f /usr/lib/sdee/srun; cmp /usr/bin/srun /run/sdee/sdee-front && echo front"
    assert user.inside("mine", look) == "/run/sdee/host/srun\nfront\n"
    user.leave_manuals_alone("mine")
    user.inside("mine", "apt-get update -qq; apt-get install -qq -y --reinstall slurm-client")
    assert user.inside("mine", look) == "/usr/lib/sdee/srun\nfront\n"
    user.inside("mine", "apt-get remove -qq -y slurm-client")
    done = user.inside("mine", "command -v squeue; squeue; echo status $?")
    assert "this environment has no squeue any more" in done
    assert done.endswith("status 127\n")


@needs_root
def test_an_environment_cannot_change_its_layers_past_the_overlay_nor_the_hosts_programs(user: User) -> None:
    done = user.inside("mine", "touch /run/sdee/layers/x; touch /run/sdee/host/x; rm -f /run/sdee/host/srun; true")
    assert done.count("Read-only file system") == 3, done


MOUNTS = r"""169 1 0:23 / / rw - tmpfs sdee rw
885 169 254:0 /home /home rw - ext4 /dev/vda rw
895 169 254:0 /home/u/states/mine/layers/root/upper /root rw - ext4 /dev/vda rw
913 169 254:0 /home/u/states/mine/tmp /tmp rw - ext4 /dev/vda rw
914 913 254:0 /tmp/a\040b /tmp/a\040b rw - ext4 /dev/vda rw
919 169 0:503 / /var rw - overlay sdee rw
1038 896 254:0 /home/u/states/mine/commands /run/sdee rw - ext4 /dev/vda rw
"""


def test_what_the_environment_alone_sees_is_told_from_what_the_nodes_see() -> None:
    own = ("/", "/root", "/tmp", "/tmp/x", "/tmp/a", "/var/lib/x", "/run/sdee")
    assert [path for path in own if not private.is_private(path, MOUNTS)] == []
    assert [path for path in ("/home", "/home/u/x", "/tmp/a b", "/tmp/a b/c") if private.is_private(path, MOUNTS)] == []
    outside = "\n".join(line for line in MOUNTS.splitlines() if "/run/sdee" not in line)
    assert not private.is_private("/tmp", outside)


def test_srun_in_a_command_that_is_traced_takes_its_directory_variables_and_input(tmp_path: Path) -> None:
    program = tmp_path / "rehearsal.sh"
    program.write_text(SlurmInside().rehearsal_program(FRONT, str(tmp_path / "record")))
    (tmp_path / "srun").symlink_to(FRONT)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "in").write_text("in\n")
    show = ["sh", "-c", 'echo "${PWD##*/} $X $Y $(cat)"; tr "\\0" "\\n" </proc/$$/environ | grep "^A[.]B"']
    for options in (
        ["-n", "2", "--chdir=sub", "--export=ALL,X=1,Y=2", "-i", "in"],
        ["-lD", "sub", "--chdir", "sub", "--export", "X=1,Y=2", "--input=in", "--"],
    ):
        done = subprocess.run(
            ["srun", *options, *show],
            executable=FRONT,
            env={"SDEE_REHEARSAL": str(program), "PATH": "/usr/bin:/bin", "A.B": "dotted"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert (done.stdout, done.stderr) == ("sub 1 2 in\nA.B=dotted\n", ""), options


def test_an_sdee_that_the_environment_does_not_see_is_named(tmp_path: Path) -> None:
    (tmp_path / "states").mkdir()
    enter.prepare_commands(str(tmp_path / "states"))
    script = tmp_path / "states" / locations.STATE_COMMANDS / "sdee-inside"
    script.write_text(script.read_text().replace(sys.executable, "/tmp/nosuch/python"))
    done = subprocess.run([str(script), "srun", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 244
    assert "/tmp/nosuch/python is missing" in done.stderr
