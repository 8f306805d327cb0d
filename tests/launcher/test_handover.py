"""Where AppArmor restricts user namespaces a bundle hands itself over to an installed launcher that is root's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher_tools import ROOT, TESTER, as_user, built, open_directory, run, script
from ways import fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

SDEE = str(Path(sys.executable).parent / "sdee")
INSTALLED = "/usr/bin/sdee-launcher"
# a /usr/bin of this mount namespace's own, and the sysctl of Ubuntu 24.04
NODE = f"""
set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/u /mnt/w /mnt/kernel
mount -t overlay none -o lowerdir=/usr/bin,upperdir=/mnt/u,workdir=/mnt/w /usr/bin
cp /proc/sys/kernel/overflowuid /proc/sys/kernel/overflowgid /mnt/kernel
echo 1 >/mnt/kernel/apparmor_restrict_unprivileged_userns
mount --bind /mnt/kernel /proc/sys/kernel
rm -f /usr/bin/bwrap
install -m 755 "$LAUNCHER" {INSTALLED}
"""
needs_root = pytest.mark.skipif(not ROOT, reason="makes a node with another /usr/bin")


@pytest.fixture
def work() -> Iterator[str]:
    yield from open_directory()


def on_ubuntu(change: str, *command: str, text: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an ordinary user where the installed launcher alone may have user namespaces."""
    front = [fixture("profile"), INSTALLED, *as_user(TESTER)]
    whole = ["unshare", "-m", "sh", "-c", f'{NODE}\n{change}\nexec "$@"', "sh", *front, *command]
    return run(whole, text=text, env={"LAUNCHER": built("sdee-launcher")}, **more)  # type: ignore[arg-type]


@needs_root
def test_the_installed_launcher_runs_the_bundle(work: str) -> None:
    bundle = script("true", programs=("cat", "ls")).write(f"{work}/b.sdee")
    words = ["-c", 'cat; echo "$1 $2"; ls /proc/self/fd; umask; ulimit -f; exit 5', "sh", "x", "y z"]
    bare = run([bundle, *words], text="in\n", uid=TESTER, COMMAND="/bin/sh")
    assert bare.returncode == 5
    handed = on_ubuntu(":", bundle, *words, text="in\n", COMMAND="/bin/sh")
    assert (handed.returncode, handed.stdout, handed.stderr) == (5, bare.stdout, "")
    told = on_ubuntu(":", bundle, DEBUG="1", QUIET="1")
    assert (
        f"way: handed over to {INSTALLED}: this node does not allow user namespaces: writing /proc/self/" in told.stderr
    )
    assert "way: namespaces\n" in told.stderr
    planned = on_ubuntu(":", bundle, DRY_RUN="1")
    assert (planned.returncode, "way: namespaces\n" in planned.stdout) == (0, True), planned.stderr


@needs_root
def test_options_of_exec_and_a_bundle_without_a_name_come_along(work: str) -> None:
    bundle = script("echo $1; pwd; exit 6", "word").write(f"{work}/b.sdee")
    launcher = shutil.copy(built("sdee-launcher"), f"{work}/sdee-launcher-of-mine")
    handed = on_ubuntu(":", launcher, "--chdir", work, "--root", "closed", bundle)
    assert (handed.returncode, handed.stdout) == (6, f"word\n{work}\n"), handed.stderr
    gone = 'exec 7<"$1"; rm "$1"; exec /proc/self/fd/7'
    handed = on_ubuntu(":", "sh", "-c", gone, "sh", bundle, QUIET="1")
    assert (handed.returncode, handed.stdout) == (6, "word\n/tmp\n"), handed.stderr


@needs_root
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (f"chmod 775 {INSTALLED}", f"{INSTALLED} is not used: other users may change {INSTALLED}"),
        (f"chown {TESTER} {INSTALLED}", f"{INSTALLED} is not used: other users may change {INSTALLED}"),
        ("chmod 777 /usr/bin", f"{INSTALLED} is not used: other users may change /usr/bin"),
        (f"chown {TESTER} /usr/bin", f"{INSTALLED} is not used: other users may change /usr/bin"),
        (f"mv {INSTALLED} /mnt/l; ln -s /mnt/l {INSTALLED}", f"{INSTALLED} is not used: other users may change"),
        (f"printf '#!/bin/sh\\necho 0\\n' >{INSTALLED}", f"{INSTALLED}: it reads no bundles of format 1"),
        (f"printf '#!/bin/sh\\necho 1x\\n' >{INSTALLED}", f"{INSTALLED}: it reads no bundles of format 1"),
        (f"chmod 4755 {INSTALLED}", f"{INSTALLED}: it reads no bundles of format 1"),
    ],
)
def test_one_that_somebody_else_could_change_or_that_is_too_old_is_not_used(work: str, change: str, why: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    result = on_ubuntu(change, bundle)
    assert (result.returncode, result.stdout) == (242, "")
    assert f"tried: {why}" in result.stderr
    assert "kernel.apparmor_restrict_unprivileged_userns is on" in result.stderr
    assert "the AppArmor profile that `sdee doctor --apparmor` prints" in result.stderr


@needs_root
def test_without_the_restriction_or_the_program_nothing_is_handed_over(work: str) -> None:
    bundle = script("echo ran").write(f"{work}/b.sdee")
    off = "echo 0 >/mnt/kernel/apparmor_restrict_unprivileged_userns"
    assert on_ubuntu(off, bundle).returncode == 242
    result = on_ubuntu(f"rm {INSTALLED}", bundle)
    assert result.returncode == 242
    assert INSTALLED not in result.stderr.replace("sdee-launcher in /usr/bin", "")
    forced = on_ubuntu(":", bundle, WAY="namespaces")
    assert forced.returncode == 242


@needs_root
def test_a_launcher_with_privileges_refuses_to_run(work: str) -> None:
    bundle = script("id -u", programs=("id",)).write(f"{work}/b.sdee")
    for mode in (0o4755, 0o2755):
        os.chmod(bundle, mode)
        result = run([bundle], uid=TESTER)
        assert (result.returncode, result.stdout) == (242, "")
        assert "this program is set-user-ID, set-group-ID or has file capabilities" in result.stderr
    os.chmod(bundle, 0o755)
    assert run([bundle], uid=TESTER).stdout == f"{TESTER}\n"
    if shutil.which("setcap") is not None:
        subprocess.run(["setcap", "cap_sys_admin=ep", bundle], check=True)
        assert run([bundle], uid=TESTER).returncode == 242


def test_the_profile_is_what_apparmor_reads(tmp_path: Path) -> None:
    text = subprocess.run([SDEE, "doctor", "--apparmor"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^profile sdee-launcher {INSTALLED} flags=\(unconfined\) \{{$", text, re.MULTILINE)
    assert "\n  userns,\n" in text
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin")
    if parser is None:
        pytest.skip("apparmor_parser is not installed")
    version = re.search(
        r"version (\d+)", subprocess.run([parser, "-V"], capture_output=True, text=True, check=True).stdout
    )
    assert version is not None
    if int(version[1]) < 4:  # it knows neither the rule nor that ABI
        text = text.replace("  userns,\n", "").replace("abi <abi/4.0>,\n", "")
    (tmp_path / "profile").write_text(text, encoding="utf-8")
    command = [parser, "--skip-kernel-load", "--skip-cache", "--debug", str(tmp_path / "profile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sdee-launcher" in done.stdout + done.stderr
    (tmp_path / "profile").write_text(text.replace("{", "{ nonsense,"), encoding="utf-8")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
