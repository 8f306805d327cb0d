#ifndef SDEE_UNPACK_H
#define SDEE_UNPACK_H

#include "bundle.h"

/* Unpack the closure below the directory `root`, frames in parallel by up to `threads` threads (0: one for each CPU
 * that this process may use). The umask must be 0 and the directory empty. Errors: EXIT_BUNDLE, EXIT_RESOURCES. */
bool unpack(const struct bundle *bundle, int root, unsigned threads, struct error *error);

#endif
