/* Closure entries below directories that stay the node's own. Cost grows with the closure, except where a directory becomes
 * synthetic: there it grows with that one directory's entries. */
#include "launcher/plan/live.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/layout.h"
#include "launcher/node/mark.h"
#include "launcher/plan/fate.h"
#include "launcher/plan/overlay.h"
#include "launcher/plan/plan.h"
#include "launcher/plan/points.h"
#include "lib/paths.h"

/* Are all entries above a path directories, so that a mount point for it can be made? */
static bool is_reachable(struct planner *planner, const char *path)
{
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const uint32_t above = bundle_find(planner->bundle, arena_format(planner->plan->arena, "%.*s", (int)(slash - path), path));
        if (above != NO_ENTRY && !S_ISDIR(planner->bundle->entries[above].mode))
            return false;
    }
    return true;
}

/* A directory in a tree that stays the node's own. */
static void place_directory(struct planner *planner, const char *path, const char *node_path)
{
    const struct bundle *bundle = planner->bundle;
    const uint32_t entry = bundle_find(bundle, path);
    struct stat status;
    char *real = realpath(node_path, NULL);
    if (real == NULL || stat(real, &status) != 0 || !S_ISDIR(status.st_mode) || !is_reachable(planner, path) ||
        (entry != NO_ENTRY && !S_ISDIR(bundle->entries[entry].mode))) {
        free(real);
        return;
    }
    const char *own = arena_format(planner->plan->arena, "%s", real);
    free(real);
    if (entry != NO_ENTRY) {
        plan_live(planner, path, own, entry, GROUND_OURS);
        return;
    }
    plan_add_parents(planner, path);
    plan_add(planner, OP_DIRECTORY, path, "mount point")->mode = status.st_mode & 0777;
    plan_bind(planner, own, path, false, "the node's own directory in a tree");
}

/* A file in a tree that stays the node's own. The bundle need not hold it: a log that the traced run made again, and that a later run finds. */
static void place_file(struct planner *planner, const char *path, const char *node_path)
{
    const uint32_t entry = bundle_find(planner->bundle, path);
    struct stat status;
    if (lstat(node_path, &status) != 0 || !S_ISREG(status.st_mode) || !is_reachable(planner, path) ||
        (entry != NO_ENTRY && !S_ISREG(planner->bundle->entries[entry].mode)))
        return;
    if (entry == NO_ENTRY) {
        plan_add_parents(planner, path);
        plan_add(planner, OP_FILE, path, "mount point");
    }
    plan_bind(planner, node_path, path, false, "the node's own data");
}

static bool is_below_live(const struct bundle *bundle, const char *tree, const char *path)
{
    bool below = false;
    for (const char *cursor = NULL, *live; !below && (live = conf_next_live(bundle, tree, &cursor)) != NULL;)
        below = path_is_below(path, live);
    return below;
}

/* A directory of software that comes from the bundle as a whole (CONF tree). What the node has besides, a newer package or a .pth that
 * was installed after bundling, does not show. The closure's directory is bound on the node's. Rejected: an overlay of the closure's alone,
 * in which hard links break and directories cannot be renamed (Documentation/filesystems/overlayfs.rst), without a gain: it is private already. */
void plan_tree(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct bundle *bundle = planner->bundle;
    const char *tree = bundle->entries[index].path;
    struct arena *arena = planner->plan->arena;
    struct op *op = plan_add(planner, OP_BIND, tree, "software comes from the bundle as a whole");
    op->source = arena_format(arena, CLOSURE "%s", tree);
    op->back = node_path;
    for (const char *cursor = NULL, *live; (live = conf_next_live(bundle, tree, &cursor)) != NULL;)
        place_directory(planner, live, arena_format(arena, "%s%s", node_path, live + strlen(tree)));
    for (size_t i = 0; i < planner->left_out_count; i++) {
        const char *path = planner->left_out[i];
        const char *own = path_is_below(path, tree) ? arena_format(arena, "%s%s", node_path, path + strlen(tree)) : NULL;
        struct stat status;
        if (own != NULL && !is_below_live(bundle, tree, path) && stat(own, &status) == 0)
            (S_ISDIR(status.st_mode) ? place_directory : place_file)(planner, path, own);
    }
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "fallback", &cursor)) != NULL;)
        if (path_is_below(path, tree) && path_is_normal(path) && !is_below_live(bundle, tree, path))
            place_file(planner, path, arena_format(arena, "%s%s", node_path, path + strlen(tree)));
}

/* Announce at the start a live directory whose new files are not real at once. If the user may not write there, the bare job could make none. */
static void hold_back(struct planner *planner, const char *path, const char *node_path, const char *why)
{
    struct plan *plan = planner->plan;
    if ((!conf_lists(planner->bundle, "live", path) && !conf_is_live(planner->bundle, path)) || access(node_path, W_OK) != 0)
        return;
    plan->held = reallocate(plan->held, plan->held_count + 1, sizeof *plan->held);
    plan->held[plan->held_count++] = (struct held){path, why};
}

static void add_synthetic(struct planner *planner, const char *path, const char *node_path)
{
    struct plan *plan = planner->plan;
    plan->synthetic = reallocate(plan->synthetic, plan->synthetic_count + 1, sizeof *plan->synthetic);
    plan->synthetic[plan->synthetic_count++] = (struct back){.path = path, .node = node_path};
}

/* In a synthetic directory: an entry that the closure has too. */
static void place_child(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct entry *entry = &planner->bundle->entries[index];
    struct stat status;
    char *real = NULL;
    switch (plan_fate_of(planner, index, node_path)) {
    case FATE_NODES:
        if (!S_ISLNK(entry->mode))
            plan_bind(planner, node_path, entry->path, false, planner->fallback[index] ? "the node's own data" : "the node has the same");
        break;
    case FATE_TREE:
        plan_tree(planner, index, node_path);
        break;
    case FATE_RECURSE:
        plan_live(planner, entry->path, node_path, index, GROUND_OURS);
        break;
    case FATE_COVER:
    case FATE_VACANT:
        break; /* the closure's is already there */
    case FATE_CLOSURE:
        if (S_ISDIR(entry->mode) && point_at(node_path) != POINT_NONE) {
            plan_over_point(planner, index, node_path);
            break;
        }
        if (!S_ISDIR(entry->mode) || stat(node_path, &status) != 0 || !S_ISDIR(status.st_mode) || (real = realpath(node_path, NULL)) == NULL)
            break;
        const char *directory = arena_format(planner->plan->arena, "%s", real);
        free(real);
        if (conf_lists(planner->bundle, "tree", entry->path))
            plan_tree(planner, index, directory);
        else
            plan_live(planner, entry->path, directory, index, GROUND_OURS);
        break;
    }
}

/* Both in one overlay, in which the job can do what it can do in a directory of one file system. Directories that the node has are its own
 * again on top, so that what is written there is real at once. */
static void place_over(struct planner *planner, const char *path, const char *node_path, uint32_t directory)
{
    const struct bundle *bundle = planner->bundle;
    struct stat status;
    for (uint32_t i = bundle_children(bundle, directory); i != NO_ENTRY; i = bundle->entries[i].next_sibling) {
        const char *node_child = join(planner, node_path, strrchr(bundle->entries[i].path, '/') + 1);
        const enum fate fate = plan_fate_of(planner, i, node_child);
        if (fate == FATE_NODES && !S_ISDIR(bundle->entries[i].mode))
            planner->plan->wanted[i] = !(planner->plan->nodes_own[i] = true); /* the overlay shows the node's */
        else if (fate == FATE_NODES)
            plan_bind(planner, node_child, bundle->entries[i].path, true, "the node has the same");
        else
            place_child(planner, i, node_child);
    }
    DIR *stream = opendir(node_path);
    if (stream == NULL)
        return;
    for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
        const char *child = join(planner, path, item->d_name), *node_child = join(planner, node_path, item->d_name);
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 || bundle_find(bundle, child) != NO_ENTRY ||
            lstat(node_child, &status) != 0)
            continue;
        /* overlayfs cannot copy up what a user namespace has no id for (EOVERFLOW) */
        const bool foreign = geteuid() != 0 && (status.st_uid != geteuid() || status.st_gid != getegid());
        if (S_ISDIR(status.st_mode) || (S_ISREG(status.st_mode) && foreign))
            plan_bind(planner, node_child, child, S_ISDIR(status.st_mode), "the node's own");
    }
    closedir(stream);
}

static void make_synthetic(struct planner *planner, const char *path, const char *node_path, uint32_t directory, enum ground ground)
{
    const struct bundle *bundle = planner->bundle;
    struct stat status;
    struct op *op = plan_add(planner, OP_DIRECTORY, path, "the node's directory lacks entries that the closure has here");
    op->mode = stat(node_path, &status) == 0 ? status.st_mode & 01777 : 0755;
    add_synthetic(planner, path, node_path);
    if (ground == GROUND_NODES) {
        op = plan_add(planner, OP_BIND, path, "closure's directory over the node's, whose entries follow");
        op->source = arena_format(planner->plan->arena, CLOSURE "%s", path);
    }
    DIR *stream = opendir(node_path);
    if (stream == NULL) { /* may be searched but not listed: what the closure knows of is looked up */
        for (uint32_t i = bundle_children(bundle, directory); i != NO_ENTRY; i = bundle->entries[i].next_sibling)
            place_child(planner, i, join(planner, node_path, strrchr(bundle->entries[i].path, '/') + 1));
        return;
    }
    for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        const char *child = join(planner, path, item->d_name), *node_child = join(planner, node_path, item->d_name);
        const uint32_t index = bundle_find(bundle, child);
        if (index != NO_ENTRY)
            place_child(planner, index, node_child);
        else
            plan_show_nodes_own(planner, child, node_child);
    }
    closedir(stream);
}

void plan_live(struct planner *planner, const char *path, const char *node_path, uint32_t directory, enum ground ground)
{
    const struct bundle *bundle = planner->bundle;
    const char *why;
    bool missing = false;
    for (uint32_t i = bundle_children(bundle, directory); i != NO_ENTRY && !missing; i = bundle->entries[i].next_sibling)
        missing = plan_is_missing(planner, i, join(planner, node_path, strrchr(bundle->entries[i].path, '/') + 1));
    if (missing && !plan_can_point(planner, node_path, directory, &why)) {
        hold_back(planner, path, node_path, why);
        if (plan_overlay_live(planner, node_path, path))
            place_over(planner, path, node_path, directory);
        else
            make_synthetic(planner, path, node_path, directory, ground);
        return;
    }
    if (ground == GROUND_OURS)
        plan_bind(planner, node_path, path, false, "the node's directory, live");
    for (uint32_t i = bundle_children(bundle, directory); i != NO_ENTRY; i = bundle->entries[i].next_sibling) {
        const struct entry *entry = &bundle->entries[i];
        const char *node_child = join(planner, node_path, strrchr(entry->path, '/') + 1);
        const enum fate fate = plan_fate_of(planner, i, node_child);
        if (fate == FATE_COVER)
            plan_add(planner, OP_BIND, entry->path, "the node's file differs from the closure's")->source =
                arena_format(planner->plan->arena, CLOSURE "%s", entry->path);
        else if (fate == FATE_TREE)
            plan_tree(planner, i, node_child);
        else if (fate == FATE_RECURSE)
            plan_live(planner, entry->path, node_child, i, GROUND_NODES);
        else if (fate == FATE_CLOSURE)
            plan_point(planner, i, node_child);
    }
}
