/* Programs of the node that are executed by a name, and this one. */
#ifndef SDEE_LIB_TRUSTED_H
#define SDEE_LIB_TRUSTED_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

/* Can nobody but root (and, unless `root_alone`, this user) change what an absolute path without links leads to? Else `why` says who may. */
bool trusted_path(const char *path, bool root_alone, char *why, size_t size);

/* Has this program no rights but its caller's? Set-user-ID, or with file capabilities, it would mount for each user what that one wishes.
 * Errors: EXIT_KERNEL. */
bool trusted_self(struct error *error);

#endif
