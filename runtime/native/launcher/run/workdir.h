/* Where the job runs: the directory in which it was traced, or the one of --chdir. */
#ifndef SDEE_LAUNCHER_RUN_WORKDIR_H
#define SDEE_LAUNCHER_RUN_WORKDIR_H

#include "launcher/bundle/table.h"
#include "launcher/options.h"
#include "lib/arena.h"

struct workdir {
    const char *path; /* absolute */
    bool absent;      /* the node lacks it: the private root gets it */
    bool added;       /* entries were added to the bundle's */
};

/* Find it and, where the node lacks it or the recorded command runs in another one than it was traced in, read the bundle's entries and add what
 * this run needs: the directory, or there what lies in the traced one and what this one lacks. The same for all ranks: before they join each other. */
bool workdir_find(struct workdir *workdir, struct bundle *bundle, struct options *options, struct arena *arena, struct error *error);

/* Say, of the first rank, that the job runs elsewhere than here, and what becomes of results where the node lacks the directory. */
void workdir_say(const struct workdir *workdir, const struct options *options, struct arena *arena);

#endif
