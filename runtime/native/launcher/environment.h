#ifndef SDEE_LAUNCHER_ENVIRONMENT_H
#define SDEE_LAUNCHER_ENVIRONMENT_H

#include "launcher/options.h"
#include "launcher/table.h"
#include "lib/arena.h"

/* The job's environment, NULL-terminated: recorded variables, over them the live ones that match `live-env`, over them --env. */
char **environment_make(const struct bundle *bundle, const struct options *options, struct arena *arena);

/* Value in such an environment, or NULL. */
const char *environment_get(char *const *environment, const char *name);

#endif
