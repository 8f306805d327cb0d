/* What needs root's capabilities: the holder is out here an ordinary user, whom modes without r or x for the owner hold up. */
#ifndef SDEE_ENV_SUPERVISOR_AS_ROOT_H
#define SDEE_ENV_SUPERVISOR_AS_ROOT_H

#include "env/supervisor/session.h"

enum { INSIDE_ROOM = 256 };

/* Its result is what as_root_inside() returns; what it writes to `said` (INSIDE_ROOM bytes) and descriptors that it opens stay. */
typedef int inside_work(const void *argument, char *said);

/* Let a short process do it, in the environment's user namespace, where it has all capabilities. -EACCES if that cannot be. */
int as_root_inside(const struct session *session, inside_work *work, const void *argument, char said[INSIDE_ROOM]);

#endif
