"""What few programs do and the supervisor has to get right all the same: roots and mounts of their own, odd arguments, odd files."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from env_support import UID, User, a_user, needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_root

PROJECT_GROUP = UID + 7  # one that the user is not in, and that the namespace does not map


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with a_user() as made:
        made.sdee("env", "create", "mine", "--emulate")
        yield made


def test_paths_in_a_chroot_do_not_lead_out_of_it(user: User) -> None:
    """`..` stops at the chroot, and links begin there: also where the call changes something."""
    user.inside(
        "mine",
        """set -e; mkdir -p /opt/root/etc /opt/root/usr; cd /opt/root; ln -s usr/bin usr/lib usr/lib64 .; ln -s /etc link; touch etc/services
        mount --bind /usr usr; chown 77 etc/services; echo 'set -e; cd /etc
        test $(stat -c %u ../../../etc/services) = 77; test $(stat -c %u ../link/services) = 77; cd /; test $(stat -c %u link/services) = 77
        chown 78 link/services; chown :79 ../../etc/services; test $(stat -c %u:%g /etc/services) = 78:79' >script
        chroot . /bin/sh /script; umount usr; test $(stat -c %u:%g /etc/services) = 0:0; test $(stat -c %u:%g etc/services) = 78:79""",
    )


def test_root_owns_files_whatever_their_group(user: User) -> None:
    """Directories of projects give their group by the set-group-ID bit: tar and cp -a work there."""
    project = user.home / "project"
    project.mkdir()
    os.chown(project, UID, PROJECT_GROUP)
    project.chmod(0o2775)
    (project / "of-another").touch()
    os.chown(project / "of-another", UID + 1, PROJECT_GROUP)
    said = user.inside(
        "mine",
        """set -e; mkdir /tmp/d; echo a >/tmp/d/a; chown 33:34 /tmp/d/a; tar -C /tmp -cf /tmp/d.tar d; cd ~/project; tar xf /tmp/d.tar; cp -a /tmp/d e
        stat -c %u:%g . d d/a e/a; chown 5 of-another""",
        check=False,
    )
    assert said.splitlines()[:4] == [f"0:{PROJECT_GROUP}", "0:0", "33:34", "33:34"], said
    assert "of-another': Operation not permitted" in said
    assert ((project / "d/a").stat().st_uid, (project / "d/a").stat().st_gid) == (UID, PROJECT_GROUP)


def test_holes_of_a_host_file_stay_holes(user: User) -> None:
    """/var/log/lastlog is as long as the largest uid says."""
    with tempfile.NamedTemporaryFile(dir="/var/log", prefix="sdee-test-") as file:
        file.truncate(2 << 30)
        file.seek(1 << 30)
        file.write(b"data")
        file.flush()
        os.chmod(file.name, 0o644)
        user.inside(
            "mine",
            f"""set -e; chmod 600 {file.name}; test $(du -k {file.name} | cut -f1) -lt 100
            test $(stat -c %s {file.name}) = {2 << 30}; test "$(tail -c +{(1 << 30) + 1} {file.name} | head -c 4)" = data""",
        )
        assert Path(file.name).stat().st_mode & 0o777 == 0o644
