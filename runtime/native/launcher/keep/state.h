/* What the steps of the walk over what the job may have written (in this folder) hand to each other. */
#ifndef SDEE_LAUNCHER_KEEP_STATE_H
#define SDEE_LAUNCHER_KEEP_STATE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "launcher/keep/belongs.h"
#include "launcher/keep/keeping.h"

#define NAMES 10 /* so many lost files are named */

/* A directory that is being walked. On the heap: how deep a job's trees are is the job's to say. */
struct level {
    struct place place;
    struct belongs own, *node; /* NULL: what is in it belongs nowhere on the node */
    char beside[BESIDE]; /* its name on the node, where that has another user's */
    mode_t mode;
    bool removals, cache;
    bool nodes; /* the node's own, mounted: only what the plan mounts below it is looked at */
    size_t length;               /* of its path */
    char *names;                 /* of directories in it, each with its NUL: the last one is next */
    size_t size, room;
};

struct walk {
    const struct plan *plan;
    const struct bundle *bundle;
    const struct op **places; /* of the plan, sorted by target: what the launcher made itself */
    size_t place_count;
    const struct keeping *keeping;
    size_t lost;
    char names[NAMES][PATH_MAX];
    bool failed, quiet;
    bool in_cache; /* what is looked at is made again by whoever needs it: neither a loss nor an error */
    struct error *error;
    struct timespec begun; /* when the node's directories were mounted, by the clock as it is now */
    char *path;            /* of what is looked at, in the new root; may be longer than PATH_MAX */
    size_t length, room;
    struct level **levels;
    size_t depth;
};

#endif
