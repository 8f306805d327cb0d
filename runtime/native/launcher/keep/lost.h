/* What could not be kept, and what is kept beside. */
#ifndef SDEE_LAUNCHER_KEEP_LOST_H
#define SDEE_LAUNCHER_KEEP_LOST_H

#include <stdbool.h>
#include <sys/stat.h>

#include "launcher/keep/state.h"

/* Did somebody write the node's file while the job ran on a copy of it? Then neither is thrown away. */
bool keep_has_changed(const struct walk *walk, int directory, const char *name);

/* What should be kept could not be: an error. */
void keep_could_not(struct walk *walk, const char *path, const char *where);

/* What is not kept is named and, where asked for, saved. */
void keep_lose(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path);

/* The job's file goes beside the node's, which the job did not see: `why` says so after the name. */
void keep_beside(struct walk *walk, int directory, const char *name, const struct stat *status, int to, const char *why);
void keep_tell_beside(struct walk *walk, const char *beside, const char *why);

#endif
