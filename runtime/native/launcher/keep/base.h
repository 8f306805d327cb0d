/* Where what the job may have written is, and the node. */
#ifndef SDEE_LAUNCHER_KEEP_BASE_H
#define SDEE_LAUNCHER_KEEP_BASE_H

#include <stdbool.h>

struct keep_base {
    const char *closure, *node; /* paths in front of those of the plan */
    bool mounted;               /* `closure` is the job's root, with all mounts in it, and not only what lies below them */
};

extern struct keep_base keep_base; /* keep.c: one root a process */

#endif
