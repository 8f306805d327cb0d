/* What becomes of closure entries where the node has a directory of that name. */
#ifndef SDEE_LAUNCHER_PLAN_FATE_H
#define SDEE_LAUNCHER_PLAN_FATE_H

#include <stdbool.h>
#include <stdint.h>

#include "launcher/plan/plan.h"

/* What becomes of one closure entry whose parent directory the node has. */
enum fate {
    FATE_NODES,   /* the node has the same, or has the file that the job writes: what it writes must reach the node's */
    FATE_COVER,   /* the node has another file: the closure's is bound over it */
    FATE_TREE,    /* both have the directory and it is a tree: the closure's is bound over it */
    FATE_VACANT,  /* the node lacks an empty tree, which would cover what it has: nothing is to be done */
    FATE_RECURSE, /* both have the directory */
    FATE_CLOSURE, /* only the closure's can stand there, on a mount point; or the parent must become an overlay or synthetic */
};
enum fate plan_fate_of(struct planner *planner, uint32_t index, const char *node_path);

/* Must a closure entry stand where the node has nothing, another run's mount point, or something of another type? */
bool plan_is_missing(struct planner *planner, uint32_t index, const char *node_path);

/* Does an entry hold nothing but empty trees? They only cover what the node has: where it lacks them nothing is missing. */
bool plan_is_vacant(const struct bundle *bundle, uint32_t index);

/* May the node's own serve as the tree? */
bool plan_is_nodes_tree(struct planner *planner, uint32_t index, const char *node_path);

#endif
