"""A compute node: another root file system, other namespaces, nothing of this machine but its kernel.

    python tests/foreign/node.py --root DIR [--shared DIR]… [--user UID] [--cwd DIR] [--env NAME=VALUE]… -- PROGRAM…

As a node with its system on a read-only disk: /tmp, /var/tmp, /run, /home, /mnt, /srv and /dev/shm are tmpfs, /proc,
/sys and /dev fresh; `--shared` directories are this machine's, at the same path, as a cluster's shared storage. The
root becomes the root by pivot_root(2): in a chroot the kernel refuses user namespaces (user_namespaces(7)). PROGRAM
runs as an ordinary user. Process 1 of the node is this Python; since the root holds no Python, all that it needs is
imported before it enters.

When PROGRAM has ended, what it left on the node is reported: processes, mounts, files outside the shared directories.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x20000000,
    0x40000000,
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
PR_SET_PDEATHSIG = 1
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
WRITABLE = {"/tmp": 0o1777, "/var/tmp": 0o1777, "/run": 0o755, "/home": 0o755, "/mnt": 0o755, "/srv": 0o755}
USER = 1001
# what a login gives; anything else a test sets itself
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/tester", "USER": "tester", "LOGNAME": "tester"}

OWN_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "var", "boot")
LAYER = "over-this-machine"  # in a root: a layer over this machine's own root instead of a whole one (hidden.py)

libc = ctypes.CDLL(None, use_errno=True)


# ---- for tests ----


@dataclass(frozen=True)
class Left:
    """What a program left on its node: each empty on a clean one."""

    processes: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NodeResult:
    """How a program ended on a node: status as a shell gives it, output, what it left, the command to repeat it."""

    status: int
    stdout: bytes
    stderr: str
    left: Left
    command: list[str]


class Node:
    """A program that runs on a node, from start to wait."""

    def __init__(
        self,
        root: str,
        argv: list[str],
        *,
        shared: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        cwd: str = "/",
        user: int = USER,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        options = ["--root", root, "--user", str(user), "--cwd", cwd]
        options += [word for path in shared for word in ("--shared", path)]
        options += [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
        self._report, write = os.pipe()
        self.command = [sys.executable, os.path.abspath(__file__), *options, "--", *argv]
        self._process = subprocess.Popen(
            [*self.command[:2], "--report", str(write), *self.command[2:]],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(write,),
        )
        os.close(write)

    def processes(self) -> list[int]:
        """Return the node's processes, first the program's own, by their ids out here; not the node's process 1."""
        first = _children(self._process.pid)
        todo, found = [child for pid in first for child in _children(pid)], []
        while todo:
            pid = todo.pop(0)
            found.append(pid)
            todo += _children(pid)
        return found

    def wait(self, timeout: float = 300) -> NodeResult:
        """Wait for the program's end; after `timeout` seconds the node is killed, and so all that runs on it."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            err += f"\nkilled after {timeout} s".encode()
        with open(self._report, "rb") as stream:
            report = stream.read()
        # without a report the node itself failed
        left = Left(**json.loads(report)) if report else Left(processes=["the node did not report"])
        status = self._process.returncode
        text = err.decode(errors="replace")
        return NodeResult(status if status >= 0 else 128 - status, out, text, left, self.command)


def run_on_node(root: str, argv: list[str], *, timeout: float = 300, **options: object) -> NodeResult:
    """Run `argv` on a node with the root at `root`; `options` as Node takes them."""
    return Node(root, argv, **options).wait(timeout)  # type: ignore[arg-type]


def _children(pid: int) -> list[int]:
    """proc_pid_task(5): /proc/PID/task/TID/children."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


# ---- the node ----


def check(result: int, what: str) -> None:
    """Raise OSError with errno when a C call has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system (man 2 mount)."""
    result = libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    check(result, f"mount {source} on {target}")


def tmpfs(target: str, mode: int) -> None:
    """Mount a tmpfs that others may not set-user-ID on."""
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")


def assemble_own(layer: str, root: str) -> None:
    """Mount this machine's own system under a layer. One overlay over / would hold its own layer, which is ELOOP."""
    tmpfs(root, 0o755)
    for name in os.listdir("/"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif name in OWN_SYSTEM:
            os.mkdir(f"{root}/{name}")
            layered = os.path.isdir(f"{layer}/{name}")
            kind, data = ("overlay", f"lowerdir={layer}/{name}:/{name}") if layered else ("", "")
            mount(f"/{name}", f"{root}/{name}", kind, 0 if layered else MS_BIND, data)
    for name in ("proc", "sys", "dev", *(path[1:] for path in WRITABLE if path.count("/") == 1)):
        os.makedirs(f"{root}/{name}", exist_ok=True)


def assemble(root: str, shared: list[str], user: int) -> str:
    """Mount a node's file systems below `root`, itself a read-only mount; return where that is."""
    if os.path.isdir(f"{root}/{LAYER}"):
        assemble_own(f"{root}/{LAYER}", f"{root}/root")
        root = f"{root}/root"
    else:
        mount(root, root, flags=MS_BIND)
    mount("none", root, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID)
    mount("proc", f"{root}/proc", "proc")
    mount("sysfs", f"{root}/sys", "sysfs", MS_RDONLY)
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{root}/dev/{name}", 0o666)  # mknod(2) obeys the umask
    for link, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        os.symlink(f"/proc/self/fd{target}", f"{root}/dev/{link}")
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    mount("devpts", f"{root}/dev/pts", "devpts", data="newinstance,ptmxmode=666,mode=620")
    tmpfs(f"{root}/dev/shm", 0o1777)
    for path, mode in WRITABLE.items():
        tmpfs(root + path, mode)
    os.mkdir(f"{root}/home/tester", 0o755)
    os.chown(f"{root}/home/tester", user, user)
    for path in shared:
        os.makedirs(root + path, exist_ok=True)
        mount(path, root + path, flags=MS_BIND)
    return root


def loopback() -> None:
    """Bring up the only interface that the node has: programs of one node talk over it (netdevice(7), SIOCSIFFLAGS)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def enter(root: str) -> None:
    """Make `root` the root, and what was it unreachable: pivot_root(2), "pivot_root(".", ".")"."""
    os.chdir(root)
    check(libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def left_files(shared: list[str]) -> set[str]:
    """Return all paths in the node's writable file systems, but not what is in shared directories."""
    found = set()
    for top in ("/dev", *WRITABLE):
        for parent, directories, files in os.walk(top):
            paths = {os.path.join(parent, name) for name in (*directories, *files)}
            found |= paths
            # pts holds what terminals are open, shm is walked
            directories[:] = [
                d for d in directories if (p := os.path.join(parent, d)) not in shared and p != "/dev/pts"
            ]
    return found


def left_mounts() -> set[str]:
    """Return this namespace's mounts: proc_pid_mountinfo(5)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return {" ".join(line.split()[4:6]) for line in file}


def left_processes() -> list[str]:
    """Return the node's processes but 1, after two seconds in which the kernel may end those that were killed."""
    deadline = time.monotonic() + 2
    while True:
        found = [pid for pid in os.listdir("/proc") if pid.isdigit() and pid != "1"]
        if not found or time.monotonic() > deadline:
            return [f"{pid}: {_cmdline(pid)}" for pid in found]
        time.sleep(0.01)
        reap()


def _cmdline(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError as error:
        return str(error)


def reap() -> None:
    """Do process 1's duty: wait for orphans that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def job(options: argparse.Namespace) -> None:
    """In a child of process 1: become the user and execute the program. Does not return."""
    try:
        os.setsid()
        os.setgroups([])
        os.setresgid(options.user, options.user, options.user)
        os.setresuid(options.user, options.user, options.user)
        os.umask(0o022)
        os.chdir(options.cwd)
        environment = dict(ENVIRONMENT)
        for assignment in options.env:
            name, _, value = assignment.partition("=")
            environment[name] = value
        os.execve(options.argv[0], options.argv, environment)
    except OSError as error:
        os.write(2, f"node: {options.argv[0]}: {error}\n".encode())
        os._exit(126)


def first_process(options: argparse.Namespace) -> int:
    """Be process 1 of the node: assemble and enter it, run the program, report. Return its status as a shell does."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    libc.sethostname(b"node1", 5)
    loopback()
    enter(assemble(options.root, options.shared, options.user))
    mounts, files = left_mounts(), left_files(options.shared)
    pid = os.fork()
    if pid == 0:
        job(options)
    while True:
        ended, status = os.wait()
        if ended == pid:
            break
    code = os.waitstatus_to_exitcode(status)
    if options.report is not None:
        left = {
            "processes": left_processes(),
            "mounts": sorted(left_mounts() - mounts),
            "files": sorted(left_files(options.shared) - files),
        }
        os.write(options.report, json.dumps(left).encode())
    return code if code >= 0 else 128 - code


def main() -> None:
    """Make the namespaces; their first process is a child, since CLONE_NEWPID is for children (unshare(2))."""
    parser = argparse.ArgumentParser(description="run a program on a compute node")
    parser.add_argument("--root", required=True, help="the node's root file system", type=os.path.realpath)
    parser.add_argument("--shared", action="append", default=[], help="directory shared with this machine")
    parser.add_argument("--user", type=int, default=USER)
    parser.add_argument("--cwd", default="/")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE")
    parser.add_argument("--report", type=int, help="descriptor to write as JSON what was left to")
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    if options.report is not None:
        os.set_inheritable(options.report, False)
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET), "unshare")
    pid = os.fork()
    if pid == 0:
        status = 125
        try:
            status = first_process(options)
        except OSError as error:
            os.write(2, f"node: {error}\n".encode())
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
