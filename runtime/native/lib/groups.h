/* Supplementary groups in a user namespace: where the site lets the user map them (/etc/subgid), the job may give files to them. */
#ifndef SDEE_LIB_GROUPS_H
#define SDEE_LIB_GROUPS_H

#include <stdbool.h>
#include <sys/types.h>

/* A process that stays outside of the new user namespace, to map groups into it. */
struct groups {
    pid_t helper; /* 0: none, since the site allows no more than the primary group */
    int go;
};

/* Start the helper, if there is something for it to do. To be called before unshare(2), with one thread. */
void groups_begin(struct groups *groups);

/* In the new user namespace: let the helper write its gid_map by newgidmap(1). False: it is to be written without. */
bool groups_map(struct groups *groups);

/* No user namespace was made. */
void groups_end(struct groups *groups);

#endif
