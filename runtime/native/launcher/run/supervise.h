#ifndef SDEE_LAUNCHER_RUN_SUPERVISE_H
#define SDEE_LAUNCHER_RUN_SUPERVISE_H

#include <sys/types.h>

/* Block all signals that can be waited for, before the job is forked. */
void supervise_prepare(void);

/* Wait for the job's end as its parent in the same process group: pass on signals that were sent to the launcher alone, stop and
 * continue with it. Returns waitpid(2)'s status. */
int supervise(pid_t job);

#endif
