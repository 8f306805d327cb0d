/* New namespaces, where many ended just before; and the limit that was hit where there are too many. */
#ifndef SDEE_LIB_UNSHARE_H
#define SDEE_LIB_UNSHARE_H

#include <sys/types.h>

#include "lib/error.h"

/* unshare(2) of namespaces. Tries again for up to 2 s while the kernel says ENOSPC. 0, or -1 and errno. */
int unshare_namespaces(int flags);

/* Look at the limits of these kinds now: in a new user namespace they are others. False where one of them is 0. */
bool unshare_may(int flags);

/* clone(2) without a stack, as fork(2), into new namespaces; tries again likewise. The child's pid, 0 in it, or -1 and errno. */
pid_t clone_into_namespaces(int flags);

/* Fill `error` and return false, after one of the above has failed for `what`, by errno. For ENOSPC: the limit of the namespaces in `flags`
 * that was hit, its value and what to do; else `hint`. */
bool fail_to_unshare(struct error *error, const char *what, int flags, const char *hint);

/* A number in a file of /proc/sys; -1 when it cannot be read. */
long sysctl_value(const char *path);

/* One user and group in a new user namespace (user_namespaces(7)). */
struct id_pair {
    unsigned inside, outside;
};

/* Map a user and a group in the user namespace of `pid` (0: this process), which can change its groups no more then; `group` NULL: the user
 * alone. NULL, or the file of /proc/PID that could not be written, with errno. uid_map is where Ubuntu's AppArmor refuses. */
const char *idmap_write(pid_t pid, struct id_pair user, const struct id_pair *group);

#endif
