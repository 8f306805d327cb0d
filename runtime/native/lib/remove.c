#include "lib/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/arena.h"

bool let_owner_in(int directory)
{
    char name[64]; /* by /proc, since fchmod(2) takes no O_PATH, and O_RDONLY needs what is to be given */
    snprintf(name, sizeof name, "/proc/self/fd/%d", directory);
    return chmod(name, 0700) == 0;
}

static int open_to_empty(int directory, const char *name, bool ours)
{
    struct stat status;
    const int at = ours ? openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (at >= 0 && fstat(at, &status) == 0 && (status.st_mode & 0700) != 0700)
        let_owner_in(at);
    if (at >= 0)
        close(at);
    return openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Remove what is in it, up to the first directory, whose name is returned: "" for none, NULL on failure. */
static char *empty(int directory)
{
    char *found = NULL;
    bool good = true;
    const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL && fd >= 0)
        close(fd);
    for (const struct dirent *item; stream != NULL && good && found == NULL && (item = readdir(stream)) != NULL;) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 || unlinkat(directory, item->d_name, 0) == 0 || errno == ENOENT)
            continue;
        good = errno == EISDIR || errno == EPERM;
        found = good ? strdup(item->d_name) : NULL;
    }
    good = good && stream != NULL;
    const int number = errno;
    if (stream != NULL)
        closedir(stream);
    errno = number;
    return good && found == NULL ? strdup("") : found;
}

struct descent {
    char *name; /* in the directory above */
    dev_t device;
    ino_t inode; /* of the directory above */
};

/* From an emptied directory to the one above it, which must be the one that we came from: somebody may have moved ours elsewhere. */
static int ascend(int from, const struct descent *step)
{
    struct stat status;
    const int above = openat(from, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (above >= 0 && fstat(above, &status) == 0 && status.st_dev == step->device && status.st_ino == step->inode)
        return above;
    if (above >= 0)
        close(above);
    errno = ESTALE;
    return -1;
}

/* No recursion, and one descriptor at a time: how deep the tree is whoever made it decided. */
static bool remove_tree(int directory, const char *name, bool ours)
{
    struct descent *steps = NULL;
    size_t depth = 0;
    int at = open_to_empty(directory, name, ours);
    bool good = at >= 0;
    while (good) {
        struct stat status;
        char *below = empty(at);
        good = below != NULL;
        if (good && below[0] != '\0') {
            if (depth % 64 == 0)
                steps = reallocate(steps, depth + 64, sizeof *steps);
            good = fstat(at, &status) == 0;
            steps[depth++] = (struct descent){below, status.st_dev, status.st_ino};
            const int next = good ? open_to_empty(at, below, ours) : -1;
            close(at);
            at = next;
            good = at >= 0;
            continue;
        }
        free(below);
        if (!good || depth == 0)
            break;
        const int above = ascend(at, &steps[depth - 1]);
        close(at);
        at = above;
        good = at >= 0 && unlinkat(at, steps[depth - 1].name, AT_REMOVEDIR) == 0;
        if (good)
            free(steps[--depth].name);
    }
    const int number = errno;
    while (depth > 0)
        free(steps[--depth].name);
    free(steps);
    if (at >= 0)
        close(at);
    errno = number;
    return good && unlinkat(directory, name, AT_REMOVEDIR) == 0;
}

bool remove_one(int directory, const char *name, bool ours)
{
    if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
        return true;
    return (errno == EISDIR || errno == EPERM) && remove_tree(directory, name, ours);
}
