/* Trees: directories of software that come from the bundle as a whole (CONF tree). What the node has besides, a newer package or a .pth that
 * was installed after bundling, does not show. The closure's directory is bound on the node's. Rejected: an overlay of the closure's alone,
 * in which hard links break and directories cannot be renamed (Documentation/filesystems/overlayfs.rst), for nothing: it is private already. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "paths.h"
#include "plan.h"
#include "storage.h"

bool plan_same_file(const struct bundle *bundle, const struct entry *entry, const struct stat *status)
{
    return S_ISREG(status->st_mode) && (uint64_t)status->st_size == entry_size(bundle, entry) && status->st_mtim.tv_sec == entry->mtime &&
           status->st_mtim.tv_nsec == (long)entry->nsec;
}

bool plan_same_link(const char *node_path, const struct entry *entry)
{
    char text[PATH_MAX];
    const ssize_t size = readlink(node_path, text, sizeof text);
    return size > 0 && (size_t)size == strlen(entry->link) && memcmp(text, entry->link, (size_t)size) == 0;
}

static int by_text(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static const char **sorted_paths(const struct bundle *bundle, const char *key, size_t *count)
{
    const char **paths = NULL;
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, key, &cursor)) != NULL;) {
        if (!path_is_normal(path))
            continue;
        paths = reallocate(paths, *count + 1, sizeof *paths);
        paths[(*count)++] = path;
    }
    if (*count > 0)
        qsort(paths, *count, sizeof *paths, by_text);
    return paths;
}

void plan_find_left_out(struct planner *planner)
{
    planner->left_out = sorted_paths(planner->bundle, "left-out", &planner->left_out_count);
    planner->unused = sorted_paths(planner->bundle, "unused", &planner->unused_count);
}

static bool is_among(const char **paths, size_t count, const char *path)
{
    return count > 0 && bsearch(&path, paths, count, sizeof *paths, by_text) != NULL;
}

/* Has the node's directory a name that the bundle did not see? Compiled modules do not count: Python takes one only with the source that it was
 * made from. */
static bool has_more(struct planner *planner, const char *node_path, const char *path)
{
    DIR *stream = opendir(node_path);
    if (stream == NULL)
        return true;
    bool more = false;
    const char *last = strrchr(path, '/');
    const bool compiled = last != NULL && strcmp(last, "/__pycache__") == 0;
    for (const struct dirent *item; !more && !compiled && (item = readdir(stream)) != NULL;) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 || strcmp(item->d_name, "__pycache__") == 0)
            continue;
        const char *child = join(planner, path, item->d_name);
        more = bundle_find(planner->bundle, child) == NO_ENTRY && !is_among(planner->left_out, planner->left_out_count, child) &&
               !is_among(planner->unused, planner->unused_count, child);
    }
    closedir(stream);
    return more;
}

bool plan_same_tree(struct planner *planner, const char *node_path, uint32_t index)
{
    const struct bundle *bundle = planner->bundle;
    const struct entry *entry = &bundle->entries[index];
    struct stat status;
    if (S_ISLNK(entry->mode))
        return plan_same_link(node_path, entry);
    if (lstat(node_path, &status) != 0)
        return false;
    if (S_ISREG(entry->mode))
        return (planner->fallback[index] && S_ISREG(status.st_mode)) ||
               (plan_same_file(bundle, entry, &status) && (status.st_mode & 0777) == (entry->mode & 0777) &&
                ((status.st_mode & 0004) != 0 || access(node_path, R_OK) == 0));
    bool same = S_ISDIR(status.st_mode);
    for (uint32_t i = entry->first_child; same && i != NO_ENTRY; i = bundle->entries[i].next_sibling)
        same = plan_same_tree(planner, join(planner, node_path, strrchr(bundle->entries[i].path, '/') + 1), i);
    return same && !has_more(planner, node_path, entry->path);
}

/* The next live directory below a tree that lies in no other one below it. */
static const char *next_live(const struct bundle *bundle, const char *tree, const char **cursor)
{
    for (const char *live; (live = conf_next(bundle, "live", cursor)) != NULL;) {
        bool outermost = path_is_below(live, tree) && path_is_normal(live);
        for (const char *other = NULL, *above; outermost && (above = conf_next(bundle, "live", &other)) != NULL;)
            outermost = !(path_is_below(above, tree) && path_is_below(live, above));
        if (outermost)
            return live;
    }
    return NULL;
}

/* On storage that many nodes share the comparison, and then reading the node's own, would ask it for each file on each node; the bundle asks it
 * for one. */
bool plan_is_nodes_tree(struct planner *planner, uint32_t index, const char *node_path)
{
    const char *cursor = NULL;
    return !storage_is_far(node_path) && next_live(planner->bundle, planner->bundle->entries[index].path, &cursor) == NULL &&
           plan_same_tree(planner, node_path, index);
}

bool plan_is_vacant(const struct bundle *bundle, uint32_t index)
{
    const struct entry *entry = &bundle->entries[index];
    if (!S_ISDIR(entry->mode))
        return false;
    if (entry->first_child == NO_ENTRY)
        return conf_lists(bundle, "tree", entry->path);
    bool vacant = true;
    for (uint32_t i = entry->first_child; vacant && i != NO_ENTRY; i = bundle->entries[i].next_sibling)
        vacant = plan_is_vacant(bundle, i);
    return vacant;
}

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

/* A file in a tree that stays the node's own. The bundle need not hold it: a log that the traced run made anew, and that a later run finds. */
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
    for (const char *cursor = NULL, *live; !below && (live = next_live(bundle, tree, &cursor)) != NULL;)
        below = path_is_below(path, live);
    return below;
}

void plan_tree(struct planner *planner, uint32_t index, const char *node_path)
{
    const struct bundle *bundle = planner->bundle;
    const char *tree = bundle->entries[index].path;
    struct arena *arena = planner->plan->arena;
    struct op *op = plan_add(planner, OP_BIND, tree, "software comes from the bundle as a whole");
    op->source = arena_format(arena, "/closure%s", tree);
    op->back = node_path;
    for (const char *cursor = NULL, *live; (live = next_live(bundle, tree, &cursor)) != NULL;)
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
