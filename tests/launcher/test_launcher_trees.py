"""Software directories (CONF tree) come from the bundle as a whole: what the node has in them does not show."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, ROOTS, USERS, as_user, on_node, open_directory, put, run, script, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundle_maker import Maker

COPIED = "that the job wrote below bundled software in"


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def own(directory: str, uid: int) -> None:
    subprocess.run(["chown", "-R", f"{uid}:{uid}", directory], check=True)


def software(work: str, text: str, *programs: str, **conf: list[str]) -> Maker:
    """Return a bundle of a script that uses a venv in its working directory; more CONF by keyword."""
    maker = script(text, programs=programs, cwd=f"{work}/cwd", live=[f"{work}/cwd"], tree=[f"{work}/cwd/venv"])
    maker.conf += [(key.replace("_", "-"), value) for key, values in conf.items() for value in values]
    return maker.add(f"{work}/cwd/venv/lib/mod", "the bundle's\n")


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("ground", ["plain", "overlay"])
def test_what_only_the_node_has_does_not_show(work: str, root: str, uid: int, ground: str) -> None:
    put(f"{work}/cwd/venv/lib/mod", "the node's, newer\n")
    put(f"{work}/cwd/venv/lib/later.pth", "import shadow\n")
    put(f"{work}/cwd/venv/more/mod", "more\n")
    put(f"{work}/cwd/data", "live\n")
    own(f"{work}/cwd", uid)
    maker = software(work, "cat venv/lib/mod data; ls -A venv venv/lib; echo n >venv/log", "cat", "ls")
    if ground == "overlay":
        maker.symlink(f"{work}/cwd/link", "data")
    result = run([maker.write(f"{work}/b.sdee")], uid=uid, ROOT=root, JOIN="never")
    assert result.stdout == "the bundle's\nlive\nvenv:\nlib\n\nvenv/lib:\nmod\n"
    assert result.returncode == 0, result.stderr
    assert f"1 file {COPIED} {work}/cwd/venv was copied to {work}/cwd/venv on the node\n" in result.stderr
    assert text_of(f"{work}/cwd/venv/log") == "n\n"
    assert text_of(f"{work}/cwd/venv/lib/mod") == "the node's, newer\n"
    assert sorted(os.listdir(f"{work}/cwd/venv")) == ["lib", "log", "more"]


@pytest.mark.skipif(not ROOT, reason="needs root to make another node")
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("tree", ["/sw", "/sw/app"])
def test_so_does_a_tree_outside_of_live_directories(work: str, root: str, tree: str) -> None:
    maker = script("ls -A /sw /sw/app; cat /sw/app/mod; echo l >/sw/app/log", programs=("ls", "cat"), tree=[tree])
    bundle = maker.add("/sw/app/mod", "the bundle's\n").write(f"{work}/b.sdee")
    files = (("/sw/app/mod", "newer\n"), ("/sw/app/usercustomize.py", ""), ("/sw/other/x", ""))
    result = on_node([bundle], files=files, ROOT=root)
    beside = "other\n" if tree == "/sw/app" else ""
    assert result.stdout == f"/sw:\napp\n{beside}\n/sw/app:\nmod\nthe bundle's\n"
    assert "gone with the job: /sw/app/log" in result.stderr
    assert result.returncode == 0


@pytest.mark.parametrize("root", ROOTS)
def test_the_very_same_tree_is_the_nodes_own_and_one_with_more_is_not(work: str, root: str) -> None:
    text = "ls -A venv/lib; echo real >venv/log; exec cat out"
    maker = software(work, text, "ls", "cat")
    put(f"{work}/cwd/out", "")
    bundle = maker.write(f"{work}/b.sdee")
    path = put(f"{work}/cwd/venv/lib/mod", "the bundle's\n", 0o644)
    os.utime(path, ns=(maker.entries[-1].mtime_ns, maker.entries[-1].mtime_ns))
    same = run([bundle], ROOT=root, DEBUG="1")
    assert "software comes from the bundle" not in same.stderr
    os.unlink(f"{work}/cwd/venv/log")
    put(f"{work}/cwd/venv/lib/more.pth", "")
    more = run([bundle], ROOT=root, DEBUG="1")
    assert (
        f"bind      /closure{work}/cwd/venv -> {work}/cwd/venv  # software comes from the bundle as a whole"
        in more.stderr
    )
    assert (same.stdout, more.stdout) == ("mod\n", "mod\n")


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("there", ["nothing", "parent", "something"])
def test_an_empty_tree_covers_the_nodes_and_is_not_made(work: str, root: str, there: str) -> None:
    site = f"{work}/home/.local/lib/python3/site-packages"
    os.makedirs(f"{work}/home")
    maker = script(
        "ls -A $1; echo r >result", site, programs=("ls",), cwd=f"{work}/home", live=[f"{work}/home"], tree=[site]
    )
    if there == "parent":
        os.makedirs(os.path.dirname(site))
    elif there == "something":
        put(f"{site}/usercustomize.py", "print('leaked')")
    before = sorted(os.walk(f"{work}/home"))
    result = run([maker.directory(site).write(f"{work}/b.sdee")], ROOT=root)
    assert result.stdout == ""
    assert text_of(f"{work}/home/result") == "r\n"
    os.unlink(f"{work}/home/result")
    assert sorted(os.walk(f"{work}/home")) == before
    assert "stay in memory" not in result.stderr


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
def test_live_directories_and_data_below_a_tree_are_the_nodes(work: str, root: str, uid: int) -> None:
    for path, text in (("runs/old", "old\n"), ("etc/deep/state", "node's\n"), ("log", "first\n"), ("hidden", "")):
        put(f"{work}/cwd/venv/{path}", text)
    own(f"{work}/cwd", uid)
    text = """cat venv/etc/deep/state venv/log; echo more >>venv/etc/deep/state; echo second >>venv/log
        echo new >venv/runs/new; ls venv venv/runs; while [ ! -e go ]; do sleep 0.02; done"""
    data = [f"{work}/cwd/venv/{name}" for name in ("etc/deep/state", "log", "missing")]
    maker = software(work, text, "cat", "ls", "sleep", live=[f"{work}/cwd/venv/runs"], fallback=data)
    bundle = maker.add(f"{work}/cwd/venv/etc/deep/state", "bundle's\n").write(f"{work}/b.sdee")
    command = [*as_user(uid), bundle]
    with subprocess.Popen(command, env=PLAIN | {"SDEE_ROOT": root}, text=True, stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        lines = [job.stdout.readline().strip() for _ in range(11)]
        assert text_of(f"{work}/cwd/venv/runs/new") == "new\n", "real at once"
        assert text_of(f"{work}/cwd/venv/etc/deep/state") == "node's\nmore\n"
        put(f"{work}/cwd/go", "")
    assert lines == ["node's", "first", "venv:", "etc", "lib", "log", "runs", "", "venv/runs:", "new", "old"]
    assert job.returncode == 0
    assert text_of(f"{work}/cwd/venv/log") == "first\nsecond\n"


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("more", ["nothing", "module"])
def test_what_was_left_out_of_a_tree_is_the_nodes_and_its_own_names_stay_hidden(
    work: str, root: str, more: str
) -> None:
    maker = software(
        work,
        "cat venv/lib/large/table venv/lib/state; echo w >>venv/lib/state; ls venv/lib; cat venv/lib/mod",
        *("cat", "ls"),
        left_out=[f"{work}/cwd/venv/lib/large", f"{work}/cwd/venv/lib/state", f"{work}/cwd/venv/gone"],
        unused=[f"{work}/cwd/venv/lib/tests"],
    )
    bundle = maker.write(f"{work}/b.sdee")
    path = put(f"{work}/cwd/venv/lib/mod", "the bundle's\n", 0o644)
    os.utime(path, ns=(maker.entries[-1].mtime_ns, maker.entries[-1].mtime_ns))
    put(f"{work}/cwd/venv/lib/large/table", "the node's table\n")
    put(f"{work}/cwd/venv/lib/tests/test_mod.py", "")
    put(f"{work}/cwd/venv/lib/state", "the node's state\n")
    put(f"{work}/cwd/venv/lib/__pycache__/mod.cpython-311.pyc", "made by another job")
    if more == "module":
        put(f"{work}/cwd/venv/lib/later.pth", "")
    result = run([bundle], ROOT=root, DEBUG="1")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert (lines[:2], lines[-1]) == (["the node's table", "the node's state"], "the bundle's")
    assert set(lines[2:-1]) - {"__pycache__", *(["tests"] if more == "nothing" else [])} == {"large", "mod", "state"}
    # what is the same but for what was left out, and for caches of compiled code, need not be covered
    assert ("software comes from the bundle as a whole" in result.stderr) is (more == "module")
    assert text_of(f"{work}/cwd/venv/lib/state") == "the node's state\nw\n"


CHANGES = r"""
cd venv; mkdir lib/d; mv lib lib2; mv lib2/mod lib2/renamed; ln lib2/renamed hard; echo >>hard; echo >>lib2/renamed
python3 -c "
import os
fd = os.open('.', os.O_TMPFILE | os.O_RDWR); os.write(fd, b'linked')
os.link(f'/proc/self/fd/{fd}', 'tmpfile', src_dir_fd=fd, follow_symlinks=True)
assert os.stat('hard').st_nlink == 2
os.rename('lib2/d', 'lib2/e'); os.mkfifo('p'); os.symlink('hard', 's')"
rm lib2/renamed; cat tmpfile; ls -R . | tr '\n' ' '
"""


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("deployed", [False, True])
@pytest.mark.parametrize("root", ROOTS)
def test_in_a_tree_a_job_can_change_all_that_it_could_outside(
    work: str, root: str, uid: int, *, deployed: bool
) -> None:
    put(f"{work}/cwd/venv/other", "")
    os.mkdir(f"{work}/stage", 0o777)
    own(work, uid)
    maker = software(work, "set -e;" + CHANGES, "mv", "rm", "ln", "mkdir", "ls", "tr", "cat", host=["/usr"])
    maker.symlink("/usr/bin/python3", os.readlink("/usr/bin/python3")).host_file(os.path.realpath("/usr/bin/python3"))
    bundle = maker.write(f"{work}/b.sdee")
    if deployed:
        assert run([bundle], uid=uid, DEPLOY="1", DEPLOY_DIR=f"{work}/stage").returncode == 0
    result = run([bundle], uid=uid, ROOT=root, DEPLOY_DIR=f"{work}/stage", QUIET="1")
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout == "linked.: hard lib2 p s tmpfile  ./lib2: e  ./lib2/e: "


@pytest.mark.parametrize("root", ROOTS)
def test_what_the_node_has_by_that_name_is_not_overwritten(work: str, root: str) -> None:
    put(f"{work}/cwd/venv/log", "the node's\n")
    put(f"{work}/cwd/venv/lib/mod", "newer\n")
    put(f"{work}/cwd/venv/lib/__pycache__/mod.pyc", "the node's")
    text = "echo job >venv/log; echo job >>venv/lib/mod; mkdir venv/lib/__pycache__; echo >venv/lib/__pycache__/mod.pyc"
    result = run([software(work, text, "mkdir").write(f"{work}/b.sdee")], ROOT=root)
    assert result.returncode == 247
    assert "not in the bundled software that the job saw" in result.stderr
    (log,) = [name for name in os.listdir(f"{work}/cwd/venv") if name.startswith("log.sdee-")]
    (mod,) = [name for name in os.listdir(f"{work}/cwd/venv/lib") if name.startswith("mod.sdee-")]
    assert text_of(f"{work}/cwd/venv/log") == "the node's\n"
    assert text_of(f"{work}/cwd/venv/{log}") == "job\n"
    assert text_of(f"{work}/cwd/venv/lib/mod") == "newer\n"
    assert text_of(f"{work}/cwd/venv/lib/{mod}") == "the bundle's\njob\n"
    assert text_of(f"{work}/cwd/venv/lib/__pycache__/mod.pyc") == "the node's"


@pytest.mark.parametrize("root", ROOTS)
def test_caches_go_back_without_a_word(work: str, root: str) -> None:
    put(f"{work}/cwd/venv/lib/mod", "newer\n")
    text = "mkdir venv/lib/__pycache__; echo c >venv/lib/__pycache__/mod.pyc; [ -z $QUIET ] || echo l >venv/log"
    bundle = software(work, text, "mkdir", live_env=["QUIET"]).write(f"{work}/b.sdee")
    result = run([bundle], ROOT=root)
    assert (result.stderr.count("\n"), result.returncode) == (1, 0)
    assert "venv/lib/mod here is newer than the bundle's" in result.stderr
    assert text_of(f"{work}/cwd/venv/lib/__pycache__/mod.pyc") == "c\n"
    quiet = run([bundle], ROOT=root, env={"QUIET": "1", "SDEE_QUIET": "1"})
    assert (quiet.stderr, quiet.returncode, text_of(f"{work}/cwd/venv/log")) == ("", 0, "l\n")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make another user's directory")
@pytest.mark.parametrize("root", ROOTS)
def test_a_tree_of_another_user_is_named_and_can_be_saved(work: str, root: str) -> None:
    put(f"{work}/cwd/venv/lib/other", "")
    os.chmod(f"{work}/cwd", 0o777)
    text = "echo l >venv/log; mkdir venv/d venv/__pycache__; echo c >venv/__pycache__/m.pyc; echo r >result"
    bundle = software(work, text, "mkdir").write(f"{work}/b.sdee")
    result = run([bundle], uid=USERS[-1], ROOT=root)
    assert result.returncode == 0
    lost = f"1 file written outside live directories and gone with the job: {work}/cwd/venv/log; keep them"
    assert lost in result.stderr
    assert os.listdir(f"{work}/cwd/venv") == ["lib"]
    saved = run([bundle], uid=USERS[-1], ROOT=root, SAVE=f"{work}/saved")
    assert "; saved in" in saved.stderr
    assert text_of(f"{work}/saved{work}/cwd/venv/log") == "l\n"


@pytest.mark.parametrize("root", ROOTS)
def test_a_link_to_a_directory_on_the_node_shows_the_bundles_tree(work: str, root: str) -> None:
    put(f"{work}/elsewhere/lib/leak", "")
    os.makedirs(f"{work}/cwd")
    os.symlink(f"{work}/elsewhere", f"{work}/cwd/venv")
    result = run([software(work, "ls venv/lib", "ls").write(f"{work}/b.sdee")], ROOT=root)
    assert result.stdout == "mod\n"


def test_ranks_that_leave_one_by_one_take_no_copy_for_the_nodes_own(work: str) -> None:
    put(f"{work}/cwd/venv/other", "")
    text = "echo $SLURM_PROCID; read line; echo $SLURM_PROCID >>venv/log"
    bundle = software(work, text).write(f"{work}/b.sdee")
    step = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ranks = []
    for rank in ("0", "1"):
        ranks.append(subprocess.Popen([bundle], env=PLAIN | step | {"SLURM_PROCID": rank}, text=True, **pipes))  # type: ignore[call-overload]
        assert ranks[-1].stdout.readline() == f"{rank}\n"
    for number, rank in enumerate(ranks):
        _, said = rank.communicate("go\n", timeout=60)
        assert rank.returncode == 0, said
        assert COPIED in said
        assert text_of(f"{work}/cwd/venv/log") == "0\n1\n"[: 2 * number + 2]


def test_dry_run_says_what_is_frozen(work: str) -> None:
    put(f"{work}/cwd/venv/other", "")
    plan = run([software(work, "true").write(f"{work}/b.sdee")], DRY_RUN="1").stdout
    assert f"{work}/cwd/venv  # software comes from the bundle as a whole\n" in plan
