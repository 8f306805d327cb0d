/* This program once more, inside of a root that another one has made: it waits there, and then becomes the job. */
#ifndef SDEE_LAUNCHER_RUN_INSIDE_H
#define SDEE_LAUNCHER_RUN_INSIDE_H

#include "launcher/run/job.h"

/* Has a helper started this process inside of its root? Then it runs there and does not return. */
void inside_run(void);

/* Let what waits inside become the job, which is a child of this process then. Its pid, or -1 with the error: EXIT_KERNEL, EXIT_RESOURCES. */
pid_t inside_start(const struct job *job, struct error *error);

#endif
