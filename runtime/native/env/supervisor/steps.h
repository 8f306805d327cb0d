/* What is mounted in an environment, and where a file lies in that. */
#ifndef SDEE_ENV_SUPERVISOR_STEPS_H
#define SDEE_ENV_SUPERVISOR_STEPS_H

#include <linux/stat.h>
#include <stdint.h>

enum step_kind {
    STEP_DIR,     /* an empty directory of the root's tmpfs */
    STEP_LINK,    /* a symbolic link; `argument` is its target */
    STEP_OVERLAY, /* `argument` over host directory `path`, or over `lower` where the plan names it */
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

/* The steps of the mount plan, and the ids that are mapped. */
struct steps {
    struct step *items;
    unsigned count;
    struct range uids, gids; /* count 0: only the user's own id is mapped */
};

/* When they are carried out (plan.h), from outside: fill in the mount ids through `root`. */
void steps_identify(struct steps *steps, int root);

/* The step whose mount a file lies on; NULL for none of ours. An overlay is known also where a process has mounted it once more
 * (a bind mount, the mount namespace of `unshare -m` or bwrap), what is bound is not. */
const struct step *step_of(const struct steps *steps, const struct statx *file);

#endif
