/* The mount plan of an environment: made by sdee.runtime.environment.plan, one line a step, carried out here. */
#ifndef SDEE_PLAN_H
#define SDEE_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

enum step_kind {
    STEP_DIR,     /* an empty directory of the root's tmpfs */
    STEP_LINK,    /* a symbolic link; `argument` is its target */
    STEP_OVERLAY, /* `argument` over host directory `path`, or over `lower` where that is said */
    STEP_OWN,     /* `argument` itself: a directory of which the host gives nothing */
    STEP_BIND,    /* the host's own, live */
    STEP_LIVE,    /* the same, where the host has it */
    STEP_TMP,     /* the environment's own directory for temporary files */
    STEP_TMPFS,   /* `argument` is mount(8) data */
    STEP_PROC,
    STEP_MQUEUE,
    STEP_HIDE, /* an empty read-only tmpfs */
};

struct step {
    enum step_kind kind;
    char *path, *argument;
    char *work, *lower; /* of an overlay; directories of the environment */
    uint64_t mount_id; /* statx(2): stx_mnt_id, once mounted */
    uint32_t device[2]; /* stx_dev_major, stx_dev_minor; of an overlay its own alone */
};

struct range {
    uint64_t start, count; /* subordinate ids on the host, mapped from 1 */
};

struct plan {
    struct step *steps;
    unsigned count;
    struct range uids, gids; /* count 0: only the user's own id is mapped */
};

/* Read `file` of the environment's directory. False with `error` when it is not one of ours. */
bool plan_read(const char *file, struct plan *plan, struct error *error);

/* Add one step: what the user asked for at this start. */
void plan_add(struct plan *plan, enum step_kind kind, const char *path, const char *argument);

/* Mount all below ./root (the working directory is the environment's own) and enter it by pivot_root(2). */
bool plan_carry_out(struct plan *plan, struct error *error);

/* After that, from outside: fill in the mount ids through `root`. */
void plan_identify(struct plan *plan, int root);

/* The step whose mount a file lies on; NULL for none of ours. An overlay is known also where a process has mounted it once more
 * (a bind mount, the mount namespace of `unshare -m` or bwrap), what is bound is not. */
struct statx;
const struct step *plan_step(const struct plan *plan, const struct statx *file);

#endif
