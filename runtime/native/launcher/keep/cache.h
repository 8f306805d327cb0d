/* What programs make again when it is missing. */
#ifndef SDEE_LAUNCHER_KEEP_CACHE_H
#define SDEE_LAUNCHER_KEEP_CACHE_H

#include <stdbool.h>

/* Is it something that programs make again when it is missing? `path` in the new root is `name` in `parent`. `asks`: the node's
 * directory of that name may have a tag, too. */
bool keep_is_cache(const char *path, int parent, const char *name, bool directory, bool asks);

/* Is a directory, or one above it, a cache? */
bool keep_is_in_cache(const char *path);

#endif
