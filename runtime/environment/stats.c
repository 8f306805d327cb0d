/* stat(2) and its relatives, where the owner to show is not the kernel's answer. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "calls.h"
#include "kernel.h"
#include "owner.h"
#include "resolve.h"

/* musl's struct stat is the kernel's on the machines where it is built for 64 bits. */
_Static_assert(sizeof(struct stat) == (sizeof(long) == 8 && sizeof(((struct stat *)0)->st_nlink) == 8 ? 144 : 128), "struct stat is not the kernel's");

/* Does the kernel show another owner than this? It shows 0 for the user's ids and the overflow id for what is not mapped. */
static bool kernel_agrees(const struct session *session, const struct statx *file, struct owner shown)
{
    return !is_foreign(session, file) && (session->emulate ? shown.uid == 0 && shown.gid == 0 : true);
}

/* `fd` is an O_PATH descriptor, closed here; < 0: not resolved, and the kernel finds the right errno. */
static struct answer answer_stat(const struct stop *stop, int fd, bool extended)
{
    struct statx file;
    if (fd < 0)
        return GO_ON;
    struct answer answer = GO_ON;
    if (sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, &file) == 0) {
        const struct owner shown = owner_shown(stop->session, fd, &file);
        if (!kernel_agrees(stop->session, &file, shown)) {
            union {
                struct stat plain;
                struct statx extended;
            } result;
            int failed;
            if (extended) {
                const int flags = (int)stop->arg[2] & (AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC);
                failed = sys_statx(fd, "", AT_EMPTY_PATH | flags, (unsigned)stop->arg[3], &result.extended);
                result.extended.stx_uid = shown.uid;
                result.extended.stx_gid = shown.gid;
            } else {
                failed = (int)syscall(SYS_newfstatat, fd, "", &result.plain, AT_EMPTY_PATH);
                result.plain.st_uid = shown.uid;
                result.plain.st_gid = shown.gid;
            }
            const uint64_t address = stop->arg[extended ? 4 : stop->nr == SYS_newfstatat ? 2 : 1];
            const size_t size = extended ? sizeof result.extended : sizeof result.plain;
            if (failed == 0 && write_memory(stop, address, &result, size))
                answer = RESULT(0);
        }
    }
    close(fd);
    return answer;
}

static struct answer by_path(const struct stop *stop, int dirfd, uint64_t address, int flags, bool extended)
{
    char path[4096];
    if (address == 0 && (flags & AT_EMPTY_PATH) != 0) /* Linux 6.11 takes NULL for "" */
        path[0] = '\0';
    else if (!read_string(stop, address, path, sizeof path))
        return GO_ON;
    const bool empty = (flags & AT_EMPTY_PATH) != 0;
    if (path[0] == '\0' && empty && dirfd >= 0) {
        char name[64];
        struct stat file; /* most are pipes, terminals and the user's own files: told without opening anything */
        snprintf(name, sizeof name, "/proc/%d/fd/%d", stop->tid, dirfd);
        if (stat(name, &file) != 0 || S_ISFIFO(file.st_mode) || S_ISCHR(file.st_mode) || S_ISSOCK(file.st_mode))
            return GO_ON;
    }
    return answer_stat(stop, resolve(stop, dirfd, path, (flags & AT_SYMLINK_NOFOLLOW) == 0, empty), extended);
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
    return by_path(stop, (int)stop->arg[0], 0, AT_EMPTY_PATH, false);
}

struct answer on_newfstatat(const struct stop *stop)
{
    return by_path(stop, (int)stop->arg[0], stop->arg[1], (int)stop->arg[3], false);
}

struct answer on_statx(const struct stop *stop)
{
    return by_path(stop, (int)stop->arg[0], stop->arg[1], (int)stop->arg[2], true);
}
