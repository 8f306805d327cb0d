"""The cluster's own processes. Every side has mount, network, UTS, IPC and PID namespaces of its own.

They all hang below process 1 of the login side: when that is killed, the kernel ends every process and drops every
mount and interface. Nothing of it is visible from outside but the files in the cluster's directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from cluster.roots import slurm_layer
from cluster.spec import OWN, USERS, Node, Spec
from foreign import node as foreign
from foreign.roots import root_path

if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACES = foreign.CLONE_NEWNS | foreign.CLONE_NEWUTS | foreign.CLONE_NEWIPC | foreign.CLONE_NEWNET
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MUNGE = "/run/munge"
CONTROLLER_PORT = 6817  # slurm.conf(5), SlurmctldPort
HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))


def prepare(spec: Spec) -> None:
    """Write what the processes inside read; build or find the roots, which may take minutes."""
    os.makedirs(f"{spec.state}/slurmctld")
    os.chmod(spec.state, 0o700)
    for name in ("log", "nodes", "pids"):
        os.mkdir(f"{spec.state}/{name}")
    layer = slurm_layer()
    os.makedirs(spec.shared, exist_ok=True)
    for user, uid in USERS.items():
        home = spec.backing + spec.home(user).removeprefix(spec.shared)
        os.makedirs(home, exist_ok=True)
        os.chown(home, uid, uid)
    if spec.counting:
        source = os.path.join(REPO, "fixtures", "slurm", "countfs.c")
        options = [
            "-O2",
            "-D_FILE_OFFSET_BITS=64",
            "-I/usr/include/fuse3",
            "-o",
            f"{spec.state}/countfs",
            source,
            "-lfuse3",
        ]
        subprocess.run(["gcc", *options], check=True)
    _write(f"{spec.state}/munge.key", os.urandom(128), 0o400)
    _write(f"{spec.state}/slurm.conf", spec.slurm_conf())
    _write(f"{spec.state}/hosts", spec.hosts())
    for node in spec.nodes:
        own = node.flavour == OWN
        directory = f"{spec.state}/nodes/{node.name}"
        os.makedirs(f"{directory}/{foreign.LAYER}" if own else directory)
        os.makedirs(f"{directory}/root" if own else directory, exist_ok=True)
        root = "" if own else root_path(node.flavour)
        _write(f"{directory}.lower", f"{layer}:{root}" if root else "")
        for name in ("passwd", "group"):
            _write(f"{directory}.{name}", spec.accounts(name, root))
    for name in ("passwd", "group"):
        _write(f"{spec.state}/login.{name}", spec.accounts(name, ""))


def hold(spec: Spec) -> NoReturn:
    """Make the login side's namespaces, be their only process outside, and end with them."""
    foreign.check(foreign.libc.unshare(NAMESPACES | foreign.CLONE_NEWPID), "unshare")
    _child(lambda: login(spec), lambda pid: _write(f"{spec.state}/pid", f"{pid} {start_time(pid)}"))
    sys.exit(1)


def start_time(pid: int) -> str:
    """Return when a process began, "" when there is none: with its id it names it for good (proc_pid_stat(5))."""
    state, *fields = _status(pid)
    return "" if state in ("", "Z") else fields[18]


def parent(pid: int) -> int:
    """Return the id of a process's parent, 0 when there is no such process."""
    state, *fields = _status(pid)
    return int(fields[0]) if state else 0


def _status(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the state on; of no process, an empty state."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return [""]


def login(spec: Spec) -> None:
    """Process 1 of the login side, which is this machine's system: munged, slurmctld, and the nodes."""
    foreign.mount("none", "/", flags=foreign.MS_REC | foreign.MS_PRIVATE)
    foreign.libc.sethostname(b"login", 5)
    foreign.mount("proc", "/proc", "proc")
    _ip("link set lo up", "link add br0 type bridge", f"addr add {spec.address('login')}/24 dev br0", "link set br0 up")
    foreign.tmpfs("/run", 0o755)
    _settings(spec, "", f"{spec.state}/login.")
    if spec.counting:
        _spawn([f"{spec.state}/countfs", spec.backing, spec.shared])
        _wait(lambda: os.path.ismount(spec.shared), "countfs")
    _munged(MUNGE)
    _spawn(["slurmctld", "-D"])
    _wait(
        lambda: _accepts(spec.address("login"), CONTROLLER_PORT), "slurmctld"
    )  # a node that asks before is lost for long
    for node in spec.nodes:
        with open(f"{spec.state}/log/{node.name}", "wb") as log:
            command = [sys.executable, HERE, "inside-node", spec.directory, node.name]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while True:
        os.wait()


def node(spec: Spec, name: str) -> None:
    """Start a node, in the login side's PID namespace: other namespaces, a cable to the login side, a process 1."""
    foreign.check(foreign.libc.unshare(NAMESPACES), "unshare")
    foreign.mount("none", "/", flags=foreign.MS_REC | foreign.MS_PRIVATE)
    foreign.libc.sethostname(name.encode(), len(name))
    _ip(f"link add eth0 type veth peer name {name} netns 1")
    subprocess.run(["nsenter", "-t", "1", "-n", "ip", "link", "set", name, "master", "br0", "up"], check=True)
    _ip("link set lo up", f"addr add {spec.address(name)}/24 dev eth0", "link set eth0 up")
    foreign.check(foreign.libc.unshare(foreign.CLONE_NEWPID), "unshare")
    known = next(node for node in spec.nodes if node.name == name)
    # the id outside this node, as the login side knows it
    _child(lambda: node_first(spec, known), lambda pid: _write(f"{spec.state}/pids/{name}", str(pid)))


def node_first(spec: Spec, node: Node) -> None:
    """Process 1 of a node: assemble and enter its root, run munged and slurmd until one ends."""
    root = f"{spec.state}/nodes/{node.name}"
    with open(f"{root}.lower", encoding="utf-8") as file:
        lower = file.read()
    if lower:
        foreign.mount("overlay", root, "overlay", foreign.MS_RDONLY, f"lowerdir={lower}")
    foreign_root = foreign.assemble(root, [spec.shared], USERS["tester"])
    for path in ("/var/log", "/var/spool"):
        foreign.tmpfs(foreign_root + path, 0o755)
    if node.flavour == OWN:
        _software(foreign_root)
    _settings(spec, foreign_root, root + ".")
    _ail(node, foreign_root)
    foreign.enter(foreign_root)
    os.makedirs("/var/spool/slurmd", exist_ok=True)
    _munged(MUNGE)
    if node.user_namespaces:
        slurmd = ["slurmd", "-D"]
    else:  # in a chroot the kernel refuses them: user_namespaces(7), EPERM
        foreign.mount("/", "/mnt", flags=foreign.MS_BIND | foreign.MS_REC)
        slurmd = ["chroot", "/mnt", "slurmd", "-D"]
    daemon = _spawn(slurmd)
    while os.wait()[0] != daemon:
        pass
    sys.exit(f"slurmd of {node.name} ended")


def _settings(spec: Spec, root: str, accounts: str) -> None:
    """Give a side its accounts, hosts, Slurm's configuration and munge's key. `accounts`: what "passwd" is added to."""
    foreign.tmpfs(f"{root}/etc/slurm", 0o755)
    shutil.copy(f"{spec.state}/slurm.conf", f"{root}/etc/slurm")
    # no cgroups are used, but slurmd looks for some and ends
    _write(f"{root}/etc/slurm/cgroup.conf", "CgroupPlugin=cgroup/v1\n")
    for name in ("passwd", "group"):
        foreign.mount(accounts + name, f"{root}/etc/{name}", flags=foreign.MS_BIND)
    foreign.mount(f"{spec.state}/hosts", f"{root}/etc/hosts", flags=foreign.MS_BIND)
    os.makedirs(root + MUNGE, exist_ok=True)
    foreign.tmpfs(root + MUNGE, 0o755)
    shutil.copy(f"{spec.state}/munge.key", f"{root}{MUNGE}/key")


def _software(root: str) -> None:
    """Let a node with this machine's system have what runs the tests: this checkout, and sdee in its environment."""
    flags = foreign.MS_BIND | foreign.MS_REMOUNT
    foreign.mount("none", root, flags=flags)
    for path in dict.fromkeys((REPO, sys.prefix)):
        os.makedirs(root + path, exist_ok=True)
        foreign.mount(path, root + path, flags=foreign.MS_BIND)
        foreign.mount("none", root + path, flags=flags | foreign.MS_RDONLY)
    foreign.mount("none", root, flags=flags | foreign.MS_RDONLY | foreign.MS_NOSUID)


def _ail(node: Node, root: str) -> None:
    """Let a node lack what it is to lack."""
    if node.tmp:
        for path in ("/tmp", "/var/tmp"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=1777,{node.tmp}", "tmpfs", root + path], check=True)
    if not node.shm:
        foreign.check(foreign.libc.umount2(f"{root}/dev/shm".encode(), 0), "umount2")
        os.rmdir(f"{root}/dev/shm")
    if node.memory:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = [line for line in file if not line.startswith("MemAvailable")]
        _write(f"{root}/run/meminfo", f"MemAvailable: {node.memory} kB\n" + "".join(lines), 0o444)
        foreign.mount(f"{root}/run/meminfo", f"{root}/proc/meminfo", flags=foreign.MS_BIND)


def _munged(directory: str) -> None:
    """Start the authentication daemon, and wait for its socket."""
    path = f"{directory}/munge.socket.2"
    files = [f"--{what}-file={directory}/{what}" for what in ("key", "pid", "seed")]
    _spawn(["munged", "-F", f"--socket={path}", *files])
    _wait(lambda: os.path.exists(path), "munged")


def _accepts(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what} does not start")
        time.sleep(0.02)


def _spawn(command: list[str]) -> int:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={"PATH": PATH}).pid


def _child(function: Callable[[], None], note: Callable[[int], None]) -> None:
    """Run a function in a child that ends with its parent, after `note` of the child's id, and wait for its end.

    Both are in one mount namespace: the child begins when the parent needs /proc and its own root no more.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        note(pid)
        os.write(write, b"go")
        os.waitpid(pid, 0)
        return
    foreign.libc.prctl(foreign.PR_SET_PDEATHSIG, 9, 0, 0, 0)
    os.read(read, 2)
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - said where someone looks; a child must not go on as its parent
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    os._exit(1)


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, env={"PATH": PATH})


def _write(path: str, content: str | bytes, mode: int = 0o644) -> None:
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
