/* The node's own libraries (node/host_libraries.h) where the job's loader finds them. */
#ifndef SDEE_LAUNCHER_PLAN_LIBRARIES_H
#define SDEE_LAUNCHER_PLAN_LIBRARIES_H

#include "launcher/plan/plan.h"

/* In the merged root before its overlays; in both after all else. */
void plan_link_libraries(struct planner *planner);
void plan_bind_libraries(struct planner *planner);

#endif
