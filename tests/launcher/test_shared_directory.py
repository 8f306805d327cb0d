"""What another user has put into a directory under the names that sdee looks for there: it does not count."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

from env_support import SDEE
from sdee.base.trust import distrusted
from two_users import MINE, THEIRS, needs_root
from two_users import project as project  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from two_users import Project

pytestmark = needs_root
SBATCH = '#!/bin/sh\ncase $1 in --help) exit 0 ;; esac\nfor last; do :; done\nexec "$last"\n'  # runs the script here
SRUN = '#!/bin/sh\nwhile case $1 in --*) ;; *) false ;; esac; do shift; done\nexec "$@"\n'


def own(project: Project, name: str, text: str, mode: int = 0o644) -> Path:
    """A file of the first user's in the own home."""
    path = project.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    for made in (path, path.parent):
        os.chown(made, MINE, MINE)
    return path


def travels(project: Project) -> list[str]:
    plan = json.loads(project.mine("sdee", "bundle", "-n", "--json", f"{project.home}/trace").stdout)
    return [item["path"] for item in plan["items"] if item["verdict"] == "bundle"]


def test_settings_of_another_user_do_not_count(project: Project) -> None:
    key = own(project, ".ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n", 0o600)
    settings = f'include = ["{key}"]\nallow = ["{key}"]\n'
    project.mine("sdee", "trace", "-q", "-o", f"{project.home}/trace", "--", "true")
    project.theirs(f"printf '%s' '{settings}' >sdee.toml")
    assert str(key) not in travels(project)
    said = project.mine("sdee", "bundle", "-o", f"{project.home}/b.sdee", f"{project.home}/trace").stderr
    assert said.count("/sdee.toml: it belongs to user") == 1
    assert "hint: add trust = [" in said
    assert "ignored: it belongs to user" in project.mine("sdee", "config").stdout
    # by a link of theirs to a file of one's own, and by their right to write to it
    own(project, "sdee.toml", settings)
    project.theirs(f"ln -sf {project.home}/sdee.toml sdee.toml")
    assert str(key) not in travels(project)
    os.unlink(project.shared / "sdee.toml")
    project.mine("sh", "-c", f"cp {project.home}/sdee.toml . && chmod 664 sdee.toml")
    said = project.mine("sdee", "config").stdout
    assert "may write to it" in said
    # the other side: one's own counts, another's does where one has said so
    project.mine("chmod", "644", "sdee.toml")
    assert str(key) in travels(project)
    project.theirs("mv sdee.toml old; cp old sdee.toml")
    assert str(key) not in travels(project)
    own(project, ".config/sdee/sdee.toml", f'trust = ["{project.shared}"]\n')
    assert str(key) in travels(project)
    project.theirs("""echo 'trust = ["*"]' >>sdee.toml""")
    assert "trust counts in" in project.mine("sdee", "config", status=2).stderr


def desk(project: Project) -> dict[str, str]:
    """A job manager that runs each batch script at once."""
    tools = project.top / "tools"
    tools.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = f"{tools}:{SDEE.parent}:/usr/bin:/bin"
    return {"PATH": path, "SLURM_JOB_NUM_NODES": "1", "SDEE_ROOT": "closed"}


def submit(project: Project, env: dict[str, str], *options: str, status: int = 0) -> str:
    command = ["submit", "--manager=slurm", "--broadcast=never", *options, "--", "/bin/echo", "mine"]
    done = project.mine("sdee", *command, status=status, env=env)
    return done.stdout + done.stderr


def test_a_job_directory_of_another_user_does_not_run_what_it_holds(project: Project) -> None:
    env = desk(project)
    assert "mine\n" in submit(project, env)
    kept = project.shared / "sdee-jobs"
    assert not any(path.stat().st_mode & 0o022 for path in (kept, *kept.iterdir()))
    assert kept.stat().st_mode & stat.S_ISGID  # the umask left the group its right elsewhere
    # a copy that runs another program, as if it were made by this user
    project.theirs(
        "mkdir x && cp -r sdee-jobs/. x/ 2>/dev/null; chmod -R a+rX x; mv sdee-jobs mine-before; mv x sdee-jobs"
    )
    (job,) = kept.iterdir()
    state = json.loads((next((project.shared / "mine-before").iterdir()) / "state.json").read_text())
    bundle = job / state["bundle"]["name"]
    (job / "state.json").write_text(json.dumps(state))
    trap = f"#!/bin/sh\\necho TRAP >{project.shared}/trap\\n"
    project.theirs(f"rm -f {bundle}; printf '{trap}' >{bundle}; chmod 755 {bundle}")
    for path in (job / "state.json", bundle, job, kept):
        os.chown(path, THEIRS, -1)
    said = submit(project, env)
    assert "does not use sdee-jobs: it belongs to user" in said
    assert "mine\n" in said
    assert not (project.shared / "trap").exists()
    assert (project.shared / f"sdee-jobs-user_{MINE}").is_dir()
    # named, the directory counts, and what another has made in it does not
    said = submit(project, env, "--dir", "sdee-jobs", status=247)
    assert "sdee does not use " in said
    assert "--dir DIR" in said
    assert "keep" not in submit(project, env, "--dir", "sdee-jobs", "--dry-run").splitlines()[0]
    assert not (project.shared / "trap").exists()


def test_a_trace_and_a_bundle_of_another_user_count_only_when_named(project: Project) -> None:
    secret = own(project, "private.dat", "mine", 0o600)
    project.theirs("sdee trace -q -o t -- true && sdee bundle -q -o bundle.sdee t && mv t sdee.trace && chmod a+r *")
    for words in (["bundle"], ["verify"]):
        said = project.mine("sdee", *words, status=None).stderr
        assert "unasked: it belongs to user" in said
        assert f"hint: if you trust it, name it: sdee {words[0]}" in said
    assert "nothing is missing" in project.mine("sdee", "verify", "bundle.sdee").stdout
    assert "command" in project.mine("sdee", "info").stdout, "to look at it runs nothing"
    assert project.mine("sdee", "bundle", "-n", "sdee.trace").returncode == 0
    assert secret.exists()


def test_a_trace_is_not_written_into_what_another_user_put_there(project: Project) -> None:
    victim = own(project, "mine.txt", "mine", 0o644)
    reader = f"{project.shared}/read"
    for plant in (
        f"mkfifo -m 666 sdee.trace; cat sdee.trace >{reader} &",
        f"ln -s {victim} sdee.trace",
        "ln -s elsewhere sdee.trace",
        "touch sdee.trace; chmod 666 sdee.trace",
        "mkfifo -m 666 pipe; ln -s pipe sdee.trace",
    ):
        project.run(THEIRS, "sh", "-c", f"({plant}) >/dev/null 2>&1")
        done = project.mine("sdee", "trace", "--", "touch", "ran", status=247)
        assert "cannot write the trace" in done.stderr
        assert "it belongs to user" in done.stderr
        assert victim.read_text() == "mine"
        assert not (project.shared / "elsewhere").exists()
        assert not (project.shared / "ran").exists(), "the job has not begun"
        project.theirs(f"rm -f sdee.trace pipe; [ ! -s {reader} ]")


def test_a_trace_goes_to_a_link_a_pipe_and_a_terminal_of_ones_own(project: Project) -> None:
    text = "sdee trace -q -o {} -- true 2>err && {}"
    for to, check in (
        ("sdee.trace", "grep -q header sdee.trace"),
        ("link", "grep -q header real"),
        ("sub/../link", "grep -q header real"),
        ("new", "grep -q header made"),
        ("/dev/stderr", "cat err >&2"),
        (">(cat >piped)", "sleep 1; grep -q header piped"),
        ("fifo", "wait; grep -q header through"),
    ):
        before = "mkdir -p sub; ln -sf real link; ln -sf made new; rm -f fifo; mkfifo fifo; cat fifo >through & "
        done = project.mine("bash", "-c", f"{before}{text.format(to, check)}; s=$?; kill %1 2>/dev/null; exit $s")
        assert ('"t":"header"' in done.stderr) == (to == "/dev/stderr")


def test_copies_of_changed_files_go_to_no_directory_of_another_user(project: Project) -> None:
    mine = own(project, "in.txt", "mine\n", 0o600)
    job = f"cat {mine}; echo x >>{mine}"
    for plant in (
        "mkdir -m 1777 sdee.trace.saved; touch sdee.trace.saved/x",
        "mkdir -m 777 d; touch d/x; ln -s d sdee.trace.saved",
    ):
        project.theirs(plant)
        project.mine("sdee", "trace", "-q", "--", "sh", "-c", job)
        where = project.shared / ("d" if "ln" in plant else "sdee.trace.saved")
        assert [path.name for path in where.iterdir()] == ["x"]
        (saved,) = (line for line in (project.shared / "sdee.trace").read_text().splitlines() if '"t":"saved"' in line)
        assert json.loads(saved)["copy"] is None
        said = project.mine("sdee", "bundle", "-n", "--with-data").stdout
        assert str(mine) in said
        project.theirs("rm -rf d; rm -rf sdee.trace.saved; mv sdee.trace x")
    project.mine("sdee", "trace", "-q", "--", "sh", "-c", job)
    copy = project.shared / "sdee.trace.saved/0"
    assert stat.S_IMODE(copy.parent.stat().st_mode) & 0o777 == 0o700
    assert copy.read_text().startswith("mine\n")
    # replaced by another's between trace and bundle
    project.theirs("mv sdee.trace.saved gone; mkdir sdee.trace.saved; echo THEIRS >sdee.trace.saved/0")
    project.mine("sdee", "bundle", "-q", "--with-data", "-o", f"{project.home}/b.sdee")
    assert "THEIRS" not in project.mine("sh", "-c", f"sdee cat {project.home}/b.sdee {mine}; true").stdout


def test_a_bundle_is_not_written_through_a_link_of_another_user(project: Project) -> None:
    victim = own(project, "mine.txt", "mine")
    project.mine("sdee", "trace", "-q", "--", "true")
    project.theirs(f"ln -s {victim} bundle.sdee")
    assert "is a link that is not yours" in project.mine("sdee", "bundle", status=247).stderr
    assert victim.read_text() == "mine"
    project.theirs("rm bundle.sdee")
    project.mine("sh", "-c", f"ln -s {project.home}/b bundle.sdee; sdee bundle -q")
    assert (project.home / "b").stat().st_size > 1000


def test_what_one_owns_and_what_root_owns_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sdee.toml"
    assert not distrusted(str(file)), "what is not there is nobody's"
    file.write_text("")
    file.chmod(0o644)
    assert not distrusted(str(file))
    monkeypatch.setattr(os, "geteuid", lambda: MINE)
    assert not distrusted(str(file))
    os.chown(file, THEIRS, THEIRS)
    assert distrusted(str(file)) == f"it belongs to user {THEIRS}"
    os.chown(file, MINE, THEIRS)
    assert not distrusted(str(file))
    for mode, why in ((0o664, f"its group {THEIRS} may write to it"), (0o646, "anybody may write to it")):
        file.chmod(mode)
        assert distrusted(str(file)) == why
    file.chmod(0o644)
    (tmp_path / "link").symlink_to(file)
    os.lchown(tmp_path / "link", THEIRS, THEIRS)
    assert distrusted(str(tmp_path / "link"))
    os.lchown(tmp_path / "link", MINE, MINE)
    assert not distrusted(str(tmp_path / "link"))


def test_a_group_of_the_user_alone_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    file = tmp_path / "sdee.toml"
    file.write_text("")
    file.chmod(0o664)
    os.chown(file, MINE, MINE)
    monkeypatch.setattr(os, "geteuid", lambda: MINE)
    user = pwd.struct_passwd(("anna", "x", MINE, MINE, "", "", ""))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)
    for members, name, fine in (
        ([], "anna", True),
        (["anna"], "anna", True),
        (["bob"], "anna", False),
        ([], "x", False),
    ):
        group = grp.struct_group((name, "x", MINE, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _gid, group=group: group)
        assert bool(distrusted(str(file))) != fine
