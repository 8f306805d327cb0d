/* Files of the bundle below the working directory that are others there by now. */
#ifndef SDEE_LAUNCHER_RUN_CHANGED_H
#define SDEE_LAUNCHER_RUN_CHANGED_H

#include "launcher/bundle/table.h"
#include "launcher/options.h"
#include "launcher/run/workdir.h"

/* Say, of the first rank, that the bundle's are used where the working directory has others, by size and time. Looks at some hundred files at most,
 * those near the top first; not at files of which the node's own are used. */
void changed_say(const struct workdir *workdir, const struct bundle *bundle, const struct options *options);

#endif
