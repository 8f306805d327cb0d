#include "launcher/plan/fate.h"

#include <string.h>
#include <sys/stat.h>

#include "launcher/bundle/conf.h"
#include "launcher/node/mark.h"
#include "launcher/node/storage.h"
#include "launcher/plan/same.h"

bool plan_is_vacant(const struct bundle *bundle, uint32_t index)
{
    const struct entry *entry = &bundle->entries[index];
    if (!S_ISDIR(entry->mode) || entry->needed)
        return false;
    if (entry->first_child == NO_ENTRY)
        return conf_lists(bundle, "tree", entry->path);
    bool vacant = true;
    for (uint32_t i = entry->first_child; vacant && i != NO_ENTRY; i = bundle->entries[i].next_sibling)
        vacant = plan_is_vacant(bundle, i);
    return vacant;
}

/* On storage that many nodes share the comparison, and then reading the node's own, would ask it for each file on each node; the bundle asks it
 * for one. */
bool plan_is_nodes_tree(struct planner *planner, uint32_t index, const char *node_path)
{
    const char *cursor = NULL;
    return !storage_is_far(node_path) && conf_next_live(planner->bundle, planner->bundle->entries[index].path, &cursor) == NULL &&
           plan_same_tree(planner, node_path, index);
}

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

enum fate plan_fate_of(struct planner *planner, uint32_t index, const char *node_path)
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
