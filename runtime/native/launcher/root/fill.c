#include "launcher/root/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "launcher/bundle/unpack.h"
#include "launcher/layout.h"
#include "launcher/root/carry.h"
#include "lib/copy.h"
#include "lib/remove.h"

#define STAGE ".sdee-files" /* in the root, until it is filled */

/* Where the closure's entries are: the root's own memory, or that of a mount in it. */
struct area {
    const struct op *op; /* NULL: the root */
    int fd;
    dev_t device;
};

struct filling {
    const struct plan *plan;
    const struct bundle *bundle;
    const struct options *options;
    struct error *error;
    struct area *areas;
    size_t count;
    const struct op **shown; /* for each entry: the last mount that covers it, or NULL */
    bool *wanted;
};

static bool is_closures(const struct op *op)
{
    return op->kind == OP_BIND && strncmp(op->source, CLOSURE, sizeof CLOSURE - 1) == 0;
}

static bool is_directory(const struct filling *filling, const struct op *op)
{
    const uint32_t index = bundle_find(filling->bundle, op->target);
    return index != NO_ENTRY && S_ISDIR(filling->bundle->entries[index].mode);
}

/* Parents come before what is in them. */
static void find_mounts(struct filling *filling)
{
    const struct bundle *bundle = filling->bundle;
    for (size_t i = FIRST_ROOT_OP; i < filling->plan->count; i++) {
        const struct op *op = &filling->plan->ops[i];
        const uint32_t index = op->kind == OP_BIND ? bundle_find(bundle, op->target) : NO_ENTRY;
        if (index != NO_ENTRY)
            filling->shown[index] = op;
    }
    for (uint32_t i = 0; i < bundle->entry_count; i++)
        if (filling->shown[i] == NULL && bundle->entries[i].parent != NO_ENTRY)
            filling->shown[i] = filling->shown[bundle->entries[i].parent];
}

/* Is a device among those of this mount namespace? A new one of bwrap's is not: where another user has put a link, or moved the mount point
 * away meanwhile, the path leads to the node's. */
static bool is_nodes(dev_t device)
{
    char line[4096 + 256];
    unsigned major_number, minor_number;
    bool found = false;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) == 2 && makedev(major_number, minor_number) == device;
    if (file != NULL)
        fclose(file);
    return found || file == NULL;
}

/* Is it memory, and none of the node's? By the type, since btrfs has other device numbers in stat(2) than in mountinfo. */
static bool is_new_memory(int fd, dev_t device)
{
    struct statfs system;
    return fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC && !is_nodes(device);
}

static bool add_area(struct filling *filling, const struct op *op, int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || !is_new_memory(fd, status.st_dev)) {
        const int number = fd < 0 ? errno : ESTALE;
        if (fd >= 0)
            close(fd);
        return fail(filling->error, EXIT_KERNEL, "run it again", "cannot fill %s in the root that bwrap made: %s", op != NULL ? op->target : "/",
                    strerror(number));
    }
    filling->areas[filling->count++] = (struct area){op, fd, status.st_dev};
    return true;
}

static int open_in(int top, const char *path, int flags)
{
    const char *name = NULL;
    const int parent = carry_open_parent(top, path, &name);
    const int fd = parent >= 0 ? openat(parent, name, flags | O_NOFOLLOW | O_CLOEXEC) : -1;
    const int number = errno;
    if (parent >= 0)
        close(parent);
    errno = number;
    return fd;
}

/* All before the first is filled: a directory's mode may close it. */
static bool open_areas(struct filling *filling, int top)
{
    bool good = add_area(filling, NULL, openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (size_t i = FIRST_ROOT_OP; good && i < filling->plan->count; i++) {
        const struct op *op = &filling->plan->ops[i];
        if (is_closures(op) && is_directory(filling, op))
            good = add_area(filling, op, open_in(top, op->target, O_RDONLY | O_DIRECTORY));
    }
    return good;
}

static bool fill_area(struct filling *filling, const struct area *area)
{
    const struct bundle *bundle = filling->bundle;
    bool any = false;
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        const bool itself = area->op != NULL && strcmp(bundle->entries[i].path, area->op->target) == 0;
        filling->wanted[i] = filling->plan->wanted[i] && filling->shown[i] == area->op && !itself;
        any = any || filling->wanted[i];
    }
    return !any || unpack_below(bundle, area->fd, area->op != NULL ? strlen(area->op->target) : 0, filling->wanted, filling->options->threads, filling->error);
}

/* The directory's own mode and time, when all is in it. */
static bool finish_area(const struct filling *filling, const struct area *area)
{
    const uint32_t index = area->op != NULL ? bundle_find(filling->bundle, area->op->target) : NO_ENTRY;
    if (index == NO_ENTRY)
        return true;
    const struct entry *entry = &filling->bundle->entries[index];
    const struct timespec time = {.tv_sec = entry->mtime, .tv_nsec = entry->nsec}, times[2] = {time, time};
    return fchmod(area->fd, entry->mode & 07777) == 0 && futimens(area->fd, times) == 0;
}

/* The content of a file that is mounted by itself: an empty one of bwrap's memory. */
static bool fill_file(const struct filling *filling, int top, int stage, const struct op *op)
{
    struct stat from_status, to_status;
    const int from = openat(stage, op->target + 1, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), to = open_in(top, op->target, O_WRONLY);
    bool good = from >= 0 && to >= 0 && fstat(from, &from_status) == 0 && fstat(to, &to_status) == 0;
    if (good && (!S_ISREG(to_status.st_mode) || to_status.st_size != 0 || to_status.st_dev != filling->areas[0].device)) {
        errno = ESTALE;
        good = false;
    }
    const int result = good ? copy_content(from, to) : 0;
    const struct timespec times[2] = {from_status.st_mtim, from_status.st_mtim};
    errno = result < 0 ? -result : errno;
    good = good && result == 0 && fchmod(to, from_status.st_mode & 07777) == 0 && futimens(to, times) == 0;
    const int number = errno;
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return good || fail(filling->error, number == ENOSPC ? EXIT_RESOURCES : EXIT_KERNEL, "run it again", "cannot fill %s in the root that bwrap made: %s",
                        op->target, strerror(number));
}

/* Unpacked beside each other first, in the root's memory: a content is decoded once. */
static bool fill_files(struct filling *filling, int top)
{
    const struct bundle *bundle = filling->bundle;
    bool any = false;
    memset(filling->wanted, 0, bundle->entry_count);
    for (size_t i = FIRST_ROOT_OP; i < filling->plan->count; i++) {
        const struct op *op = &filling->plan->ops[i];
        uint32_t index = is_closures(op) && !is_directory(filling, op) ? bundle_find(bundle, op->target) : NO_ENTRY;
        any = any || index != NO_ENTRY;
        for (; index != NO_ENTRY && !filling->wanted[index]; index = bundle->entries[index].parent)
            filling->wanted[index] = true;
    }
    if (!any)
        return true;
    const int stage = mkdirat(top, STAGE, 0700) == 0 ? openat(top, STAGE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (stage < 0)
        return fail(filling->error, EXIT_KERNEL, NULL, "cannot make a directory in the root that bwrap made: %s", strerror(errno));
    bool good = unpack_below(bundle, stage, 0, filling->wanted, filling->options->threads, filling->error);
    for (size_t i = FIRST_ROOT_OP; good && i < filling->plan->count; i++)
        if (is_closures(&filling->plan->ops[i]) && !is_directory(filling, &filling->plan->ops[i]))
            good = fill_file(filling, top, stage, &filling->plan->ops[i]);
    close(stage);
    (void)!remove_one(top, STAGE, true);
    return good;
}

/* Directories, links and files of the plan that no mount covers. */
static bool make_places(const struct filling *filling, int top)
{
    const struct plan *plan = filling->plan;
    bool good = true;
    for (size_t i = FIRST_ROOT_OP; good && i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        bool skip = op->kind != OP_DIRECTORY && op->kind != OP_FILE && op->kind != OP_SYMLINK && op->kind != OP_WRITE;
        for (size_t k = i + 1; !skip && k < plan->count; k++)
            skip = plan->ops[k].kind == OP_BIND && strcmp(plan->ops[k].target, op->target) == 0;
        if (skip)
            continue;
        const char *name = NULL;
        struct stat status;
        const int parent = carry_open_parent(top, op->target, &name);
        good = parent >= 0 && fstat(parent, &status) == 0;
        if (good && !is_new_memory(parent, status.st_dev)) {
            errno = ESTALE;
            good = false;
        }
        good = good && carry_make_place(parent, name, op);
        const int number = errno;
        if (parent >= 0)
            close(parent);
        if (!good)
            fail(filling->error, EXIT_KERNEL, NULL, "cannot make %s in the root that bwrap made (%s): %s", op->target, op->why, strerror(number));
    }
    return good;
}

bool fill(int top, const struct plan *plan, const struct bundle *bundle, const struct options *options, struct error *error)
{
    struct filling filling = {.plan = plan, .bundle = bundle, .options = options, .error = error};
    filling.areas = allocate(plan->count + 1, sizeof *filling.areas);
    filling.shown = allocate(bundle->entry_count, sizeof *filling.shown);
    filling.wanted = allocate(bundle->entry_count, sizeof *filling.wanted);
    find_mounts(&filling);
    bool good = open_areas(&filling, top);
    for (size_t i = 0; good && i < filling.count; i++)
        good = fill_area(&filling, &filling.areas[i]);
    good = good && fill_files(&filling, top) && make_places(&filling, top);
    for (size_t i = filling.count; good && i-- > 0;)
        good = finish_area(&filling, &filling.areas[i]) || fail(error, EXIT_KERNEL, NULL, "cannot finish the root that bwrap made: %s", strerror(errno));
    for (size_t i = 0; i < filling.count; i++)
        close(filling.areas[i].fd);
    free(filling.areas);
    free(filling.shown);
    free(filling.wanted);
    return good;
}
