/* What a live directory of the node's lacks, mounted in it: the directory stays real, so that a checkpoint is there at once, locks of two jobs
 * exclude each other and a killed job's results stay. */
#include "launcher/plan/points.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/layout.h"
#include "launcher/node/mark.h"
#include "launcher/node/storage.h"
#include "launcher/plan/fate.h"
#include "launcher/plan/plan.h"

enum { MOST = 256 }; /* each is a mount, an open file and some requests to the storage */

/* Why an entry cannot be mounted where the node lacks it, or NULL. */
static const char *obstacle(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct entry *entry = &planner->bundle->entries[index];
    struct arena *arena = planner->plan->arena;
    const char *name = strrchr(entry->path, '/') + 1;
    struct stat status;
    if (S_ISLNK(entry->mode)) /* a real link could not be locked: another job may come to need it */
        return arena_format(arena, "the symbolic link %s is missing there", name);
    if (planner->fallback[index]) /* rename(2) over a mount point fails */
        return arena_format(arena, "%s is missing there, which the job may replace", name);
    if (lstat(node_path, &status) != 0)
        return NULL;
    const enum point_kind kind = point_at(node_path);
    if (kind == POINT_FOREIGN)
        return arena_format(arena, "%s is missing there, where a job of another user has its mount point", name);
    if (kind == POINT_OWN && S_ISDIR(status.st_mode) == S_ISDIR(entry->mode))
        return NULL;
    return arena_format(arena, "%s is of another type there", name);
}

bool plan_can_point(struct planner *planner, const char *node_path, uint32_t directory, const char **why)
{
    const struct bundle *bundle = planner->bundle;
    struct arena *arena = planner->plan->arena;
    const char *name = NULL;
    size_t count = 0;
    *why = NULL;
    for (size_t i = 0; i < planner->plan->unfit_count; i++)
        if (strcmp(planner->plan->unfit[i].path, node_path) == 0)
            *why = planner->plan->unfit[i].why;
    for (uint32_t i = bundle_children(bundle, directory); *why == NULL && i != NO_ENTRY; i = bundle->entries[i].next_sibling) {
        const char *base = strrchr(bundle->entries[i].path, '/') + 1, *child = join(planner, node_path, base);
        if (!plan_is_missing(planner, i, child))
            continue;
        name = base;
        count++;
        *why = obstacle(planner, i, child);
    }
    if (*why == NULL && planner->points + count > MOST)
        *why = arena_format(arena, "%s and %zu more are missing there, too many for mount points", name, count - 1);
    if (*why == NULL && access(node_path, W_OK | X_OK) != 0)
        *why = arena_format(arena, "%s is missing there, and no mount point can be made for it: %s", name, strerror(errno));
    if (*why == NULL && !storage_locks_reach(node_path))
        *why = arena_format(arena, "%s is missing there, and locks on this storage may not reach other nodes", name);
    return *why == NULL;
}

void plan_point(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct entry *entry = &planner->bundle->entries[index];
    struct op *op = plan_add(planner, OP_POINT, entry->path, "mount point in the node's directory, which lacks it");
    op->data = node_path;
    op->mode = S_ISDIR(entry->mode) ? S_IFDIR | 0700 | (entry->mode & 0777) : S_IFREG | 0644;
    if (!S_ISDIR(entry->mode))
        op->back = arena_format(planner->plan->arena, "%.*s", (int)(strrchr(node_path, '/') - node_path), node_path);
    planner->points++;
    plan_over_point(planner, index, node_path);
}

void plan_over_point(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct entry *entry = &planner->bundle->entries[index];
    struct op *op = plan_add(planner, OP_BIND, entry->path, "the node lacks it");
    op->source = arena_format(planner->plan->arena, CLOSURE "%s", entry->path);
    if (S_ISDIR(entry->mode) && !conf_lists(planner->bundle, "tree", entry->path))
        op->back = node_path;
}
