#ifndef SDEE_CARRY_H
#define SDEE_CARRY_H

#include "plan.h"

/* Carry out plan->ops[from .. to). `overlay_refused` tells that it failed because the kernel refuses an overlay without
 * fallback. Errors: EXIT_KERNEL, EXIT_RESOURCES, and unpack()'s. */
bool carry_out(const struct plan *plan, size_t from, size_t to, const struct bundle *bundle, const struct options *options,
               bool *overlay_refused, struct error *error);

/* Undo all that ops after FIRST_ROOT_OP mounted, so that another plan can be carried out. */
bool carry_reset(struct error *error);

#endif
