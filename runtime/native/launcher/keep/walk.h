/* The walk over what the job may have written. */
#ifndef SDEE_LAUNCHER_KEEP_WALK_H
#define SDEE_LAUNCHER_KEEP_WALK_H

#include <stdbool.h>

#include "launcher/keep/state.h"

/* All below a directory, `target` in the new root; `back`: what it goes back to, or NULL. */
void keep_walk(struct walk *walk, const char *directory, const char *target, const struct back *back, bool removals);

#endif
