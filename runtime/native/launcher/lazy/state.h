/* What the threads of the process that serves a closure share. */
#ifndef SDEE_LAUNCHER_LAZY_STATE_H
#define SDEE_LAUNCHER_LAZY_STATE_H

#include <stdatomic.h>

#include "launcher/lazy/cache.h"
#include "launcher/lazy/tree.h"

enum { SERVERS = 4, /* threads that answer */ QUEUE = 256 };

struct state {
    const struct bundle *bundle;
    struct tree tree;
    struct cache cache;
    int device; /* of FUSE */
    int told;   /* the file in which the launchers find the first failure; -1 in the fuzzer */
    atomic_flag has_failed;
    atomic_bool opens, lists; /* the kernel asks for each open(2), opendir(3): it is too old to be told not to */

    pthread_mutex_t queue_lock;
    pthread_cond_t queued;
    uint32_t queue[QUEUE]; /* frames to push, a ring */
    uint32_t first, count;
};

/* Note what the job gets EIO for, the first time: its launchers say so. */
void state_failed(struct state *state, const char *path, const struct error *error);

#endif
