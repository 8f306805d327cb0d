#ifndef SDEE_LAUNCHER_ROOT_CARRY_H
#define SDEE_LAUNCHER_ROOT_CARRY_H

#include "launcher/plan/plan.h"

/* Carry out plan->ops[from .. to). `overlay_refused`: it failed because the kernel refuses an overlay without
 * fallback. Errors: EXIT_KERNEL, EXIT_RESOURCES, and unpack()'s. */
bool carry_out(const struct plan *plan, size_t from, size_t to, const struct bundle *bundle, const struct options *options,
               bool *overlay_refused, struct error *error);

/* Undo all that `failed`'s ops after FIRST_ROOT_OP mounted and unpack what `next` wants beyond it, so that `next` can be carried
 * out from FIRST_ROOT_OP on. */
bool carry_reset(const struct plan *failed, const struct plan *next, const struct bundle *bundle, const struct options *options, struct error *error);

/* At the end, where nobody else is in the namespace: a closure that is read lazily is unmounted, and its server waited for. */
void carry_end(const struct plan *plan);

/* The parent directory of an absolute path below `root`, no link followed; `name` is the last name. -1 with errno. */
int carry_open_parent(int root, const char *path, const char **name);

/* Make what an OP_DIRECTORY, OP_FILE, OP_SYMLINK or OP_WRITE says, in its parent. False with errno. */
bool carry_make_place(int parent, const char *name, const struct op *op);

#endif
