/* The skeleton: every directory of a host tree, empty, in the upper layer.
 *
 * In overlayfs a merged directory takes its attributes from the topmost layer that has it. So each directory of the merged
 * tree belongs to the user, who may make, remove and replace entries at the kernel's own speed, while all content stays in
 * the host's. Done again after the host has changed, it adds what is missing.
 *
 * Two of three directories have no directory in them. Where the link count tells that, they are made without being opened: of
 * the host's tree only the others are read. Threads share the tree, since mkdir(2) costs the file system more than it does us. */
#include "env/skeleton.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "env/supervisor/owners.h"
#include "lib/arena.h"

enum { COMMON = 0755 /* what nearly all directories have: one call less */, PATH_SIZE = 4096, ENTRIES = 32 << 10, THREADS = 8 };
enum { INSIDE = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* A directory whose entries are still to be looked at. */
struct task {
    bool made;
    char path[]; /* below the top, with a slash before it; "" is the top */
};

struct skeleton {
    const struct skeleton_options *options;
    const char *top, *prefix;
    uid_t uid;
    gid_t gid;
    int host, upper; /* the tops */
    dev_t device;
    bool leaves; /* a link count of 2 says that a directory has none in it */
    pthread_mutex_t lock; /* over all below */
    pthread_cond_t changed;
    struct task **tasks; /* the last one is the next */
    size_t count, room;
    unsigned busy;
    FILE *list;
    struct error *error;
    atomic_bool failed;
};

/* One directory of both trees. */
struct place {
    const char *path;
    int host, upper;
};

/* The first thread that fails says why. */
static void refuse(struct skeleton *skeleton, enum exit_code code, const char *hint, const char *what, const char *path, int number)
{
    pthread_mutex_lock(&skeleton->lock);
    if (!atomic_exchange(&skeleton->failed, true))
        fail(skeleton->error, code, hint, "cannot %s %s%s: %s", what, skeleton->top, path, strerror(number));
    pthread_mutex_unlock(&skeleton->lock);
}

static void owner_to_record(const struct skeleton *skeleton, const struct stat *host, struct owner *owner)
{
    *owner = (struct owner){host->st_uid == skeleton->uid ? 0 : host->st_uid, host->st_gid == skeleton->gid ? 0 : host->st_gid};
    if (!skeleton->options->emulate)
        *owner = (struct owner){0, 0};
}

/* Mode, times and, where it is not root's, owner. `fd`: the directory or file in the upper layer. */
static void attributes(const struct skeleton *skeleton, int fd, const struct stat *host, mode_t made_with)
{
    struct owner owner;
    owner_to_record(skeleton, host, &owner);
    if (owner.uid != 0 || owner.gid != 0) {
        char value[32];
        const int length = snprintf(value, sizeof value, "%u %u", owner.uid, owner.gid);
        fsetxattr(fd, OWNER_ATTRIBUTE, value, (size_t)length, 0);
    }
    const struct timespec times[2] = {host->st_atim, host->st_mtim};
    if ((host->st_mode & 07777) != made_with)
        fchmod(fd, host->st_mode & 07777);
    futimens(fd, times);
}

static void mask(const struct skeleton *skeleton, const struct place *place, const char *name)
{
    struct stat file;
    if (faccessat(place->host, name, R_OK, AT_EACCESS) == 0 || errno != EACCES || fstatat(place->host, name, &file, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    const int fd = openat(place->upper, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return; /* the environment has one already */
    attributes(skeleton, fd, &file, 0600);
    close(fd);
}

static void push(struct skeleton *skeleton, const char *path, bool made, bool look_inside)
{
    pthread_mutex_lock(&skeleton->lock);
    if (made && path[0] != '\0')
        fprintf(skeleton->list, "%s%s%c", skeleton->prefix, path, '\0');
    if (look_inside) {
        if (skeleton->count == skeleton->room) {
            skeleton->room = skeleton->room * 2 + 256;
            skeleton->tasks = reallocate(skeleton->tasks, skeleton->room, sizeof *skeleton->tasks);
        }
        struct task *task = allocate(1, sizeof *task + strlen(path) + 1);
        task->made = made;
        strcpy(task->path, path);
        skeleton->tasks[skeleton->count++] = task;
        pthread_cond_signal(&skeleton->changed);
    }
    pthread_mutex_unlock(&skeleton->lock);
}

/* Has it neither directories to make nor files to hide? Who may not list it all sees it opaque: that takes a look. */
static bool is_leaf(const struct skeleton *skeleton, const struct stat *directory)
{
    return skeleton->leaves && directory->st_nlink == 2 && (directory->st_mode & 0555) == 0555 && !skeleton->options->mask_files;
}

static bool is_left_out(const struct skeleton *skeleton, const char *path)
{
    const size_t length = strlen(skeleton->top);
    for (const char **but = skeleton->options->but; *but != NULL; but++)
        if (strncmp(*but, skeleton->top, length) == 0 && strcmp(*but + length, path) == 0)
            return true;
    return false;
}

static void child(struct skeleton *skeleton, const struct place *place, const char *name)
{
    struct stat directory;
    char path[PATH_SIZE];
    if (fstatat(place->host, name, &directory, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(directory.st_mode) || directory.st_dev != skeleton->device)
        return; /* what is mounted there overlayfs does not show either */
    if (snprintf(path, sizeof path, "%s/%s", place->path, name) >= (int)sizeof path)
        return; /* deeper than PATH_MAX: reachable by no path */
    const bool made = mkdirat(place->upper, name, COMMON) == 0;
    if (!made && errno != EEXIST) {
        refuse(skeleton, EXIT_OUTPUT, "free some space or inodes, or set SDEE_ENV_DIR to another file system", "make a directory for", path, errno);
        return;
    }
    const bool leaf = is_left_out(skeleton, path) || is_leaf(skeleton, &directory);
    push(skeleton, path, made, !leaf);
    if (!leaf || !made)
        return;
    struct owner owner;
    owner_to_record(skeleton, &directory, &owner);
    const int fd = owner.uid != 0 || owner.gid != 0 ? openat(place->upper, name, INSIDE) : -1;
    if (fd >= 0) {
        attributes(skeleton, fd, &directory, COMMON);
        close(fd);
        return;
    }
    const struct timespec times[2] = {directory.st_atim, directory.st_mtim};
    if ((directory.st_mode & 07777) != COMMON)
        fchmodat(place->upper, name, directory.st_mode & 07777, 0);
    utimensat(place->upper, name, times, 0);
}

/* Linux's getdents64(2), with more room than readdir(3) gives it. */
static void look_at_entries(struct skeleton *skeleton, const struct place *place)
{
    char *const entries = allocate(1, ENTRIES);
    long length;
    while (!atomic_load(&skeleton->failed) && (length = syscall(SYS_getdents64, place->host, entries, ENTRIES)) > 0)
        for (long at = 0; at < length && !atomic_load(&skeleton->failed);) {
            const struct dirent *entry = (const void *)(entries + at); /* musl's is the kernel's */
            at += entry->d_reclen;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
                child(skeleton, place, entry->d_name);
            else if (entry->d_type == DT_REG && skeleton->options->mask_files)
                mask(skeleton, place, entry->d_name);
        }
    free(entries);
}

static int open_at(int top, const char *path)
{
    return path[0] == '\0' ? openat(top, ".", INSIDE) : openat(top, path + 1, INSIDE);
}

static void carry_out(struct skeleton *skeleton, const struct task *task)
{
    struct place place = {.path = task->path, .upper = open_at(skeleton->upper, task->path)};
    if (place.upper < 0)
        return; /* a file, a link or a whiteout: what the user put in its place counts */
    const bool opaque = !task->made && fgetxattr(place.upper, "user.overlay.opaque", NULL, 0) > 0; /* its content is the user's alone */
    place.host = opaque ? -1 : open_at(skeleton->host, task->path);
    if (place.host >= 0)
        look_at_entries(skeleton, &place);
    else if (task->made && errno == EACCES)
        fsetxattr(place.upper, "user.overlay.opaque", "y", 1, 0); /* or root would be refused what it owns */
    struct stat directory;
    if (task->made && fstatat(skeleton->host, task->path[0] != '\0' ? task->path + 1 : ".", &directory, AT_SYMLINK_NOFOLLOW) == 0)
        attributes(skeleton, place.upper, &directory, COMMON);
    if (place.host >= 0)
        close(place.host);
    close(place.upper);
}

static void *work(void *argument)
{
    struct skeleton *skeleton = argument;
    pthread_mutex_lock(&skeleton->lock);
    for (;;) {
        while (skeleton->count == 0 && skeleton->busy > 0)
            pthread_cond_wait(&skeleton->changed, &skeleton->lock);
        if (skeleton->count == 0)
            break;
        struct task *task = skeleton->tasks[--skeleton->count];
        skeleton->busy++;
        const bool wanted = !atomic_load(&skeleton->failed);
        pthread_mutex_unlock(&skeleton->lock);
        if (wanted)
            carry_out(skeleton, task);
        free(task);
        pthread_mutex_lock(&skeleton->lock);
        if (--skeleton->busy == 0 && skeleton->count == 0)
            pthread_cond_broadcast(&skeleton->changed);
    }
    pthread_mutex_unlock(&skeleton->lock);
    return NULL;
}

/* File systems whose directories count as links what is in them; btrfs, AFS and most of FUSE do not. */
static bool counts_links(int fd)
{
    struct statfs system;
    return fstatfs(fd, &system) == 0 && (system.f_type == 0xEF53 /* ext4 */ || system.f_type == 0x58465342 /* XFS */);
}

static void work_in_threads(struct skeleton *skeleton)
{
    pthread_t threads[THREADS];
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned started = 0;
    while (started + 1 < processors && started < THREADS && pthread_create(&threads[started], NULL, work, skeleton) == 0)
        started++;
    work(skeleton);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

bool skeleton_make(const char *host, const char *upper, const char *list, const char *prefix, const struct skeleton_options *options,
                   struct error *error)
{
    static struct skeleton skeleton = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    skeleton.options = options;
    skeleton.top = host;
    skeleton.prefix = prefix;
    skeleton.uid = geteuid();
    skeleton.gid = getegid();
    skeleton.error = error;
    umask(0);
    struct stat top;
    const bool made = mkdir(upper, COMMON) == 0;
    skeleton.list = fopen(list, "ae");
    skeleton.host = open(host, O_PATH | O_DIRECTORY | O_CLOEXEC);
    skeleton.upper = open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (skeleton.upper < 0 || skeleton.host < 0 || skeleton.list == NULL || stat(host, &top) != 0)
        return fail(error, EXIT_OUTPUT, NULL, "cannot make the skeleton of %s in %s: %s", host, upper, strerror(errno));
    skeleton.device = top.st_dev;
    skeleton.leaves = counts_links(skeleton.host);
    push(&skeleton, "", made, true);
    work_in_threads(&skeleton);
    close(skeleton.upper);
    close(skeleton.host);
    if (fclose(skeleton.list) != 0 && !atomic_load(&skeleton.failed))
        return fail(error, EXIT_OUTPUT, "check whether the disk is full", "cannot write %s: %s", list, strerror(errno));
    return !atomic_load(&skeleton.failed);
}
