#ifndef SDEE_SKELETON_H
#define SDEE_SKELETON_H

#include <stdbool.h>

#include "error.h"

/* Make or complete the directory `upper` for the host directory. The paths of new directories below it, with `prefix` before
 * and a NUL after each, are added to the file `list`. `mask_files`: also empty files in place of those that the user may not
 * read. */
bool skeleton_make(const char *host, const char *upper, const char *list, const char *prefix, bool mask_files, bool emulate,
                   struct error *error);

#endif
