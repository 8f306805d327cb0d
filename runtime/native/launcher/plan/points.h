/* What a live directory of the node's lacks, on mount points in it. */
#ifndef SDEE_LAUNCHER_PLAN_POINTS_H
#define SDEE_LAUNCHER_PLAN_POINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "launcher/plan/plan.h"

/* Can all that the node's directory lacks be mounted in it, on mount points that are made there? Else `why` not. */
bool plan_can_point(struct planner *planner, const char *node_path, uint32_t directory, const char **why);

void plan_point(struct planner *planner, uint32_t index, const char *node_path);

/* In memory, over a mount point that another run has made there. */
void plan_over_point(struct planner *planner, uint32_t index, const char *node_path);

#endif
