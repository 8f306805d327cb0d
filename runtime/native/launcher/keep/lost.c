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

static void keep_save(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    int at = dup(walk->keeping->save);
    for (const char *rest = path + 1; at >= 0; rest += strcspn(rest, "/") + 1) {
        char component[NAME_MAX + 1];
        const size_t length = strcspn(rest, "/");
        if (rest[length] == '\0')
            break;
        snprintf(component, sizeof component, "%.*s", (int)length, rest);
        mkdirat(at, component, ((mode_of(walk, (size_t)(rest - path) + length) & 0777) | 0700) & ~walk->keeping->umask);
        const int next = openat(at, component, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(at);
        at = next;
    }
    if (at < 0 || !copy_one(directory, name, status, at, strrchr(path, '/') + 1))
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

bool keep_has_changed(const struct walk *walk, int directory, const char *name)
{
    struct stat other;
    if (walk->begun.tv_sec == 0 || fstatat(directory, name, &other, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(other.st_mode))
        return false;
    const bool newer = other.st_mtim.tv_sec > walk->begun.tv_sec ||
                       (other.st_mtim.tv_sec == walk->begun.tv_sec && other.st_mtim.tv_nsec > walk->begun.tv_nsec);
    return newer && !(walk->keeping->shared && record_has(walk->path, &other.st_mtim));
}

void keep_beside(struct walk *walk, int directory, const char *name, const struct stat *status, int to, const char *why)
{
    char beside[NAME_MAX + 32];
    if (walk->in_cache)
        return; /* the newer one serves */
    snprintf(beside, sizeof beside, "%s.sdee-%d", name, (int)getpid());
    if (!copy_one(directory, name, status, to, beside)) {
        keep_could_not(walk, walk->path, "the node");
        keep_lose(walk, directory, name, status, walk->path);
        return;
    }
    if (!walk->failed)
        fail(walk->error, EXIT_OUTPUT, "compare the two", "%s %s is in %s.sdee-%d", walk->path, why, walk->path, (int)getpid());
    walk->failed = true;
}
