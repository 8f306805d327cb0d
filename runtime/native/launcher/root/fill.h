/* The closure into a root that another program has made: its mounts are there, and what is ours in it is memory. */
#ifndef SDEE_LAUNCHER_ROOT_FILL_H
#define SDEE_LAUNCHER_ROOT_FILL_H

#include "launcher/plan/plan.h"

/* `top`: its root directory. Nothing goes through a link, nor into a directory of the node's. Errors: EXIT_KERNEL, and unpack()'s. */
bool fill(int top, const struct plan *plan, const struct bundle *bundle, const struct options *options, struct error *error);

#endif
