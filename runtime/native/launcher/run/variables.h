#ifndef SDEE_LAUNCHER_RUN_VARIABLES_H
#define SDEE_LAUNCHER_RUN_VARIABLES_H

#include "launcher/bundle/table.h"
#include "launcher/options.h"
#include "lib/arena.h"

/* The job's environment, NULL-terminated: recorded variables, over them the live ones that match `live-env`, over them --pass-env. */
char **variables_make(const struct bundle *bundle, const struct options *options, struct arena *arena);

/* Value in such an environment, or NULL. */
const char *variables_get(char *const *environment, const char *name);

#endif
