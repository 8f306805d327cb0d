/* After the job: what it wrote on the private memory file system. */
#ifndef SDEE_LAUNCHER_KEEP_KEEP_H
#define SDEE_LAUNCHER_KEEP_KEEP_H

#include <sys/stat.h>

#include "launcher/keep/keeping.h"
#include "launcher/plan/plan.h"

/* Before the plan is carried out: note which directories things are copied back to, so that they go there and nowhere else. */
void keep_begin(struct plan *plan);

/* Copy new and changed files of directories that exist on the node back to there; when it is the last chance, list the others on standard
 * error; copy them below the directory of --save. False when something that should be kept could not be: EXIT_OUTPUT. */
bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping, struct error *error);

#endif
