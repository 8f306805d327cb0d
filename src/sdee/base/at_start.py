"""Facts for commands that must begin quickly, and so read no table.

Written by .ci/generate from src/sdee/base/facts: change that, not this.
"""

from __future__ import annotations

COMMANDS_DIRECTORY = "/run/sdee"
PASSED_PREFIX = "SDEE_PASSED_"
MOUNTS_APART = ("/proc", "/sys", "/dev", "/run", "/tmp", "/home", "/mnt", "/media")
LOCAL_FILE_SYSTEMS = frozenset(
    (
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "f2fs",
        "jfs",
        "bcachefs",
        "reiserfs",
        "overlay",
        "squashfs",
        "erofs",
    )
)
