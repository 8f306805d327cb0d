/* A plan in a file of the base, for the rank that is last and was not the one that made it. */
#ifndef SDEE_LAUNCHER_PLAN_FILE_H
#define SDEE_LAUNCHER_PLAN_FILE_H

#include "launcher/plan/plan.h"

bool plan_write(const struct plan *plan, const char *path);
bool plan_read(struct plan *plan, const char *path);

#endif
