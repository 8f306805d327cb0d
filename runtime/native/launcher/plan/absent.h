/* Paths that were not there in the trace: whiteouts hide the node's. */
#ifndef SDEE_LAUNCHER_PLAN_ABSENT_H
#define SDEE_LAUNCHER_PLAN_ABSENT_H

#include <stdbool.h>

#include "launcher/plan/plan.h"

/* Once, in the merged root, before the others. */
void plan_find_absent(struct planner *planner);

/* Is it hidden; is something below it; hide that. */
bool plan_hides(const struct planner *planner, const char *path);
bool plan_hides_below(const struct planner *planner, const char *directory);
void plan_hide_below(struct planner *planner, const char *directory);

#endif
