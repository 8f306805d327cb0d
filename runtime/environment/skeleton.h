#ifndef SDEE_SKELETON_H
#define SDEE_SKELETON_H

#include <stdbool.h>

#include "error.h"

/* Make or complete `layer`/upper and `layer`/work for the host directory. The paths of new directories, each followed by a
 * NUL, are added to `layer`/skeleton. `mask_files`: also empty files in place of those that the user may not read. */
bool skeleton_make(const char *host, const char *layer, bool mask_files, bool emulate, struct error *error);

#endif
