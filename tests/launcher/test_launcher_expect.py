"""What the launcher expects of a node: its CPU, its kernel, its drivers' libraries; and what must not appear there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import bundle_maker
from launcher_tools import REPO, ROOT, ROOTS, USERS, built, open_directory, run, script

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = os.path.join(REPO, "fixtures", "hostlib")
SDEE = [sys.executable, "-m", "sdee"]
needs_root = pytest.mark.skipif(not ROOT, reason="mounts another ld.so.cache over this machine's: needs root")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


# ---- CPU and kernel ----


@pytest.mark.parametrize("uid", USERS)
def test_a_bundle_for_newer_cpus_is_refused_with_the_file_that_needs_them(work: str, uid: int) -> None:
    bundle = script("echo ran", isa="x86-64-v9 /opt/app/bin/solver").write(f"{work}/b.sdee")
    result = run([bundle], uid=uid)
    assert (result.returncode, result.stdout) == (244, "")
    assert "/opt/app/bin/solver is built for CPUs of level x86-64-v9, and this node's is x86-64-v" in result.stderr
    assert "hint: run it on nodes with a newer CPU" in result.stderr
    forced = run([bundle], uid=uid, FORCE="1")
    assert (forced.returncode, forced.stdout) == (0, "ran\n")
    assert "warning: /opt/app/bin/solver is built for CPUs" in forced.stderr
    ordinary = script("echo ran", isa="x86-64-v1 /opt/app/bin/solver").write(f"{work}/b.sdee")
    assert run([ordinary], uid=uid).stdout == "ran\n"


def test_a_bundle_for_newer_kernels_is_refused(work: str) -> None:
    bundle = script("echo ran", kernel="99.1.0 /usr/lib/libQt5Core.so.5").write(f"{work}/b.sdee")
    result = run([bundle])
    assert (result.returncode, result.stdout) == (244, "")
    assert "/usr/lib/libQt5Core.so.5 is built for Linux 99.1.0 or newer, and this node has" in result.stderr
    release = ".".join(os.uname().release.split("-", maxsplit=1)[0].split(".")[:3])
    for good in ("3.2.0", release):
        bundle = script("echo ran", kernel=f"{good} /x").write(f"{work}/b.sdee")
        assert run([bundle]).stdout == "ran\n", good
    done = run([script("echo ran", kernel="nonsense /x").write(f"{work}/b.sdee")])
    assert (done.returncode, done.stdout) == (241, ""), "whether this node would do cannot be said"


def test_an_illegal_instruction_is_explained_when_the_traced_cpu_could_do_more(work: str) -> None:
    bundle = script("kill -ILL $$", cpu="x86-64-v9").write(f"{work}/b.sdee")
    result = run([bundle])
    assert result.returncode == -4
    assert "used an instruction that this node's CPU" in result.stderr
    bundle = script("kill -ILL $$", cpu="x86-64-v1").write(f"{work}/b.sdee")
    assert run([bundle]).stderr == ""


# ---- the node's own libraries ----


def compile_(*arguments: str) -> None:
    subprocess.run(["gcc", *arguments], check=True, cwd=FIXTURES)


def driver(directory: str, version: int) -> str:
    """Install a stand-in driver as NVIDIA does: libcuda.so.1 is a link to a file named by the version."""
    os.makedirs(directory)
    name = f"libcuda.so.{version}.0"
    soname = "-Wl,-soname,libcuda.so.1"
    compile_("-shared", "-fPIC", f"-DVERSION={version}", "driver.c", soname, "-o", f"{directory}/{name}")
    os.symlink(name, f"{directory}/libcuda.so.1")
    return f"{directory}/libcuda.so.1"


def cache_with(work: str, directory: str) -> str:
    """Return an ld.so.cache as this machine's with one more directory, by ldconfig(8)."""
    with open(f"{work}/ld.so.conf", "w", encoding="utf-8") as file:
        file.write(f"include /etc/ld.so.conf\n{directory}\n")
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin:" + os.environ["PATH"])
    assert ldconfig
    subprocess.run([ldconfig, "-X", "-C", f"{work}/cache", "-f", f"{work}/ld.so.conf"], check=True)
    return f"{work}/cache"


def with_cache(
    cache: str, *command: str, uid: int = 0, env: dict[str, str] | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command where this ld.so.cache is the machine's."""
    become = f"setpriv --reuid={uid} --regid={uid} --clear-groups" if uid else ""
    text = f'mount --bind "$1" /etc/ld.so.cache && shift && exec {become} "$@"'
    return run(["unshare", "-m", "sh", "-c", text, "sh", cache, *command], env=env, **more)  # type: ignore[arg-type]


def traced(work: str, program: str, *flags: str) -> str:
    """Trace and bundle one of the fixture programs, with a driver of version 1 installed, which is then removed."""
    login = driver(f"{work}/login", 1)
    compile_(f"{program}.c", "-o", f"{work}/job", *flags)
    cache = cache_with(work, os.path.dirname(login))
    env = dict(os.environ)
    first = with_cache(cache, *SDEE, "trace", "-o", f"{work}/t", "--", f"{work}/job", env=env, cwd=work)
    assert (first.stdout, first.returncode) == ("driver 1\n", 0), first.stderr
    made = with_cache(cache, *SDEE, "bundle", f"{work}/t", "-o", f"{work}/b.sdee", "-q", env=env, cwd=work)
    assert made.returncode == 0, made.stderr
    shutil.rmtree(f"{work}/login")
    return f"{work}/b.sdee"


@needs_root
@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("program", ["linked", "loaded"])
def test_the_nodes_own_driver_library_is_used_and_never_travels(work: str, program: str, root: str, uid: int) -> None:
    flags = [f"-L{work}/login", "-l:libcuda.so.1"] if program == "linked" else ["-ldl"]
    bundle = traced(work, program, *flags)
    assert "libcuda" not in subprocess.run([*SDEE, "ls", bundle], capture_output=True, text=True, check=True).stdout
    node = driver(f"{work}/node", 2)
    result = with_cache(cache_with(work, os.path.dirname(node)), bundle, uid=uid, ROOT=root)
    assert (result.stderr, result.stdout, result.returncode) == ("", "driver 2\n", 0)


@needs_root
def test_verify_takes_the_driver_of_this_machine_for_the_nodes(work: str) -> None:
    bundle = traced(work, "loaded", "-ldl")
    login = driver(f"{work}/login", 1)
    result = run([*SDEE, "verify", bundle], env=dict(os.environ))
    assert (result.returncode, result.stderr.splitlines()[0]) == (0, "driver 1")
    assert f"the node must provide {login}" in result.stdout or "nothing is missing on a bare node" in result.stdout


@needs_root
def test_a_node_without_the_driver_is_named_before_the_job_starts(work: str) -> None:
    bundle = traced(work, "linked", f"-L{work}/login", "-l:libcuda.so.1")
    result = run([bundle])
    assert (result.returncode, result.stdout) == (244, "")
    assert (
        f"libcuda.so.1, which {work}/job needs and only a node's driver provides, is not on this node" in result.stderr
    )
    assert "tried: /etc/ld.so.cache" in result.stderr
    forced = run([bundle], FORCE="1")
    assert (forced.returncode, forced.stdout) == (127, "")
    assert "libcuda.so.1: cannot open shared object file" in forced.stderr


@needs_root
def test_a_job_that_can_do_without_the_driver_runs_and_is_warned(work: str) -> None:
    bundle = traced(work, "loaded", "-ldl")
    result = run([bundle])
    assert (result.returncode, result.stdout) == (0, "no driver\n")
    assert "warning: the traced run loaded libraries of a driver that is not on this node: libcuda.so" in result.stderr


@needs_root
def test_a_job_traced_without_a_driver_finds_the_one_that_the_node_has(work: str) -> None:
    compile_("loaded.c", "-o", f"{work}/job", "-ldl")
    subprocess.run([*SDEE, "trace", "-o", f"{work}/t", "--", f"{work}/job"], check=True, cwd=work)
    subprocess.run([*SDEE, "bundle", f"{work}/t", "-o", f"{work}/b.sdee", "-q"], check=True, cwd=work)
    assert run([f"{work}/b.sdee"]).stdout == "no driver\n"
    cache = cache_with(work, os.path.dirname(driver(f"{work}/node", 7)))
    for root in ROOTS:
        assert with_cache(cache, f"{work}/b.sdee", ROOT=root).stdout == "driver 7\n", root


@needs_root
@pytest.mark.parametrize("root", ROOTS)
def test_a_driver_that_needs_a_newer_libc_than_the_bundles_is_refused(work: str, root: str) -> None:
    cache = cache_with(work, os.path.dirname(driver(f"{work}/node", 2)))

    def bundle(kind: str) -> str:
        maker = script(
            "echo ran",
            host_family="nvidia never libcuda.so*",
            host_need=f"libcuda.so.1 {kind} /opt/app",
            provides="libc.so.6 GLIBC_2.1 GLIBC_2.2",
            library_directory="/lib/x86_64-linux-gnu",
        )
        return maker.write(f"{work}/{kind}.sdee")

    result = with_cache(cache, bundle("must"), ROOT=root)
    assert (result.returncode, result.stdout) == (244, "")
    assert "/opt/app needs this node's own libcuda.so.1" in result.stderr
    assert "it needs GLIBC_2.2.5 of libc.so.6, and the bundle's has GLIBC_2.2" in result.stderr
    result = with_cache(cache, bundle("may"), ROOT=root, DEBUG="1")
    assert (result.returncode, result.stdout) == (0, "ran\n")
    assert "# not used: it needs GLIBC_2.2.5" in result.stderr


@needs_root
@pytest.mark.parametrize("needed", ["SITE_1.1", "SITE_99"])
def test_a_preferred_library_is_the_nodes_where_it_has_the_versions_that_the_job_needs(work: str, needed: str) -> None:
    """The bundle carries one for nodes that have none; a node's own that is too old does not replace it."""
    os.makedirs(f"{work}/node")
    version = f"{work}/version"
    with open(version, "w", encoding="utf-8") as file:
        file.write("SITE_1.1 { global: cuDriverGetVersion; local: *; };\n")
    soname = "-Wl,-soname,libsite.so.1"
    for directory, number in (("node", 2), ("login", 1)):
        os.makedirs(f"{work}/{directory}", exist_ok=True)
        name = f"{work}/{directory}/libsite.so.1"
        compile_(
            "-shared", "-fPIC", f"-DVERSION={number}", "driver.c", soname, f"-Wl,--version-script={version}", "-o", name
        )
    compile_("linked.c", "-o", f"{work}/job", f"-L{work}/login", "-l:libsite.so.1")
    conf = {
        "host_family": "site prefer libsite.so*",
        "host_need": f"libsite.so.1 may /opt/app {needed}",
        "library_directory": ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"],
    }
    maker = bundle_maker.job(built("sdee-launcher"), [f"{work}/job"], **conf)  # type: ignore[arg-type]
    maker.host_file("/lib/x86_64-linux-gnu/libc.so.6")
    maker.host_file(f"{work}/login/libsite.so.1", at="/usr/lib/x86_64-linux-gnu/libsite.so.1")
    bundle = maker.write(f"{work}/b.sdee")
    assert run([bundle], ROOT="closed").stdout == "driver 1\n"
    result = with_cache(cache_with(work, f"{work}/node"), bundle, ROOT="closed")
    assert result.stdout == ("driver 2\n" if needed == "SITE_1.1" else "driver 1\n"), result.stderr


def mpi_bundle(work: str, symbols: str) -> str:
    """Return a bundle with an "MPI library" of its own, version 1, and the directory NODE with one of version 2."""
    for directory, number in (("node", 2), ("login", 1)):
        os.makedirs(f"{work}/{directory}", exist_ok=True)
        name = f"{work}/{directory}/libmpi.so.77"
        compile_("-shared", "-fPIC", f"-DVERSION={number}", "driver.c", "-Wl,-soname,libmpi.so.77", "-o", name)
    compile_("linked.c", "-o", f"{work}/job", f"-L{work}/login", "-l:libmpi.so.77")
    conf = {
        "host_family": "mpi asked libmpi.so*",
        "host_need": "libmpi.so.77 may /opt/app",
        "host_symbols": f"libmpi.so.77 /opt/app {symbols}",
        "library_directory": ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"],
    }
    maker = bundle_maker.job(built("sdee-launcher"), [f"{work}/job"], **conf)  # type: ignore[arg-type]
    maker.host_file("/lib/x86_64-linux-gnu/libc.so.6")
    maker.host_file("/etc/ld.so.cache")
    maker.host_file(f"{work}/login/libmpi.so.77", at="/usr/lib/x86_64-linux-gnu/libmpi.so.77")
    return maker.write(f"{work}/b.sdee")


@needs_root
@pytest.mark.parametrize("root", ROOTS)
def test_the_nodes_mpi_takes_the_place_of_the_bundles_only_when_asked_for(work: str, root: str) -> None:
    bundle = mpi_bundle(work, "cuDriverGetVersion")
    cache = cache_with(work, f"{work}/node")
    assert with_cache(cache, bundle, ROOT=root).stdout == "driver 1\n"
    asked = with_cache(cache, bundle, ROOT=root, MPI="host")
    assert (asked.stdout, asked.stderr, asked.returncode) == ("driver 2\n", "", 0)


@needs_root
def test_another_mpi_on_the_node_is_refused_with_the_reason(work: str) -> None:
    bundle = mpi_bundle(work, "cuDriverGetVersion MPI_Session_init")
    cache = cache_with(work, f"{work}/node")
    lacks = with_cache(cache, bundle, MPI="host")
    assert (lacks.stdout, lacks.returncode) == ("", 244)
    assert f"libmpi.so.77 ({work}/node/libmpi.so.77) lacks MPI_Session_init, which /opt/app calls" in lacks.stderr
    os.unlink(f"{work}/node/libmpi.so.77")
    missing = with_cache(cache_with(work, f"{work}/node"), bundle, MPI="host")
    assert missing.returncode == 244
    assert "--mpi host: libmpi.so.77, which /opt/app needs, is not on this node" in missing.stderr
    assert "hint: without --mpi host" in missing.stderr
    assert run([bundle], MPI="other").returncode == 2
    assert "call no MPI library" in run([script("true").write(f"{work}/c.sdee")], MPI="host").stderr


# ---- what was not there when the job was traced ----

LOOK = 'for f in "$@"; do test -e $f && echo $f; done; true'
HERE = ("/usr/share/common-licenses/GPL-3", "/usr/share/common-licenses/BSD", "/etc/debian_version", "/etc/skel")


@pytest.mark.parametrize("uid", USERS)
def test_what_was_not_there_does_not_appear_from_the_node(work: str, uid: int) -> None:
    found = [path for path in HERE if os.path.lexists(path)]
    assert found, "this machine has nothing to look for"
    seen = script(LOOK, *found).write(f"{work}/b.sdee")
    assert run([seen], uid=uid, ROOT="merged").stdout.split() == found
    hidden = script(LOOK, *found, absent=[*found, "/usr/share/nothing", "/opt/nothing"]).write(f"{work}/b.sdee")
    result = run([hidden], uid=uid, ROOT="merged")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert [path for path in HERE if os.path.lexists(path)] == found  # the node's own are as they were
    half = script(LOOK, *found, absent=found[1:]).write(f"{work}/b.sdee")
    assert run([half], uid=uid, ROOT="merged").stdout.split() == found[:1]


def test_below_a_file_of_the_bundle_there_is_nothing_to_hide(work: str) -> None:
    """The node has a directory where the bundle has a file: it covers all that is in it."""
    maker = script("cat /usr/share/common-licenses; echo", programs=("cat",), absent="/usr/share/common-licenses/BSD")
    bundle = maker.add("/usr/share/common-licenses", "a file").write(f"{work}/b.sdee")
    result = run([bundle], ROOT="merged")
    assert (result.stdout, result.returncode) == ("a file\n", 0), result.stderr


def test_only_what_the_node_has_is_hidden_and_the_plan_says_it(work: str) -> None:
    bundle = script("true", absent=["/etc/debian_version", "/etc/nothing"]).write(f"{work}/b.sdee")
    plan = run([bundle], ROOT="merged", DRY_RUN="1").stdout
    assert "plan: whiteout  /etc/debian_version  # was not there when the job was traced" in plan
    assert "/etc/nothing" not in plan
    assert "whiteout" not in run([bundle], ROOT="closed", DRY_RUN="1").stdout


@needs_root
def test_where_the_kernel_refuses_whiteouts_the_closed_root_is_taken(work: str) -> None:
    """A seccomp filter stands for a kernel before 5.8."""
    bundle = script("test -e /etc/debian_version || echo hidden", absent=["/etc/debian_version"]).write(
        f"{work}/b.sdee"
    )
    refuse = os.path.join(REPO, "fixtures", "launcher", "refuse.py")
    result = run([sys.executable, refuse, "mknodat", bundle])
    assert (result.stdout, result.stderr, result.returncode) == ("hidden\n", "", 0)
    merged = run([sys.executable, refuse, "mknodat", bundle], ROOT="merged")
    assert merged.stdout == ""
    assert (
        "warning: /etc/debian_version did not exist when the job was traced, is on this node, and sdee cannot hide it"
        in merged.stderr
    )
