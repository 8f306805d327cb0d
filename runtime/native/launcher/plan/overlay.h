/* Closure entries over a directory that the node has as well. */
#ifndef SDEE_LAUNCHER_PLAN_OVERLAY_H
#define SDEE_LAUNCHER_PLAN_OVERLAY_H

#include <stdbool.h>

#include "launcher/plan/plan.h"

void plan_overlay(struct planner *planner, const char *node_path, const char *target, const char *why);

/* A live directory that lacks entries of the closure: both in one, and what the job writes goes back to the node's at the end. False when
 * the kernel cannot do that with this directory. */
bool plan_overlay_live(struct planner *planner, const char *node_path, const char *target);

#endif
