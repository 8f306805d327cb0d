#ifndef SDEE_LAUNCHER_PLAN_ACCOUNTS_H
#define SDEE_LAUNCHER_PLAN_ACCOUNTS_H

#include "lib/arena.h"

/* passwd(5), group(5): the node's file with a line for this user or group added, or NULL when it has one already. */
const char *passwd_with_user(struct arena *arena);
const char *group_with_user(struct arena *arena);

#endif
