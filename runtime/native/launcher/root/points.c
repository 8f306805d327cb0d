#include "launcher/root/points.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "launcher/layout.h"
#include "launcher/node/mark.h"
#include "lib/mountinfo.h"

enum { ATTEMPTS = 2000, PAUSE = 2000000 /* ns */ };

static bool lock(int fd, short type)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

/* Is it still what the name leads to? Another run may have removed it between open and lock. */
static bool is_current(int parent, const char *name, bool directory, int fd)
{
    char path[NAME_MAX + sizeof MARK_NAME + 1];
    struct stat one, other;
    snprintf(path, sizeof path, directory ? "%s/%s" : "%s", name, MARK_NAME);
    return fstat(fd, &one) == 0 && fstatat(parent, path, &other, AT_SYMLINK_NOFOLLOW) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static bool write_text(int fd)
{
    if (!mark_is_own(fd)) {
        errno = EPERM;
        return false;
    }
    return mark_has_text(fd) || pwrite(fd, MARK_TEXT, sizeof MARK_TEXT - 1, 0) == sizeof MARK_TEXT - 1;
}

/* Rename, but replace nothing. NFS and others know no flags: there, rename may replace an empty directory, but nothing else. */
static bool rename_to(int parent, const char *from, const char *to, bool directory)
{
    if (syscall(SYS_renameat2, parent, from, parent, to, 1 /* RENAME_NOREPLACE */) == 0)
        return true;
    return directory && (errno == EINVAL || errno == ENOSYS) && renameat(parent, from, parent, to) == 0;
}

/* Whole under another name first, so that nobody sees a directory without its mark. That name is the same for all runs, and each step may be
 * done by two of them at once: the next run uses what a killed run left. */
static bool make_directory(int parent, const char *temporary, const char *name, mode_t mode)
{
    struct stat status;
    if (mkdirat(parent, temporary, mode) != 0 && errno != EEXIST)
        return false;
    const int fd = openat(parent, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const bool own = fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == geteuid();
    const int mark = own ? openat(fd, MARK_NAME, O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644) : -1;
    bool good = mark >= 0 && write_text(mark) && rename_to(parent, temporary, name, true);
    const int number = fd >= 0 && !own ? EPERM : errno;
    if (!good && mark >= 0 && number != ENOENT && mark_is_own(mark)) {
        unlinkat(fd, MARK_NAME, 0);
        unlinkat(parent, temporary, AT_REMOVEDIR);
    }
    if (mark >= 0)
        close(mark);
    if (fd >= 0)
        close(fd);
    errno = number;
    return good;
}

static bool make_file(int parent, const char *temporary, const char *name)
{
    const int fd = openat(parent, temporary, O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    bool good = fd >= 0 && write_text(fd);
    if (good && linkat(parent, temporary, parent, name, 0) != 0)
        good = errno != EEXIST && errno != ENOENT && rename_to(parent, temporary, name, false);
    const int number = errno;
    if (fd >= 0 && mark_is_own(fd))
        unlinkat(parent, temporary, 0);
    if (fd >= 0)
        close(fd);
    errno = number;
    return good;
}

static bool make(int parent, const char *name, mode_t mode)
{
    char temporary[NAME_MAX + sizeof MARK_NAME + 1];
    snprintf(temporary, sizeof temporary, "%s.%s", MARK_NAME, name);
    const bool good = S_ISDIR(mode) ? make_directory(parent, temporary, name, mode & 0777) : make_file(parent, temporary, name);
    return good || errno == ENOENT || errno == EEXIST || errno == ENOTEMPTY; /* another run was faster: look again */
}

/* Rename it first: without its mark, others would take the directory for the node's own. Over NFS an open file cannot be unlinked
 * in a directory that is to go (it gets another name in it), so that it is closed then. */
static void take_away(int parent, const char *name, bool directory, int fd)
{
    char away[NAME_MAX + 64];
    if (!directory) {
        unlinkat(parent, name, 0);
        close(fd);
        return;
    }
    const int inside = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inside >= 0 && !mark_is_alone(inside)) {
        unlinkat(inside, MARK_NAME, 0); /* it holds results, and is the node's own from now on */
    } else if (inside >= 0) {
        snprintf(away, sizeof away, "%s.%.*s.%d", MARK_NAME, NAME_MAX - 32, name, (int)getpid());
        const bool moved = renameat(parent, name, parent, away) == 0;
        close(fd);
        fd = -1;
        if (moved && unlinkat(inside, MARK_NAME, 0) == 0)
            unlinkat(parent, away, AT_REMOVEDIR);
    }
    if (inside >= 0)
        close(inside);
    if (fd >= 0)
        close(fd);
}

/* Has the launcher entered its own root, in which the node's is OLDROOT? */
static bool is_inside(const struct points *points)
{
    struct stat node, here;
    return fstat(points->root, &node) == 0 && stat("/", &here) == 0 && (node.st_dev != here.st_dev || node.st_ino != here.st_ino);
}

static int open_parent(const struct points *points, const char *path, const char **name)
{
    char parent[PATH_MAX + 16];
    *name = strrchr(path, '/') + 1;
    snprintf(parent, sizeof parent, OLDROOT "%.*s", (int)(*name - path), path);
    if (is_inside(points))
        return open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* by the descriptor: /tmp may be covered by what will be the launcher's root */
    return openat(points->root, parent[sizeof OLDROOT] != '\0' ? parent + sizeof OLDROOT : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The lock, or -1 with errno; `making`: make a missing mount point. */
static int hold(const struct points *points, const char *path, mode_t mode, bool making)
{
    const char *name;
    const struct timespec pause = {0, PAUSE};
    const bool directory = S_ISDIR(mode);
    bool made = false;
    int fd = -1, number = EBUSY;
    const int parent = open_parent(points, path, &name);
    if (parent < 0)
        return -1;
    for (int i = 0; i < ATTEMPTS; i++) {
        fd = mark_open(parent, name, directory, O_RDWR);
        number = errno;
        if (fd < 0 && number == ENOENT && making && make(parent, name, mode)) {
            made = true;
            continue;
        }
        number = errno;
        if (fd < 0)
            break;
        const bool locked = lock(fd, F_RDLCK);
        number = errno;
        if (locked && is_current(parent, name, directory, fd))
            break;
        if (!locked && number != EAGAIN && number != EACCES) { /* no locks here: nobody else can use it either */
            if (made)
                take_away(parent, name, directory, fd);
            else
                close(fd);
            fd = -1;
            break;
        }
        close(fd);
        fd = -1;
        if (!locked) /* another run is about to remove it */
            nanosleep(&pause, NULL);
    }
    close(parent);
    errno = number;
    return fd;
}

static bool is_held(const struct points *points, const char *path)
{
    bool held = false;
    for (size_t i = 0; i < points->count; i++)
        held = held || strcmp(points->items[i].path, path) == 0;
    return held;
}

static void add(struct points *points, const char *path, bool directory, int fd)
{
    points->items = reallocate(points->items, points->count + 1, sizeof *points->items);
    points->items[points->count++] = (struct point){path, directory, fd};
}

static void release(const struct points *points, const struct point *point, bool remove);

/* If one cannot be made, remove the others in its directory. */
static void forget(struct points *points, const char *path)
{
    const size_t length = (size_t)(strrchr(path, '/') - path) + 1;
    size_t kept = 0;
    for (size_t i = 0; i < points->count; i++) {
        const char *other = points->items[i].path;
        if (strncmp(other, path, length) == 0 && strchr(other + length, '/') == NULL)
            release(points, &points->items[i], true);
        else
            points->items[kept++] = points->items[i];
    }
    points->count = kept;
}

static void not_fit(struct points *points, struct arena *arena, const char *path)
{
    const size_t length = (size_t)(strrchr(path, '/') - path);
    const char *why = arena_format(arena, "%s is missing there, and no mount point can be made for it: %s", path + length + 1, strerror(errno));
    forget(points, path);
    points->unfit = reallocate(points->unfit, points->unfit_count + 1, sizeof *points->unfit);
    points->unfit[points->unfit_count++] = (struct unfit){arena_format(arena, "%.*s", length > 0 ? (int)length : 1, path), why};
}

bool points_hold(struct points *points, const struct plan *plan)
{
    bool good = true;
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &mask); /* the handler finds none half made */
    if (points->root < 0)
        points->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; good && i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        if (op->kind != OP_POINT || is_held(points, op->data))
            continue;
        const int fd = hold(points, op->data, op->mode, true);
        if (fd < 0) {
            not_fit(points, plan->arena, op->data);
            good = false;
        } else {
            add(points, op->data, S_ISDIR(op->mode), fd);
        }
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return good;
}

void points_join(struct points *points, const struct plan *plan, const char *root)
{
    if (points->root < 0)
        points->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    points->joined = true;
    for (size_t i = 0; i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        const int fd = op->kind == OP_POINT ? hold(points, op->data, op->mode, false) : -1;
        if (fd >= 0)
            add(points, op->data, S_ISDIR(op->mode), fd);
    }
}

/* Exclusively, if no other run holds it. If two runs end at once, neither gets it while both hold it. So give it up and try again. */
static bool lock_alone(int fd)
{
    return lock(fd, F_WRLCK) || (lock(fd, F_UNLCK) && lock(fd, F_WRLCK));
}

static void release(const struct points *points, const struct point *point, bool remove)
{
    const char *name;
    const int parent = remove ? open_parent(points, point->path, &name) : -1;
    if (parent >= 0 && lock_alone(point->fd) && is_current(parent, name, point->directory, point->fd) && mark_has_text(point->fd))
        take_away(parent, name, point->directory, point->fd);
    else
        close(point->fd);
    if (parent >= 0)
        close(parent);
}

/* A mount point is busy in its own namespace: unmount the new root first, if there is one. */
static void unmount(const struct points *points)
{
    if (is_inside(points))
        (void)!umount2(NEWROOT, MNT_DETACH);
}

static bool is_any(const bool *values, size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any = any || values[i];
    return any;
}

void points_release(struct points *points, bool last)
{
    const size_t count = points->count;
    bool *mounted = allocate(count + 1, sizeof *mounted);
    const char **paths = allocate(count + 1, sizeof *paths);
    for (size_t i = 0; i < count; i++)
        paths[i] = points->items[i].path;
    for (int i = 0; last && count > 0 && i < 10 && (i == 0 || is_any(mounted, count)); i++) {
        const struct timespec pause = {0, i > 0 ? 10000000 : 0}; /* a process that the job left may be about to end */
        nanosleep(&pause, NULL);
        memset(mounted, 0, count * sizeof *mounted);
        mounted_find(is_inside(points) ? OLDROOT : "", paths, mounted, count);
    }
    if (last && count > 0)
        unmount(points);
    for (size_t i = 0; i < count; i++)
        release(points, &points->items[i], last && !mounted[i]);
    points->count = 0;
    free(mounted);
    free(paths);
}

static const int ENDING[] = {SIGINT, SIGTERM, SIGHUP};
enum { ENDINGS = sizeof ENDING / sizeof *ENDING };
static struct sigaction before[ENDINGS];
static struct points *guarded;

/* Only what async-signal-safe functions can do (signal-safety(7)); no job has been started. */
static void on_ending(int number)
{
    sigset_t set;
    if (guarded->count > 0 && !guarded->joined)
        unmount(guarded);
    for (size_t i = 0; i < guarded->count; i++)
        release(guarded, &guarded->items[i], !guarded->joined);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
    _exit(128 + number);
}

void points_guard(struct points *points)
{
    struct sigaction action = {.sa_handler = on_ending};
    sigfillset(&action.sa_mask);
    guarded = points;
    for (size_t i = 0; i < ENDINGS; i++) {
        sigaction(ENDING[i], NULL, &before[i]);
        if (before[i].sa_handler == SIG_DFL)
            sigaction(ENDING[i], &action, NULL);
    }
}

void points_unguard(void)
{
    for (size_t i = 0; guarded != NULL && i < ENDINGS; i++)
        sigaction(ENDING[i], &before[i], NULL);
    guarded = NULL;
}
