/* stat(2) and its relatives, where the owner to show is not the kernel's answer. */
#include "env/supervisor/calls_stat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "env/supervisor/owners.h"
#include "env/supervisor/resolve.h"
#include "env/supervisor/waiting.h"
#include "lib/sys.h"

/* musl's struct stat is the kernel's on the machines where it is built for 64 bits. */
_Static_assert(sizeof(struct stat) == (sizeof(long) == 8 && sizeof(((struct stat *)0)->st_nlink) == 8 ? 144 : 128), "struct stat is not the kernel's");

/* Does the kernel show another owner than this? It shows 0 for the user's ids and the overflow id for what is not mapped. */
static bool kernel_agrees(const struct session *session, const struct statx *file, struct owner shown)
{
    return !is_foreign(session, file) && (session->emulate ? shown.uid == 0 && shown.gid == 0 : true);
}

/* What stat(2) would say. All of it is in statx(2): one call less. */
static struct stat to_stat(const struct statx *file)
{
    struct stat result = {0};
    result.st_dev = makedev(file->stx_dev_major, file->stx_dev_minor);
    result.st_ino = file->stx_ino;
    result.st_nlink = file->stx_nlink;
    result.st_mode = file->stx_mode;
    result.st_uid = file->stx_uid;
    result.st_gid = file->stx_gid;
    result.st_rdev = makedev(file->stx_rdev_major, file->stx_rdev_minor);
    result.st_size = (off_t)file->stx_size;
    result.st_blksize = (blksize_t)file->stx_blksize;
    result.st_blocks = (blkcnt_t)file->stx_blocks;
    result.st_atim = (struct timespec){file->stx_atime.tv_sec, file->stx_atime.tv_nsec};
    result.st_mtim = (struct timespec){file->stx_mtime.tv_sec, file->stx_mtime.tv_nsec};
    result.st_ctim = (struct timespec){file->stx_ctime.tv_sec, file->stx_ctime.tv_nsec};
    return result;
}

/* Answer with `file`, which (fd, name) gave, where the kernel would show another owner. */
static struct answer answer_stat(const struct stop *stop, int fd, const char *name, struct statx *file, struct owner shown, bool extended)
{
    if (kernel_agrees(stop->session, file, shown))
        return GO_ON;
    if (!extended) {
        file->stx_uid = shown.uid;
        file->stx_gid = shown.gid;
        const struct stat plain = to_stat(file);
        return write_memory(stop, stop->arg[stop->nr == SYS_newfstatat ? 2 : 1], &plain, sizeof plain) ? RESULT(0) : GO_ON;
    }
    struct statx wanted; /* with the caller's own flags and mask */
    const int flags = (name[0] == '\0' ? AT_EMPTY_PATH : 0) | ((int)stop->arg[2] & (AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC));
    if (sys_statx(fd, name, flags, (unsigned)stop->arg[3], &wanted) != 0)
        return GO_ON;
    wanted.stx_uid = shown.uid;
    wanted.stx_gid = shown.gid;
    return write_memory(stop, stop->arg[4], &wanted, sizeof wanted) ? RESULT(0) : GO_ON;
}

/* By descriptor: without opening anything of our own. */
static struct answer by_descriptor(const struct stop *stop, int number, bool extended)
{
    char name[DESCRIPTOR_NAME];
    struct statx file;
    descriptor_name(stop, number, name);
    if (sys_statx(AT_FDCWD, name, 0, OWNER_MASK, &file) != 0)
        return GO_ON;
    return answer_stat(stop, AT_FDCWD, name, &file, owner_shown_of(stop->session, name, &file), extended);
}

static struct answer by_path(const struct stop *stop, int dirfd, uint64_t address, int flags, bool extended)
{
    char path[4096];
    if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC)) != 0)
        return GO_ON; /* EINVAL */
    if (address == 0 && (flags & AT_EMPTY_PATH) != 0) /* Linux 6.11 takes NULL for "" */
        path[0] = '\0';
    else if (!read_string(stop, address, path, sizeof path))
        return GO_ON;
    const bool empty = (flags & AT_EMPTY_PATH) != 0;
    if (path[0] == '\0' && empty && dirfd >= 0)
        return by_descriptor(stop, dirfd, extended);
    const int fd = resolve(stop, dirfd, path, (flags & AT_SYMLINK_NOFOLLOW) == 0, empty);
    if (fd < 0)
        return GO_ON; /* the kernel finds the right errno */
    struct statx file;
    struct answer answer = GO_ON;
    if (sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, &file) == 0)
        answer = answer_stat(stop, fd, "", &file, owner_shown(stop->session, fd, &file), extended);
    close(fd);
    return answer;
}

struct answer on_stat(const struct stop *stop)
{
    return by_path(stop, AT_FDCWD, stop->arg[0], 0, false);
}

struct answer on_lstat(const struct stop *stop)
{
    return by_path(stop, AT_FDCWD, stop->arg[0], AT_SYMLINK_NOFOLLOW, false);
}

struct answer on_fstat(const struct stop *stop)
{
    return by_descriptor(stop, (int)stop->arg[0], false);
}

struct answer on_newfstatat(const struct stop *stop)
{
    return by_path(stop, (int)stop->arg[0], stop->arg[1], (int)stop->arg[3], false);
}

struct answer on_statx(const struct stop *stop)
{
    return by_path(stop, (int)stop->arg[0], stop->arg[1], (int)stop->arg[2], true);
}
