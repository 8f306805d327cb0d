/* What becomes of each thing. */
#ifndef SDEE_LAUNCHER_KEEP_CHILD_H
#define SDEE_LAUNCHER_KEEP_CHILD_H

#include <stdbool.h>

#include "launcher/keep/state.h"

/* Begin with a directory in the one that is walked; NULL where there is nothing in it to keep. */
struct level *keep_enter(struct walk *walk, const char *name);

/* Is the closure's own mounted there? */
bool keep_is_closures(const struct op *op);

/* Keep one thing, or find that there is nothing to do. True for a directory, which is walked later. */
bool keep_child(struct walk *walk, int directory, const char *name, const struct level *level);

#endif
