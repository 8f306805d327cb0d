/* Clocks that were set while the job ran. */
#ifndef SDEE_LAUNCHER_KEEP_CLOCK_H
#define SDEE_LAUNCHER_KEEP_CLOCK_H

#include <time.h>

/* `begun` by the clock as it is at the end, (`now`, `steady_now`): if that was set back meanwhile, what others have written since
 * bears times from before it. */
struct timespec keep_begun(struct timespec begun, struct timespec steady, struct timespec now, struct timespec steady_now);

#endif
