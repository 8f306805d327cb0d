/* What a process with emulated credentials makes shows these as its owner: so we make it, and record the owner. */
#include "env/supervisor/calls_create.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "env/supervisor/credentials.h"
#include "env/supervisor/owners.h"
#include "env/supervisor/resolve.h"
#include "env/supervisor/waiting.h"
#include "lib/beneath.h"
#include "lib/notify.h"
#include "lib/sys.h"

/* False: the thread waits no more. */
static bool umask_of(const struct stop *stop, mode_t *mask)
{
    char status[4096];
    *mask = 022;
    if (!text_of(stop, "status", status, sizeof status))
        return false;
    const char *line = strstr(status, "\nUmask:"); /* Linux 4.7 */
    if (line != NULL)
        *mask = (mode_t)strtoul(line + sizeof "\nUmask:" - 1, NULL, 8);
    return true;
}

/* Has what the process makes another owner than the kernel gives: its own, or the group of a directory with the set-group-ID
 * bit? Where that group is a real one (a project's) the kernel does it. */
static bool wants_owner(const struct stop *stop, int parent, struct owner *owner)
{
    struct creds creds; /* root's, when nothing else is known */
    struct statx directory;
    if (creds_of(stop, &creds) == CREDS_GONE)
        return false;
    *owner = (struct owner){creds.uid[FILESYSTEM], creds.gid[FILESYSTEM]};
    if (sys_statx(parent, "", AT_EMPTY_PATH, OWNER_MASK, &directory) == 0 && (directory.stx_mode & S_ISGID) != 0) {
        owner->gid = owner_shown(stop->session, parent, &directory).gid;
        if (owner->uid == 0 && directory.stx_gid != stop->session->gid)
            return false;
    }
    return owner->uid != 0 || owner->gid != 0;
}

static int give(const struct stop *stop, int parent, const char *name, struct owner owner)
{
    struct statx file;
    const int fd = sys_openat2(parent, name, O_NOFOLLOW, 0);
    if (fd < 0)
        return fd;
    int result = sys_statx(fd, "", AT_EMPTY_PATH, OWNER_MASK, &file) == 0 ? owner_set(stop->session, fd, &file, owner) : -errno;
    close(fd);
    return result;
}

/* The mode of what we have made: not by its name, in whose place a link may stand by now, which our own root would mislead. */
static int set_mode(int parent, const char *name, mode_t mode)
{
    char made[64];
    const int fd = sys_openat2(parent, name, O_NOFOLLOW, 0);
    if (fd < 0)
        return fd;
    snprintf(made, sizeof made, "/proc/self/fd/%d", fd);
    const int result = chmod(made, mode) == 0 ? 0 : -errno; /* a link has none: EOPNOTSUPP */
    close(fd);
    return result;
}

/* Open once more what was `made` and hand the descriptor over as the call's result (Linux 5.14). */
static struct answer hand_over(const struct stop *stop, int made, uint64_t flags)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", made);
    const int fd = open(name, (int)(flags & ~(uint64_t)(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_CLOEXEC);
    if (fd < 0)
        return RESULT(-errno);
    struct seccomp_notif_addfd add = {.id = stop->id,
                                      .flags = SECCOMP_ADDFD_FLAG_SEND,
                                      .srcfd = (unsigned)fd,
                                      .newfd_flags = (unsigned)(flags & O_CLOEXEC)};
    const int result = notify_ioctl(stop->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    const int number = errno;
    close(fd);
    return result >= 0 || number == ENOENT ? (struct answer){.sent = true} : RESULT(-number);
}

struct answer create_file(const struct stop *stop, int dirfd, const char *path, uint64_t flags, mode_t mode)
{
    if (!stop->session->emulate || (flags & (O_DIRECTORY | O_PATH)) != 0)
        return GO_ON;
    const char *name;
    struct owner owner;
    const int parent = resolve_parent(stop, dirfd, path, &name);
    struct answer answer = GO_ON;
    mode_t mask;
    if (parent >= 0 && wants_owner(stop, parent, &owner) && umask_of(stop, &mask)) {
        const int fd = openat(parent, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0) {
            give(stop, parent, name, owner);
            if ((flags & O_EXCL) != 0)
                answer = hand_over(stop, fd, flags);
            fchmod(fd, mode & ~mask & 07777);
            close(fd);
        }
    }
    if (parent >= 0)
        close(parent);
    return answer;
}

/* `make` is mkdir(2), mknod(2) or symlink(2) at (parent, name): 0 or -errno. */
typedef int maker(const struct stop *stop, int parent, const char *name, uint64_t a, uint64_t b);

static struct answer create_with(const struct stop *stop, int dirfd, uint64_t address, maker *make, uint64_t a, uint64_t b)
{
    char path[4096];
    if (!read_string(stop, address, path, sizeof path))
        return GO_ON;
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--)
        path[end - 1] = '\0'; /* mkdir("name/") */
    const char *name;
    struct owner owner;
    const int parent = resolve_parent(stop, dirfd, path, &name);
    struct answer answer = GO_ON;
    if (parent >= 0 && wants_owner(stop, parent, &owner)) {
        int result = make(stop, parent, name, a, b);
        if (result == 0) {
            give(stop, parent, name, owner);
            answer = RESULT(0);
        } /* else the kernel says why, with its own checks */
    }
    if (parent >= 0)
        close(parent);
    return answer;
}

static int make_directory(const struct stop *stop, int parent, const char *name, uint64_t mode, uint64_t unused)
{
    (void)unused;
    struct stat directory;
    mode_t mask;
    if (!umask_of(stop, &mask))
        return -ESRCH;
    const mode_t inherited = fstatat(parent, "", &directory, AT_EMPTY_PATH) == 0 ? directory.st_mode & S_ISGID : 0;
    if (mkdirat(parent, name, 0700) != 0)
        return -errno;
    return set_mode(parent, name, (mode_t)((mode & ~(uint64_t)mask) & 01777) | inherited);
}

static int make_node(const struct stop *stop, int parent, const char *name, uint64_t mode, uint64_t device)
{
    const mode_t kind = mode & S_IFMT;
    if (kind != S_IFIFO && kind != S_IFSOCK && kind != S_IFREG && kind != 0)
        return -EPERM;
    mode_t mask;
    if (!umask_of(stop, &mask))
        return -ESRCH;
    if (mknodat(parent, name, kind | 0600, device) != 0)
        return -errno;
    return set_mode(parent, name, (mode_t)(mode & ~(uint64_t)mask) & 07777);
}

static int make_link(const struct stop *stop, int parent, const char *name, uint64_t target, uint64_t unused)
{
    (void)unused;
    char text[4096];
    if (!read_string(stop, target, text, sizeof text))
        return -EFAULT;
    return symlinkat(text, parent, name) == 0 ? 0 : -errno;
}

struct answer on_mkdir(const struct stop *stop)
{
    return create_with(stop, AT_FDCWD, stop->arg[0], make_directory, stop->arg[1], 0);
}

struct answer on_mkdirat(const struct stop *stop)
{
    return create_with(stop, (int)stop->arg[0], stop->arg[1], make_directory, stop->arg[2], 0);
}

struct answer on_mknod(const struct stop *stop)
{
    return create_with(stop, AT_FDCWD, stop->arg[0], make_node, stop->arg[1], stop->arg[2]);
}

struct answer on_mknodat(const struct stop *stop)
{
    return create_with(stop, (int)stop->arg[0], stop->arg[1], make_node, stop->arg[2], stop->arg[3]);
}

struct answer on_symlink(const struct stop *stop)
{
    return create_with(stop, AT_FDCWD, stop->arg[1], make_link, stop->arg[0], 0);
}

struct answer on_symlinkat(const struct stop *stop)
{
    return create_with(stop, (int)stop->arg[1], stop->arg[2], make_link, stop->arg[0], 0);
}
