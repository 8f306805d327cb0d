#include "env/supervisor/rules.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "env/supervisor/calls_change.h"
#include "env/supervisor/calls_create.h"
#include "env/supervisor/calls_credentials.h"
#include "env/supervisor/calls_stat.h"

/* From now on processes may have other roots: each one's own is looked at, which costs a little. */
static struct answer on_view(const struct stop *stop)
{
    atomic_store(&stop->session->views_vary, true);
    return GO_ON;
}

enum { WRITES = O_WRONLY | O_RDWR | O_TRUNC | O_CREAT };

/* fstat of the standard descriptors is let go: pipes, terminals and logs nearly always, and asked by every program that prints. */
const struct rule RULES[] = {
#ifdef SYS_open
    {SYS_open, on_open, 1, WRITES, false, 0, 0},
    {SYS_creat, on_creat, 0, 0, false, 0, 0},
    {SYS_access, on_access, 1, W_OK, false, 0, 0},
    {SYS_stat, on_stat, 0, 0, false, 0, 0},
    {SYS_lstat, on_lstat, 0, 0, false, 0, 0},
    {SYS_link, on_lpath, 0, 0, false, 0, 0},
    {SYS_rename, on_lpath, 0, 0, false, 0, 0},
    {SYS_chmod, on_chmod, 0, 0, false, 0, 0},
    {SYS_utime, on_path, 0, 0, false, 0, 0},
    {SYS_utimes, on_path, 0, 0, false, 0, 0},
    {SYS_futimesat, on_path_at, 0, 0, false, 0, 0},
    {SYS_chown, on_chown, 0, 0, false, 0, 0},
    {SYS_lchown, on_chown, 0, 0, false, 0, 0},
    {SYS_mkdir, on_mkdir, 0, 0, true, 0, 0},
    {SYS_mknod, on_mknod, 0, 0, true, 0, 0},
    {SYS_symlink, on_symlink, 0, 0, true, 0, 0},
#endif
#ifdef SYS_renameat
    {SYS_renameat, on_renameat, 0, 0, false, 0, 0},
#endif
    {SYS_openat, on_openat, 2, WRITES, false, 0, 0},
    {SYS_openat2, on_openat2, 0, 0, false, 0, 0},
    {SYS_truncate, on_path, 0, 0, false, 0, 0},
    {SYS_faccessat, on_faccessat, 2, W_OK, false, 0, 0},
    {SYS_faccessat2, on_faccessat, 2, W_OK, false, 0, 0},
    {SYS_fstat, on_fstat, 0, 0, false, 0, STDERR_FILENO},
    {SYS_newfstatat, on_newfstatat, 0, 0, false, 0, STDERR_FILENO},
    {SYS_statx, on_statx, 0, 0, false, 0, STDERR_FILENO},
    {SYS_linkat, on_linkat, 0, 0, false, 0, 0},
    {SYS_renameat2, on_renameat, 0, 0, false, 0, 0},
    {SYS_fchmod, on_fchmod, 0, 0, false, 0, 0},
    {SYS_fchmodat, on_fchmodat, 0, 0, false, 0, 0},
    {452 /* fchmodat2, Linux 6.6 */, on_fchmodat, 0, 0, false, 0, 0},
    {SYS_utimensat, on_utimensat, 0, 0, false, 0, 0},
    {SYS_setxattr, on_path, 0, 0, false, 0, 0},
    {SYS_lsetxattr, on_lpath, 0, 0, false, 0, 0},
    {SYS_removexattr, on_path, 0, 0, false, 0, 0},
    {SYS_lremovexattr, on_lpath, 0, 0, false, 0, 0},
    {463 /* setxattrat, Linux 6.13 */, on_xattrat, 0, 0, false, 0, 0},
    {466 /* removexattrat */, on_xattrat, 0, 0, false, 0, 0},
    {SYS_chroot, on_view, 0, 0, false, 0, 0},
    {SYS_pivot_root, on_view, 0, 0, false, 0, 0},
    {SYS_mount, on_view, 0, 0, false, 0, 0},
    {SYS_move_mount, on_view, 0, 0, false, 0, 0},
    {SYS_setns, on_view, 0, 0, false, 0, 0},
    {SYS_unshare, on_view, 0, CLONE_NEWNS, false, 0, 0},
    {SYS_clone, on_view, 0, CLONE_NEWNS, false, 0, 0},
    {SYS_fchown, on_fchown, 0, 0, false, 0, 0},
    {SYS_fchownat, on_fchownat, 0, 0, false, 0, 0},
    {SYS_mkdirat, on_mkdirat, 0, 0, true, 0, 0},
    {SYS_mknodat, on_mknodat, 0, 0, true, 0, 0},
    {SYS_symlinkat, on_symlinkat, 0, 0, true, 0, 0},
    {SYS_getuid, on_getid, 0, 0, true, 0, 0},
    {SYS_geteuid, on_getid, 0, 0, true, 0, 0},
    {SYS_getgid, on_getid, 0, 0, true, 0, 0},
    {SYS_getegid, on_getid, 0, 0, true, 0, 0},
    {SYS_getresuid, on_getresid, 0, 0, true, 0, 0},
    {SYS_getresgid, on_getresid, 0, 0, true, 0, 0},
    {SYS_getgroups, on_getgroups, 0, 0, true, 0, 0},
    {SYS_setgroups, on_setgroups, 0, 0, true, 0, 0},
    {SYS_setuid, on_setid, 0, 0, true, 0, 0},
    {SYS_setgid, on_setid, 0, 0, true, 0, 0},
    {SYS_setreuid, on_setreid, 0, 0, true, 0, 0},
    {SYS_setregid, on_setreid, 0, 0, true, 0, 0},
    {SYS_setresuid, on_setresid, 0, 0, true, 0, 0},
    {SYS_setresgid, on_setresid, 0, 0, true, 0, 0},
    {SYS_setfsuid, on_setfsid, 0, 0, true, 0, 0},
    {SYS_setfsgid, on_setfsid, 0, 0, true, 0, 0},
    {SYS_prctl, on_keepcaps, 0, 0, true, PR_SET_KEEPCAPS, 0},
    {SYS_capset, on_capset, 0, 0, true, 0, 0},
    {SYS_getsockopt, on_peercred, 2, 0, true, SO_PEERCRED, 0},
};
const unsigned RULE_COUNT = sizeof RULES / sizeof RULES[0];
