"""Clones, exports and imports of environments carry everything; archives may be damaged, or an enemy's."""

# ruff: noqa: E501 - shell scripts and tables of them read better whole

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env_support import needs_root
from rpm_system import Host, a_host
from sdee.base.errors import SdeeError
from sdee.runtime.environment import owners
from sdee.runtime.environment.archive import read as extraction
from sdee.runtime.environment.archive import write
from sdee.runtime.environment.archive.header import read_header
from sdee.runtime.environment.store import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_rpm = pytest.mark.skipif(not all(map(shutil.which, ("rpmbuild", "createrepo_c"))), reason="there is no rpmbuild")

# One of each kind of thing that an upper layer may hold
MAKE = r"""
    set -e
    cd /opt; mkdir kinds; cd kinds
    ln -s nowhere link; chown -h bin:mail link; mkfifo -m 640 pipe; chown mail:bin pipe; ln -s /etc plain
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'; chown 7:8 socket
    mkdir -m 2750 dir; chown mail dir; touch -d '1999-01-02 03:04:05.678901234' dir
    cp /usr/bin/true suid; chown bin suid; chmod 6755 suid; setcap cap_net_raw+ep suid
    echo content >hard; ln hard hard2; ln hard dir/hard3; chown 5:6 hard; chmod 0 hard
    python3 -c 'import os; os.setxattr("/opt/kinds/suid", "user.note", b"\xff\0binary")'
    truncate -s 300M sparse; printf x | dd of=sparse bs=1 seek=200000000 conv=notrunc status=none; chown 9 sparse
    truncate -s 1M hole; printf a | dd of=tail bs=1 seek=1000000 status=none
    touch -d '1960-05-06 07:08:09.5' old; touch "$(printf 'new\nline')" 'b\sla sh'; mkdir empty; mkfifo "$(printf 'p\351')"
    chmod 711 /opt; rm /usr/bin/yes; rm -r /usr/share/tool/same; mkdir /usr/share/tool/same; rm -r /usr/lib/tmpfiles.d 2>/dev/null || true
    rm -r /usr/share/tool; mkdir /usr/share/tool; echo a >/usr/share/tool/a; ln -sf elsewhere /usr/bin/sh; rm /usr/bin/tool; mkdir /usr/bin/tool
    echo '# mine' >>/etc/tool.conf; touch /root/mine; sed -i "s,^nobody:.*,nobody:x:65534:65534:mine:/:/sbin/nologin," /etc/passwd; ln -s /srv/nowhere /etc/way
"""
LOOK = r"""
    cd /; find opt usr/share/tool etc/way usr/bin/sh usr/bin/tool usr/bin/tool-one root -printf '%p %y %U:%G %m %n %s %b %T+ %l\n' | sed 's/ d \(.*\) \([0-9]*\) \([0-9]*\) \([0-9]*\) \([0-9+:.-]*\) $/ d \1 \5/' | LC_ALL=C sort
    cat opt/kinds/hard2 etc/tool.conf; ls usr/bin/yes usr/lib/tmpfiles.d; getcap opt/kinds/suid; grep nobody etc/passwd
    python3 -c 'import os; print(os.getxattr("/opt/kinds/suid", "user.note")); os.execv("/usr/bin/sha256sum", ["s", "/opt/kinds/sparse", "/opt/kinds/tail"])'
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if os.getuid():
        pytest.skip("needs root")
    with a_host() as made:
        made.sdee("env", "create", "mine")
        made.inside("mine", MAKE)
        yield made


def without_times_of_links(text: str) -> list[str]:
    """A clone made by cp(1) keeps all times; of what a tar file cannot say, sockets, nothing is compared."""
    return [line for line in text.splitlines() if " s " not in line]


@needs_rpm
def test_a_clone_has_all_owners_and_kinds(host: Host) -> None:
    before = host.inside("mine", LOOK, check=False)
    assert "opt/kinds/link l 1:12 777" in before
    assert "opt/kinds/pipe p 8:1 640" in before
    assert "opt/kinds/socket s 7:8" in before
    host.sdee("env", "clone", "mine", "copy")
    assert host.inside("copy", LOOK, check=False) == before
    host.sdee("env", "clone", "copy", "copy2")  # owners of a copy are carried on
    assert host.inside("copy2", LOOK, check=False) == before
    host.inside("copy2", "chown -h 0:0 /opt/kinds/link; rm /opt/kinds/pipe")
    assert host.inside("copy", LOOK, check=False) == before
    assert host.inside("copy2", "stat -c %u:%g /opt/kinds/link") == "0:0\n"
    host.sdee("env", "remove", "copy", "copy2")


@needs_rpm
def test_an_import_has_all_owners_and_kinds(host: Host) -> None:
    before = without_times_of_links(host.inside("mine", LOOK, check=False))
    host.sdee("env", "export", "mine", "-o", "out")
    assert (host.home / "out").stat().st_size < 2_000_000  # 300 MB of holes are none
    host.sdee("env", "import", "out", "again")
    assert without_times_of_links(host.inside("again", LOOK, check=False)) == before
    diff = [line for line in host.sdee("env", "diff", "--all", "mine").stdout.splitlines() if "socket" not in line]
    assert host.sdee("env", "diff", "--all", "again").stdout.splitlines() == diff
    assert r"A /opt/kinds/new\nline" in diff
    host.sdee("env", "export", "again", "-o", "out2")
    names = [
        subprocess.run(
            ["tar", "--zstd", "-tvf", str(host.home / name)], capture_output=True, text=True, check=True
        ).stdout
        for name in ("out", "out2")
    ]
    assert "1/12" in names[0]
    # times are compared above; those of accounts, and the environment's name, are of this import
    listed = [[re.sub(r" \d{4}-\S+ \S+ ", " ", x) for x in text.splitlines() if " root/" in x] for text in names]
    listed = [[line for line in lines if " base/" not in line and "/debian_chroot" not in line] for lines in listed]
    assert listed[0] == listed[1]
    host.sdee("env", "remove", "again")


def pack(
    path: Path,
    members: list[tuple[tarfile.TarInfo, bytes]],
    header: dict[str, object] | None = None,
    end: str | None = "",
) -> Path:
    """Write an archive as `export` does, of any members."""
    top = {"format": 2, "settings": {"name": "x", "system": "Sdee Linux 9.1", "binds": []}, "ids": False, "rpm": ""}
    with (
        path.open("wb") as file,
        zstandard.ZstdCompressor(write_checksum=True).stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        last = [(member("sdee-environment.end"), (end or f"{len(members)}\n").encode())] if end is not None else []
        for info, content in [
            (member("sdee-environment.json"), json.dumps({**top, **(header or {})}).encode()),
            *members,
            *last,
        ]:
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content) if content else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    for key, value in fields.items():
        setattr(made, key, value)
    return made


FIFO, LINK, HARD, DIRECTORY = tarfile.FIFOTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
# What is in the archive, and what is said of it
HOSTILE: dict[str, tuple[list[tarfile.TarInfo], str]] = {
    "dots": ([member("root/usr/../../../../../tmp/out")], "leads out of it"),
    "one dot": ([member("root/./opt/x")], "leads out of it"),
    "an absolute path": ([member("/tmp/out")], "leads out of it"),
    "no root": ([member("tmp/out")], "does not belong to an environment"),
    "the top": ([member("root", DIRECTORY)], "does not belong to an environment"),
    "through its own link": ([member("root/opt/l", LINK, "/tmp"), member("root/opt/l/out")], "through its own"),
    "through a link to a link": (
        [member("root/opt/l", LINK, "m"), member("root/opt/m", LINK, "/tmp"), member("root/opt/l/x/out")],
        "through its own",
    ),
    "through its own file": ([member("root/opt/l"), member("root/opt/l/out")], "through its own"),
    "a link in place of a layer": ([member("root/opt", LINK, "/tmp")], "in place of the directory"),
    "a hard link to outside": ([member("root/opt/h", HARD, "root/../../../../etc/passwd")], "is not a file of it"),
    "a hard link to what is not there": ([member("root/opt/h", HARD, "root/opt/none")], "is not a file of it"),
    "a hard link to a link": (
        [member("root/opt/l", LINK, "/etc/passwd"), member("root/opt/h", HARD, "root/opt/l")],
        "is not a file of it",
    ),
    "a hard link to the host's": ([member("root/opt/h", HARD, "root/usr/bin/cat")], "is not a file of it"),
    "twice": ([member("root/opt/a"), member("root/opt/a", LINK, "/tmp")], "twice"),
    "a directory twice": ([member("root/opt/a", DIRECTORY), member("root/opt/a", DIRECTORY)], "twice"),
    "a directory and a file": ([member("root/opt/a/b"), member("root/opt/a")], "as a directory and as a file"),
    "a block device": ([member("root/opt/d", tarfile.BLKTYPE)], "a device"),
    "a character device": ([member("root/opt/d", tarfile.CHRTYPE, devmajor=1, devminor=3)], "a device"),
    "an unknown kind": ([member("root/opt/d", b"Q")], ""),
    "a link among the host's files": (
        [member("base/etc-passwd", LINK, "/tmp/out")],
        "does not belong to an environment",
    ),
    "another file among the host's": ([member("base/evil")], "does not belong to an environment"),
    "a deep one": ([member("base/x/y")], "does not belong to an environment"),
    "overlayfs' attributes": (
        [member("root/opt/a", pax_headers={"SCHILY.xattr.user.overlay.redirect": "/"})],
        "an attribute",
    ),
    "a security attribute": (
        [member("root/opt/a", pax_headers={"SCHILY.xattr.security.selinux": "x"})],
        "an attribute",
    ),
    "an opaque file": ([member("root/opt/a", pax_headers={"SCHILY.xattr.user.overlay.opaque": "y"})], "an attribute"),
    "nonsense for capabilities": ([member("root/opt/a", pax_headers={"SCHILY.xattr.security.capability": "x"})], ""),
    "no time": ([member("root/opt/a", pax_headers={"mtime": "nan"})], "has no time"),
    "a time after all": ([member("root/opt/a", pax_headers={"mtime": "1e300"})], "has no time"),
    "an owner that cannot be": ([member("root/opt/a", pax_headers={"uid": "-1"})], "ids that this environment lacks"),
    "a big owner": ([member("root/opt/a", pax_headers={"gid": "99999999999999"})], "ids that this environment lacks"),
    "a size beyond the end": ([member("root/opt/a", size=1 << 50)], ""),
    "a hole of an exabyte": (
        [
            member(
                "root/opt/a",
                pax_headers={"GNU.sparse.size": str(1 << 62), "GNU.sparse.map": "0,0", "GNU.sparse.name": "root/opt/a"},
            )
        ],
        "",
    ),
    "a map that goes back": (
        [member("root/opt/a", pax_headers={"GNU.sparse.size": "10", "GNU.sparse.map": "5,9999,0,9999"})],
        "",
    ),
    "a long name": ([member("root/opt/" + "n" * 300)], ""),
    "a deep path": ([member("root/opt/" + "d/" * 3000 + "x")], ""),
    "the workshop": ([member("root/opt/.sdee-own/copy")], "leads out of it"),
    "more after the end": ([member("sdee-environment.end"), member("root/opt/a")], ""),
}


@needs_rpm
def test_hostile_archives_are_refused_and_leave_nothing(host: Host) -> None:
    outside = host.home / "tmp-of-the-test"
    outside.mkdir()
    before = sorted(os.listdir(host.state("")))
    for name, (members, said) in HOSTILE.items():
        pack(host.home / "hostile", [(info, b"") for info in members])
        done = host.sdee("env", "import", "hostile", "bad", check=False)
        assert done.returncode in (241, 247), f"{name}: {done.returncode} {done.stderr}"
        assert said in done.stderr, f"{name}: {done.stderr}"
        assert len(done.stderr.splitlines()) <= 2, f"{name}: {done.stderr}"
        assert done.stderr.startswith("sdee: error: "), f"{name}: {done.stderr}"
        assert sorted(os.listdir(host.state(""))) == before, name
    assert not (host.root / "tmp/out").exists()


HEADERS: dict[str, tuple[dict[str, object], str]] = {
    "no number": ({"format": "2"}, "is not an exported environment"),
    "a newer one": ({"format": 3}, "by a newer sdee"),
    "an older one": ({"format": 1}, "by a older sdee"),
    "no settings": ({"settings": None}, "its settings are damaged"),
    "a list for a name": ({"settings": {"name": [], "system": "Sdee Linux 9.1"}}, "its settings are damaged"),
    "a number for binds": (
        {"settings": {"name": "x", "system": "Sdee Linux 9.1", "binds": 5}},
        "its settings are damaged",
    ),
    "a path for a name": (
        {"settings": {"name": "../x", "system": "Sdee Linux 9.1"}},
        "is not a valid name of an environment",
    ),
}


@needs_rpm
def test_what_is_the_hosts_own_here_is_left_out_and_said(host: Host) -> None:
    members = [member("root/home/x", DIRECTORY), member("root/home/x/y"), member("root/opt/a"), member("root/mnt/z")]
    pack(host.home / "live", [(info, b"") for info in members])
    done = host.sdee("env", "import", "live", "partly")
    assert done.stderr.splitlines() == [
        f"sdee: left out, because the host provides it: {path}" for path in ("/home/x", "/mnt/z")
    ]
    assert "/opt/a" in host.inside("partly", "ls /opt/a /home/x", check=False)
    assert not (host.root / "mnt/z").exists()
    host.sdee("env", "remove", "partly")


@needs_rpm
def test_what_is_no_archive_gets_a_clear_error(host: Host) -> None:
    (host.home / "text").write_text("no archive")
    (host.home / "other").write_bytes(zstandard.compress(b"no tar"))
    for name in ("text", "other", "/dev/null"):
        done = host.sdee("env", "import", name, "bad", check=False)
        assert (done.returncode, "is not an exported environment" in done.stderr) == (241, True), done.stderr
    pack(host.home / "foreign", [], {"settings": {"name": "x", "system": "Another 3"}})
    done = host.sdee("env", "import", "foreign", "bad", check=False)
    assert (done.returncode, "comes from Another 3" in done.stderr, "--force" in done.stderr) == (246, True, True)
    assert not host.state("bad").exists()


@needs_rpm
def test_damaged_headers_get_a_clear_error(host: Host) -> None:
    before = sorted(os.listdir(host.state("")))
    for name, (header, said) in HEADERS.items():
        pack(host.home / "hostile", [], header)
        done = host.sdee("env", "import", "hostile", check=False)
        assert done.returncode in (241, 246, 2), f"{name}: {done.returncode} {done.stderr}"
        assert said in done.stderr, f"{name}: {done.stderr}"
        assert sorted(os.listdir(host.state(""))) == before, name


@needs_rpm
def test_an_archive_that_is_cut_off_is_never_taken_for_the_whole(host: Host) -> None:
    host.sdee("env", "create", "small")
    host.inside("small", "mkdir /opt/a; head -c 100000 /dev/urandom >/opt/a/b; ln -s x /opt/a/l")
    host.sdee("env", "export", "small", "-o", "small.out")
    whole = (host.home / "small.out").read_bytes()
    cuts = (0, 3, 20, len(whole) // 2, len(whole) - 5000, len(whole) - 60, len(whole) - 1)
    for cut in cuts:
        (host.home / "cut").write_bytes(whole[:cut])
        done = host.sdee("env", "import", "cut", "bad", check=False)
        if cut < len(whole) - 4:  # the last four bytes are the checksum of all that is there
            assert done.returncode == 241, (cut, done.stderr)
            assert "Traceback" not in done.stderr
            assert not host.state("bad").exists()
        else:
            host.sdee("env", "remove", "bad")
    pack(host.home / "cut", [(member("root/opt/a"), b"x")], end=None)
    assert "its end is missing" in host.sdee("env", "import", "cut", "bad", check=False).stderr
    pack(host.home / "cut", [(member("root/opt/a"), b"x")], end="5\n")
    assert "it holds 1 files, but should hold 5" in host.sdee("env", "import", "cut", "bad", check=False).stderr
    host.sdee("env", "remove", "small")


def place(directory: Path) -> Environment:
    """An environment of one layer, for reading in this process."""
    (directory / "layers/opt/upper").mkdir(parents=True)
    (directory / "base").mkdir()
    (directory / "plan").write_text("sdee-env 1\noverlay\t/opt\tlayers/opt/upper\tlayers/opt/work\n")
    (directory / "stamp").write_text("")
    return Environment("x", str(directory))


def tree(directory: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        file = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(directory))] = (file.st_mode, file.st_mtime_ns, content)
    return found


@needs_root
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    whole = pack(
        tmp_path / "good",
        [
            (member("root/opt/d", DIRECTORY, mode=0o750, mtime=5), b""),
            (member("root/opt/d/f", mtime=5, mode=0o640), b"content" * 100),
            (member("root/opt/d/l", LINK, "target", mtime=5), b""),
        ],
    ).read_bytes()

    def read(content: bytes, name: str) -> dict[str, object] | str:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).mkdir()
        environment = place(tmp_path / name)
        (tmp_path / "file").write_bytes(content)
        try:
            read_header(str(tmp_path / "file"))
            extraction.read(environment, str(tmp_path / "file"))
        except (SdeeError, OSError, *extraction.DAMAGED) as error:
            return f"{type(error).__name__}: {error}"
        return tree(tmp_path / name / "layers/opt/upper")

    good = read(whole, "one")
    assert isinstance(good, dict)
    assert "d/f" in good
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(whole)
    changed[at] ^= 1 << bit
    found = read(bytes(changed), "two")
    assert isinstance(found, str) or found == good
    assert {path.name for path in tmp_path.iterdir()} <= {"good", "file", "one", "two"}


@needs_root
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_an_archive_says_reaches_outside_of_its_environment(tmp_path: Path, data: st.DataObject) -> None:
    words = st.sampled_from(
        ["opt", "a", "b", "..", ".", "", "base", "etc-passwd", "own-files", ".sdee-own", "layers", "plan"]
    )
    names = st.builds("/".join, st.lists(words, min_size=0, max_size=4)).map(lambda rest: f"root/{rest}") | st.builds(
        "/".join, st.lists(words, max_size=3)
    )
    kinds = st.sampled_from([tarfile.REGTYPE, LINK, HARD, FIFO, DIRECTORY, tarfile.CHRTYPE])
    targets = names | st.just(str(tmp_path / "sentinel")) | st.just("../../../../../sentinel")
    members = data.draw(st.lists(st.tuples(names, kinds, targets), max_size=6))
    for name in ("x", "sentinel"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    (tmp_path / "sentinel").mkdir()
    (tmp_path / "sentinel/file").write_text("kept")
    environment = place(tmp_path / "x")
    plan = (tmp_path / "x/plan").read_bytes()
    pack(
        tmp_path / "file",
        [(member(name, kind, target), b"x" if kind == tarfile.REGTYPE else b"") for name, kind, target in members],
    )
    try:
        extraction.read(environment, str(tmp_path / "file"))
    except (SdeeError, OSError, *extraction.DAMAGED):
        pass
    assert tree(tmp_path / "sentinel").keys() == {"file"}
    assert (tmp_path / "sentinel/file").read_text() == "kept"
    assert (tmp_path / "x/plan").read_bytes() == plan
    assert {path.name for path in tmp_path.iterdir()} == {"x", "sentinel", "file"}
    assert {path.name for path in (tmp_path / "x").iterdir()} <= {"layers", "base", "plan", "stamp", "owners"}


@needs_rpm
def test_files_of_an_archive_that_are_links_are_not_written_through(host: Host) -> None:
    victim = host.home / "victim"
    victim.write_text("root:x:0:0:mine:/:/bin/sh\n")
    victim.chmod(0o666)
    links = [member(f"root/etc/{name}", LINK, str(victim)) for name in ("passwd", "shadow", "group", "debian_chroot")]
    pack(host.home / "links", [(link, b"") for link in links])
    host.sdee("env", "import", "links", "linked")
    assert victim.read_text() == "root:x:0:0:mine:/:/bin/sh\n"
    assert host.inside("linked", "readlink /etc/passwd") == f"{victim}\n"
    host.sdee("env", "remove", "linked")


def test_holes_and_pieces_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"a" * 4096)
        file.seek(1 << 20)
        file.write(b"b" * 4096)
        file.truncate(3 << 20)
    with path.open("rb") as file:
        pieces = list(write._pieces(file.fileno(), 3 << 20))
    assert pieces[-1] == (3 << 20, 0)
    assert sum(size for _, size in pieces) < 3 << 20
    assert owners.key_of(str(path))[0] == path.stat().st_ino
