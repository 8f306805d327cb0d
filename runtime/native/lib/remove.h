/* Removal of trees whose depth others decided on: no recursion, one descriptor at a time. For sdee-env, too. */
#ifndef SDEE_LIB_REMOVE_H
#define SDEE_LIB_REMOVE_H

#include <stdbool.h>

/* Remove a file, or a directory with all in it; if it is `ours`, also below directories that may not be written or listed. */
bool remove_one(int directory, const char *name, bool ours);

/* Give the owner all rights in a directory, an O_PATH descriptor. */
bool let_owner_in(int directory);

#endif
