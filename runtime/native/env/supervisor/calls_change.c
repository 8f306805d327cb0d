#include "env/supervisor/calls_change.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "env/supervisor/caller.h"
#include "env/supervisor/calls_create.h"
#include "env/supervisor/copy_up.h"
#include "env/supervisor/credentials.h"
#include "env/supervisor/owners.h"
#include "env/supervisor/resolve.h"
#include "env/supervisor/waiting.h"
#include "lib/beneath.h"
#include "lib/sys.h"

enum { PATH_SIZE = 4096, NAMING = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH /* another flag, where we answer: EINVAL, and the kernel's to say */ };

/* The descriptor and statx of what a path argument names; < 0 when the kernel shall judge. */
static int look(const struct stop *stop, int dirfd, uint64_t address, bool follow, bool empty, struct statx *file)
{
    char path[PATH_SIZE];
    if (!read_string(stop, address, path, sizeof path))
        return -EFAULT;
    const int fd = resolve(stop, dirfd, path, follow, empty);
    if (fd >= 0 && sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, file) != 0) {
        close(fd);
        return -EIO;
    }
    return fd;
}

/* For the calls that take no descriptor of O_PATH. */
static int look_fd(const struct stop *stop, int number, struct statx *file)
{
    const int fd = number < 0 || is_path_only(stop, number) ? -EBADF : resolve(stop, number, "", true, true);
    if (fd >= 0 && sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, file) != 0) {
        close(fd);
        return -EIO;
    }
    return fd;
}

/* After own(): the call goes on; the kernel refuses what could not be owned, but a full disk is reported as ENOSPC. */
static struct answer then_go_on(int result)
{
    return result == -ENOSPC || result == -EDQUOT || result == -EIO ? RESULT(result) : GO_ON;
}

/* chmod(2) of what is owned first: done for the caller, since a path through /proc/self/fd still leads to the host's file. */
static struct answer change_mode(const struct stop *stop, int fd, struct statx *file, mode_t mode)
{
    struct answer answer = GO_ON;
    if (fd >= 0 && needs_own(stop->session, file) && own(stop->session, &fd, file, false) == 0) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        if (stop->session->emulate)
            answer = RESULT(chmod(name, mode & 07777) == 0 ? 0 : -errno);
        else
            answer = RESULT(as_caller(stop, fd, &(struct change){.what = CHANGE_MODE, .mode = mode}));
    }
    if (fd >= 0)
        close(fd);
    return answer;
}

/* Own what a path argument names, then let the call go on. */
static struct answer own_path(const struct stop *stop, int dirfd, uint64_t address, bool follow, bool empty)
{
    struct statx file;
    int fd = look(stop, dirfd, address, follow, empty, &file);
    if (fd < 0)
        return GO_ON;
    const int result = own(stop->session, &fd, &file, false);
    close(fd);
    return then_go_on(result);
}

static struct answer open_for_writing(const struct stop *stop, int dirfd, uint64_t address, uint64_t flags, mode_t mode)
{
    char path[PATH_SIZE];
    if (!read_string(stop, address, path, sizeof path) || strncmp(path, "/dev/", 5) == 0 || (flags & O_TMPFILE) == O_TMPFILE)
        return GO_ON;
    const bool exclusive = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    struct statx file;
    int fd = resolve(stop, dirfd, path, (flags & O_NOFOLLOW) == 0 && !exclusive, false);
    if (fd < 0)
        return fd == -ENOENT && (flags & O_CREAT) != 0 ? create_file(stop, dirfd, path, flags, mode) : GO_ON;
    int result = 0;
    if (!exclusive && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) && sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, &file) == 0 &&
        S_ISREG(file.stx_mode))
        result = own(stop->session, &fd, &file, (flags & O_TRUNC) != 0);
    close(fd);
    return then_go_on(result);
}

#ifdef SYS_open
struct answer on_open(const struct stop *stop)
{
    return open_for_writing(stop, AT_FDCWD, stop->arg[0], stop->arg[1], (mode_t)stop->arg[2]);
}

struct answer on_creat(const struct stop *stop)
{
    return open_for_writing(stop, AT_FDCWD, stop->arg[0], O_CREAT | O_WRONLY | O_TRUNC, (mode_t)stop->arg[1]);
}
#endif

struct answer on_openat(const struct stop *stop)
{
    return open_for_writing(stop, (int)stop->arg[0], stop->arg[1], stop->arg[2], (mode_t)stop->arg[3]);
}

/* RESOLVE_BENEATH, RESOLVE_IN_ROOT: another meaning of the path. What it makes is root's: the kernel makes it. */
static struct answer open_within(const struct stop *stop, const struct open_how *how)
{
    char path[PATH_SIZE];
    struct statx file;
    const int base = read_string(stop, stop->arg[1], path, sizeof path) ? resolve(stop, (int)stop->arg[0], "", true, true) : -EFAULT;
    int fd = base >= 0 ? sys_openat2(base, path, how->flags & O_NOFOLLOW, how->resolve) : base;
    int result = 0;
    if (fd >= 0 && sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, &file) == 0 && S_ISREG(file.stx_mode))
        result = own(stop->session, &fd, &file, (how->flags & O_TRUNC) != 0);
    if (fd >= 0)
        close(fd);
    if (base >= 0)
        close(base);
    return then_go_on(result);
}

struct answer on_openat2(const struct stop *stop)
{
    struct open_how how;
    if (stop->arg[3] < sizeof how || !read_memory(stop, stop->arg[2], &how, sizeof how) || (how.flags & (O_ACCMODE | O_CREAT | O_TRUNC)) == 0)
        return GO_ON;
    if ((how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0)
        return open_within(stop, &how);
    return open_for_writing(stop, (int)stop->arg[0], stop->arg[1], how.flags, (mode_t)how.mode);
}

/* Calls whose first argument is a path that is followed / not followed. */
struct answer on_path(const struct stop *stop)
{
    return own_path(stop, AT_FDCWD, stop->arg[0], true, false);
}

struct answer on_lpath(const struct stop *stop)
{
    return own_path(stop, AT_FDCWD, stop->arg[0], false, false);
}

struct answer on_path_at(const struct stop *stop)
{
    return own_path(stop, (int)stop->arg[0], stop->arg[1], true, false);
}

struct answer on_xattrat(const struct stop *stop)
{
    return own_path(stop, (int)stop->arg[0], stop->arg[1], (stop->arg[2] & AT_SYMLINK_NOFOLLOW) == 0, (stop->arg[2] & AT_EMPTY_PATH) != 0);
}

struct answer on_renameat(const struct stop *stop)
{
    const struct answer answer = own_path(stop, (int)stop->arg[0], stop->arg[1], false, false);
    if (!answer.go_on || stop->nr != SYS_renameat2 || (stop->arg[4] & RENAME_EXCHANGE) == 0)
        return answer;
    return own_path(stop, (int)stop->arg[2], stop->arg[3], false, false);
}

#ifdef SYS_chmod
struct answer on_chmod(const struct stop *stop)
{
    struct statx file;
    const int fd = look(stop, AT_FDCWD, stop->arg[0], true, false, &file);
    return change_mode(stop, fd, &file, (mode_t)stop->arg[1]);
}
#endif

struct answer on_fchmodat(const struct stop *stop)
{
    struct statx file;
    const unsigned flags = stop->nr == SYS_fchmodat ? 0 : (unsigned)stop->arg[3]; /* fchmodat2 has a fourth argument */
    if ((flags & ~(unsigned)NAMING) != 0)
        return GO_ON;
    const int fd = look(stop, (int)stop->arg[0], stop->arg[1], (flags & AT_SYMLINK_NOFOLLOW) == 0, (flags & AT_EMPTY_PATH) != 0, &file);
    return change_mode(stop, fd, &file, (mode_t)stop->arg[2]);
}

struct answer on_linkat(const struct stop *stop)
{
    return own_path(stop, (int)stop->arg[0], stop->arg[1], (stop->arg[4] & AT_SYMLINK_FOLLOW) != 0, (stop->arg[4] & AT_EMPTY_PATH) != 0);
}

/* Calls by descriptor: the descriptor stays the host's file, so what is asked for is done to the copy. */
struct answer on_fchmod(const struct stop *stop)
{
    struct statx file;
    const int fd = look_fd(stop, (int)stop->arg[0], &file);
    return change_mode(stop, fd, &file, (mode_t)stop->arg[1]);
}

struct answer on_utimensat(const struct stop *stop)
{
    if ((stop->arg[3] & ~(uint64_t)(stop->arg[1] != 0 ? NAMING : 0)) != 0)
        return GO_ON;
    if (stop->arg[1] != 0)
        return own_path(stop, (int)stop->arg[0], stop->arg[1], (stop->arg[3] & AT_SYMLINK_NOFOLLOW) == 0, (stop->arg[3] & AT_EMPTY_PATH) != 0);
    struct statx file; /* futimens(3) */
    struct answer answer = GO_ON;
    int fd = look_fd(stop, (int)stop->arg[0], &file);
    struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    if (fd >= 0 && needs_own(stop->session, &file) && (stop->arg[2] == 0 || read_memory(stop, stop->arg[2], times, sizeof times)) &&
        own(stop->session, &fd, &file, false) == 0) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        if (stop->session->emulate)
            answer = RESULT(utimensat(AT_FDCWD, name, times, 0) == 0 ? 0 : -errno);
        else
            answer = RESULT(as_caller(stop, fd, &(struct change){.what = CHANGE_TIMES, .times = {times[0], times[1]}}));
    }
    if (fd >= 0)
        close(fd);
    return answer;
}

/* access(W_OK): root may write what own-on-write will give it; the kernel asks the host's mode. */
static struct answer may_write(const struct stop *stop, int dirfd, uint64_t address, unsigned mode, int flags)
{
    struct statx file;
    if ((flags & ~(NAMING | AT_EACCESS)) != 0)
        return GO_ON;
    const int fd = look(stop, dirfd, address, (flags & AT_SYMLINK_NOFOLLOW) == 0, (flags & AT_EMPTY_PATH) != 0, &file);
    if (fd < 0)
        return GO_ON;
    struct answer answer = GO_ON;
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (needs_own(stop->session, &file) && S_ISREG(file.stx_mode) && access(name, (int)(mode & ~(unsigned)W_OK) | R_OK) == 0 &&
        (stop->session->emulate || caller_is_root(stop)))
        answer = RESULT(0);
    close(fd);
    return answer;
}

#ifdef SYS_access
struct answer on_access(const struct stop *stop)
{
    return may_write(stop, AT_FDCWD, stop->arg[0], (unsigned)stop->arg[1], 0);
}
#endif

struct answer on_faccessat(const struct stop *stop)
{
    return may_write(stop, (int)stop->arg[0], stop->arg[1], (unsigned)stop->arg[2], stop->nr == SYS_faccessat ? 0 : (int)stop->arg[3]);
}

/* chown(2). `fd` and `file` are of what is to change; `fd` is closed here. `open`: the caller names it by a descriptor. */
static struct answer change_owner(const struct stop *stop, int fd, struct statx *file, uint32_t uid, uint32_t gid, bool open)
{
    if (fd < 0)
        return GO_ON;
    const struct session *session = stop->session;
    if (!session->emulate) { /* the kernel does it to the copy, and judges who may */
        const bool asked = open && needs_own(session, file);
        const int owned = own(session, &fd, file, false);
        const struct change change = {.what = CHANGE_OWNER, .uid = uid, .gid = gid};
        const struct answer answer = asked && owned == 0 ? RESULT(as_caller(stop, fd, &change)) : then_go_on(owned);
        close(fd);
        return answer;
    }
    const struct owner shown = owner_shown(session, fd, file);
    const struct owner wanted = {uid != (uint32_t)-1 ? uid : shown.uid, gid != (uint32_t)-1 ? gid : shown.gid};
    struct creds creds;
    int result = 0;
    const enum creds_kind kind = creds_of(stop, &creds);
    if (kind == CREDS_GONE) {
        result = -ESRCH;
    } else if (kind == CREDS_OTHERS && creds.uid[FILESYSTEM] != 0 && (wanted.uid != shown.uid || shown.uid != creds.uid[FILESYSTEM])) {
        result = -EPERM; /* chown(2): only root gives away */
    } else if (wanted.uid != shown.uid || wanted.gid != shown.gid) {
        result = own(session, &fd, file, false);
        if (result == 0 && is_anothers(session, file))
            result = -EPERM; /* another user's, outside of what is overlaid */
        if (result == 0)
            result = owner_set(session, fd, file, wanted);
    }
    const mode_t dropped = S_ISUID | ((file->stx_mode & S_IXGRP) != 0 ? S_ISGID : 0);
    if (result == 0 && S_ISREG(file->stx_mode) && (file->stx_mode & dropped) != 0 && !is_anothers(session, file)) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        chmod(name, file->stx_mode & 07777 & ~dropped); /* as the kernel does: dpkg's next call sets them again */
    }
    close(fd);
    return RESULT(result == -ESTALE || result == -EXDEV ? -EPERM : result);
}

#ifdef SYS_chown
struct answer on_chown(const struct stop *stop)
{
    struct statx file;
    const int fd = look(stop, AT_FDCWD, stop->arg[0], stop->nr == SYS_chown, false, &file);
    return change_owner(stop, fd, &file, (uint32_t)stop->arg[1], (uint32_t)stop->arg[2], false);
}
#endif

struct answer on_fchown(const struct stop *stop)
{
    struct statx file;
    const int fd = look_fd(stop, (int)stop->arg[0], &file);
    return change_owner(stop, fd, &file, (uint32_t)stop->arg[1], (uint32_t)stop->arg[2], true);
}

struct answer on_fchownat(const struct stop *stop)
{
    struct statx file;
    if ((stop->arg[4] & ~(uint64_t)NAMING) != 0)
        return GO_ON;
    const bool follow = (stop->arg[4] & AT_SYMLINK_NOFOLLOW) == 0, empty = (stop->arg[4] & AT_EMPTY_PATH) != 0;
    const int fd = look(stop, (int)stop->arg[0], stop->arg[1], follow, empty, &file);
    return change_owner(stop, fd, &file, (uint32_t)stop->arg[2], (uint32_t)stop->arg[3], empty);
}
