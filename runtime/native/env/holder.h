/* The holder of a session: one process outside the namespaces, one (PID 1) inside. It ends with the last process inside. */
#ifndef SDEE_ENV_HOLDER_H
#define SDEE_ENV_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

#include "env/supervisor/steps.h"
#include "lib/error.h"

/* Start it for the environment that is the working directory; returns when it is ready. */
bool holder_start(struct steps *plan, struct error *error);

/* Connect to the one that runs. The socket, or -1 when there is none. */
int holder_connect(void);

/* Map the user's ids in `pid`'s new user namespace: 0 is the user; the rest of a subordinate range follows. */
bool map_ids(pid_t pid, const struct steps *plan, struct error *error);

#endif
