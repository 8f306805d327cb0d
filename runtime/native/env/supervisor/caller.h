/* With real ids: a change that a process asks for, made for it, with the rights that it has. */
#ifndef SDEE_ENV_SUPERVISOR_CALLER_H
#define SDEE_ENV_SUPERVISOR_CALLER_H

#include <sys/stat.h>

#include "env/supervisor/session.h"

struct change {
    enum { CHANGE_MODE, CHANGE_OWNER, CHANGE_TIMES } what;
    mode_t mode;
    uid_t uid; /* (uid_t)-1: stays */
    gid_t gid;
    struct timespec times[2];
};

/* Make the change to the file, an O_PATH descriptor, as the process that asks: the kernel judges whether it may, and what chmod(2) drops.
 * 0 or -errno. */
int as_caller(const struct stop *stop, int fd, const struct change *change);

/* Is the process that asks the environment's root? */
bool caller_is_root(const struct stop *stop);

#endif
