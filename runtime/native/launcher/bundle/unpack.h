#ifndef SDEE_LAUNCHER_BUNDLE_UNPACK_H
#define SDEE_LAUNCHER_BUNDLE_UNPACK_H

#include "launcher/bundle/table.h"

/* Unpack the entries that are `wanted` (one for each entry; NULL: all) below the directory `root`, frames in parallel by up to
 * `threads` threads (0: one for each CPU that this process may use). The umask must be 0; only directories may be there
 * already. Errors: EXIT_BUNDLE, EXIT_RESOURCES. */
bool unpack(const struct bundle *bundle, int root, const bool *wanted, unsigned threads, struct error *error);

/* The same, where `root` is the directory whose path has `skip` bytes in the bundle: all that is wanted is below it. */
bool unpack_below(const struct bundle *bundle, int root, size_t skip, const bool *wanted, unsigned threads, struct error *error);

/* Bytes that one of the threads needs besides; there are fewer of them where memory is short. */
uint64_t unpack_worker_memory(const struct bundle *bundle);

/* Bytes that these entries will occupy in a tmpfs. */
uint64_t unpack_memory(const struct bundle *bundle, const bool *wanted);

#endif
