#include "env/supervisor/copy_up.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "env/supervisor/owners.h"
#include "env/supervisor/resolve.h"
#include "lib/arena.h"
#include "lib/beneath.h"
#include "lib/copy.h"
#include "lib/sys.h"

enum { PATH_SIZE = 4096 };

/* Two that own the same file at once would take each other's temporary file for the copy. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Which copy has taken which host file's place: a descriptor opened before still leads to the host's. Only under the mutex. */
struct copied {
    uint64_t host, copy; /* inode numbers; the directory is the same one */
};
static struct copied *copies;
static size_t copy_count;

static bool is_copy(uint64_t host, uint64_t copy)
{
    for (size_t i = 0; i < copy_count; i++)
        if (copies[i].host == host && copies[i].copy == copy)
            return true;
    return false;
}

static void note_copy(uint64_t host, uint64_t copy)
{
    if (copy_count % 64 == 0)
        copies = reallocate(copies, copy_count + 64, sizeof *copies);
    copies[copy_count++] = (struct copied){host, copy};
}

bool needs_own(const struct session *session, const struct statx *file)
{
    if (S_ISDIR(file->stx_mode) || !is_foreign(session, file))
        return false;
    const struct step *step = step_of(&session->steps, file);
    return step != NULL && step->kind == STEP_OVERLAY;
}

static void copy_attributes(const char *from, int to)
{
    char names[4096], value[4096];
    const ssize_t size = listxattr(from, names, sizeof names);
    for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
        if (strncmp(name, "user.", 5) != 0 || strncmp(name, "user.overlay.", 13) == 0)
            continue;
        const ssize_t length = getxattr(from, name, value, sizeof value);
        if (length >= 0)
            fsetxattr(to, name, value, (size_t)length, 0);
    }
}

static void times_of(const struct statx *file, struct timespec times[2])
{
    times[0] = (struct timespec){file->stx_atime.tv_sec, file->stx_atime.tv_nsec};
    times[1] = (struct timespec){file->stx_mtime.tv_sec, file->stx_mtime.tv_nsec};
}

/* Copies are made in a directory at the top of the mount, out of sight of whoever lists the file's own meanwhile. */
static int workshop(const struct session *session, const struct statx *file)
{
    char path[PATH_SIZE];
    const struct step *step = step_of(&session->steps, file);
    const int top = in_root(session->root, step->path, true);
    if (top < 0)
        return top;
    mkdirat(top, OWN_WORKSHOP, 0700);
    close(top);
    snprintf(path, sizeof path, "%s/" OWN_WORKSHOP, step->path);
    return in_root(session->root, path, false);
}

/* Make the copy there under the name `copy`. */
static int make_copy(int parent, const char *copy, int fd, const struct statx *file, bool empty)
{
    char source[64], target[PATH_SIZE];
    snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
    struct timespec times[2];
    times_of(file, times);
    int result = 0;
    if (S_ISLNK(file->stx_mode)) {
        const ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        result = length > 0 && symlinkat(target, parent, copy) == 0 ? 0 : -errno;
    } else if (S_ISREG(file->stx_mode)) {
        const int to = openat(parent, copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (to < 0)
            return -errno;
        const int from = open(source, O_RDONLY | O_CLOEXEC);
        if (from >= 0) {
            copy_attributes(source, to);
            result = copy_content(from, to); /* even for O_TRUNC: the open may fail for another reason */
            close(from);
        } else if (!empty) {
            result = -errno;
        }
        if (result == 0 && fchmod(to, file->stx_mode & 07777) != 0)
            result = -errno;
        close(to);
    } else {
        result = mknodat(parent, copy, file->stx_mode, 0) == 0 ? 0 : -errno; /* pipes; sockets are nothing without their process */
    }
    if (result == 0)
        utimensat(parent, copy, times, AT_SYMLINK_NOFOLLOW);
    return result;
}

/* With real ids: as root of the environment's user namespace, or this does nothing. An id that is not mapped stays root's. */
static void give_away(const struct session *session, int fd, const struct statx *file, struct owner owner)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const uid_t uid = owner.uid <= session->steps.uids.count ? owner.uid : 0;
    const gid_t gid = owner.gid <= session->steps.gids.count ? owner.gid : 0;
    if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0 && !S_ISLNK(file->stx_mode))
        chmod(name, file->stx_mode & 07777); /* chown(2) has dropped the set-user-ID bits */
}

/* Copy, give the copy the owner that the host's file shows, and put it in the file's place. */
static int replace(const struct session *session, int parent, const char *name, int *fd, struct statx *file, bool empty)
{
    static const char copy[] = "copy"; /* one at a time */
    const int shop = workshop(session, file);
    if (shop < 0)
        return shop;
    unlinkat(shop, copy, 0); /* left by a holder that was killed */
    const struct owner shown = owner_shown(session, *fd, file);
    int result = make_copy(shop, copy, *fd, file, empty);
    const int made = result == 0 ? sys_openat2(shop, copy, O_NOFOLLOW, 0) : -1;
    struct statx copied;
    if (result == 0 && (made < 0 || sys_statx(made, "", AT_EMPTY_PATH, OWNER_MASK, &copied) != 0))
        result = made < 0 ? made : -errno;
    if (result == 0 && session->emulate && (shown.uid != 0 || shown.gid != 0))
        result = owner_set(session, made, &copied, shown);
    else if (result == 0 && (shown.uid != 0 || shown.gid != 0))
        give_away(session, made, &copied, shown);
    if (result == 0 && renameat(shop, copy, parent, name) != 0)
        result = -errno;
    if (result != 0) {
        if (made >= 0)
            close(made);
        unlinkat(shop, copy, 0);
    } else {
        note_copy(file->stx_ino, copied.stx_ino);
        close(*fd);
        *fd = made;
        *file = copied;
    }
    close(shop);
    return result;
}

/* With real ids a file, or the directory that it is in, may be another user's, over whom we have no capability out here. */
static int replace_as_root(const struct session *session, int parent, const char *name, int *fd, struct statx *file, bool empty)
{
    const pid_t child = fork();
    if (child == 0) {
        int made = *fd;
        struct statx copied = *file;
        const int result = setns(session->init, CLONE_NEWUSER) == 0 ? replace(session, parent, name, &made, &copied, empty) : -errno;
        _exit(-result & 0xff);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return child < 0 ? -errno : WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
    struct statx copied;
    const int made = sys_openat2(parent, name, O_NOFOLLOW, 0);
    if (made < 0)
        return made;
    if (sys_statx(made, "", AT_EMPTY_PATH, OWNER_MASK, &copied) != 0) {
        close(made);
        return -EIO;
    }
    note_copy(file->stx_ino, copied.stx_ino);
    close(*fd);
    *fd = made;
    *file = copied;
    return 0;
}

/* The name leads to another file than the descriptor: to its copy? */
static int take_copy(int parent, const char *name, int *fd, struct statx *file, const struct statx *now)
{
    const int made = is_copy(file->stx_ino, now->stx_ino) ? sys_openat2(parent, name, O_NOFOLLOW, 0) : -ESTALE;
    if (made < 0)
        return made;
    close(*fd);
    *fd = made;
    *file = *now;
    return 0;
}

/* A file that was found through a mount made inside: its path in our mount of the same overlay, whose end is that of `path`. */
static bool path_in_ours(const struct session *session, const struct statx *file, char path[PATH_SIZE])
{
    char tried[PATH_SIZE];
    struct statx found;
    const struct step *step = step_of(&session->steps, file);
    for (const char *end = path; end != NULL; end = strchr(end + 1, '/')) {
        if (snprintf(tried, sizeof tried, "%s%s", step->path, end) >= (int)sizeof tried)
            continue;
        const int fd = in_root(session->root, tried, false);
        const bool same = fd >= 0 && sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, &found) == 0 && found.stx_ino == file->stx_ino &&
                          found.stx_mnt_id == step->mount_id;
        if (fd >= 0)
            close(fd);
        if (same) {
            strcpy(path, tried);
            return true;
        }
    }
    return false;
}

int own(const struct session *session, int *fd, struct statx *file, bool empty)
{
    if (!needs_own(session, file))
        return 0;
    char path[PATH_SIZE];
    if (!path_of(*fd, path, sizeof path))
        return -EXDEV;
    if (step_of(&session->steps, file)->mount_id != file->stx_mnt_id && !path_in_ours(session, file, path))
        return -EXDEV;
    char *slash = strrchr(path, '/'), *name = slash + 1;
    *slash = '\0';
    const int parent = in_session(session, path[0] != '\0' ? path : "/");
    if (parent < 0)
        return parent;
    char here[64];
    snprintf(here, sizeof here, "/proc/self/fd/%d", parent);
    pthread_mutex_lock(&one_at_a_time);
    struct statx directory, now;
    int result = sys_statx(parent, "", AT_EMPTY_PATH, OWNER_MASK, &directory) == 0 ? 0 : -errno;
    const bool closed = result == 0 && directory.stx_uid == session->uid && (directory.stx_mode & 0300) != 0300;
    if (closed)
        chmod(here, (directory.stx_mode & 07777) | 0300); /* Fedora's /usr/bin is 0555; we have no capability out here */
    if (result == 0 && sys_statx(parent, name, AT_SYMLINK_NOFOLLOW, OWNER_MASK, &now) != 0) {
        static const char deleted[] = " (deleted)"; /* proc(5): a descriptor of the host's file that a copy has replaced */
        char *end = strlen(name) > sizeof deleted ? name + strlen(name) - (sizeof deleted - 1) : name;
        if (strcmp(end, deleted) == 0)
            *end = '\0';
        if (sys_statx(parent, name, AT_SYMLINK_NOFOLLOW, OWNER_MASK, &now) != 0)
            result = -errno;
    }
    const bool changed = result == 0 && now.stx_ino != file->stx_ino; /* somebody was first, or it is another file's name by now */
    if (changed)
        result = take_copy(parent, name, fd, file, &now);
    const struct owner shown = owner_shown(session, *fd, file);
    const bool real = !session->emulate && (shown.uid != 0 || shown.gid != 0 || directory.stx_uid != session->uid);
    if (result == 0 && !changed && real) {
        result = replace_as_root(session, parent, name, fd, file, empty);
    } else if (result == 0 && !changed) {
        result = replace(session, parent, name, fd, file, empty);
        struct timespec times[2];
        times_of(&directory, times);
        utimensat(AT_FDCWD, here, times, 0); /* the directory's content is as it was: fontconfig and others look at this */
    }
    if (closed)
        chmod(here, directory.stx_mode & 07777);
    pthread_mutex_unlock(&one_at_a_time);
    close(parent);
    return result;
}
