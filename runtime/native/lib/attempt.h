/* Trying what cannot be undone. */
#ifndef SDEE_LIB_ATTEMPT_H
#define SDEE_LIB_ATTEMPT_H

#include "lib/error.h"

/* Do it in a child: what that makes of itself, its namespaces and mounts, ends with it. False with the child's error; EXIT_RESOURCES where there can
 * be no child, EXIT_KERNEL where it was killed. */
bool attempt(bool (*act)(const void *argument, struct error *error), const void *argument, struct error *error);

#endif
