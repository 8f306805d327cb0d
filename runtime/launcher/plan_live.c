/* Closure entries below directories that stay the node's own. Cost grows with the closure, except where a directory becomes
 * synthetic: there it grows with that one directory's entries. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "plan.h"
#include "points.h"

/* Below an overlaid directory, what the node has as well need not be unpacked: overlayfs shows the node's. On a node with the
 * same software as where the bundle was made that is nearly everything. */
void plan_skip_same(struct planner *planner, const char *node_path, uint32_t directory)
{
    const struct bundle *bundle = planner->bundle;
    for (uint32_t i = bundle_children(bundle, directory); i != NO_ENTRY; i = bundle->entries[i].next_sibling) {
        const struct entry *entry = &bundle->entries[i];
        const char *node_child = join(planner, node_path, strrchr(entry->path, '/') + 1);
        struct stat status;
        if (!S_ISDIR(entry->mode)) {
            planner->plan->wanted[i] = !plan_same_tree(planner, node_child, i);
        } else if (lstat(node_child, &status) == 0 && S_ISDIR(status.st_mode)) {
            plan_skip_same(planner, node_child, i);
            bool wanted = false;
            for (uint32_t k = entry->first_child; k != NO_ENTRY && !wanted; k = bundle->entries[k].next_sibling)
                wanted = planner->plan->wanted[k];
            planner->plan->wanted[i] = wanted;
        }
    }
}

/* What becomes of one closure entry whose parent directory the node has. */
enum fate {
    FATE_NODES,   /* the node has the same, or has the file that the job writes: what it writes must reach the node's */
    FATE_COVER,   /* the node has another file: the closure's is bound over it */
    FATE_TREE,    /* both have the directory and it is a tree: the closure's is bound over it */
    FATE_VACANT,  /* the node lacks an empty tree, which would cover what it has: nothing is to be done */
    FATE_RECURSE, /* both have the directory */
    FATE_CLOSURE, /* only the closure's can stand there, on a mount point; or the parent must become an overlay or synthetic */
};

bool plan_is_missing(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct entry *entry = &planner->bundle->entries[index];
    struct stat status;
    if (lstat(node_path, &status) != 0)
        return !plan_is_vacant(planner->bundle, index);
    if (S_ISLNK(entry->mode))
        return !plan_same_link(node_path, entry);
    return (S_ISREG(entry->mode) ? !S_ISREG(status.st_mode) : !S_ISDIR(status.st_mode)) || point_at(node_path) != POINT_NONE;
}

static enum fate fate_of(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct entry *entry = &planner->bundle->entries[index];
    struct stat status;
    if (plan_is_missing(planner, index, node_path))
        return FATE_CLOSURE;
    if (lstat(node_path, &status) != 0)
        return FATE_VACANT;
    if (S_ISLNK(entry->mode))
        return FATE_NODES;
    if (S_ISREG(entry->mode))
        return plan_same_file(planner->bundle, entry, &status) || planner->fallback[index] ? FATE_NODES : FATE_COVER;
    if (!conf_lists(planner->bundle, "tree", entry->path))
        return FATE_RECURSE;
    return plan_is_nodes_tree(planner, index, node_path) ? FATE_NODES : FATE_TREE;
}

/* A live directory whose new files are not real at once: said at the start. Where the user may not write the bare job could make none. */
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
    switch (fate_of(planner, index, node_path)) {
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

/* In a directory of ours: an entry that only the node has. */
void plan_show_nodes_own(struct planner *planner, const char *path, const char *node_path)
{
    static const char why[] = "the node's own entry of a directory that also holds closure";
    struct stat status;
    if (lstat(node_path, &status) != 0)
        return;
    if (S_ISLNK(status.st_mode)) {
        char text[PATH_MAX];
        const ssize_t size = readlink(node_path, text, sizeof text - 1);
        if (size > 0)
            plan_add(planner, OP_SYMLINK, path, why)->data = arena_format(planner->plan->arena, "%.*s", (int)size, text);
        return;
    }
    plan_add(planner, S_ISDIR(status.st_mode) ? OP_DIRECTORY : OP_FILE, path, "mount point")->mode = status.st_mode & 0777;
    plan_bind(planner, node_path, path, !S_ISREG(status.st_mode), why); /* an empty file in its place would pass for the node's */
}

/* Both in one overlay, in which the job can do what it can do in a directory of one file system. Directories that the node has are its own
 * again on top, so that what is written there is real at once. */
static void place_over(struct planner *planner, const char *path, const char *node_path, uint32_t directory)
{
    const struct bundle *bundle = planner->bundle;
    struct stat status;
    for (uint32_t i = bundle_children(bundle, directory); i != NO_ENTRY; i = bundle->entries[i].next_sibling) {
        const char *node_child = join(planner, node_path, strrchr(bundle->entries[i].path, '/') + 1);
        const enum fate fate = fate_of(planner, i, node_child);
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
        op->source = arena_format(planner->plan->arena, "/closure%s", path);
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
        const enum fate fate = fate_of(planner, i, node_child);
        if (fate == FATE_COVER)
            plan_add(planner, OP_BIND, entry->path, "the node's file differs from the closure's")->source =
                arena_format(planner->plan->arena, "/closure%s", entry->path);
        else if (fate == FATE_TREE)
            plan_tree(planner, i, node_child);
        else if (fate == FATE_RECURSE)
            plan_live(planner, entry->path, node_child, i, GROUND_NODES);
        else if (fate == FATE_CLOSURE)
            plan_point(planner, i, node_child);
    }
}
