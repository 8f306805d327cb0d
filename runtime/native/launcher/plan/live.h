/* Directories that stay the node's own, and trees, which come from the bundle as a whole: each may lie in the other. */
#ifndef SDEE_LAUNCHER_PLAN_LIVE_H
#define SDEE_LAUNCHER_PLAN_LIVE_H

#include <stdint.h>

#include "launcher/plan/plan.h"

enum ground { GROUND_OURS, GROUND_NODES }; /* is the parent, in the new root, a tmpfs directory of ours or the node's own? */
void plan_live(struct planner *planner, const char *path, const char *node_path, uint32_t entry, enum ground ground);

/* A directory that comes from the bundle as a whole (CONF tree), on a node that has a directory of that name: `node_path`. */
void plan_tree(struct planner *planner, uint32_t index, const char *node_path);

#endif
