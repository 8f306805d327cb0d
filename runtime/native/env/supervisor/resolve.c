#include "env/supervisor/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "env/supervisor/as_root.h"
#include "env/supervisor/waiting.h"
#include "lib/beneath.h"
#include "lib/sys.h"

enum { PAGE = 4096, LINKS = 40 /* path_resolution(7) */ };

bool path_of(int fd, char *text, size_t size)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(name, text, size - 1);
    if (length <= 0 || text[0] != '/')
        return false;
    text[length] = '\0';
    return true;
}

static int open_base(const struct stop *stop, int dirfd)
{
    char what[32];
    if (dirfd == AT_FDCWD)
        return open_of(stop, "cwd", O_PATH);
    if (dirfd < 0)
        return -EBADF;
    snprintf(what, sizeof what, "fd/%d", dirfd);
    return open_of(stop, what, O_PATH);
}

/* Absolute path in the process's root. */
static int from_root(const struct stop *stop, const char *path, bool follow)
{
    if (!atomic_load_explicit(&stop->session->views_vary, memory_order_relaxed))
        return in_root(stop->session->root, path, follow);
    const int root = open_of(stop, "root", O_PATH | O_DIRECTORY);
    if (root < 0)
        return root;
    const int fd = in_root(root, path, follow);
    close(root);
    return fd;
}

static bool same_directory(int fd, const struct statx *other)
{
    struct statx file;
    return sys_statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &file) == 0 && file.stx_ino == other->stx_ino &&
           file.stx_mnt_id == other->stx_mnt_id && file.stx_dev_major == other->stx_dev_major && file.stx_dev_minor == other->stx_dev_minor;
}

/* The link `fd` before `rest` of a path: what to resolve instead. False with -errno in *result. */
static bool put_link(int fd, const char *rest, char *text, size_t size, int *result)
{
    struct statfs system;
    char target[PAGE], joined[2 * PAGE];
    if (fstatfs(fd, &system) != 0 || system.f_type == PROC_SUPER_MAGIC) {
        *result = -EXDEV; /* /proc/self/exe and its like lead where their text does not */
        return false;
    }
    const ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    snprintf(joined, sizeof joined, "%s%s", target, rest);
    const bool good = length > 0 && strlen(joined) < size;
    if (good)
        strcpy(text, joined);
    *result = length < 0 ? -errno : -ENAMETOOLONG;
    return good;
}

/* path_resolution(7), step by step: `base` below a root of the process's own, over which neither ".." nor a link leads.
 * openat2(2) has no such root besides the directory where it begins. */
static int walk(const struct stop *stop, int base, const char *path, bool follow)
{
    char rest[PAGE];
    struct statx top, file;
    const int root = open_of(stop, "root", O_PATH | O_DIRECTORY);
    int at = fcntl(base, F_DUPFD_CLOEXEC, 0), result = root < 0 ? root : at < 0 ? -errno : 0, links = 0;
    if (result == 0 && (sys_statx(root, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &top) != 0 || strlen(path) >= sizeof rest))
        result = -EXDEV;
    strcpy(rest, result == 0 ? path : "");
    for (char *name = rest, *end; result == 0 && *(name += strspn(name, "/")) != '\0'; name = end) {
        end = name + strcspn(name, "/");
        const bool last = *end == '\0';
        char saved = *end;
        *end = '\0';
        const bool stays = strcmp(name, ".") == 0 || (strcmp(name, "..") == 0 && same_directory(at, &top));
        const int next = sys_openat2(at, stays ? "." : name, O_NOFOLLOW, 0);
        *end = saved;
        if (next < 0 || sys_statx(next, "", AT_EMPTY_PATH, STATX_TYPE, &file) != 0) {
            result = next < 0 ? next : -errno;
        } else if (S_ISLNK(file.stx_mode) && (follow || !last)) {
            char text[PAGE];
            if (++links > LINKS)
                result = -ELOOP;
            else if (put_link(next, end, text, sizeof text, &result))
                result = 0;
            close(next);
            if (result != 0)
                break;
            strcpy(rest, text);
            end = rest;
            if (rest[0] != '/')
                continue;
            close(at);
            at = fcntl(root, F_DUPFD_CLOEXEC, 0);
            result = at < 0 ? -errno : 0;
        } else if (!last && !S_ISDIR(file.stx_mode)) {
            close(next);
            result = -ENOTDIR;
        } else {
            close(at);
            at = next;
        }
    }
    if (root >= 0)
        close(root);
    if (result == 0)
        return at;
    if (at >= 0)
        close(at);
    return result;
}

static int from_base(const struct stop *stop, int base, const char *path, bool follow)
{
    const bool varies = atomic_load_explicit(&stop->session->views_vary, memory_order_relaxed);
    if (varies && strstr(path, "..") != NULL)
        return walk(stop, base, path, follow);
    /* Without links, the common case, there is nothing that our own root could mislead. */
    const int fd = sys_openat2(base, path, follow ? 0 : O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    if (fd >= 0) {
        struct statx buffer;
        if (follow || sys_statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &buffer) == 0)
            return fd;
        close(fd);
    }
    if (fd != -ELOOP)
        return fd;
    if (varies)
        return walk(stop, base, path, follow);
    char text[2 * PAGE];
    if (!path_of(base, text, PAGE))
        return -EXDEV;
    snprintf(text + strlen(text), PAGE, "/%s", path);
    return in_root(stop->session->root, text, follow);
}

/* "/proc/self/fd/3", "/dev/stdin": the number, and what follows it; -1 for none. */
static int own_descriptor(const char *path, const char **rest)
{
    static const char *const prefixes[] = {"/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"};
    static const char *const names[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    for (int i = 0; i < 3; i++) {
        const size_t length = strlen(prefixes[i]);
        if (strncmp(path, prefixes[i], length) == 0 && path[length] >= '0' && path[length] <= '9') {
            char *end;
            const long number = strtol(path + length, &end, 10);
            *rest = end;
            return *end == '\0' || *end == '/' ? (int)number : -1;
        }
        if (strcmp(path, names[i]) == 0) {
            *rest = "";
            return i;
        }
    }
    return -1;
}

static int resolve_as_we_may(const struct stop *stop, int dirfd, const char *path, bool follow, bool empty)
{
    if (path[0] == '\0')
        return empty ? open_base(stop, dirfd) : -ENOENT;
    if (path[0] == '/') {
        const char *rest;
        const int number = own_descriptor(path, &rest);
        if (number < 0)
            return strncmp(path, "/proc/", 6) == 0 ? -EXDEV : from_root(stop, path, follow);
        if (*rest == '\0')
            return follow ? open_base(stop, number) : -EXDEV;
        dirfd = number;
        for (path = rest; *path == '/';)
            path++;
    }
    const int base = open_base(stop, dirfd);
    if (base < 0)
        return base;
    const int fd = from_base(stop, base, path, follow);
    close(base);
    return fd;
}

struct question {
    const struct stop *stop;
    int dirfd;
    const char *path;
    bool follow, empty;
};

static int ask(const void *argument, char *said)
{
    const struct question *question = argument;
    (void)said;
    return resolve_as_we_may(question->stop, question->dirfd, question->path, question->follow, question->empty);
}

int resolve(const struct stop *stop, int dirfd, const char *path, bool follow, bool empty)
{
    const int fd = resolve_as_we_may(stop, dirfd, path, follow, empty);
    if (fd != -EACCES)
        return fd;
    const struct question question = {stop, dirfd, path, follow, empty};
    return as_root_inside(stop->session, ask, &question, NULL);
}

struct place {
    int root;
    const char *path;
};

static int ask_in_root(const void *argument, char *said)
{
    const struct place *place = argument;
    (void)said;
    return in_root(place->root, place->path, true);
}

int in_session(const struct session *session, const char *path)
{
    const int fd = in_root(session->root, path, true);
    if (fd != -EACCES)
        return fd;
    const struct place place = {session->root, path};
    return as_root_inside(session, ask_in_root, &place, NULL);
}

int resolve_parent(const struct stop *stop, int dirfd, const char *path, const char **name)
{
    char parent[PAGE];
    const char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    const size_t length = (size_t)(*name - path);
    if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 || length >= sizeof parent)
        return -EXDEV; /* "name/": rare, and the kernel's to judge */
    memcpy(parent, path, length);
    memcpy(parent + length, length > 0 ? "" : ".", length > 0 ? 1 : 2);
    return resolve(stop, dirfd, parent, true, false);
}
