"""Verdicts: what travels, what the node provides, what stays, what was made, what is refused, what was not there."""

from __future__ import annotations

import glob
import os
import socket
import stat
import time
from pathlib import Path

import pytest

from closure_support import TraceMaker, conf, verdict, why, write
from sdee.base.errors import InputError
from sdee.packer import knowledge
from sdee.tracer.tracefile.model import Saved

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ==\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    """A trace whose working directory is tmp_path/work; what lies beside it is as good as a system directory."""
    monkeypatch.setattr(knowledge, "TEMPORARY_ROOTS", ())
    (tmp_path / "work").mkdir()
    return TraceMaker(str(tmp_path / "work"))


def test_what_is_read_under_a_system_prefix_travels_with_its_directories(made: TraceMaker) -> None:
    made.use("/usr/share/common-licenses/GPL-2")
    closure = made.closure()
    item = closure.items["/usr/share/common-licenses/GPL-2"]
    status = os.lstat("/usr/share/common-licenses/GPL-2")
    assert item.verdict.value == "bundle"
    assert (item.size, item.mtime_ns, item.mode) == (status.st_size, status.st_mtime_ns, status.st_mode)
    for parent in ("/usr", "/usr/share", "/usr/share/common-licenses"):
        assert (closure.items[parent].verdict.value, closure.items[parent].kind) == ("bundle", "dir")
        assert closure.items[parent].mtime_ns == os.lstat(parent).st_mtime_ns


def test_every_hop_of_a_link_travels_as_a_link(made: TraceMaker, tmp_path: Path) -> None:
    write(tmp_path / "store" / "v1" / "data")
    (tmp_path / "store" / "current").symlink_to("v1")
    (tmp_path / "alias").symlink_to(tmp_path / "store" / "current" / "data")
    made.use(tmp_path / "alias")
    closure = made.closure()
    kinds = {p.name: closure.items[str(p)].kind for p in (tmp_path / "alias", tmp_path / "store" / "current")}
    assert kinds == {"alias": "link", "current": "link"}
    assert closure.items[str(tmp_path / "store" / "current")].target == "v1"
    assert closure.items[str(tmp_path / "store" / "v1" / "data")].kind == "file"


def test_a_path_through_a_linked_directory_is_the_same_file(made: TraceMaker, tmp_path: Path) -> None:
    write(tmp_path / "real" / "file")
    (tmp_path / "link").symlink_to("real")
    made.use(tmp_path / "link" / "file")
    closure = made.closure()
    alias, real = closure.items[str(tmp_path / "link" / "file")], closure.items[str(tmp_path / "real" / "file")]
    assert (alias.verdict, alias.kind, alias.size) == (real.verdict, "file", 0)
    assert "leads through a symbolic link" in why(closure, alias.path)
    assert real.size > 0


def test_dotdot_after_a_link_is_the_targets_parent(made: TraceMaker, tmp_path: Path) -> None:
    write(tmp_path / "far" / "sub" / "x")
    write(tmp_path / "far" / "file")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to("../far/sub")
    (tmp_path / "near" / "jump").symlink_to("link/../file")
    made.use(tmp_path / "near" / "jump")
    closure = made.closure()
    assert verdict(closure, tmp_path / "far" / "file") == "bundle"
    assert closure.items[str(tmp_path / "near" / "link")].kind == "link"


def test_input_data_in_the_working_directory_stays_and_code_there_travels(made: TraceMaker, tmp_path: Path) -> None:
    work = tmp_path / "work"
    data = made.use(write(work / "input.dat"))
    module = made.use(write(work / "helper.py"))
    script = made.use(write(work / "run", "#!/bin/sh\n"))
    binary = made.use(write(work / "solver", Path("/usr/bin/true").read_bytes()))
    closure = made.closure()
    assert verdict(closure, data) == "shared"
    assert "input data" in why(closure, data)
    assert data in conf(closure, "shared")
    assert {verdict(closure, p) for p in (module, script, binary)} == {"bundle"}


def test_data_travels_with_data(made: TraceMaker, tmp_path: Path) -> None:
    data = made.use(write(tmp_path / "work" / "input.dat"))
    assert verdict(made.closure(with_data=True), data) == "bundle"


def test_directories_and_links_that_were_looked_at_travel_with_data(made: TraceMaker, tmp_path: Path) -> None:
    data = tmp_path / "work" / "data"
    (data / "empty").mkdir(parents=True)
    listed = write(data / "never-opened.txt")
    (tmp_path / "work" / "link").symlink_to("data")
    made.use(tmp_path / "work" / "link", "probe")
    made.use(data, "list")
    looked_at = (data, data / "empty", listed, tmp_path / "work" / "link")
    closure = made.closure(with_data=True)
    assert [verdict(closure, path) for path in looked_at] == ["bundle"] * 4
    assert [closure.items[str(path)].kind for path in looked_at] == ["dir", "dir", "file", "link"]
    assert conf(closure, "tree") == []
    assert "bundle" not in {verdict(made.closure(), path) for path in looked_at}


def test_a_directory_that_was_listed_keeps_the_names_of_its_directories(made: TraceMaker, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "more").mkdir(parents=True)
    write(tmp_path / "plugins" / "more" / "unseen")
    made.use(tmp_path / "plugins", "list")
    closure = made.closure()
    assert verdict(closure, tmp_path / "plugins" / "more") == "bundle"
    assert verdict(closure, tmp_path / "plugins" / "more" / "unseen") == "nothing"


def test_data_in_installed_software_below_home_travels(made: TraceMaker, tmp_path: Path) -> None:
    made.home = str(tmp_path / "home")
    prefix = tmp_path / "home" / "app"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    inside = made.use(write(prefix / "share" / "table.dat"))
    outside = made.use(write(tmp_path / "home" / "table.dat"))
    closure = made.closure()
    assert (verdict(closure, inside), verdict(closure, outside)) == ("bundle", "shared")
    assert conf(closure, "tree") == [f"{prefix}"]


def test_a_home_that_has_bin_and_lib_is_still_a_home(made: TraceMaker, tmp_path: Path) -> None:
    made.home = str(tmp_path / "home")
    for name in ("bin", "lib"):
        (tmp_path / "home" / name).mkdir(parents=True)
    data = made.use(write(tmp_path / "home" / "data" / "table.dat"))
    assert verdict(made.closure(), data) == "shared"


def test_the_working_directory_is_live_and_no_tree(made: TraceMaker, tmp_path: Path) -> None:
    made.use(write(tmp_path / "work" / "helper.py"))
    closure = made.closure()
    assert str(tmp_path / "work") in conf(closure, "live")
    assert conf(closure, "tree") == []


@pytest.mark.parametrize("cwd", ["/", "/usr/share", "/etc"])
def test_a_working_directory_in_the_system_is_not_live(made: TraceMaker, cwd: str) -> None:
    made.cwd = cwd
    made.use("/usr/share/common-licenses/GPL-2")
    closure = made.closure()
    assert cwd not in conf(closure, "live")
    assert verdict(closure, "/usr/share/common-licenses/GPL-2") == "bundle"


@pytest.mark.parametrize("path", ["/proc/meminfo", "/sys/kernel", "/dev/null", "/etc/passwd", "/etc/hosts", "/run"])
def test_the_nodes_own_files_are_the_hosts(made: TraceMaker, path: str) -> None:
    made.use(path)
    closure = made.closure()
    assert verdict(closure, path) == "host"
    assert any(path == host or path.startswith(host + "/") for host in conf(closure, "host"))


def test_libraries_of_the_graphics_driver_are_the_hosts_but_not_their_stubs(made: TraceMaker, tmp_path: Path) -> None:
    driver = made.use(write(tmp_path / "lib" / "libcuda.so.1"))
    stub = made.use(write(tmp_path / "lib" / "stubs" / "libcuda.so"))
    closure = made.closure()
    assert (verdict(closure, driver), verdict(closure, stub)) == ("host", "bundle")


def test_a_file_reached_through_proc_self_travels(made: TraceMaker) -> None:
    made.use("/proc/self/exe")
    made.accesses["/proc/self/exe"].real = "/usr/bin/env"
    closure = made.closure()
    assert (verdict(closure, "/proc/self/exe"), verdict(closure, "/usr/bin/env")) == ("host", "bundle")


def test_a_socket_is_the_hosts(made: TraceMaker, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        made.use(path, "probe")
        made.sockets.append(path)
        closure = made.closure()
    assert verdict(closure, path) == "host"
    assert path in conf(closure, "host")


def test_what_the_job_made_is_produced_and_what_was_not_there_is_absent(made: TraceMaker, tmp_path: Path) -> None:
    output = made.use(write(tmp_path / "work" / "out.csv"), "create", "write", existed=False)
    temporary = made.use(tmp_path / "elsewhere.tmp", "create", "write", "remove", existed=False)
    missing = made.use("/usr/share/sdee-nothing/x", "probe")
    closure = made.closure()
    assert [verdict(closure, p) for p in (output, temporary, missing)] == ["produced", "produced", "absent"]


def test_a_file_that_the_job_overwrote_travels_as_it_was(made: TraceMaker, tmp_path: Path) -> None:
    path = made.use(write(tmp_path / "etc" / "state", "after, and longer\n"), "read", "write")
    copy = write(tmp_path / "sdee.trace.saved" / "0", "before\n")
    made.saved[path] = Saved(path, str(copy), 7, 123_456_789_000_000_001, stat.S_IFREG | 0o640)
    item = made.closure().items[path]
    assert (item.verdict.value, item.origin, item.size) == ("bundle", str(copy), 7)
    assert (item.mtime_ns, item.mode) == (123_456_789_000_000_001, stat.S_IFREG | 0o640)


def test_a_file_that_the_job_removed_travels_as_it_was(made: TraceMaker, tmp_path: Path) -> None:
    path = str(tmp_path / "etc" / "state")
    made.use(path, "read", "remove", existed=True)
    copy = write(tmp_path / "saved" / "0", "before\n")
    made.saved[path] = Saved(path, str(copy), 7, 1, stat.S_IFREG | 0o640)
    item = made.closure().items[path]
    assert (item.verdict.value, item.origin) == ("bundle", str(copy))


@pytest.mark.parametrize("ops", [("read", "write"), ("write",), ("exec", "write")])
def test_an_output_that_was_there_before_never_covers_the_nodes(
    made: TraceMaker, tmp_path: Path, ops: tuple[str, ...]
) -> None:
    """A bundled copy over the node's file in a live directory would swallow what the job writes."""
    path = made.use(write(tmp_path / "work" / "out.txt", "old\n"), *ops)
    copy = write(tmp_path / "saved" / "0", "old\n")
    made.saved[path] = Saved(path, str(copy), 4, 1, stat.S_IFREG | 0o644)
    for options in ({}, {"with_data": True}, {"include": (path,)}):
        closure = made.closure(**options)
        assert verdict(closure, path) in ("shared", "produced") or conf(closure, "fallback") == [path]
    assert verdict(made.closure(), path) == "shared" if "read" in ops else "produced"


def test_a_file_of_an_environment_that_the_job_changes_is_the_nodes_where_it_has_one(
    made: TraceMaker, tmp_path: Path
) -> None:
    made.home = str(tmp_path / "home")
    env = tmp_path / "home" / "env"
    write(env / "pyvenv.cfg")
    state = made.use(write(env / "share" / "state.db"), "read", "write")
    made.use(write(env / "lib" / "module.py"))
    closure = made.closure()
    assert verdict(closure, state) == "bundle"
    assert conf(closure, "fallback") == [state]
    assert conf(closure, "tree") == [str(env)]


def test_a_key_that_the_job_overwrote_is_refused_by_what_it_held(made: TraceMaker, tmp_path: Path) -> None:
    path = made.use(write(tmp_path / "etc" / "state", "harmless\n"), "read", "write")
    copy = write(tmp_path / "saved" / "0", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n")
    made.saved[path] = Saved(path, str(copy), 43, 1, stat.S_IFREG | 0o640)
    assert verdict(made.closure(), path) == "secret"


def test_a_file_that_could_not_be_saved_makes_the_closure_incomplete(made: TraceMaker, tmp_path: Path) -> None:
    path = made.use(write(tmp_path / "etc" / "state"), "read", "write")
    made.saved[path] = Saved(path, None, 7, 1, 0o644, why="too large")
    closure = made.closure()
    assert verdict(closure, path) == "bundle"
    assert any("too large" in text for text in closure.incomplete)
    assert conf(closure, "incomplete") == list(closure.incomplete)
    made.saved[path] = Saved(path, f"{tmp_path}/moved/0", 7, 1, 0o644)
    assert any("moved/0' is gone" in text for text in made.closure().incomplete)


def test_a_log_that_was_only_written_is_produced(made: TraceMaker, tmp_path: Path) -> None:
    log = made.use(write(tmp_path / "var" / "log"), "write")
    inside = made.use(write(tmp_path / "work" / "log"), "write")
    closure = made.closure()
    assert (verdict(closure, log), verdict(closure, inside)) == ("produced", "produced")


def test_an_output_that_was_there_and_is_read_back_is_produced(made: TraceMaker, tmp_path: Path) -> None:
    path = made.use(write(tmp_path / "work" / "out.txt"), "truncate", "write", "read")
    made.accesses[path].replaced = True
    closure = made.closure()
    assert verdict(closure, path) == "produced"
    assert path not in conf(closure, "shared")


def test_a_file_read_by_one_name_and_written_by_another_travels_as_it_was(made: TraceMaker, tmp_path: Path) -> None:
    path = write(tmp_path / "etc" / "state", "after\n")
    (tmp_path / "link").symlink_to(path)
    made.use(tmp_path / "link", "read")
    real = made.use(path, "write")
    copy = write(tmp_path / "saved" / "0", "before\n")
    made.saved[real] = Saved(real, str(copy), 7, 1, stat.S_IFREG | 0o640)
    closure = made.closure()
    assert (closure.items[real].verdict.value, closure.items[real].origin) == ("bundle", str(copy))
    assert verdict(closure, tmp_path / "link") == "bundle"


def test_code_read_by_a_link_and_written_by_its_name_is_the_nodes(made: TraceMaker, tmp_path: Path) -> None:
    path = write(tmp_path / "work" / "cfg.sh", "V=2\n")
    (tmp_path / "work" / "link.sh").symlink_to("cfg.sh")
    made.use(tmp_path / "work" / "link.sh", "read")
    made.use(path, "write")
    assert conf(made.closure(), "fallback") == [str(path)]


def test_a_link_that_the_job_retargets_travels_as_it_was(made: TraceMaker, tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        write(tmp_path / "opt" / name / "a.sh", f"echo {name}\n")
    link = tmp_path / "opt" / "cur"
    link.symlink_to("v1")
    made.use(link / "a.sh")
    made.accesses[str(link / "a.sh")].hops = ((str(link), "v1"),)
    made.use(tmp_path / "opt" / "v2" / "a.sh")
    made.use(link, "rename", existed=True)
    link.unlink()
    link.symlink_to("v2")
    closure = made.closure()
    assert closure.items[str(link)].target == "v1"
    assert {verdict(closure, tmp_path / "opt" / name / "a.sh") for name in ("v1", "v2")} == {"bundle"}


def test_a_link_that_the_job_made_does_not_travel(made: TraceMaker, tmp_path: Path) -> None:
    write(tmp_path / "opt" / "v1" / "a.sh", "echo\n")
    link = tmp_path / "opt" / "cur"
    made.use(link, "create", existed=False)
    link.symlink_to("v1")
    made.use(link / "a.sh")
    closure = made.closure()
    assert (verdict(closure, link), verdict(closure, tmp_path / "opt" / "v1" / "a.sh")) == ("produced", "bundle")
    assert verdict(closure, link / "a.sh") == "produced"


def test_what_a_link_of_the_job_leads_to_travels(made: TraceMaker, tmp_path: Path) -> None:
    link = tmp_path / "work" / "srt"
    made.use(link, "create", "exec", existed=False)
    link.symlink_to("/usr/bin/sort")
    made.accesses[str(link)].real = "/usr/bin/sort"
    closure = made.closure()
    assert (verdict(closure, link), verdict(closure, "/usr/bin/sort")) == ("produced", "bundle")


def test_a_file_of_a_directory_that_the_job_removed_travels_with_its_directory(
    made: TraceMaker, tmp_path: Path
) -> None:
    path = str(tmp_path / "etc" / "gone" / "a.sh")
    made.use(path, "read", "remove", existed=True)
    made.saved[path] = Saved(path, str(write(tmp_path / "saved" / "0", "echo\n")), 5, 1, stat.S_IFREG | 0o644)
    closure = made.closure()
    assert verdict(closure, path) == "bundle"
    assert (verdict(closure, tmp_path / "etc" / "gone"), closure.items[str(tmp_path / "etc" / "gone")].kind) == (
        "bundle",
        "dir",
    )


def test_a_token_in_the_users_own_code_is_refused_and_in_installed_software_not(
    made: TraceMaker, tmp_path: Path
) -> None:
    token = "K = 'ghp_" + "a1B2" * 9 + "'\n"
    own = made.use(write(tmp_path / "work" / "job.py", token))
    installed = made.use(write(tmp_path / "work" / "env" / "site-packages" / "sample" / "__init__.py", token))
    closure = made.closure()
    assert (verdict(closure, own), verdict(closure, installed)) == ("secret", "bundle")


def test_data_that_was_read_and_changed_stays(made: TraceMaker, tmp_path: Path) -> None:
    path = made.use(write(tmp_path / "work" / "restart.dat"), "read", "write")
    assert verdict(made.closure(), path) == "shared"


@pytest.mark.parametrize("name", [".ssh/id_rsa", ".ssh/work.key", ".netrc", ".aws/credentials", "my.kdbx", "api_token"])
def test_secrets_are_refused_by_name_and_travel_when_allowed(made: TraceMaker, tmp_path: Path, name: str) -> None:
    made.home = str(tmp_path / "home")
    path = made.use(write(tmp_path / "home" / name))
    closure = made.closure()
    assert verdict(closure, path) == "secret"
    assert any("refused" in text and name in text for text in closure.warnings)
    assert verdict(made.closure(allow=(path,)), path) == "bundle"
    assert verdict(made.closure(allow=(f"{tmp_path}/home/*",)), path) == "bundle"


@pytest.mark.parametrize("name", [".ssh/known_hosts", ".ssh/id_rsa.pub", "tokenizer.json", "token.py", "identity.txt"])
def test_what_only_sounds_like_a_secret_is_none(made: TraceMaker, tmp_path: Path, name: str) -> None:
    path = made.use(write(tmp_path / "work" / name))
    assert verdict(made.closure(), path) in ("shared", "bundle")


def test_a_private_key_is_told_by_its_content_and_source_code_is_not(made: TraceMaker, tmp_path: Path) -> None:
    key = made.use(write(tmp_path / "conf" / "server.pem", "subject=x\n" + KEY))
    code = made.use(write(tmp_path / "conf" / "keys.py", KEY))
    text = made.use(write(tmp_path / "conf" / "notes", "see -----BEGIN PRIVATE KEY----- in the file\n"))
    closure = made.closure()
    assert [verdict(closure, p) for p in (key, code, text)] == ["secret", "bundle", "bundle"]


@pytest.mark.parametrize(
    "text",
    [
        "token: ghp_" + "a1B2" * 9,
        "export AWS_SECRET_ACCESS_KEY=" + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYaB1cD2eF3g",
        '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE"}',
        "hf_" + "aBcD" * 8 + "ab",
    ],
)
def test_tokens_of_services_are_refused_by_their_shape(made: TraceMaker, tmp_path: Path, text: str) -> None:
    path = made.use(write(tmp_path / "work" / "settings.txt", f"first line\n{text}\n"))
    assert verdict(made.closure(with_data=True), path) == "secret"
    assert verdict(made.closure(with_data=True, allow=(path,)), path) == "bundle"


def test_what_only_resembles_a_token_travels(made: TraceMaker, tmp_path: Path) -> None:
    sequence = made.use(write(tmp_path / "work" / "genome.fa", ">s\n" + "ACGTAKIA" * 200 + "\nhf_short ghp_x\n"))
    assert verdict(made.closure(with_data=True), sequence) == "bundle"


def test_exclude_beats_include_and_both_say_so(made: TraceMaker, tmp_path: Path) -> None:
    keep, drop = write(tmp_path / "extra" / "keep"), write(tmp_path / "extra" / "drop")
    closure = made.closure(include=(str(tmp_path / "extra"),), exclude=(f"{tmp_path}/**/drop",))
    assert (verdict(closure, keep), verdict(closure, drop)) == ("bundle", "host")
    assert "--include" in why(closure, keep)
    assert "--exclude" in why(closure, drop)


def test_include_takes_globs_and_makes_data_travel(made: TraceMaker, tmp_path: Path) -> None:
    data = made.use(write(tmp_path / "work" / "a.dat"))
    unseen = write(tmp_path / "work" / "b.dat")
    other = write(tmp_path / "work" / "c.txt")
    closure = made.closure(include=(f"{tmp_path}/work/*.dat",))
    assert [verdict(closure, p) for p in (data, unseen, other)] == ["bundle", "bundle", "nothing"]


def test_thousands_of_includes_are_looked_up_and_not_tried_one_after_the_other(
    made: TraceMaker, tmp_path: Path
) -> None:
    paths = [write(tmp_path / "many" / f"{number}[x]*?") for number in range(6000)]
    other = write(tmp_path / "many" / "0x1")
    begun = time.process_time()
    closure = made.closure(include=tuple(glob.escape(str(path)) for path in paths))
    assert time.process_time() - begun < 20, "each path was compared with each glob: that takes minutes"
    assert {verdict(closure, path) for path in paths} == {"bundle"}
    assert str(other) not in closure.items, "brackets were taken for a glob"


def test_large_files_are_shared_and_listed(made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "SHARED_LIMIT", 100)
    large, small = made.use(write(tmp_path / "db" / "large", b"x" * 101)), made.use(write(tmp_path / "db" / "small"))
    closure = made.closure()
    assert (verdict(closure, large), verdict(closure, small)) == ("shared", "bundle")
    assert large in conf(closure, "shared")
    assert verdict(made.closure(with_data=True), large) == "bundle"


def test_outputs_on_a_network_file_system_make_its_mount_point_live(made: TraceMaker, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made.mounts = (("/", "ext4"), (str(scratch), "lustre"), (str(tmp_path / "other"), "nfs4"))
    made.use(scratch / "out", "create", "write", existed=False)
    live = conf(made.closure(), "live")
    assert str(scratch) in live
    assert str(tmp_path / "other") not in live


def test_data_on_a_file_system_that_the_user_has_mounted_is_told_of(made: TraceMaker) -> None:
    """A node has the mount point, too, but empty: the job would miss its input there, or write beneath."""
    for name, kind, told in (
        ("squashed", "fuse.squashfuse", True),
        ("remote", "fuse.sshfs", True),
        ("plain", "fuse", True),
        ("of-the-site", "fuse.glusterfs", False),
        ("disk", "ext4", False),
    ):
        top = Path(made.cwd) / name
        made.mounts = ((str(Path(made.cwd)), "fuse.juicefs"), (str(top), kind))
        read = made.use(write(top / "input.dat"))
        made.use(top / "out", "create", "write", existed=False)
        notices = made.closure().notices
        assert any(f"{read!a} stays on {str(top)!a}" in text for text in notices) is told, (name, notices)
        assert any(f"is written on {str(top)!a}" in text for text in notices) is told, (name, notices)
        assert not any("juicefs" in text for text in notices)
        assert verdict(made.closure(with_data=True), read) == "bundle"
        assert not any("stays on" in text for text in made.closure(with_data=True).notices)


def test_small_files_of_a_listed_directory_travel_and_large_ones_are_warned_of(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write(tmp_path / "plugins" / name)
        write(tmp_path / "many" / name, b"x" * 60)
    monkeypatch.setattr(knowledge, "LIST_LIMIT", 100)
    made.use(tmp_path / "plugins", "list")
    made.use(tmp_path / "many", "list")
    closure = made.closure()
    assert verdict(closure, tmp_path / "plugins" / "a") == "bundle"
    assert verdict(closure, tmp_path / "many") == "bundle"
    assert verdict(closure, tmp_path / "many" / "a") == "nothing"
    assert any("many" in text and "listed" in text for text in closure.warnings)
    assert verdict(made.closure(minimal=True), tmp_path / "plugins" / "a") == "nothing"


def test_files_that_were_only_asked_about_travel_up_to_a_limit(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "PROBE_LIMIT", 100)
    small = made.use(write(tmp_path / "p" / "small"), "probe")
    large = made.use(write(tmp_path / "p" / "large", b"x" * 101), "probe")
    read = made.use(write(tmp_path / "p" / "read", b"y" * 101), "probe", "read")
    closure = made.closure()
    assert [verdict(closure, p) for p in (small, large, read)] == ["bundle", "host", "bundle"]
    assert large not in conf(closure, "host")
    second = made.use(write(tmp_path / "p" / "second", b"x" * 1_400_000), "probe")
    assert [verdict(made.closure(), p) for p in (large, second)] == ["host", "host"]
    said = (
        "2 large files (1.4 MB together) were only looked up, not read: they do not travel, and the node may lack them"
    )
    assert any(said in text for text in made.closure().warnings)
    assert verdict(made.closure(include=(second,)), second) == "bundle"


def test_a_file_that_was_read_and_is_gone_is_an_error_that_names_it(made: TraceMaker, tmp_path: Path) -> None:
    path = made.use(tmp_path / "lib" / "gone.so", existed=True)
    with pytest.raises(InputError, match=r"gone\.so"):
        made.closure()
    made.accesses[path].ops = {"probe"}
    assert verdict(made.closure(), path) == "absent"


def test_a_file_that_cannot_be_read_is_an_error_if_it_was_read_and_a_warning_if_not(
    made: TraceMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.use(write(tmp_path / "bin" / "locked"), "exec")
    real_access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: p != path and real_access(p, mode))  # root reads everything
    closure = made.closure()
    assert verdict(closure, path) == "host"
    assert any("locked" in text for text in closure.incomplete)
    made.use(path, "read")
    with pytest.raises(InputError, match="locked"):
        made.closure()


def test_a_script_brings_its_interpreter_with_a_chain_of_reasons(made: TraceMaker, tmp_path: Path) -> None:
    script = write(tmp_path / "bin" / "job", "#!/bin/sh\n", 0o755)
    made.program = str(script)
    made.execute(script, "/bin/sh", "/lib64/ld-linux-x86-64.so.2")
    closure = made.closure()
    shell = os.path.realpath("/bin/sh")
    assert verdict(closure, shell) == "bundle"
    assert f"is the interpreter of {script}" in why(closure, shell)
    assert closure.items[str(script)].reasons[0].source == ""
    assert conf(closure, "interpreter") == ["/lib64/ld-linux-x86-64.so.2"]


def test_what_a_program_needs_travels_unseen_and_glibcs_family_whole(made: TraceMaker) -> None:
    made.execute("/usr/bin/bash", "/lib64/ld-linux-x86-64.so.2")
    closure = made.closure(minimal=True)
    libc = os.path.realpath("/lib/x86_64-linux-gnu/libc.so.6")
    directory = os.path.dirname(libc)
    assert "is needed by /usr/bin/bash libc.so.6: listed in /etc/ld.so.cache" in why(closure, libc)
    for member in ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2", "libnss_dns.so.2", "libm.so.6"):
        assert verdict(closure, f"{directory}/{member}") == "bundle", member


def test_a_need_that_is_nowhere_is_warned_of_with_every_path_considered(made: TraceMaker, tmp_path: Path) -> None:
    from elf_support import Workshop, runpath

    shop = Workshop(tmp_path / "soft")
    shop.library("libgone.so.4")
    program = shop.program("program", "libgone.so.4", flags=runpath(shop("one"), shop("two")))
    os.unlink(shop("libgone.so.4"))
    made.execute(program, "/lib64/ld-linux-x86-64.so.2")
    (text,) = [w for w in made.closure().warnings if "libgone.so.4" in w]
    assert shop("one/libgone.so.4") in text
    assert "/usr/lib/libgone.so.4" in text


def test_the_environment_is_recorded_less_what_is_the_nodes(made: TraceMaker) -> None:
    made.env = {
        "PATH": "/usr/bin",
        "HOME": "/root",
        "SLURM_JOB_ID": "7",
        "OMPI_MCA_btl": "self",
        "LD_LIBRARY_PATH": "/x",
    }
    made.env_dropped = ("AWS_SECRET_ACCESS_KEY",)
    made.rlimits = {"stack": (8_388_608, -1)}
    closure = made.closure()
    assert conf(closure, "env") == ["LD_LIBRARY_PATH=/x", "OMPI_MCA_btl=self", "PATH=/usr/bin"]
    assert conf(closure, "live-env") == ["*", "AWS_SECRET_ACCESS_KEY"]
    assert {"PATH", "LD_*", "PYTHON*"} <= set(conf(closure, "fixed-env"))
    assert conf(closure, "rlimit") == ["stack 8388608 unlimited"]


def test_the_conf_has_what_the_format_asks_for(made: TraceMaker) -> None:
    closure = made.closure()
    once = {"machine": ["x86_64"], "program": ["/usr/bin/true"], "arg": ["true"], "umask": ["22"], "os": ["debian 12"]}
    assert {key: conf(closure, key) for key in once} == once
    assert conf(closure, "cwd") == [made.cwd]
    assert {"/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf"} <= set(conf(closure, "host"))


def test_names_that_no_file_can_have_are_not_hidden_on_nodes(made: TraceMaker) -> None:
    """CONF absent is for paths that a node may have; one with 2,000 directories is no reason to fail either."""
    deep = "/usr/lib/sdee-none" + "/d" * 2000
    for path in ("/usr/lib/" + "n" * 256, deep, "/usr/lib/sdee-none.so"):
        made.use(path, existed=False)
    assert {p for p in conf(made.closure(), "absent") if len(p) > 250 or "sdee-none" in p} == {
        "/usr/lib/sdee-none",
        "/usr/lib/sdee-none.so",
    }


def test_the_same_trace_gives_the_same_closure(made: TraceMaker) -> None:
    made.execute("/usr/bin/perl", "/lib64/ld-linux-x86-64.so.2")
    assert made.closure() == made.closure()


def test_a_name_that_is_not_utf8_keeps_its_bytes(made: TraceMaker, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/odd-\xff\nname"
    with open(name, "wb") as file:
        file.write(b"x")
    path = made.use(os.fsdecode(name))
    assert os.fsencode(made.closure().items[path].path) == name
    assert verdict(made.closure(), path) == "bundle"
