#include "launcher/plan/same.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "lib/paths.h"

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
