/* Requests of the kernel (linux/fuse.h, Documentation/filesystems/fuse.rst), each with its answer. The file system never changes: the kernel may
 * keep each answer, also that a name is not there. */
#ifndef SDEE_LAUNCHER_LAZY_ANSWER_H
#define SDEE_LAUNCHER_LAZY_ANSWER_H

#include "launcher/lazy/state.h"

enum {
    REQUEST_ROOM = 16384, /* at least FUSE_MIN_READ_BUFFER; the longest request has a name or two */
    READ_MOST = 1 << 20   /* bytes, by max_pages */
};

/* A thread that answers. */
struct worker {
    struct state *state;
    struct decoder decoder;
    uint8_t *request; /* REQUEST_ROOM */
    uint8_t *content; /* READ_MOST: what cannot be sent from where it was decoded */
};

/* False without memory; what was allocated is still worker_free()'s. */
bool worker_make(struct worker *worker, struct state *state);
void worker_free(struct worker *worker);

/* Answer the request that is in worker->request. False for what no kernel sends. */
bool answer(struct worker *worker, size_t size);

#endif
