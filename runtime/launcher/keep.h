/* After the job: what it wrote on the private memory file system. */
#ifndef SDEE_KEEP_H
#define SDEE_KEEP_H

#include "plan.h"

/* Copy new and changed files of directories that exist on the node back to there; list the others on standard error and, when
 * `save` is not negative, copy them below that directory. False when something that should be kept could not be: EXIT_OUTPUT. */
bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, int save, struct error *error);

/* Open the directory of --save, made when missing, and prove that it can be written. Errors: EXIT_OUTPUT. */
bool keep_open(const char *directory, int *save, struct error *error);

#endif
