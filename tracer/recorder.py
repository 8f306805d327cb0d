"""Turns system-call stops into trace records: the Handler of `sdee trace` (engine.Handler).

The common stop, an access that was seen before, costs one read of the tracee's memory and one look into `_seen`.
Everything else happens once for each path and operation, before the kernel carries the call out.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from sdee.tracer import sockets, syscalls
from sdee.tracer.engine import memory
from sdee.tracer.engine.linux import SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_SET_MODE_FILTER
from sdee.tracer.execs import Execs
from sdee.tracer.records import Records
from sdee.tracer.resolve import Resolved, Resolver, start_of
from sdee.tracer.syscalls import AT_EMPTY_PATH, AT_FDCWD, CALLS, PathArgument, SystemCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.tracer.saved import Saver
    from sdee.tracer.tracefile.writer import Writer

_SETTLING = 0.1  # seconds
_SEEN_LIMIT = 200_000  # raw paths remembered; then all are forgotten and resolved again

# linux/fcntl.h and friends
_AT_SYMLINK_NOFOLLOW, _AT_SYMLINK_FOLLOW = 0x100, 0x400
_IN_DONT_FOLLOW, _FAN_MARK_DONT_FOLLOW = 0x02000000, 0x4
_O_ACCMODE, _O_CREAT, _O_EXCL, _O_TRUNC = 0o3, 0o100, 0o200, 0o1000
_O_PATH, _O_TMPFILE = 0o10000000, 0o20000000
_RESOLVE_IN_ROOT = 0x10  # linux/openat2.h
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h
_CLONE_NEWNS = 0x20000
# kinds whose outcome for one path is the same again, so that stop() may skip what it has seen
_REPEATABLE = ("open", "probe", "chdir")


class Call(NamedTuple):
    """One stop on its way through the recorder."""

    tid: int
    arch: int
    nr: int
    args: tuple[int, ...]
    what: SystemCall


class Recorder:
    """Writes one trace segment through `records`."""

    def __init__(self, writer: Writer, saver: Saver, notice: Callable[[str], None], *, listings: bool = False) -> None:
        """`notice` shows the user a sentence while the job runs; `listings`: record the names in listed directories."""
        self.calls = 0
        self.records = Records(writer, saver, listings=listings)
        self._notice = notice
        self._execs = Execs(self.records)
        self._resolver = Resolver()
        self._roots_vary = False
        self._groups = frozenset(os.getgroups())  # the job's too
        self._settles = 0.0  # when a change of links or directories will have been carried out; 0: there is none
        self._seen: dict[tuple[object, ...], bool] = {}
        methods = {
            kind: getattr(self, f"_on_{kind}") for calls in CALLS.values() for kind in {c.kind for c in calls.values()}
        }
        self._plans = {
            arch: {nr: _plan(call, methods[call.kind]) for nr, call in calls.items()} for arch, calls in CALLS.items()
        }

    def written(self) -> tuple[list[str], set[str]]:
        """Return what results.left_by() takes: nothing of a job with roots of its own, whose paths are not ours."""
        return ([], set()) if self._roots_vary else (list(self.records.changed), self.records.moved)

    # what engines call (engine.Handler)

    def stop(self, tid: int, arch: int, nr: int, args: tuple[int, ...]) -> None:
        """Record one stop."""
        self.calls += 1
        try:
            path_at, dirfd_at, flags_at, token, what, method = self._plans[arch][nr]
        except KeyError:
            self._unlisted(tid, arch, nr, args)
            return
        try:
            if path_at < 0:
                method(Call(tid, arch, nr, args, what))
                return
            raw = memory.read_cstring(tid, args[path_at])
            if not raw:  # ENOENT, or fstat as glibc does it: the descriptor was seen when it was opened
                return
            if self._settles:
                self._settle()
            key: tuple[object, ...] = (token, args[flags_at] if flags_at >= 0 else 0, raw)
            base = ""
            if raw[0] != 0x2F:
                base = start_of(tid, args[dirfd_at] if dirfd_at >= 0 else AT_FDCWD)
                key = (*key, base)
            existed = self._seen.get(key)
            if existed is not None and (existed or not os.access(os.path.join(os.fsencode(base), raw), os.F_OK)):
                return
            found = method(Call(tid, arch, nr, args, what), *self._site(tid, raw, base))
            # ENOENT, mkdir, and once more: that makes it. And /proc/self/cwd/x is another file for each process
            varies = (found.status is None and what.kind == "open" and args[flags_at] & _O_CREAT) or raw[
                :6
            ] == b"/proc/"
            if not self._roots_vary and not varies:
                self._remember(key, found)
        except OSError as error:
            self._unreadable(tid, what, error)

    def process(self, pid: int, ppid: int) -> None:
        """See engine.Handler."""
        self.records.process(pid, ppid)

    def exit(self, pid: int, status: int) -> None:
        """See engine.Handler."""
        self.records.exit(pid, status)

    def incomplete(self, why: str, pid: int | None = None, detail: str = "") -> None:
        """See engine.Handler."""
        self.records.incomplete(why, pid, detail)

    def pulse(self) -> None:
        """See engine.Handler."""
        self.records.forget_ended()
        self.records.writer.flush()

    def waiting(self, *, ends_them: bool) -> None:
        """See engine.Handler."""
        interrupt = "Ctrl-C ends them" if ends_them else "Ctrl-C leaves them"
        self._notice(f"the command has ended; sdee traces its background processes until they end ({interrupt})")

    # which file is meant

    def _remember(self, key: tuple[object, ...], found: Resolved) -> None:
        if len(self._seen) >= _SEEN_LIMIT:
            self._seen.clear()
        self._seen[key] = found.status is not None

    def _changed(self, *found: Resolved) -> None:
        """Forget what was resolved when a link or a directory comes, goes or moves."""
        if any(item.kind in ("link", "dir") for item in found):
            self._forget()

    def _forget(self) -> None:
        """Forget all that was resolved, and for a while again at each stop.

        The kernel carries the change out after this stop. Another process's may come in between, and what that finds is
        still the state before.
        """
        self._seen.clear()
        self._resolver.forget()
        self._settles = time.monotonic() + _SETTLING

    def _settle(self) -> None:
        self._seen.clear()
        self._resolver.forget()
        if time.monotonic() > self._settles:
            self._settles = 0.0

    def _site(self, tid: int, raw: bytes, base: str) -> tuple[str, Resolver]:
        """Return the absolute path that `raw` is, from `base` unless that is "", and whose root it starts at."""
        path = os.fsdecode(raw)
        if base:
            path = f"{base}/{path}" if raw else base
        if not self._roots_vary:
            return path, self._resolver
        link = f"/proc/{tid}/root"
        shown, ours = os.readlink(link), os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{tid}/ns/mnt")
        if ours and shown == "/":
            return path, self._resolver
        self.incomplete(
            "a process changed its root or its mounts: its files may not be where they seem", self.records.pid(tid)
        )
        prefix = shown.rstrip("/") if ours else ""
        if not base:
            return path, Resolver(link, prefix)
        if not f"{base}/".startswith(f"{prefix}/"):  # a descriptor from before: it leads out of the root
            return path, self._resolver
        return path[len(prefix) :], Resolver(link, prefix)

    def _find(self, call: Call, argument: PathArgument, *, follow: bool) -> tuple[Resolved, Resolver]:
        """Resolve one path argument of a call."""
        raw = memory.read_cstring(call.tid, call.args[argument.path])
        dirfd = AT_FDCWD if argument.dirfd is None else call.args[argument.dirfd]
        if not raw and not self._flags(call) & AT_EMPTY_PATH:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        path, resolver = self._site(call.tid, raw, "" if raw.startswith(b"/") else start_of(call.tid, dirfd))
        return resolver.resolve(path, self.records.pid(call.tid), follow=follow), resolver

    def _flags(self, call: Call) -> int:
        return call.args[call.what.flags] if call.what.flags is not None else 0

    def _follows(self, call: Call) -> bool:
        links, flags = call.what.links, self._flags(call)
        if links == "at":
            return not flags & _AT_SYMLINK_NOFOLLOW
        if links == "at-follow":
            return bool(flags & _AT_SYMLINK_FOLLOW)
        if links == "inotify":
            return not flags & _IN_DONT_FOLLOW
        if links == "fanotify":
            return not flags & _FAN_MARK_DONT_FOLLOW
        return links == "follow"

    def _record(self, call: Call, op: str, found: Resolved) -> Resolved:
        pid = self.records.pid(call.tid)
        self.records.access(op, found, pid)
        if found.path.startswith("/proc/") and not found.real.startswith("/proc/"):
            # /proc/self/cwd/x is another file for each process: it counts by its own name as well
            self.records.access(op, found._replace(path=found.real, hops=()), pid)
        return found

    # one method for each kind of syscalls.py

    def _on_open(self, call: Call, path: str, resolver: Resolver) -> Resolved:
        return self._opened(call, path, resolver, self._flags(call))

    def _on_creat(self, call: Call) -> None:
        found, resolver = self._find(call, call.what.paths[0], follow=True)
        self._written(call, found, resolver, os.O_WRONLY | _O_CREAT | _O_TRUNC)

    def _on_openat2(self, call: Call) -> None:
        flags, _, how = struct.unpack("=QQQ", memory.read(call.tid, call.args[2], 24))  # struct open_how
        raw = memory.read_cstring(call.tid, call.args[1])
        rooted = how & _RESOLVE_IN_ROOT
        base = start_of(call.tid, call.args[0]) if rooted or not raw.startswith(b"/") else ""
        self._opened(call, *self._site(call.tid, raw, base), flags)

    def _on_owner(self, call: Call) -> None:
        found, _ = self._find(call, call.what.paths[0], follow=self._follows(call))
        self._record(call, "probe", found)
        gid = call.args[3 if call.what.name == "fchownat" else 2] & 0xFFFFFFFF
        if gid in self._groups:  # to others the kernel refuses it
            self.records.group(gid, self.records.pid(call.tid))

    def _opened(self, call: Call, path: str, resolver: Resolver, flags: int) -> Resolved:
        follow = not flags & syscalls.O_NOFOLLOW[call.arch] and flags & (_O_CREAT | _O_EXCL) != (_O_CREAT | _O_EXCL)
        found = resolver.resolve(path, self.records.pid(call.tid), follow=follow)
        if flags & _O_PATH or flags & _O_TMPFILE:
            return self._record(call, "probe", found)
        if flags & (_O_ACCMODE | _O_CREAT | _O_TRUNC):
            return self._written(call, found, resolver, flags)
        return self._read(call, found, resolver)

    def _read(self, call: Call, found: Resolved, resolver: Resolver) -> Resolved:
        if found.status is None:
            return self._record(call, "read", found)
        if found.status.st_mode & 0o444 != 0o444 and not os.access(resolver.place(found), os.R_OK):
            return self._record(call, "probe", found)  # the kernel will refuse, as it refuses us
        if not stat.S_ISDIR(found.status.st_mode):
            return self._record(call, "read", found)
        self.records.listing(found.path, resolver.place(found))
        return self._record(call, "list", found)

    def _written(self, call: Call, found: Resolved, resolver: Resolver, flags: int) -> Resolved:
        """Record an open that may write or create, and save what is there."""
        access = flags & _O_ACCMODE
        if found.status is None:
            if not flags & _O_CREAT:
                return self._record(call, "read" if access != os.O_WRONLY else "probe", found)
            return self._made(call, found, resolver)
        if flags & (_O_CREAT | _O_EXCL) == (_O_CREAT | _O_EXCL) or stat.S_ISDIR(found.status.st_mode):
            return self._record(call, "probe" if access or flags & _O_CREAT else "list", found)  # EEXIST, EISDIR
        if not access and not flags & _O_TRUNC:
            return self._read(call, found, resolver)
        if not os.access(resolver.place(found), os.W_OK):
            return self._record(call, "probe", found)
        self.records.save(found, resolver, replaced=bool(flags & _O_TRUNC))
        if access == os.O_RDWR and not flags & _O_TRUNC:
            self._record(call, "read", found)
        if flags & _O_TRUNC:
            self._record(call, "truncate", found)
        return self._record(call, "write", found)

    def _made(self, call: Call, found: Resolved, resolver: Resolver) -> Resolved:
        """Record that the job makes what `found` names, if its directory lets it."""
        if found.status is not None or not resolver.may_change(found):
            return self._record(call, "probe", found)
        created = self._record(call, "create", found)
        self.records.made(found.real)
        return created

    def _on_probe(self, call: Call, path: str, resolver: Resolver) -> Resolved:
        return self._record(
            call, "probe", resolver.resolve(path, self.records.pid(call.tid), follow=self._follows(call))
        )

    def _on_chdir(self, call: Call, path: str, resolver: Resolver) -> Resolved:
        return self._record(call, "chdir", resolver.resolve(path, self.records.pid(call.tid), follow=True))

    def _on_fchdir(self, call: Call) -> None:
        self._record(
            call, "chdir", self._resolver.resolve(start_of(call.tid, call.args[0]), self.records.pid(call.tid))
        )

    def _on_read(self, call: Call) -> None:
        self._read(call, *self._find(call, call.what.paths[0], follow=True))

    def _on_write(self, call: Call) -> None:
        empties = call.what.name.startswith("truncate") and call.args[1] == 0
        flags = os.O_WRONLY | (_O_TRUNC if empties else 0)
        self._written(call, *self._find(call, call.what.paths[0], follow=True), flags)

    def _on_create(self, call: Call) -> None:
        found, resolver = self._find(call, call.what.paths[0], follow=False)
        self._made(call, found, resolver)
        if call.what.name.startswith("symlink"):
            self._forget()

    def _on_remove(self, call: Call) -> None:
        found, resolver = self._find(call, call.what.paths[0], follow=False)
        if found.status is None or not resolver.may_change(found):
            self._record(call, "probe", found)
            return
        self.records.save(found, resolver, replaced=True)
        self._record(call, "remove", found)
        self._changed(found)

    def _on_rename(self, call: Call) -> None:
        (old, resolver), (new, _) = (self._find(call, argument, follow=False) for argument in call.what.paths)
        flags = self._flags(call) if call.what.name == "renameat2" else 0
        refused = flags & _RENAME_NOREPLACE and new.status is not None  # EEXIST: `mv -n`
        if old.status is None or refused or not (resolver.may_change(old) and resolver.may_change(new)):
            self._record(call, "probe", old)
            self._record(call, "probe", new)
            return
        self.records.save(old, resolver)
        self.records.save(new, resolver, replaced=not flags & _RENAME_EXCHANGE)
        exchanged = flags & _RENAME_EXCHANGE
        if exchanged:  # both go on, under each other's name: what is read later is what was there
            self._record(call, "read", old)
            self._record(call, "read", new)
        self._record(call, "rename" if exchanged else "remove", old)
        self._record(call, "rename", new)
        if self.records.is_made(old.real):
            self.records.made(new.real)
        else:
            self.records.saver.made_by_the_job(new.real)
        self._changed(old, new)

    def _on_link(self, call: Call) -> None:
        old, resolver = self._find(call, call.what.paths[0], follow=self._follows(call))
        self._read(call, old, resolver)
        self._made(call, *self._find(call, call.what.paths[1], follow=False))

    def _on_exec(self, call: Call) -> None:
        found, resolver = self._find(call, call.what.paths[0], follow=self._follows(call))
        if found.real.startswith("/memfd:"):
            self.incomplete("the job executed a program from memory (memfd)", self.records.pid(call.tid), found.path)
        at = call.what.paths[0].path + 1
        width = syscalls.pointer_size(call.arch, call.nr)
        vectors = (call.args[at], call.args[at + 1], width)
        self._execs.record(call.tid, found, vectors, resolver, os.readlink(f"/proc/{call.tid}/cwd"))

    def _on_bind(self, call: Call) -> None:
        self._socket(call, call.args[1], call.args[2], connects=False)

    def _on_connect(self, call: Call) -> None:
        self._socket(call, call.args[1], call.args[2], connects=True)

    def _on_socketcall(self, call: Call) -> None:
        if inner := sockets.socketcall(call.tid, call.args[0], call.args[1]):
            self._socket(call, inner[0], inner[1], connects=inner[2])

    def _socket(self, call: Call, address: int, length: int, *, connects: bool) -> None:
        name = sockets.unix_address(call.tid, address, length)
        pid = self.records.pid(call.tid)
        if name[:1] == b"\0" and connects:
            self.records.socket("@" + os.fsdecode(name[1:]), pid)
        if name[:1] in (b"", b"\0"):
            return
        path, resolver = self._site(call.tid, name, "" if name.startswith(b"/") else start_of(call.tid, AT_FDCWD))
        found = resolver.resolve(path, pid, follow=connects)
        if not connects:
            self._made(call, found, resolver)
            return
        self._record(call, "probe", found)
        if found.status is not None:
            self.records.socket(found.path, pid)

    def _on_handle(self, call: Call) -> None:
        self.incomplete(
            "the job opened a file by its handle, which has no path (open_by_handle_at)", self.records.pid(call.tid)
        )

    def _on_mount(self, call: Call) -> None:
        self._roots_vary = True
        self._seen.clear()
        self._resolver.forget()
        self.incomplete(
            "the job mounts file systems: files may not be where they seem", self.records.pid(call.tid), call.what.name
        )

    _on_fsconfig = _on_mount

    def _on_root(self, call: Call) -> None:
        self._roots_vary = True
        self._seen.clear()  # the same words may mean another file from now on
        self._record(call, "chdir", self._find(call, call.what.paths[0], follow=True)[0])

    def _on_setns(self, call: Call) -> None:
        if call.args[1] == 0 or call.args[1] & _CLONE_NEWNS:
            self._roots_vary = True
            self._seen.clear()

    def _on_seccomp(self, call: Call) -> None:
        """A listener of the job's own comes before ours, and is refused (EBUSY) under unotify: seccomp_unotify(2)."""
        operation, flags = call.args[:2]
        if operation == SECCOMP_SET_MODE_FILTER and flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
            why = "the job installs a seccomp listener of its own: sdee misses calls that it handles, or it gets EBUSY"
            self.incomplete(why, self.records.pid(call.tid))

    # what went wrong

    def _unlisted(self, tid: int, arch: int, nr: int, args: tuple[int, ...]) -> None:
        if syscalls.EXIT_GROUP.get(arch) == nr & ~syscalls.X32_SYSCALL_BIT:
            self.exit(self.records.pid(tid), args[0] & 0xFF)
        else:
            self.incomplete(
                "unknown system call, newer than this sdee", self.records.pid(tid), f"number {nr}, ABI {arch:#x}"
            )

    def _unreadable(self, tid: int, what: SystemCall, error: OSError) -> None:
        """Judge why a stop could not be recorded: what the kernel will refuse as well is nothing missed."""
        if error.errno in (errno.EFAULT, errno.ESRCH, errno.ENOENT, errno.EBADF, errno.ENOTDIR, errno.ENAMETOOLONG):
            return
        why = "sdee could not read the path of a system call"
        if error.errno in (errno.EPERM, errno.EACCES):  # not dumpable: ptrace(2), prctl(2)
            why = "a process hid its files: its program may be executed but not read, or it hides its memory"
        self.incomplete(why, self.records.pid(tid), f"{what.name}: {error.strerror}")


def _plan(
    call: SystemCall, method: Callable[..., Resolved]
) -> tuple[int, int, int, str, SystemCall, Callable[..., Resolved]]:
    """Return what stop() needs, flat: indices of path, dirfd and flags or -1; what repeats share; call; method."""
    if call.kind not in _REPEATABLE:
        return -1, -1, -1, "", call, method
    argument = call.paths[0]
    flags = -1 if call.flags is None else call.flags
    token = call.kind if call.links in ("at", "follow") else f"{call.kind} {call.links}"
    return argument.path, -1 if argument.dirfd is None else argument.dirfd, flags, token, call, method
