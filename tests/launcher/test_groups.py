"""Project groups: a bare job may give its files to them, one in a user namespace may not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher_tools import PLAIN, ROOT, ROOTS, TESTER, open_directory, put, run, script, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SDEE = [sys.executable, "-m", "sdee"]
PROJECT, OTHER = 5001, 5002
pytestmark = pytest.mark.skipif(not ROOT, reason="becomes a user with several groups")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def member(work: str, *command: str, primary: int = TESTER) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is in two project groups."""
    groups = f"--groups={TESTER},{PROJECT},{OTHER}"
    prefix = ["setpriv", f"--reuid={TESTER}", f"--regid={primary}", groups]
    return subprocess.run(
        [*prefix, *command], cwd=work, env=PLAIN | {"HOME": work}, capture_output=True, text=True, check=False
    )


JOBS = {
    "chgrp": f"touch result && chgrp {PROJECT} result",
    "install": f"touch input && install -m 640 -g {PROJECT} input result",
    "perl": f"touch result && perl -e 'chown -1, {PROJECT}, q(result) or exit print STDERR $!'",
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("engine", ["unotify", "ptrace"])
def test_a_job_that_gives_files_to_a_project_is_told_how_to_start(work: str, engine: str, job: str) -> None:
    traced = member(work, *SDEE, "trace", "--engine", engine, "sh", "-ec", job)
    assert traced.returncode == 0, traced.stderr
    assert os.stat(f"{work}/result").st_gid == PROJECT
    bundled = member(work, *SDEE, "bundle")
    assert f"the job gives files to the group {PROJECT} ({PROJECT}); in a bundle, chown" in bundled.stderr
    assert f"start it by `sg {PROJECT} -c ./bundle.sdee`" in bundled.stderr
    os.unlink(f"{work}/result")
    refused = member(work, "./bundle.sdee")
    assert refused.returncode == 1
    assert "Invalid argument" in refused.stderr
    member(work, "rm", "-f", "result")
    assert member(work, "./bundle.sdee", primary=PROJECT).returncode == 0, "as sg(1) and newgrp(1) start it"
    assert os.stat(f"{work}/result").st_gid == PROJECT


@pytest.mark.parametrize("job", [f"chgrp {TESTER} f", "chown 9 f || true", "chgrp 5003 f || true", "cp -p f g"])
def test_the_primary_group_and_what_the_kernel_refuses_need_no_word(work: str, job: str) -> None:
    member(work, *SDEE, "trace", "sh", "-c", f"touch f; {job}")
    assert "gives files to the group" not in member(work, *SDEE, "bundle").stderr


@pytest.fixture
def site(work: str) -> str:
    """Return a script that runs its arguments as the member on a site that lets PROJECT be mapped, and OTHER not."""
    put(f"{work}/subgid", f"somebody:{OTHER}:1\ntester:{PROJECT}:1\n", 0o644)
    put(f"{work}/passwd", f"{text_of('/etc/passwd')}tester:x:{TESTER}:{TESTER}::{work}:/bin/sh\n", 0o644)
    mounts = "".join(f"mount --bind {work}/{name} /etc/{name}\n" for name in ("subgid", "passwd"))
    groups = f"--groups={TESTER},{PROJECT},{OTHER}"
    become = f'exec setpriv --reuid={TESTER} --regid={TESTER} {groups} "$@"\n'
    return put(f"{work}/site", f"#!/bin/sh\n{mounts}{become}", 0o755)


def on_site(site: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command there."""
    return run(["unshare", "-m", site, *command], cwd=os.path.dirname(site))


@pytest.mark.parametrize("root", ROOTS)
def test_where_the_site_allows_it_the_job_has_its_groups(work: str, site: str, root: str) -> None:
    text = (
        f"cd {work}; touch f g; chgrp {PROJECT} f; chgrp {OTHER} g; stat -c %g f; id -G; grep -c . /proc/self/gid_map"
    )
    maker = script(text, programs=("touch", "chgrp", "stat", "id", "grep"), live=[work], env=["PATH=/usr/bin:/bin"])
    bundle = maker.write(f"{work}/b.sdee")
    result = on_site(site, "env", f"SDEE_ROOT={root}", bundle)
    assert result.stdout.splitlines() == [str(PROJECT), f"{TESTER} {PROJECT} 65534", "2"], result.stderr
    assert os.stat(f"{work}/f").st_gid == PROJECT
    assert os.stat(f"{work}/g").st_gid == TESTER, "the other one is not the site's leave"
    assert result.stderr.count("Invalid argument") == 1


def test_a_job_there_gains_nothing(work: str, site: str) -> None:
    """Neither groups that its user is not in, nor files of theirs."""
    put(f"{work}/subgid", f"tester:{PROJECT}:2\ntester:5003:1\n", 0o644)
    put(f"{work}/secret", "x", 0o640)
    os.chown(f"{work}/secret", 0, 5003)
    text = f"cd {work}; touch f; chgrp 5003 f; cat secret; chgrp {OTHER} f; cat /proc/self/gid_map"
    maker = script(text, programs=("touch", "chgrp", "cat"), live=[work])
    result = on_site(site, maker.write(f"{work}/b.sdee"))
    assert os.stat(f"{work}/f").st_gid == OTHER
    assert [line.split()[0] for line in result.stdout.splitlines()] == [str(TESTER), str(PROJECT), str(OTHER)]
    assert "chgrp: changing group of 'f': Invalid argument" in result.stderr
    assert "cat: secret: Permission denied" in result.stderr


def test_where_newgidmap_refuses_or_is_missing_the_job_runs_as_before(work: str, site: str) -> None:
    put(f"{work}/passwd", text_of("/etc/passwd"), 0o644)  # it does not know this user
    bundle = script("id -G", programs=("id",)).write(f"{work}/b.sdee")
    for variables in (["USER=tester"], ["USER=tester", "PATH=/nowhere"]):
        result = on_site(site, "/usr/bin/env", "-C", "/tmp", *variables, bundle)
        assert (result.stdout, result.stderr, result.returncode) == (f"{TESTER} 65534\n", "", 0)
