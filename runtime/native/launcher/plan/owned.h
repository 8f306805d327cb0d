/* Files whose owner a program checks. */
#ifndef SDEE_LAUNCHER_PLAN_OWNED_H
#define SDEE_LAUNCHER_PLAN_OWNED_H

#include "launcher/plan/plan.h"

/* In the merged root, after all else. */
void plan_own_files(struct planner *planner);

#endif
