#include "launcher/root/deploy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "launcher/bundle/unpack.h"
#include "launcher/memory.h"
#include "lib/remove.h"

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

/* Distinguishes a deployed closure from this user's other directories, and from another bundle's: in a shared directory, somebody else can
 * give one that name. It is made first, and removed last. */
static const char IDENTITY[] = "identity";

static bool is_of(int fd, const char *name)
{
    char text[NAME_SIZE];
    struct stat status;
    const int file = openat(fd, IDENTITY, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const bool own = file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid();
    const bool same = own && read(file, text, sizeof text) == (ssize_t)strlen(name) && memcmp(text, name, strlen(name)) == 0;
    if (file >= 0)
        close(file);
    return same;
}

static bool set_identity(int fd, const char *name)
{
    const int file = openat(fd, IDENTITY, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    const bool good = file >= 0 && write(file, name, strlen(name)) == (ssize_t)strlen(name);
    return file >= 0 && close(file) == 0 && good;
}

/* Remove the open one, and nothing else that has its name now. */
static bool remove_deployed(int directory, const char *name, int fd)
{
    return remove_one(fd, "complete", false) && remove_one(fd, "closure", true) && remove_one(fd, IDENTITY, false) &&
           unlinkat(directory, name, AT_REMOVEDIR) == 0;
}

/* Open what has the name in a directory, whatever its state, if it is this user's; -1 otherwise. */
static int open_own(const char *directory, const char *name)
{
    char path[4200];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &status) != 0 || status.st_uid != geteuid())) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

/* Is it usable: complete, closed to others, and on a file system that can be the layer of a layer? overlayfs stacks two high,
 * and the job's own overlays are the second. */
static bool is_usable(int fd, const char *name)
{
    struct stat status, complete;
    struct statfs system;
    return fstat(fd, &status) == 0 && (status.st_mode & 077) == 0 && is_of(fd, name) && fstatat(fd, "complete", &complete, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatfs(fd, &system) == 0 && system.f_type != OVERLAYFS_SUPER_MAGIC;
}

bool deploy_is_whole(const struct bundle *bundle, int lock)
{
    const int tree = openat(lock, "closure", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool whole = tree >= 0;
    for (uint32_t i = 0; whole && i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        struct stat status;
        if (fstatat(tree, entry->path + 1, &status, AT_SYMLINK_NOFOLLOW) != 0)
            whole = errno == EACCES; /* below a directory that we may not search, nor may the job */
        else
            whole = (status.st_mode & S_IFMT) == (entry->mode & S_IFMT) &&
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
        *lock = open_own(place(options, i), name);
        if (*lock >= 0 && flock(*lock, LOCK_SH | LOCK_NB) == 0 && is_usable(*lock, name))
            return arena_format(arena, "%s/%s/closure", place(options, i), name);
        if (*lock >= 0)
            close(*lock);
    }
    *lock = -1;
    return NULL;
}

/* Remove what a killed deploy left: nobody holds its lock any more. */
static void remove_stale(int directory, const char *name)
{
    const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;) {
        const size_t length = strlen(name);
        const long pid = item->d_name[0] == '.' && strlen(item->d_name) > length + 2 ? atol(item->d_name + length + 2) : 0;
        if (pid > 0 && kill((pid_t)pid, 0) == 0)
            continue; /* it may be about to take its lock */
        if (item->d_name[0] != '.' || strncmp(item->d_name + 1, name, length) != 0 || item->d_name[length + 1] != '.')
            continue;
        const int stale = openat(directory, item->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat status;
        if (stale >= 0 && fstat(stale, &status) == 0 && status.st_uid == geteuid() && flock(stale, LOCK_EX | LOCK_NB) == 0)
            (void)!(is_of(stale, name) ? remove_deployed(directory, item->d_name, stale) : unlinkat(directory, item->d_name, AT_REMOVEDIR) == 0);
        if (stale >= 0)
            close(stale);
    }
    if (stream != NULL)
        closedir(stream);
}

static bool has_room(const struct bundle *bundle, int directory, const char *path, struct error *error)
{
    struct statfs status;
    const uint64_t needed = unpack_memory(bundle, NULL), worker = unpack_worker_memory(bundle);
    if (fstatfs(directory, &status) != 0)
        return true; /* the next step shows it */
    if (status.f_type == OVERLAYFS_SUPER_MAGIC)
        return fail(error, EXIT_RESOURCES, NULL, "it is on an overlay, which cannot be the layer of another's layer");
    if ((uint64_t)status.f_bavail * (uint64_t)status.f_bsize < needed && status.f_blocks != 0)
        return fail(error, EXIT_RESOURCES, "name a directory with more room: --deploy-dir DIR (SDEE_DEPLOY_DIR)",
                    "%s has %llu MB free, the closure needs %llu MB",
                    path, (unsigned long long)((uint64_t)status.f_bavail * (uint64_t)status.f_bsize >> 20), (unsigned long long)(needed >> 20) + 1);
    return status.f_type != TMPFS_MAGIC || memory_check(needed + worker, bundle->name, error);
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
    struct stat status;
    const int fd = openat(directory, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const bool ours = fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & 077) == 0 && set_identity(fd, name);
    if (ours && (status.st_mode & S_ISGID) != 0 && fchown(fd, (uid_t)-1, getegid()) == 0)
        (void)!fchmod(fd, 0700); /* of a set-group-ID directory: overlayfs copies up no file of a group that is not mapped */
    bool good = ours && flock(fd, LOCK_EX | LOCK_NB) == 0 && mkdirat(fd, "closure", 0755) == 0;
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
        if (!good)
            fail(error, EXIT_RESOURCES, NULL, "cannot finish in %s: %s", path, strerror(errno));
    }
    if (!good && ours)
        remove_deployed(directory, temporary, fd);
    if (tree >= 0)
        close(tree);
    if (fd >= 0)
        close(fd);
    return good;
}

static bool not_deployed(const char *path, const char *name, struct error *error)
{
    return fail(error, EXIT_RESOURCES, "rename it; or remove it, if an earlier sdee made it",
                "%s/%s is not a closure that sdee deployed for this bundle", path, name);
}

/* Remove an unusable one to make way for a new one. */
static bool clear(const char *path, int directory, const char *name, struct error *error)
{
    struct stat status;
    remove_stale(directory, name);
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    const int fd = open_own(path, name);
    if (fd < 0)
        return fail(error, EXIT_RESOURCES, NULL, "%s/%s belongs to another user", path, name);
    const bool free = flock(fd, LOCK_EX | LOCK_NB) == 0, deployed = is_of(fd, name);
    const bool good = free && deployed && remove_deployed(directory, name, fd);
    close(fd);
    if (free && !deployed)
        return not_deployed(path, name, error);
    return good || fail(error, EXIT_RESOURCES, NULL, "%s/%s is damaged and %s", path, name, free ? "cannot be removed" : "in use");
}

bool deploy(const struct bundle *bundle, const struct options *options, struct error *error)
{
    char name[NAME_SIZE];
    struct arena arena = {NULL};
    int lock;
    name_of(bundle, name);
    const char *there = deploy_find(bundle, options, &arena, &lock);
    if (there != NULL && !deploy_is_whole(bundle, lock)) {
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
        if (clear(path, directory, name, error) && deploy_in(bundle, options, directory, path, error))
            there = arena_format(&arena, "%s/%s/closure", path, name);
        else if ((there = deploy_find(bundle, options, &arena, &lock)) == NULL) /* unless another one was faster */
            tried(error, "%s: %.600s", path, error->message);
        close(directory);
        if (there == NULL && error->code == EXIT_BUNDLE)
            return false;
    }
    if (there == NULL)
        return fail(error, EXIT_RESOURCES, "name another directory: --deploy-dir DIR (SDEE_DEPLOY_DIR)", "the closure of %s cannot be deployed on this node",
                    bundle->name);
    const bool said = printf("%.*s\n", (int)(strlen(there) - strlen("/closure")), there) > 0 && fflush(stdout) == 0;
    arena_free(&arena);
    return said || fail(error, EXIT_OUTPUT, NULL, "cannot write to standard output: %s", strerror(errno));
}

bool undeploy(const struct bundle *bundle, const struct options *options, struct error *error)
{
    char name[NAME_SIZE];
    name_of(bundle, name);
    for (size_t i = 0; place(options, i) != NULL; i++) {
        const char *path = place(options, i);
        const int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = directory >= 0 ? open_own(path, name) : -1;
        const bool in_use = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
        if (directory >= 0 && !in_use)
            remove_stale(directory, name);
        if (in_use)
            return fail(error, EXIT_RESOURCES, "undeploy when the job's steps have ended", "%s/%s is in use", path, name);
        if (fd >= 0 && !is_of(fd, name))
            return not_deployed(path, name, error);
        if (fd >= 0 && !remove_deployed(directory, name, fd))
            return fail(error, EXIT_RESOURCES, NULL, "cannot remove %s/%s: %s", path, name, strerror(errno));
        if (fd >= 0)
            close(fd);
        if (directory >= 0)
            close(directory);
    }
    return true;
}
