/* The plan as a whole. */
#ifndef SDEE_LAUNCHER_PLAN_MAKE_H
#define SDEE_LAUNCHER_PLAN_MAKE_H

#include <stdbool.h>

#include "launcher/plan/plan.h"

/* Compute the plan. Looks at the node, changes nothing. Errors: EXIT_NODE. */
bool plan_make(struct plan *plan, enum root_kind root, const struct bundle *bundle, const struct node *node,
               const struct host_libraries *libraries, struct error *error);

#endif
