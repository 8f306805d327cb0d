/* A closure that stays on the node between the steps of a job: `sdee deploy`, `sdee exec` …, `sdee undeploy`.
 *
 * DIRECTORY/sdee-UID-IDENTITY/{closure,complete}, mode 0700: files only, no process. Executing lays the private memory over it, so that each run
 * begins with the closure as it was unpacked. The lock (flock(2) on the directory) tells undeploy whether it is in use. */
#ifndef SDEE_LAUNCHER_ROOT_DEPLOY_H
#define SDEE_LAUNCHER_ROOT_DEPLOY_H

#include "launcher/bundle/table.h"
#include "launcher/options.h"
#include "lib/arena.h"

/* Unpack, verified; print where on standard output. Errors: EXIT_BUNDLE, EXIT_RESOURCES when there is no room anywhere. */
bool deploy(const struct bundle *bundle, const struct options *options, struct error *error);

/* Remove it. Errors: EXIT_RESOURCES while it is in use. */
bool undeploy(const struct bundle *bundle, const struct options *options, struct error *error);

/* Return the deployed closure's path, in `arena`, or NULL. `lock`, a descriptor of its parent directory, holds it until it is closed. Needs no
 * entries. */
const char *deploy_find(const struct bundle *bundle, const struct options *options, struct arena *arena, int *lock);

/* Is every entry as it was unpacked? */
bool deploy_is_whole(const struct bundle *bundle, int lock);

#endif
