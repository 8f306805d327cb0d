#include "launcher/root/carry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/unpack.h"
#include "launcher/layout.h"
#include "launcher/lazy/lazy.h"
#include "launcher/memory.h"
#include "lib/mounts.h"

/* Open the parent directory of `path` below the directory `fd`, which is closed, without following any link: a hostile bundle's links, or a race on the node,
 * must not lead a mount or a mkdir elsewhere. openat2(RESOLVE_BENEATH) would do it in one call but needs Linux 5.6. */
static int go_down(int fd, const char *path, const char **name)
{
    for (const char *rest = path + 1; fd >= 0; rest += strcspn(rest, "/") + 1) {
        char component[NAME_MAX + 1];
        const size_t length = strcspn(rest, "/");
        if (rest[length] == '\0') {
            *name = rest;
            return fd;
        }
        snprintf(component, sizeof component, "%.*s", (int)length, rest);
        const int next = openat(fd, component, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        const int number = errno;
        close(fd);
        errno = number;
        fd = next;
    }
    return fd;
}

int carry_open_parent(int root, const char *path, const char **name)
{
    return go_down(openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), path, name);
}

static int open_parent(const char *root, const char *path, const char **name)
{
    return go_down(open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), path, name);
}

static bool make_base(const struct op *op, struct error *error)
{
    char candidates[256], *rest = candidates;
    snprintf(candidates, sizeof candidates, "%s", op->data);
    for (char *directory; (directory = strsep(&rest, ":")) != NULL;) {
        /* size: the check against the memory that is available has been made; the default, half of it, could be too little. */
        if (sys_mount_tmpfs(directory, "mode=0755,size=100%,nr_inodes=0") != 0 && (errno != EINVAL || sys_mount_tmpfs(directory, "mode=0755") != 0)) {
            tried(error, "a tmpfs on %s: %s", directory, strerror(errno));
            continue;
        }
        if (chdir(directory) != 0 || mkdir(OLDROOT + 1, 0755) != 0 || mkdir(CLOSURE + 1, 0755) != 0 || mkdir(NEWROOT + 1, 0755) != 0 ||
            mkdir(UPPER + 1, 0755) != 0 || symlink(&(OLDROOT "/proc")[1], "proc") != 0 || symlink(&(OLDROOT "/sys")[1], "sys") != 0)
            return fail(error, EXIT_RESOURCES, "ask for a job with more memory", "cannot fill a tmpfs: %s", strerror(errno));
        if (sys_pivot_root(".", OLDROOT + 1) != 0)
            return fail(error, EXIT_KERNEL, errno == EINVAL ? "the node's root may be an initramfs, which cannot be left" : NULL,
                        "pivot_root: %s", strerror(errno));
        return chdir("/") == 0;
    }
    return fail(error, EXIT_KERNEL, "a security module may forbid mounts; `sdee doctor` tests each step",
                "no private memory file system can be mounted on this node");
}

/* The directory of the deployed closure in this mount namespace, where a layer must be; the checked one, and not what has its name
 * now. */
static int reopen(const char *deployed, int checked)
{
    char path[PATH_MAX + 16];
    struct stat one, other;
    snprintf(path, sizeof path, OLDROOT "%s", deployed);
    const int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int above = fd >= 0 ? openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    const bool same = above >= 0 && fstat(above, &one) == 0 && fstat(checked, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
    if (above >= 0)
        close(above);
    if (fd >= 0 && !same)
        close(fd);
    return same ? fd : -1;
}

/* The deployed closure with private memory over it. False where the kernel refuses that: then the launcher unpacks the closure as usual. */
static bool mount_deployed(const struct plan *plan, bool debug)
{
    char options[512];
    const int fd = reopen(plan->deployed, plan->deployed_fd);
    if (fd < 0 || ((mkdir("/deployed", 0755) != 0 || mkdir("/deployed/u", 0755) != 0 || mkdir("/deployed/w", 0755) != 0) && errno != EEXIST))
        return false;
    snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d,upperdir=/deployed/u,workdir=/deployed/w,userxattr", fd);
    bool good = sys_mount_overlay(CLOSURE, options) == 0;
    if (!good) {
        *strrchr(options, ',') = '\0'; /* before Linux 5.11, as root */
        good = sys_mount_overlay(CLOSURE, options) == 0;
    }
    const int number = errno;
    close(fd);
    if (debug)
        note(good ? "the deployed closure is used" : "the deployed closure cannot be a layer, unpacking: %s", strerror(number));
    return good;
}

/* The closure that is decoded as it is read, with private memory over it. Errors: EXIT_KERNEL. */
static bool mount_lazy(const struct plan *plan, struct error *error)
{
    if (!lazy_mount(plan->lazy, LAZY, LAZY_TOLD, error))
        return false;
    if (mkdir(LAZY_OVER, 0755) == 0 && mkdir(LAZY_OVER "/u", 0755) == 0 && mkdir(LAZY_OVER "/w", 0755) == 0 &&
        (sys_mount_overlay(CLOSURE, "lowerdir=" LAZY ",upperdir=" LAZY_OVER "/u,workdir=" LAZY_OVER "/w,userxattr") == 0 ||
         sys_mount_overlay(CLOSURE, "lowerdir=" LAZY ",upperdir=" LAZY_OVER "/u,workdir=" LAZY_OVER "/w") == 0)) /* before Linux 5.11, as root */
        return true;
    return fail(error, EXIT_KERNEL, "--unpack eager (SDEE_UNPACK=eager) needs none", "the kernel refuses an overlay over FUSE: %s", strerror(errno));
}

/* Entries for which overlays of live directories must show the node's own. */
static bool leave_out(const struct plan *plan, const struct bundle *bundle)
{
    bool good = true;
    for (uint32_t i = 0; good && i < bundle->entry_count; i++) {
        const char *name = NULL;
        if (!plan->nodes_own[i])
            continue;
        const int parent = open_parent(CLOSURE, bundle->entries[i].path, &name);
        good = parent >= 0 && (unlinkat(parent, name, 0) == 0 || errno == ENOENT);
        if (parent >= 0)
            close(parent);
    }
    return good;
}

/* How the closure came to be in CLOSURE. */
static enum { UNPACKED, DEPLOYED, LAZILY } layer;

/* `again`: for another plan, when the closure is there in part. */
static bool make_closure(const struct plan *plan, bool again, const struct bundle *bundle, const struct options *options, struct error *error)
{
    if (!again && plan->deployed != NULL && mount_deployed(plan, options->debug))
        layer = DEPLOYED;
    else if (!again && plan->lazy != NULL && !mount_lazy(plan, error))
        return false;
    else if (!again && plan->lazy != NULL)
        layer = LAZILY;
    bool good = layer == LAZILY || (layer == DEPLOYED && leave_out(plan, bundle));
    if (layer == DEPLOYED && !good)
        return fail(error, EXIT_KERNEL, "`sdee undeploy` and run it again", "cannot prepare the deployed closure: %s", strerror(errno));
    if (layer == UNPACKED && memory_check(unpack_memory(bundle, plan->wanted) + unpack_worker_memory(bundle), bundle->name, error)) {
        const int fd = open(CLOSURE, O_PATH | O_DIRECTORY | O_CLOEXEC);
        good = fd >= 0 && unpack(bundle, fd, plan->wanted, options->threads, error);
        if (fd >= 0)
            close(fd);
    }
    if (good && sys_bind(CLOSURE, NEWROOT) != 0)
        return fail(error, EXIT_KERNEL, NULL, "cannot bind the closure: %s", strerror(errno));
    return good;
}

bool carry_make_place(int parent, const char *name, const struct op *op)
{
    bool good = false;
    struct stat status;
    if (op->kind == OP_DIRECTORY) {
        good = mkdirat(parent, name, op->mode) == 0;
        if (!good && errno == EEXIST && fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode))
            good = (status.st_mode & 07777) == op->mode || fchmodat(parent, name, op->mode, 0) == 0;
    } else if (op->kind == OP_SYMLINK) {
        good = symlinkat(op->data, parent, name) == 0 || errno == EEXIST;
    } else {
        const int flags = O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | (op->kind == OP_WRITE ? O_TRUNC : 0);
        const int fd = openat(parent, name, flags, 0644);
        good = fd >= 0;
        for (size_t size = op->kind == OP_WRITE ? strlen(op->data) : 0, done = 0; good && done < size;) {
            const ssize_t count = write(fd, op->data + done, size - done);
            good = count > 0;
            done += good ? (size_t)count : 0;
        }
        if (fd >= 0)
            close(fd);
    }
    return good;
}

static bool make_place(const struct op *op)
{
    const char *name = NULL;
    const int parent = open_parent(CLOSURE, op->target, &name);
    const bool good = parent >= 0 && carry_make_place(parent, name, op);
    const int number = errno;
    if (parent >= 0)
        close(parent);
    errno = number;
    return good;
}

/* Change into the parent of a mount point, so that mount(2) needs no path that could be redirected. */
static bool go_to_parent(const char *target, const char **name)
{
    struct stat status;
    const int parent = open_parent(NEWROOT, target, name);
    if (parent < 0)
        return false;
    bool good = fchdir(parent) == 0 && fstatat(parent, *name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (good && S_ISLNK(status.st_mode)) {
        errno = ELOOP;
        good = false;
    }
    const int number = errno;
    close(parent);
    errno = number;
    return good;
}

static bool bind_over(const char *source, const char *target)
{
    const char *name = NULL;
    return go_to_parent(target, &name) && sys_bind(source, name) == 0;
}

static bool copy_over(const struct op *op)
{
    char block[16384];
    struct stat status = {0};
    const int from = open(op->source, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const int to = from >= 0 ? open(op->data, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
    ssize_t count = 0;
    bool good = to >= 0 && fstat(from, &status) == 0 && S_ISREG(status.st_mode);
    while (good && (count = read(from, block, sizeof block)) > 0)
        good = write(to, block, (size_t)count) == count;
    const struct timespec times[2] = {status.st_atim, status.st_mtim};
    good = good && count == 0 && fchmod(to, op->mode) == 0 && futimens(to, times) == 0;
    const int number = errno;
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    errno = number;
    return good && bind_over(op->data, op->target);
}

/* The upper directory's own attributes are those of the merged directory. */
static bool make_upper(const struct op *op, char *upper, char *work)
{
    struct stat status;
    char closure[PATH_MAX];
    snprintf(closure, sizeof closure, CLOSURE "%s", op->target);
    snprintf(upper, PATH_MAX, "%s/u", op->data);
    snprintf(work, PATH_MAX, "%s/w", op->data);
    if (stat(closure, &status) != 0 || (mkdir(op->data, 0755) != 0 && errno != EEXIST) || (mkdir(upper, 0755) != 0 && errno != EEXIST) ||
        (mkdir(work, 0755) != 0 && errno != EEXIST))
        return false;
    const struct timespec times[2] = {status.st_mtim, status.st_mtim};
    const mode_t mode = op->back != NULL ? op->mode : status.st_mode & 07777; /* a live directory's is the node's */
    return chmod(upper, mode) == 0 && utimensat(AT_FDCWD, upper, times, 0) == 0;
}

static bool mount_overlay(const struct op *op, bool *refused, struct error *error)
{
    const char *name = NULL;
    char upper[PATH_MAX], work[PATH_MAX], options[3 * PATH_MAX + 200];
    if (!go_to_parent(op->target, &name) || !make_upper(op, upper, work))
        return false;
    /* Best first. userxattr: needed in a user namespace (Linux 5.11); upper on tmpfs with it: Linux 6.6; without it: real root only. */
    static const char *const attempts[] = {"upper,userxattr", "upper", "userxattr", ""};
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        int size = snprintf(options, sizeof options, "lowerdir=%s", op->source);
        if (strncmp(attempts[i], "upper", 5) == 0)
            size += snprintf(options + size, sizeof options - (size_t)size, ",upperdir=%s,workdir=%s", upper, work);
        if (strstr(attempts[i], "userxattr") != NULL)
            size += snprintf(options + size, sizeof options - (size_t)size, ",userxattr");
        if (size >= 4095) { /* mount(2) passes one page of options */
            errno = E2BIG;
            break;
        }
        if (sys_mount_overlay(name, options) == 0)
            return true;
        tried(error, "overlay on %s (%s): %s", op->target, attempts[i][0] != '\0' ? attempts[i] : "lower layers only", strerror(errno));
    }
    *refused = true;
    return false;
}

static bool make_whiteout(const char *path)
{
    char hidden[PATH_MAX + 16], node[PATH_MAX + 32];
    struct stat status;
    snprintf(hidden, sizeof hidden, HIDDEN "%s", path);
    if (mkdir(HIDDEN, 0755) != 0 && errno != EEXIST)
        return false;
    for (char *slash = hidden + sizeof HIDDEN; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0'; /* only we write to this layer: it has no links */
        snprintf(node, sizeof node, OLDROOT "%s", hidden + sizeof HIDDEN - 1);
        if (mkdir(hidden, stat(node, &status) == 0 ? status.st_mode & 01777 : 0755) != 0 && errno != EEXIST)
            return false;
    }
    return mknodat(AT_FDCWD, hidden, S_IFCHR, 0) == 0 || errno == EEXIST;
}

/* Before Linux 5.8 an ordinary user may not make one. */
static bool whiteout_refused(const struct op *op, const struct options *options, bool *overlay_refused, struct error *error)
{
    const int number = errno;
    if (options->root == ROOT_MERGED) {
        note("warning: %s did not exist when the job was traced, is on this node, and sdee cannot hide it: %s; --root closed (SDEE_ROOT=closed) hides it",
             op->target, strerror(number));
        return true;
    }
    *overlay_refused = true;
    return fail(error, EXIT_KERNEL, "use --root closed (SDEE_ROOT=closed)", "the kernel refuses a whiteout for %s (Linux 5.8 is needed): %s", op->target,
                strerror(number));
}

static bool carry_one(const struct plan *plan, const struct op *op, const struct bundle *bundle, const struct options *options, bool *overlay_refused,
                      struct error *error)
{
    bool good = false, refused = false;
    switch (op->kind) {
    case OP_BASE:
        return make_base(op, error);
    case OP_UNPACK:
        return make_closure(plan, false, bundle, options, error);
    case OP_DIRECTORY:
    case OP_FILE:
    case OP_SYMLINK:
    case OP_WRITE:
        good = make_place(op);
        break;
    case OP_WHITEOUT:
        return make_whiteout(op->target) || whiteout_refused(op, options, overlay_refused, error);
    case OP_BIND:
        good = bind_over(op->source, op->target);
        break;
    case OP_OWN:
        good = copy_over(op);
        break;
    case OP_OVERLAY:
        good = mount_overlay(op, &refused, error);
        *overlay_refused = *overlay_refused || (refused && !good);
        break;
    case OP_POINT:
        return true; /* by points.c, before all else */
    case OP_ENTER:
        return true; /* by job.c, in the job's process */
    }
    if (good)
        return true;
    const int number = errno;
    if (op->optional) {
        if (options->debug)
            note("skipping: %s on %s: %s", op->source != NULL ? op->source : "mount point", op->target, strerror(number));
        return true;
    }
    if (refused)
        return fail(error, EXIT_KERNEL, "use --root closed (SDEE_ROOT=closed), which needs no overlayfs",
                    "the kernel refuses an overlay on %s: %s", op->target, strerror(number));
    return fail(error, number == ENOSPC || number == ENOMEM ? EXIT_RESOURCES : EXIT_KERNEL,
                number == EACCES ? "a directory on the way cannot be searched" : NULL, "cannot put %s on %s (%s): %s",
                op->source != NULL ? op->source : "a mount point", op->target, op->why, strerror(number));
}

bool carry_out(const struct plan *plan, size_t from, size_t to, const struct bundle *bundle, const struct options *options,
               bool *overlay_refused, struct error *error)
{
    *overlay_refused = false;
    bool good = true;
    for (size_t i = from; good && i < to; i++)
        good = carry_one(plan, &plan->ops[i], bundle, options, overlay_refused, error);
    return good && chdir("/") == 0;
}

bool carry_reset(const struct plan *failed, const struct plan *next, const struct bundle *bundle, const struct options *options, struct error *error)
{
    error->tried[0] = '\0';
    if (layer == LAZILY) { /* it shows what the other plan wanted */
        const struct error refusal = *error;
        return fail(error, EXIT_KERNEL, "use --root closed (SDEE_ROOT=closed), or leave --unpack (SDEE_UNPACK) away",
                    "the closure is read lazily for the merged root, which is refused: %.900s", refusal.message);
    }
    if (chdir("/") != 0 || umount2(NEWROOT, MNT_DETACH) != 0)
        return fail(error, EXIT_KERNEL, NULL, "cannot begin again with the closed root: %s", strerror(errno));
    for (size_t i = FIRST_ROOT_OP; i < failed->count; i++) { /* mount points and links that only the merged root has */
        const struct op *op = &failed->ops[i];
        const char *name = NULL;
        const bool made = op->kind == OP_SYMLINK || op->kind == OP_FILE || op->kind == OP_WRITE;
        const int parent = made && bundle_find(bundle, op->target) == NO_ENTRY ? open_parent(CLOSURE, op->target, &name) : -1;
        if (parent >= 0) {
            unlinkat(parent, name, 0);
            close(parent);
        }
    }
    for (uint32_t i = 0; i < bundle->entry_count; i++)
        next->wanted[i] = next->wanted[i] && (!failed->wanted[i] || S_ISDIR(bundle->entries[i].mode));
    return make_closure(next, true, bundle, options, error);
}

void carry_end(const struct plan *plan)
{
    if (layer != LAZILY)
        return;
    umount2(NEWROOT, MNT_DETACH);
    umount2(CLOSURE, MNT_DETACH);
    umount2(LAZY, MNT_DETACH);
    lazy_wait(plan->lazy, 200);
}
