#ifndef SDEE_ENV_PROBE_H
#define SDEE_ENV_PROBE_H

#include <stdbool.h>

#include "lib/error.h"

/* Can overlayfs have its upper layer in this directory, and does it all that an environment needs? Tries it, in a process of
 * its own; a directory is made there and removed. */
bool probe(const char *directory, struct error *error);

#endif
