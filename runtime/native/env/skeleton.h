#ifndef SDEE_ENV_SKELETON_H
#define SDEE_ENV_SKELETON_H

#include <stdbool.h>

#include "lib/error.h"

struct skeleton_options {
    bool mask_files;  /* put empty files in place of those that the user may not read */
    bool emulate;     /* record owners other than root */
    const char **but; /* host directories that are made empty: nothing of them is read; NULL ends the list */
};

/* Make or complete the directory `upper` for the host directory. The paths of new directories below it, with `prefix` before
 * and a NUL after each, are added to the file `list`. */
bool skeleton_make(const char *host, const char *upper, const char *list, const char *prefix, const struct skeleton_options *options,
                   struct error *error);

#endif
