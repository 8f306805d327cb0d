#include "launcher/keep/lost.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/keep/record.h"
#include "lib/copy.h"

void keep_could_not(struct walk *walk, const char *path, const char *where)
{
    if (walk->in_cache)
        return;
    if (!walk->failed)
        fail(walk->error, EXIT_OUTPUT, "free space there, or write to a directory that the node has", "cannot copy %s to %s: %s", path, where,
             strerror(errno));
    walk->failed = true;
}

/* The mode that the job gave the directory with the path's first `length` bytes: what it closed to others stays closed. */
static mode_t mode_of(const struct walk *walk, size_t length)
{
    for (size_t i = walk->depth; i-- > 0 && walk->levels[i]->length >= length;)
        if (walk->levels[i]->length == length)
            return walk->levels[i]->mode;
    return 0777;
}

/* A directory of another user serves when it is no more open than the job's. */
static int make_saved(int parent, const char *name, mode_t mode, mode_t mask)
{
    struct stat status;
    const bool made = mkdirat(parent, name, (mode | 0700) & ~mask) == 0;
    const int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made || fd < 0 || (fstat(fd, &status) == 0 && (status.st_uid == geteuid() || (status.st_mode & ~mode & 055) == 0)))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

static void keep_save(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    int at = dup(walk->keeping->save);
    for (const char *rest = path + 1; at >= 0; rest += strcspn(rest, "/") + 1) {
        char component[NAME_MAX + 1];
        const size_t length = strcspn(rest, "/");
        if (rest[length] == '\0')
            break;
        snprintf(component, sizeof component, "%.*s", (int)length, rest);
        const int next = make_saved(at, component, mode_of(walk, (size_t)(rest - path) + length) & 0777, walk->keeping->umask);
        close(at);
        at = next;
    }
    if (at < 0 || !copy_one(directory, name, status, at, strrchr(path, '/') + 1, false))
        keep_could_not(walk, path, "the directory of --save");
    if (at >= 0)
        close(at);
}

void keep_lose(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    if (!walk->in_cache && walk->lost++ < NAMES)
        snprintf(walk->names[walk->lost - 1], PATH_MAX, "%s", path);
    if (walk->keeping->save >= 0)
        keep_save(walk, directory, name, status, path);
}

static bool is_later(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec > other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec > other->tv_nsec);
}

bool keep_has_changed(const struct walk *walk, int directory, const char *name)
{
    struct stat other;
    if (walk->begun.tv_sec == 0 || fstatat(directory, name, &other, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(other.st_mode))
        return false;
    /* mtime is its owner's to set. By ctime one tells what another user has put there, and what got this name besides its own. */
    const bool planted = (other.st_uid != geteuid() || other.st_nlink > 1) && is_later(&other.st_ctim, &walk->begun);
    return (planted || is_later(&other.st_mtim, &walk->begun)) && !(walk->keeping->shared && record_has(walk->path, &other.st_mtim));
}

void keep_tell_beside(struct walk *walk, const char *beside, const char *why)
{
    const char *name = strrchr(walk->path, '/') + 1;
    if (!walk->failed)
        fail(walk->error, EXIT_OUTPUT, "compare the two", "%s %s is in %.*s%s", walk->path, why, (int)(name - walk->path), walk->path, beside);
    walk->failed = true;
}

void keep_beside(struct walk *walk, int directory, const char *name, const struct stat *status, int to, const char *why)
{
    char beside[BESIDE];
    if (walk->in_cache)
        return; /* the newer one serves */
    keep_name_beside(to, name, beside);
    if (!copy_one(directory, name, status, to, beside, false)) {
        keep_could_not(walk, walk->path, "the node");
        keep_lose(walk, directory, name, status, walk->path);
        return;
    }
    keep_tell_beside(walk, beside, why);
}
