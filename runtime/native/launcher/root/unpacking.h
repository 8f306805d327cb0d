/* How the closure comes to where the job finds it: unpacked whole, or decoded as it is read. */
#ifndef SDEE_LAUNCHER_ROOT_UNPACKING_H
#define SDEE_LAUNCHER_ROOT_UNPACKING_H

#include "launcher/root/root.h"

/* Decide by the options and what the node allows, and write into the plan what and why. `closed` is what may be carried out instead.
 * Errors: EXIT_NODE where lazy was asked for and is not possible; EXIT_RESOURCES. */
bool unpacking_choose(struct plan *plan, struct plan *closed, const struct root *root, const struct bundle *bundle, const struct options *options,
                      struct error *error);

/* Is there the memory for it? Errors: EXIT_RESOURCES. */
bool unpacking_has_memory(const struct plan *plan, const struct bundle *bundle, struct error *error);

#endif
