/* What has been decoded is put into the kernel's page cache without being asked for (FUSE_NOTIFY_STORE), so that the rest of a frame costs no request
 * for each 128 KiB, and need not be decoded again. */
#ifndef SDEE_LAUNCHER_LAZY_PUSH_H
#define SDEE_LAUNCHER_LAZY_PUSH_H

#include "launcher/lazy/state.h"

enum { PUSHED_AT = 2 /* requests of a frame: at the first, 100 to 300 MB more for the same time (torch) */ };

/* Let a frame be pushed soon; not where many wait. */
void push_later(struct state *state, uint32_t frame);

/* Push what was named, forever. In a thread of its own: writing waits for the locks of pages that a request is being answered for. */
void push(struct state *state, const struct decoder *decoder);

#endif
