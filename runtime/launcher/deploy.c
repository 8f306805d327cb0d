#include "deploy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "node.h"
#include "unpack.h"

static const char *const PLACES[] = {"/dev/shm", "/tmp", "/var/tmp"};
enum { PLACE_COUNT = sizeof PLACES / sizeof *PLACES, NAME_SIZE = 96 };

static const char *place(const struct options *options, size_t index)
{
    if (options->deploy_directory != NULL)
        return index == 0 ? options->deploy_directory : NULL;
    return index < PLACE_COUNT ? PLACES[index] : NULL;
}

static void name_of(const struct bundle *bundle, char name[NAME_SIZE])
{
    size_t used = (size_t)snprintf(name, NAME_SIZE, "sdee-%u-", (unsigned)geteuid());
    for (int i = 0; i < 16; i++)
        used += (size_t)snprintf(name + used, NAME_SIZE - used, "%02x", bundle->identity[i]);
}

/* Open what is deployed in a directory, if it is this user's alone and whole; -1 otherwise. */
static int open_deployed(const char *directory, const char *name)
{
    char path[4200];
    struct stat status, complete;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & 077) == 0 && fstatat(fd, "complete", &complete, 0) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Are all entries there, of the type, size and time that the bundle says? */
bool deploy_is_whole(const struct bundle *bundle, const char *closure)
{
    const int tree = open(closure, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool whole = tree >= 0;
    for (uint32_t i = 0; whole && i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        struct stat status;
        whole = fstatat(tree, entry->path + 1, &status, AT_SYMLINK_NOFOLLOW) == 0 && (status.st_mode & S_IFMT) == (entry->mode & S_IFMT) &&
                (!S_ISREG(entry->mode) || ((uint64_t)status.st_size == entry_size(bundle, entry) && status.st_mtim.tv_sec == entry->mtime &&
                                           status.st_mtim.tv_nsec == (long)entry->nsec));
    }
    if (tree >= 0)
        close(tree);
    return whole;
}

const char *deploy_find(const struct bundle *bundle, const struct options *options, struct arena *arena, int *lock)
{
    char name[NAME_SIZE];
    name_of(bundle, name);
    for (size_t i = 0; place(options, i) != NULL; i++) {
        *lock = open_deployed(place(options, i), name);
        if (*lock >= 0 && flock(*lock, LOCK_SH | LOCK_NB) == 0)
            return arena_format(arena, "%s/%s/closure", place(options, i), name);
        if (*lock >= 0)
            close(*lock);
    }
    return NULL;
}

/* Ours, also where a directory of the closure may not be written or listed. */
static bool remove_tree(int directory, const char *name)
{
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT;
    if (!S_ISDIR(status.st_mode))
        return unlinkat(directory, name, 0) == 0;
    if ((status.st_mode & 0700) != 0700 && fchmodat(directory, name, 0700, 0) != 0)
        return false;
    const int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL && fd >= 0)
        close(fd);
    bool good = stream != NULL;
    for (const struct dirent *item; good && (item = readdir(stream)) != NULL;)
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
            good = remove_tree(fd, item->d_name);
    if (stream != NULL)
        closedir(stream);
    return good && unlinkat(directory, name, AT_REMOVEDIR) == 0;
}

/* Remove what a deploy that was killed has left: nobody holds its lock any more. */
static void remove_stale(int directory, const char *name)
{
    const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;) {
        const size_t length = strlen(name);
        if (item->d_name[0] != '.' || strncmp(item->d_name + 1, name, length) != 0 || item->d_name[length + 1] != '.')
            continue;
        const int stale = openat(directory, item->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;
        if (stale >= 0 && fstat(stale, &status) == 0 && status.st_uid == geteuid() && flock(stale, LOCK_EX | LOCK_NB) == 0)
            remove_tree(directory, item->d_name);
        if (stale >= 0)
            close(stale);
    }
    if (stream != NULL)
        closedir(stream);
}

static bool has_room(const struct bundle *bundle, int directory, const char *path, struct error *error)
{
    struct statfs status;
    const uint64_t needed = unpack_memory(bundle, NULL);
    if (fstatfs(directory, &status) != 0)
        return true; /* it will show */
    if ((uint64_t)status.f_bavail * (uint64_t)status.f_bsize < needed && status.f_blocks != 0)
        return fail(error, EXIT_RESOURCES, "name a directory with more room: --deploy-dir DIR (SDEE_DEPLOY_DIR)", "%s has %llu MB free, the closure needs %llu MB",
                    path, (unsigned long long)((uint64_t)status.f_bavail * (uint64_t)status.f_bsize >> 20), (unsigned long long)(needed >> 20) + 1);
    return status.f_type != TMPFS_MAGIC || node_check_memory(needed, bundle->name, error);
}

/* Unpack beside the final name, then rename: whoever sees the final name sees all of it. */
static bool deploy_in(const struct bundle *bundle, const struct options *options, int directory, const char *path, struct error *error)
{
    char name[NAME_SIZE], temporary[NAME_SIZE + 32];
    name_of(bundle, name);
    snprintf(temporary, sizeof temporary, ".%s.%d", name, (int)getpid());
    if (!has_room(bundle, directory, path, error))
        return false;
    if (mkdirat(directory, temporary, 0700) != 0)
        return fail(error, EXIT_RESOURCES, NULL, "cannot make a directory in %s: %s", path, strerror(errno));
    const int fd = openat(directory, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool good = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && mkdirat(fd, "closure", 0755) == 0;
    const int tree = good ? openat(fd, "closure", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (good && tree >= 0)
        good = unpack(bundle, tree, NULL, options->threads, error);
    else
        good = fail(error, EXIT_RESOURCES, NULL, "cannot fill %s: %s", path, strerror(errno));
    if (good) {
        const int complete = openat(fd, "complete", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        good = complete >= 0 && renameat(directory, temporary, directory, name) == 0;
        if (complete >= 0)
            close(complete);
        if (!good && (errno == EEXIST || errno == ENOTEMPTY)) { /* another one was faster */
            remove_tree(directory, temporary);
            good = true;
        } else if (!good) {
            fail(error, EXIT_RESOURCES, NULL, "cannot finish in %s: %s", path, strerror(errno));
        }
    }
    if (!good)
        remove_tree(directory, temporary);
    if (tree >= 0)
        close(tree);
    if (fd >= 0)
        close(fd);
    return good;
}

bool deploy(const struct bundle *bundle, const struct options *options, struct error *error)
{
    char name[NAME_SIZE];
    struct arena arena = {NULL};
    name_of(bundle, name);
    int lock;
    const char *there = deploy_find(bundle, options, &arena, &lock);
    if (there != NULL && !deploy_is_whole(bundle, there)) {
        close(lock);
        there = NULL;
    }
    for (size_t i = 0; there == NULL && place(options, i) != NULL; i++) {
        const char *path = place(options, i);
        const int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0) {
            tried(error, "%s: %s", path, strerror(errno));
            continue;
        }
        remove_stale(directory, name);
        const int damaged = open_deployed(path, name); /* found by its name, and not as it should be */
        if (damaged >= 0 && flock(damaged, LOCK_EX | LOCK_NB) == 0)
            remove_tree(directory, name);
        if (damaged >= 0)
            close(damaged);
        if (deploy_in(bundle, options, directory, path, error))
            there = arena_format(&arena, "%s/%s/closure", path, name);
        else
            tried(error, "%s: %.600s", path, error->message);
        close(directory);
        if (there == NULL && error->code == EXIT_BUNDLE)
            return false;
    }
    if (there == NULL)
        return fail(error, EXIT_RESOURCES, "name a directory with more room: --deploy-dir DIR (SDEE_DEPLOY_DIR)", "the closure of %s cannot be deployed on this node",
                    bundle->name);
    printf("%.*s\n", (int)(strlen(there) - strlen("/closure")), there);
    arena_free(&arena);
    return true;
}

bool undeploy(const struct bundle *bundle, const struct options *options, struct error *error)
{
    char name[NAME_SIZE];
    name_of(bundle, name);
    for (size_t i = 0; place(options, i) != NULL; i++) {
        const char *path = place(options, i);
        const int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = directory >= 0 ? open_deployed(path, name) : -1;
        const bool in_use = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
        if (directory >= 0 && !in_use)
            remove_stale(directory, name);
        if (in_use)
            return fail(error, EXIT_RESOURCES, "undeploy when the job's steps have ended", "%s/%s is in use", path, name);
        if (fd >= 0 && !remove_tree(directory, name))
            return fail(error, EXIT_RESOURCES, NULL, "cannot remove %s/%s: %s", path, name, strerror(errno));
        if (fd >= 0)
            close(fd);
        if (directory >= 0)
            close(directory);
    }
    return true;
}
