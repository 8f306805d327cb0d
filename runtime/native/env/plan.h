/* The mount plan of an environment: made by sdee.runtime.environment.plan, one line a step, carried out here. */
#ifndef SDEE_ENV_PLAN_H
#define SDEE_ENV_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "env/supervisor/steps.h"
#include "lib/error.h"

/* Read `file` of the environment's directory. False with `error` when it is not one of ours. */
bool plan_read(const char *file, struct steps *plan, struct error *error);

/* Add one step: what the user asked for at this start. */
void plan_add(struct steps *plan, enum step_kind kind, const char *path, const char *argument);

/* Mount all below ./root (the working directory is the environment's own) and enter it by pivot_root(2). */
bool plan_carry_out(struct steps *plan, struct error *error);

#endif
