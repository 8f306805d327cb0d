"""The one table of system calls that take a path, for every ABI that a tracee may use.

Both engines, the filter (bpf.py) and the recorder read it; nothing else knows a system call's number. A line has:

- name, and its number on x86-64, i386 and aarch64 (`-`: not there). x32 uses the x86-64 number with
  X32_SYSCALL_BIT, except where X32_NUMBERS says otherwise;
- kind: what the recorder does about it;
- paths: the arguments that are paths, `dirfd:path` or `path` alone (relative to the working directory), two of them
  with a comma;
- flags: the argument that holds flags, which decide how the path is meant;
- links: whether a symbolic link as last component is followed: `follow`, `nofollow`, `at` (AT_SYMLINK_NOFOLLOW says
  no, AT_EMPTY_PATH may name the dirfd itself), `at-follow` (AT_SYMLINK_FOLLOW says yes), `inotify`, `fanotify`
  (their own bits).

Sources: syscalls(2), asm/unistd_{64,32,x32}.h, asm-generic/unistd.h, and the kernel's syscall.tbl up to Linux 6.18;
tests/unit/test_syscall_table.py compares it with the headers. Not here, on purpose: sendto, sendmsg to a named datagram
socket (every network write would stop), bpf(BPF_OBJ_GET) and mq_open (their own name spaces).
"""

from __future__ import annotations

from typing import NamedTuple

# linux/audit.h: the ABI of a system call
AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
AUDIT_ARCH_AARCH64 = 0xC00000B7
X32_SYSCALL_BIT = 0x40000000  # asm/unistd.h: set in `nr` under AUDIT_ARCH_X86_64 for an x32 call
O_NOFOLLOW = {AUDIT_ARCH_X86_64: 0o400000, AUDIT_ARCH_I386: 0o400000, AUDIT_ARCH_AARCH64: 0o100000}  # linux/fcntl.h

_TABLE = """\
# name          x86-64  i386 aarch64  kind       paths    flags links
open                   2     5       -  open       0        1     follow
openat               257   295      56  open       0:1      2     follow
creat                 85     8       -  creat      0        -     follow
openat2              437   437     437  openat2    0:1      -     follow
uselib               134    86       -  read       0        -     follow
open_by_handle_at    304   342     265  handle     -        -     -
execve                59    11     221  exec       0        -     follow
execveat             322   358     281  exec       0:1      4     at
oldstat                -    18       -  probe      0        -     follow
oldlstat               -    84       -  probe      0        -     nofollow
stat                   4   106       -  probe      0        -     follow
lstat                  6   107       -  probe      0        -     nofollow
stat64                 -   195       -  probe      0        -     follow
lstat64                -   196       -  probe      0        -     nofollow
newfstatat           262     -      79  probe      0:1      3     at
fstatat64              -   300       -  probe      0:1      3     at
statx                332   383     291  probe      0:1      2     at
access                21    33       -  probe      0        -     follow
faccessat            269   307      48  probe      0:1      -     follow
faccessat2           439   439     439  probe      0:1      3     at
readlink              89    85       -  probe      0        -     nofollow
readlinkat           267   305      78  probe      0:1      -     nofollow
statfs               137    99      43  probe      0        -     follow
statfs64               -   268       -  probe      0        -     follow
name_to_handle_at    303   341     264  probe      0:1      4     at-follow
inotify_add_watch    254   292      27  probe      1        2     inotify
fanotify_mark        301     -     263  probe      3:4      1     fanotify
fanotify_mark          -   339       -  probe      4:5      1     fanotify
chmod                 90    15       -  probe      0        -     follow
fchmodat             268   306      53  probe      0:1      -     follow
fchmodat2            452   452     452  probe      0:1      3     at
chown                 92   182       -  owner      0        -     follow
chown32                -   212       -  owner      0        -     follow
lchown                94    16       -  owner      0        -     nofollow
lchown32               -   198       -  owner      0        -     nofollow
fchownat             260   298      54  owner      0:1      4     at
utime                132    30       -  probe      0        -     follow
utimes               235   271       -  probe      0        -     follow
futimesat            261   299       -  probe      0:1      -     follow
utimensat            280   320      88  probe      0:1      3     at
utimensat_time64       -   412       -  probe      0:1      3     at
getxattr             191   229       8  probe      0        -     follow
lgetxattr            192   230       9  probe      0        -     nofollow
listxattr            194   232      11  probe      0        -     follow
llistxattr           195   233      12  probe      0        -     nofollow
setxattr             188   226       5  probe      0        -     follow
lsetxattr            189   227       6  probe      0        -     nofollow
removexattr          197   235      14  probe      0        -     follow
lremovexattr         198   236      15  probe      0        -     nofollow
setxattrat           463   463     463  probe      0:1      2     at
getxattrat           464   464     464  probe      0:1      2     at
listxattrat          465   465     465  probe      0:1      2     at
removexattrat        466   466     466  probe      0:1      2     at
file_getattr         468   468     468  probe      0:1      4     at
file_setattr         469   469     469  probe      0:1      4     at
quotactl             179   131      60  probe      1        -     follow
acct                 163    51      89  write      0        -     follow
swapon               167    87     224  write      0        -     follow
swapoff              168   115     225  probe      0        -     follow
truncate              76    92      45  write      0        -     follow
truncate64             -   193       -  write      0        -     follow
chdir                 80    12      49  chdir      0        -     follow
fchdir                81   133      50  fchdir     -        -     -
rename                82    38       -  rename     0,1      -     nofollow
renameat             264   302      38  rename     0:1,2:3  -     nofollow
renameat2            316   353     276  rename     0:1,2:3  4     nofollow
link                  86     9       -  link       0,1      -     nofollow
linkat               265   303      37  link       0:1,2:3  4     at-follow
symlink               88    83       -  create     1        -     nofollow
symlinkat            266   304      36  create     1:2      -     nofollow
mkdir                 83    39       -  create     0        -     nofollow
mkdirat              258   296      34  create     0:1      -     nofollow
mknod                133    14       -  create     0        -     nofollow
mknodat              259   297      33  create     0:1      -     nofollow
unlink                87    10       -  remove     0        -     nofollow
unlinkat             263   301      35  remove     0:1      -     nofollow
rmdir                 84    40       -  remove     0        -     nofollow
bind                  49   361     200  bind       -        -     -
connect               42   362     203  connect    -        -     -
socketcall             -   102       -  socketcall -        -     -
mount                165    21      40  mount      1        -     follow
umount                 -    22       -  mount      0        -     follow
umount2              166    52      39  mount      0        -     follow
move_mount           429   429     429  mount      2:3      -     follow
mount_setattr        442   442     442  mount      0:1      -     follow
open_tree            428   428     428  probe      0:1      2     at
open_tree_attr       467   467     467  probe      0:1      2     at
fspick               433   433     433  mount      0:1      2     at
fsconfig             431   431     431  fsconfig   -        -     -
chroot               161    61      51  root       0        -     follow
pivot_root           155   217      41  root       0        -     follow
setns                308   346     268  setns      -        -     -
seccomp              317   354     277  seccomp    -        -     -
"""

# asm/unistd_x32.h: calls whose structures or pointers differ have numbers of their own
X32_NUMBERS = {"execve": 520, "execveat": 545}
NOT_ON_X32 = {"uselib"}

# The highest number that this table's author has judged. A call above it stops too and makes the trace incomplete:
# it may take a path. 469 is file_setattr (Linux 6.17), nothing was added in 6.18.
HIGHEST_KNOWN = 469
X32_HIGHEST_KNOWN = 547
# x32's own range: above HIGHEST_KNOWN, yet known
X32_OWN_FIRST = 512

IO_URING_SETUP = 425  # on every ABI: numbers above 402 are common to all
EXIT_GROUP = {AUDIT_ARCH_X86_64: 231, AUDIT_ARCH_I386: 252, AUDIT_ARCH_AARCH64: 94}

# setitimer, alarm, timer_create: their signals come again and again (restarts.py)
TIMERS = {AUDIT_ARCH_X86_64: (38, 37, 222), AUDIT_ARCH_I386: (104, 27, 259), AUDIT_ARCH_AARCH64: (103, 107)}

AT_FDCWD = -100  # linux/fcntl.h
AT_EMPTY_PATH = 0x1000

# glibc's and Rust's fstat(fd): these calls with exactly AT_EMPTY_PATH and a real descriptor. They tell nothing that the
# descriptor's open did not, and were 42 % of all stops in a pipeline of short programs, so the filter lets them go.
# What that misses: a stat of a *name* below a directory's descriptor with this flag, exactly. A later open is seen.
FSTAT_FORMS = {"newfstatat", "fstatat64", "statx"}


class PathArgument(NamedTuple):
    """Where a call's path is: indices into its arguments; `dirfd` is None when the working directory counts."""

    dirfd: int | None
    path: int


class SystemCall(NamedTuple):
    """One system call of one ABI."""

    name: str
    kind: str
    paths: tuple[PathArgument, ...]
    flags: int | None
    links: str


def _optional(text: str) -> int | None:
    return None if text == "-" else int(text)


def _path_arguments(text: str) -> tuple[PathArgument, ...]:
    arguments = []
    for item in () if text == "-" else text.split(","):
        dirfd, _, path = item.rpartition(":")
        arguments.append(PathArgument(int(dirfd) if dirfd else None, int(path)))
    return tuple(arguments)


def _load() -> dict[int, dict[int, SystemCall]]:
    calls: dict[int, dict[int, SystemCall]] = {AUDIT_ARCH_X86_64: {}, AUDIT_ARCH_I386: {}, AUDIT_ARCH_AARCH64: {}}
    for line in _TABLE.splitlines()[1:]:
        name, x86_64, i386, aarch64, kind, paths, flags, links = line.split()
        call = SystemCall(name, kind, _path_arguments(paths), _optional(flags), links)
        if x86_64 != "-":
            calls[AUDIT_ARCH_X86_64][int(x86_64)] = call
            if name not in NOT_ON_X32:
                calls[AUDIT_ARCH_X86_64][X32_NUMBERS.get(name, int(x86_64)) | X32_SYSCALL_BIT] = call
        if i386 != "-":
            calls[AUDIT_ARCH_I386][int(i386)] = call
        if aarch64 != "-":
            calls[AUDIT_ARCH_AARCH64][int(aarch64)] = call
    return calls


# AUDIT_ARCH_* → number as the kernel sees it (x32 with its bit) → the call
CALLS = _load()


def pointer_size(arch: int, nr: int) -> int:
    """Return how many bytes a pointer has in the memory of a process that makes this call."""
    return 4 if arch == AUDIT_ARCH_I386 or nr & X32_SYSCALL_BIT else 8
